//! Incidents: one cause in one service is one story, however many captures on however many nodes tell it.
//!
//! The store decides in one transaction what a capture means and what is to be said about it, and remembers both. A process
//! that dies between the decision and the planning of messages makes the same decision again: the capture is known, and what was
//! decided is read back; the outbox keeps a message once under its event.
//!
//! Quiet time passes only while somebody watches: a node that was switched off for a month has not shown that a leak is gone.

mod incident;
mod store;
mod version;

pub use incident::{Incident, Policy, Resolver, Say, Sighting, Silence, Status, Told, id_of};
pub use store::{Occurrence, Query};
pub use version::Version;

use jiff::{SignedDuration, Timestamp};
use leakhound_archive::ArchiveError;
use leakhound_archive::error::Result;
use leakhound_archive::state::State;
use std::collections::BTreeMap;
use store::Store;
use thiserror::Error;

/// Two looks at the clock that lie further apart than this do not prove that somebody watched between them.
const LONGEST_WATCH: SignedDuration = SignedDuration::from_mins(10);

/// The incidents of an archive.
#[derive(Debug, Clone)]
pub struct Incidents {
    store: Store,
}

/// What was decided about a sighting.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The incident as it stands now.
    pub incident: Incident,
    /// What is to be said.
    pub say: Say,
    /// Name of what is to be said, the same whenever the same is decided: `opened-1`, `again-17`.
    pub event: String,
}

/// Why a person's wish is not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WishError {
    /// No such incident.
    #[error(
        "no incident's id or fingerprint begins with `{0}`; `leakhound incidents list --all` shows all"
    )]
    Unknown(String),
    /// Several.
    #[error("`{wanted}` may be any of {}; give more of it", .found.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Ids that begin so.
        found: Vec<String>,
    },
    /// It stands otherwise.
    #[error("incident {id} is {status} already")]
    Already {
        /// The incident.
        id: String,
        /// Where it stands.
        status: &'static str,
    },
    /// The database.
    #[error(transparent)]
    State(#[from] ArchiveError),
}

impl Incidents {
    /// The incidents in the node's database.
    ///
    /// # Errors
    /// The tables cannot be made, or were written by a newer program.
    pub fn open(state: State) -> Result<Self> {
        Ok(Self {
            store: Store::open(state)?,
        })
    }

    /// Takes in a sighting. The same capture counts once; judged again, it gives what was decided the first time.
    ///
    /// # Errors
    /// The database refuses; then nothing happened.
    pub fn record(&self, sighting: &Sighting, policy: &Policy, now: Timestamp) -> Result<Decision> {
        self.store.record(sighting, |before, new_node| {
            let (mut incident, say) = match before {
                None => (Incident::opened_by(sighting), Say::Opened),
                Some(mut incident) => {
                    let say = incident.sight(sighting, new_node, policy);
                    (incident, say)
                }
            };
            if !matches!(say, Say::Nothing(_)) {
                incident.tell(now);
            }
            let event = event_of(&incident, say);
            Decision {
                incident,
                say,
                event,
            }
        })
    }

    /// Incidents with sightings that nobody has heard of, although it is time. To be told, and then given to
    /// [`Incidents::told`].
    ///
    /// # Errors
    /// The database refuses.
    pub fn due(&self, now: Timestamp, policy: &Policy) -> Result<Vec<Decision>> {
        let active = self.store.list(&Query::default())?;
        let due = active.into_iter().filter(|i| i.is_due(now, policy));
        Ok(due
            .map(|incident| Decision {
                event: event_of(&incident, Say::Again),
                incident,
                say: Say::Again,
            })
            .collect())
    }

    /// Notes that people were told of `incident` as it was.
    ///
    /// # Errors
    /// The database refuses.
    pub fn told(&self, mut incident: Incident, now: Timestamp) -> Result<()> {
        incident.tell(now);
        self.store.set_told(&incident)
    }

    /// Lets quiet time pass since the last call; call it while services are watched. Returns what has been quiet for long
    /// enough, to be given to [`Incidents::over`] once that is said.
    ///
    /// # Errors
    /// The database refuses.
    pub fn watch(&self, now: Timestamp, policy: &Policy) -> Result<Vec<Incident>> {
        self.store.pass(now, LONGEST_WATCH)?;
        self.store.quiet_for(policy.quiet)
    }

    /// The version that seems to have the fix of a quiet incident: the latest that its service was seen with, if that is not
    /// the one that showed it.
    ///
    /// # Errors
    /// The database refuses.
    pub fn fixed_in(&self, incident: &Incident) -> Result<Option<String>> {
        let newest = self.store.newest_version(&incident.service)?;
        Ok(newest.filter(|version| Some(version) != incident.last_version.as_ref()))
    }

    /// Marks an incident that was quiet for long enough as resolved, in the version that its service was last seen with.
    ///
    /// # Errors
    /// The database refuses.
    pub fn over(&self, incident: &Incident, policy: &Policy, now: Timestamp) -> Result<()> {
        let version = self.fixed_in(incident)?;
        self.store.set_status(
            &incident.id,
            &Status::Resolved {
                at: now,
                by: Resolver::Quiet(policy.quiet),
                version,
            },
        )
    }

    /// Incidents that a person ended and nobody has heard of yet, each with the version that has the fix; to be told, and then
    /// given to [`Incidents::told_over`].
    ///
    /// # Errors
    /// The database refuses.
    pub fn ended_by_hand(&self) -> Result<Vec<(Incident, Option<String>)>> {
        let every = Query {
            all: true,
            service: None,
        };
        let all = self.store.list(&every)?.into_iter();
        Ok(all
            .filter(|incident| incident.told.is_some_and(|told| !told.over))
            .filter_map(|incident| match &incident.status {
                Status::Resolved {
                    by: Resolver::Person(_),
                    version,
                    ..
                } => {
                    let version = version.clone();
                    Some((incident, version))
                }
                _ => None,
            })
            .collect())
    }

    /// Notes that people were told of the end of `incident`.
    ///
    /// # Errors
    /// The database refuses.
    pub fn told_over(&self, mut incident: Incident) -> Result<()> {
        if let Some(told) = &mut incident.told {
            told.over = true;
        }
        self.store.set_told(&incident)
    }

    /// Notes the version that a service was seen with; a capture without findings counts too.
    ///
    /// # Errors
    /// The database refuses.
    pub fn saw_version(&self, service: &str, version: &str, at: Timestamp) -> Result<()> {
        self.store.saw_version(service, version, at)
    }

    /// Incidents, the last seen first.
    ///
    /// # Errors
    /// The database refuses.
    pub fn list(&self, query: &Query) -> Result<Vec<Incident>> {
        self.store.list(query)
    }

    /// How many incidents there are of each [`Status::name`].
    ///
    /// # Errors
    /// The database refuses.
    pub fn counts(&self) -> Result<BTreeMap<&'static str, u64>> {
        let mut counts = BTreeMap::from(Status::NAMES.map(|name| (name, 0)));
        for status in self.store.statuses()? {
            *counts.entry(status.name()).or_default() += 1;
        }
        Ok(counts)
    }

    /// The incident whose id or fingerprint begins with `wanted`.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn find(&self, wanted: &str) -> std::result::Result<Incident, WishError> {
        let mut found = self.store.beginning_with(wanted)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(WishError::Unknown(wanted.to_owned())),
            _ => Err(WishError::Ambiguous {
                wanted: wanted.to_owned(),
                found: found.into_iter().map(|i| i.id).collect(),
            }),
        }
    }

    /// The latest sightings of an incident, the newest first, `limit` at most.
    ///
    /// # Errors
    /// The database refuses.
    pub fn occurrences(&self, id: &str, limit: u32) -> Result<Vec<Occurrence>> {
        self.store.occurrences(id, limit)
    }

    /// Silences an incident until a time, or for good.
    ///
    /// # Errors
    /// See [`WishError`].
    pub fn mute(
        &self,
        wanted: &str,
        until: Option<Timestamp>,
        reason: &str,
    ) -> std::result::Result<Incident, WishError> {
        let incident = self.find(wanted)?;
        if !incident.status.is_active() {
            return Err(already(&incident));
        }
        self.put(
            incident,
            Status::Muted {
                until,
                reason: reason.to_owned(),
            },
        )
    }

    /// Ends the silence.
    ///
    /// # Errors
    /// See [`WishError`].
    pub fn unmute(&self, wanted: &str) -> std::result::Result<Incident, WishError> {
        let incident = self.find(wanted)?;
        match incident.status {
            Status::Muted { .. } => self.put(incident, Status::Open),
            _ => Err(already(&incident)),
        }
    }

    /// A person says that it is over.
    ///
    /// # Errors
    /// See [`WishError`].
    pub fn resolve(
        &self,
        wanted: &str,
        version: Option<&str>,
        reason: &str,
        now: Timestamp,
    ) -> std::result::Result<Incident, WishError> {
        let incident = self.find(wanted)?;
        if !incident.status.is_active() {
            return Err(already(&incident));
        }
        self.put(
            incident,
            Status::Resolved {
                at: now,
                by: Resolver::Person(reason.to_owned()),
                version: version.map(str::to_owned),
            },
        )
    }

    fn put(
        &self,
        mut incident: Incident,
        status: Status,
    ) -> std::result::Result<Incident, WishError> {
        self.store.set_status(&incident.id, &status)?;
        incident.status = status;
        Ok(incident)
    }
}

fn already(incident: &Incident) -> WishError {
    WishError::Already {
        id: incident.id.clone(),
        status: incident.status.name(),
    }
}

/// What names a thing that is said, the same for the same thing.
fn event_of(incident: &Incident, say: Say) -> String {
    match say {
        Say::Opened | Say::Regressed => format!("opened-{}", incident.round),
        Say::Again => format!("again-{}-{}", incident.round, incident.n_sightings),
        Say::Nothing(_) => String::new(),
    }
}

#[cfg(test)]
mod tests;
