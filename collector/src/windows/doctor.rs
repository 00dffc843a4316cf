//! The conditions that Windows sets.

use super::{Check, Health, check};
use crate::config::{CaptureConfig, ServiceConfig};
use crate::discover;
use crate::identity::Identity;
use crate::windows::pss::Snapshots;

/// What to do when a service cannot be captured.
pub(super) const RIGHTS: &str =
    "Run the agent as LocalSystem or as an administrator, elevated, or as the service's user.";

pub(super) fn checks() -> Vec<Check> {
    vec![snapshots(), readable()]
}

/// What a service's own settings mean for its captures: nothing that would not be met by every service.
pub(super) fn service_checks(_: &CaptureConfig, _: &ServiceConfig, _: &[&Identity]) -> Vec<Check> {
    Vec::new()
}

fn snapshots() -> Check {
    const NAME: &str = "snapshot";
    if Snapshots::find().is_some() {
        let sentence = "Processes are cloned for a capture (PssCaptureSnapshot).".to_owned();
        return check(NAME, Health::Ok, sentence, "");
    }
    check(
        NAME,
        Health::Warn,
        "This system has no PssCaptureSnapshot: services stand still while they are captured."
            .to_owned(),
        "Use Windows 8.1, Server 2012 R2 or later; until then mind capture.max_pause.",
    )
}

/// Processes that cannot be opened are not seen as .NET processes either, so they are counted.
fn readable() -> Check {
    const NAME: &str = "rights";
    let (seen, all) = (discover::all().len(), discover::identity::table().len());
    // The system itself, protected processes and those that end meanwhile are no services.
    if seen * 2 >= all {
        let sentence = format!("{seen} of {all} processes can be read.");
        return check(NAME, Health::Ok, sentence, "");
    }
    check(
        NAME,
        Health::Warn,
        format!(
            "Only {seen} of {all} processes can be read: services of other users are not seen."
        ),
        RIGHTS,
    )
}
