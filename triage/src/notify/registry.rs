//! The one list of destination kinds.

use std::path::PathBuf;
use std::sync::Arc;

use leakhound_rules::Severity;
use serde::Deserialize;

use super::destination::Destination;
use super::route::{CategoryName, Digest, Limit, Pattern, Quiet, Route};
use super::{
    azure_devops, discord, email, github, gitlab, google_chat, jira, matrix, mattermost, pagerduty,
    redmine, request_tracker, service_fabric, servicenow, slack, slack_bot, teams, webhook,
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

/// What a `[[notify]]` block says besides its kind.
pub(super) struct Block {
    pub name: String,
    pub min_severity: Severity,
    pub route: Route,
    pub template: Option<PathBuf>,
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
            #[serde(default)]
            services: Vec<Pattern>,
            #[serde(default)]
            categories: Vec<CategoryName>,
            quiet: Option<Quiet>,
            limit: Option<Limit>,
            digest: Option<Digest>,
            template: Option<PathBuf>,
            $($key: Option<$config>,)+
        }

        impl Raw {
            /// What the block says, and the destinations that it names.
            pub(super) fn into_parts(self) -> (Block, Vec<Arc<dyn Destination>>) {
                let mut found: Vec<Arc<dyn Destination>> = Vec::new();
                $(if let Some(config) = self.$key { found.push(Arc::new(config)); })+
                let route = Route {
                    services: self.services,
                    categories: self.categories,
                    quiet: self.quiet,
                    limit: self.limit,
                    digest: self.digest,
                };
                let block = Block {
                    name: self.name,
                    min_severity: self.min_severity,
                    route,
                    template: self.template,
                };
                (block, found)
            }
        }

        /// Every kind, in the order of the documentation.
        pub const KINDS: &[Kind] = &[$(Kind { key: stringify!($key), sentence: $sentence },)+];
    };
}

kinds! {
    slack: slack::Slack, "a Slack channel, through an incoming webhook";
    slack_bot: slack_bot::SlackBot, "a Slack channel, by a bot: threads, updates, the report as a file";
    teams: teams::Teams, "a Microsoft Teams channel or chat, through a Workflows webhook";
    webhook: webhook::Webhook, "any HTTP receiver, signed as Standard Webhooks";
    matrix: matrix::Matrix, "a Matrix room";
    discord: discord::Discord, "a Discord channel, through a webhook";
    google_chat: google_chat::GoogleChat, "a Google Chat space, through a webhook";
    mattermost: mattermost::Mattermost, "a Mattermost channel, through an incoming webhook";
    email: email::Email, "mail, one thread for each incident";
    jira: jira::Jira, "tickets in Jira, Cloud or Data Center";
    github: github::Github, "issues of a GitHub repository";
    gitlab: gitlab::Gitlab, "issues of a GitLab project";
    request_tracker: request_tracker::RequestTracker, "tickets in Request Tracker 5";
    azure_devops: azure_devops::AzureDevops, "work items in Azure DevOps";
    servicenow: servicenow::Servicenow, "incidents in ServiceNow";
    redmine: redmine::Redmine, "issues in Redmine";
    pagerduty: pagerduty::Pagerduty, "PagerDuty, through the Events API v2";
    service_fabric: service_fabric::ServiceFabric, "health of a service in Service Fabric: a warning until it is over";
}
