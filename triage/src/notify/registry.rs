//! The one list of destination kinds.

use std::sync::Arc;

use leakhound_rules::Severity;
use serde::Deserialize;

use super::destination::Destination;
use super::{
    discord, github, gitlab, google_chat, jira, matrix, mattermost, pagerduty, request_tracker,
    slack, teams, webhook,
};

/// One kind of destination, for help texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Key in a `[[notify]]` block.
    pub key: &'static str,
    /// What it is.
    pub sentence: &'static str,
}

/// Nobody is told of what needs no action unless they ask for it.
fn floor() -> Severity {
    Severity::Warning
}

macro_rules! kinds {
    ($($key:ident: $config:ty, $sentence:literal;)+) => {
        /// A `[[notify]]` block as written: every kind is a key of its own, and unknown keys are refused.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Raw {
            name: String,
            #[serde(default = "floor")]
            min_severity: Severity,
            $($key: Option<$config>,)+
        }

        impl Raw {
            /// The name, the floor, and the destinations that the block names.
            pub(super) fn into_parts(self) -> (String, Severity, Vec<Arc<dyn Destination>>) {
                let mut found: Vec<Arc<dyn Destination>> = Vec::new();
                $(if let Some(config) = self.$key { found.push(Arc::new(config)); })+
                (self.name, self.min_severity, found)
            }
        }

        /// Every kind, in the order of the documentation.
        pub const KINDS: &[Kind] = &[$(Kind { key: stringify!($key), sentence: $sentence },)+];
    };
}

kinds! {
    slack: slack::Slack, "a Slack channel, through an incoming webhook";
    teams: teams::Teams, "a Microsoft Teams channel or chat, through a Workflows webhook";
    webhook: webhook::Webhook, "any HTTP receiver, signed as Standard Webhooks";
    matrix: matrix::Matrix, "a Matrix room";
    discord: discord::Discord, "a Discord channel, through a webhook";
    google_chat: google_chat::GoogleChat, "a Google Chat space, through a webhook";
    mattermost: mattermost::Mattermost, "a Mattermost channel, through an incoming webhook";
    jira: jira::Jira, "tickets in Jira, Cloud or Data Center";
    github: github::Github, "issues of a GitHub repository";
    gitlab: gitlab::Gitlab, "issues of a GitLab project";
    request_tracker: request_tracker::RequestTracker, "tickets in Request Tracker 5";
    pagerduty: pagerduty::Pagerduty, "PagerDuty, through the Events API v2";
}
