//! From a judged capture to planned messages: the incident store says whether anybody is to hear of it.

use crate::agent::Settings;
use crate::child::Strings;
use crate::diagnose::Judged;
use crate::incidents::{Decision, Incident, Incidents, Say, Sighting, Status};
use crate::notify::growth::Growth;
use crate::notify::message::{Story, Turn};
use crate::notify::{Context, Message, Outbox};
use jiff::{SignedDuration, Timestamp};
use leakhound_archive::bundle::{DIAGNOSIS_FILE, REPORT_FILE};
use leakhound_archive::manifest::TriggerRecord;
use leakhound_archive::{Archive, ArchiveError, Bundle};
use leakhound_rules::{Diagnosis, Verdict};
use std::sync::Arc;

/// Sightings that the line of growth is drawn through.
const GROWTH_SIGHTINGS: u32 = 500;

/// Decides what is said, and puts it into the outbox.
#[derive(Debug, Clone)]
pub struct Announcer {
    archive: Arc<Archive>,
    incidents: Incidents,
    outbox: Outbox,
}

impl Announcer {
    /// Over an archive, its incidents and its outbox.
    #[must_use]
    pub fn new(archive: Arc<Archive>, incidents: Incidents, outbox: Outbox) -> Self {
        Self {
            archive,
            incidents,
            outbox,
        }
    }

    /// Takes in a judged capture. May be called again for the same one: nothing is counted or said twice.
    ///
    /// # Errors
    /// The database refuses.
    pub fn judged(
        &self,
        bundle: &Bundle,
        judged: &Judged,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(), ArchiveError> {
        let diagnosis = &judged.diagnosis;
        let service = bundle.id().service();
        let version = judged.sheet.subject.version.as_deref();
        if let Some(version) = version {
            self.incidents
                .saw_version(service, version, bundle.id().time())?;
        }
        if diagnosis.verdict == Verdict::Healthy {
            return Ok(());
        }
        let message = message_of(bundle, diagnosis, settings);
        let sighting = sighting_of(bundle, &message, version);
        let decision = self.incidents.record(&sighting, &settings.incidents, now)?;
        if let Say::Nothing(why) = decision.say {
            tracing::info!(
                incident = decision.incident.id,
                service,
                ?why,
                "Counted, and nobody is told"
            );
            return Ok(());
        }
        self.plan(&decision, message, turn_of(&decision), settings, now);
        Ok(())
    }

    /// What time brings: incidents that were quiet for long enough are over, and what was only counted is told.
    ///
    /// # Errors
    /// The database refuses.
    pub fn tick(&self, settings: &Settings, now: Timestamp) -> Result<(), ArchiveError> {
        let policy = &settings.incidents;
        for decision in self.incidents.due(now, policy)? {
            if let Some(message) = self.latest(&decision.incident, settings)? {
                self.plan(&decision, message, Turn::Again, settings, now);
            }
            self.incidents.told(decision.incident, now)?;
        }
        for (incident, version) in self.incidents.ended_by_hand()? {
            self.say_over(&incident, version, settings, now)?;
            self.incidents.told_over(incident)?;
        }
        for incident in self.incidents.watch(now, policy)? {
            let muted = matches!(incident.status, Status::Muted { .. });
            // First said, then marked: what dies between is said again under the same key.
            if !muted {
                let version = self.incidents.fixed_in(&incident)?;
                self.say_over(&incident, version, settings, now)?;
            }
            self.incidents.over(&incident, policy, now)?;
            tracing::info!(
                incident = incident.id,
                service = incident.service,
                "Not seen for long enough: resolved"
            );
        }
        Ok(())
    }

    fn say_over(
        &self,
        incident: &Incident,
        version: Option<String>,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(), ArchiveError> {
        if let Some(message) = self.latest(incident, settings)? {
            let decision = Decision {
                event: format!("resolved-{}", incident.round),
                say: Say::Again,
                incident: incident.clone(),
            };
            self.plan(
                &decision,
                message,
                Turn::Resolved { version },
                settings,
                now,
            );
        }
        Ok(())
    }

    /// The message about the last capture that showed an incident; `None` when no capture of it is left.
    fn latest(
        &self,
        incident: &Incident,
        settings: &Settings,
    ) -> Result<Option<Message>, ArchiveError> {
        for one in self.incidents.occurrences(&incident.id, 10)? {
            let Ok(bundle) = self.archive.bundle(&one.capture) else {
                continue;
            };
            if let Ok(diagnosis) = bundle.read_json::<Diagnosis>(DIAGNOSIS_FILE) {
                return Ok(Some(message_of(&bundle, &diagnosis, settings)));
            }
        }
        Ok(None)
    }

    /// Sizes of the cause at its sightings on one node; of several nodes they would be sizes of several things.
    fn growth(&self, incident: &Incident, node: &str) -> Option<Growth> {
        let seen = self.incidents.occurrences(&incident.id, GROWTH_SIGHTINGS);
        let seen = seen
            .inspect_err(|error| tracing::warn!(%error, "Sightings cannot be read"))
            .ok()?;
        let points = seen.iter().rev().filter(|one| one.node == node);
        Growth::of(points.map(|one| (one.at, one.bytes as f64)))
    }

    fn plan(
        &self,
        decision: &Decision,
        mut message: Message,
        turn: Turn,
        settings: &Settings,
        now: Timestamp,
    ) {
        let incident = &decision.incident;
        message.tell_story(
            Story {
                id: incident.id.clone(),
                turn,
                round: incident.round,
                n_sightings: incident.n_sightings,
                n_nodes: incident.n_nodes,
            },
            incident.first_seen,
        );
        // How the cause itself grew says more than how the process did.
        if let Some(growth) = self.growth(incident, &message.context.node) {
            message.context.growth = Some(growth);
        }
        let routes = settings.routes.get(&incident.service);
        for to in &settings.destinations {
            if routes.is_some_and(|names| !names.contains(&to.name)) {
                continue;
            }
            if let Err(error) = self.outbox.plan(to, &decision.event, &message, now) {
                tracing::error!(destination = to.name, %error, "A message cannot be planned");
            }
        }
    }
}

/// How the memory that a trigger watched grew until it fired.
fn growth_before(trigger: &TriggerRecord, at: Timestamp) -> Option<Growth> {
    // A fact of the process as a whole, and one that is in bytes.
    let watched = ["private_bytes", "working_set"];
    let fact = watched
        .into_iter()
        .find(|fact| trigger.samples.iter().any(|sample| sample.fact == *fact))?;
    let mut points: Vec<(Timestamp, f64)> = trigger
        .samples
        .iter()
        .filter(|sample| sample.fact == fact)
        .filter_map(|sample| {
            let age = SignedDuration::from_millis(i64::try_from(sample.age_ms).ok()?);
            Some((at.checked_sub(age).ok()?, sample.value))
        })
        .collect();
    points.sort_by_key(|(at, _)| *at);
    Growth::of(points)
}

fn turn_of(decision: &Decision) -> Turn {
    match (&decision.say, &decision.incident.status) {
        (Say::Opened, _) => Turn::Opened,
        (Say::Regressed, Status::Regressed { fixed_in, .. }) => Turn::Regressed {
            fixed_in: fixed_in.clone(),
        },
        _ => Turn::Again,
    }
}

fn message_of(bundle: &Bundle, diagnosis: &Diagnosis, settings: &Settings) -> Message {
    let key = bundle.id().key();
    let mut context = Context::of(diagnosis);
    let trigger = bundle.manifest().ok().and_then(|m| m.trigger);
    context.growth = trigger
        .as_ref()
        .and_then(|trigger| growth_before(trigger, bundle.id().time()));
    context.trigger = trigger.map(|t| format!("{}: {}", t.name, t.when));
    let report = bundle.path().join(REPORT_FILE);
    context.report = report.is_file().then_some(report);
    context.link = Some(match &settings.link {
        Some(link) => link.replace("{key}", &key),
        None => bundle.path().join(REPORT_FILE).display().to_string(),
    });
    context.heap_strings = settings.limits.strings == Strings::Scrubbed;
    context.bundle = Some(key);
    Message::new(diagnosis, context)
}

fn sighting_of(bundle: &Bundle, message: &Message, version: Option<&str>) -> Sighting {
    let cause = message.cause.as_ref();
    let text = |pick: fn(&crate::notify::message::Cause) -> &String| {
        cause.map(pick).cloned().unwrap_or_default()
    };
    Sighting {
        fingerprint: message.fingerprint(),
        service: bundle.id().service().to_owned(),
        capture: bundle.id().key(),
        node: bundle.id().node().to_owned(),
        version: version.map(str::to_owned),
        at: bundle.id().time(),
        severity: message.severity,
        bytes: cause.map_or(0, |cause| cause.explained_bytes),
        title: cause.map_or_else(|| message.headline.clone(), |cause| cause.title.clone()),
        culprit: text(|cause| &cause.culprit),
        category: text(|cause| &cause.category),
    }
}
