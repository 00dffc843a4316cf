//! An incident: one cause in one service, over all nodes and processes, for as long as it lasts.
//!
//! Pure: what a sighting makes of an incident, and what is to be said about it. Time is an argument; nothing is stored here.

use super::version::Version;
use jiff::{SignedDuration, Timestamp};
use leakhound_rules::Severity;
use serde::{Deserialize, Serialize};

/// Where an incident stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Somebody was told, and it is not over.
    Open,
    /// It goes on, and nobody wants to hear of it.
    Muted {
        /// When it is to be heard of again; never, when absent.
        until: Option<Timestamp>,
        /// Why, in the words of who muted it.
        reason: String,
    },
    /// It is thought to be over.
    Resolved {
        /// Since when.
        at: Timestamp,
        /// Who or what says so.
        by: Resolver,
        /// The version of the service that has the fix, where it is known.
        version: Option<String>,
    },
    /// It was thought to be over, and came back.
    Regressed {
        /// The version that was thought to have the fix.
        fixed_in: Option<String>,
        /// When it was thought to be over.
        fixed_at: Timestamp,
    },
}

impl Status {
    /// Every name that there is.
    pub const NAMES: [&'static str; 4] = ["open", "muted", "resolved", "regressed"];

    /// As it is stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::Muted { .. } => "muted",
            Status::Resolved { .. } => "resolved",
            Status::Regressed { .. } => "regressed",
        }
    }

    /// It is not over.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self, Status::Resolved { .. })
    }
}

/// Who says that an incident is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolver {
    /// It was not seen for so long, while its service was watched.
    Quiet(#[serde(with = "seconds")] SignedDuration),
    /// A person, in their words.
    Person(String),
}

mod seconds {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(span: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(span.as_secs())
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<SignedDuration, D::Error> {
        i64::deserialize(from).map(SignedDuration::from_secs)
    }
}

/// One cause in one service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    /// Short name for people and links: made of fingerprint and service.
    pub id: String,
    /// Identity of the cause.
    pub fingerprint: String,
    /// The service.
    pub service: String,
    /// Where it stands.
    #[serde(flatten)]
    pub status: Status,
    /// What it is, in general.
    pub title: String,
    /// The type, field, path or thread to blame.
    pub culprit: String,
    /// One of the closed list of categories.
    pub category: String,
    /// The worst that was seen since it was last opened.
    pub severity: Severity,
    /// First sighting ever.
    pub first_seen: Timestamp,
    /// Last sighting.
    pub last_seen: Timestamp,
    /// Version of the service at the first sighting.
    pub first_version: Option<String>,
    /// Version of the service at the last sighting.
    pub last_version: Option<String>,
    /// Sightings, each capture once.
    pub n_sightings: u64,
    /// Nodes that it was seen on.
    pub n_nodes: u64,
    /// Bytes that it accounted for at the last sighting.
    pub bytes: u64,
    /// How often it was opened: 1, and 1 more for each time it came back.
    pub round: u32,
    /// What was last said about it.
    pub told: Option<Told>,
}

/// What people were last told about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at: Timestamp,
    /// Bytes that it accounted for then.
    pub bytes: u64,
    /// How bad it was then.
    pub severity: Severity,
    /// Sightings until then.
    pub n_sightings: u64,
    /// Nodes until then.
    pub n_nodes: u64,
    /// That it is over, as a person said.
    #[serde(default)]
    pub over: bool,
}

/// One capture that shows the cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Identity of the cause.
    pub fingerprint: String,
    /// The service.
    pub service: String,
    /// The capture; the same capture counts once, however often it is judged.
    pub capture: String,
    /// Host name.
    pub node: String,
    /// Version of the service, where it is known.
    pub version: Option<String>,
    /// Moment of the capture.
    pub at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// Bytes that it accounts for.
    pub bytes: u64,
    /// What it is, in general.
    pub title: String,
    /// The type, field, path or thread to blame.
    pub culprit: String,
    /// One of the closed list of categories.
    pub category: String,
}

/// What is to be said about a sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// It is new.
    Opened,
    /// It is back after it was thought to be over.
    Regressed,
    /// It goes on.
    Again,
    /// Nothing, for this reason.
    Nothing(Silence),
}

/// Why nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Somebody asked for it.
    Muted,
    /// People were told a moment ago, and it is no worse.
    Recent,
    /// The capture is older than the resolution, or of a version that does not have the fix yet.
    BeforeTheFix,
    /// This capture was counted before.
    Known,
}

/// How often people hear of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Between two messages about an incident that is no worse.
    pub repeat_every: SignedDuration,
    /// It is worse, and told at once, when its bytes grew by this share, in percent.
    pub worse_percent: u64,
    /// It is over when it was not seen for so long while it was watched.
    pub quiet: SignedDuration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            repeat_every: SignedDuration::from_hours(6),
            worse_percent: 50,
            quiet: SignedDuration::from_hours(14 * 24),
        }
    }
}

impl Incident {
    /// The first sighting of a cause.
    #[must_use]
    pub fn opened_by(sighting: &Sighting) -> Self {
        Incident {
            id: id_of(&sighting.fingerprint, &sighting.service),
            fingerprint: sighting.fingerprint.clone(),
            service: sighting.service.clone(),
            status: Status::Open,
            title: sighting.title.clone(),
            culprit: sighting.culprit.clone(),
            category: sighting.category.clone(),
            severity: sighting.severity,
            first_seen: sighting.at,
            last_seen: sighting.at,
            first_version: sighting.version.clone(),
            last_version: sighting.version.clone(),
            n_sightings: 1,
            n_nodes: 1,
            bytes: sighting.bytes,
            round: 1,
            told: None,
        }
    }

    /// What one more sighting makes of it. `new_node`: it was not seen on that node before.
    pub fn sight(&mut self, sighting: &Sighting, new_node: bool, policy: &Policy) -> Say {
        self.n_sightings += 1;
        self.n_nodes += u64::from(new_node);
        self.first_seen = self.first_seen.min(sighting.at);
        if sighting.at < self.last_seen {
            // An old capture that is judged late says nothing about how it stands.
            return Say::Nothing(if self.status.is_active() {
                Silence::Recent
            } else {
                Silence::BeforeTheFix
            });
        }
        let say = self.turn(sighting, policy);
        if say == Say::Nothing(Silence::BeforeTheFix) {
            return say;
        }
        self.last_seen = sighting.at;
        self.last_version.clone_from(&sighting.version);
        self.bytes = sighting.bytes;
        self.severity = match say {
            Say::Regressed => sighting.severity,
            _ => self.severity.max(sighting.severity),
        };
        self.title.clone_from(&sighting.title);
        say
    }

    fn turn(&mut self, sighting: &Sighting, policy: &Policy) -> Say {
        match &self.status {
            Status::Resolved { at, version, .. } => {
                let without_fix = match (version, &sighting.version) {
                    (Some(fixed), Some(seen)) => Version::of(seen) < Version::of(fixed),
                    _ => false,
                };
                if sighting.at <= *at || without_fix {
                    return Say::Nothing(Silence::BeforeTheFix);
                }
                self.status = Status::Regressed {
                    fixed_in: version.clone(),
                    fixed_at: *at,
                };
                self.round += 1;
                Say::Regressed
            }
            Status::Muted {
                until: Some(until), ..
            } if *until <= sighting.at => {
                self.status = Status::Open;
                Say::Again
            }
            Status::Muted { .. } => Say::Nothing(Silence::Muted),
            Status::Open | Status::Regressed { .. } => self.again(sighting, policy),
        }
    }

    fn again(&self, sighting: &Sighting, policy: &Policy) -> Say {
        let Some(told) = self.told else {
            return Say::Again;
        };
        let grown = told.bytes.saturating_mul(100 + policy.worse_percent) / 100;
        let worse = sighting.severity > told.severity || sighting.bytes > grown;
        if worse || told.at.duration_until(sighting.at) >= policy.repeat_every {
            Say::Again
        } else {
            Say::Nothing(Silence::Recent)
        }
    }

    /// Sightings that nobody has heard of yet, although it is time.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, policy: &Policy) -> bool {
        let speaks = matches!(self.status, Status::Open | Status::Regressed { .. });
        self.told.is_some_and(|told| {
            speaks
                && self.n_sightings > told.n_sightings
                && told.at.duration_until(now) >= policy.repeat_every
        })
    }

    /// Notes what people were told now.
    pub fn tell(&mut self, now: Timestamp) {
        self.told = Some(Told {
            at: now,
            bytes: self.bytes,
            severity: self.severity,
            n_sightings: self.n_sightings,
            n_nodes: self.n_nodes,
            over: false,
        });
    }
}

/// Ten hexadecimal digits of fingerprint and service: enough for a person to type, and for a million incidents.
#[must_use]
pub fn id_of(fingerprint: &str, service: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [fingerprint, service] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..10].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000 + hours)
    }

    fn sighting(hours: i64, node: &str, version: &str, bytes: u64) -> Sighting {
        Sighting {
            fingerprint: "f".to_owned(),
            service: "cart".to_owned(),
            capture: format!("{node}-{hours}"),
            node: node.to_owned(),
            version: Some(version.to_owned()),
            at: time(hours),
            severity: Severity::Warning,
            bytes,
            title: "A cache".to_owned(),
            culprit: "Shop.Cache.All".to_owned(),
            category: "static-root".to_owned(),
        }
    }

    fn told_at_opening() -> Incident {
        let mut incident = Incident::opened_by(&sighting(0, "a", "1.0", 100));
        incident.tell(time(0));
        incident
    }

    #[test]
    fn the_same_again_is_counted_and_told_only_when_it_is_worse_or_time() {
        let policy = Policy::default();
        let mut incident = told_at_opening();
        for (hour, bytes, severity, expected) in [
            (1, 110, Severity::Warning, Say::Nothing(Silence::Recent)),
            (2, 151, Severity::Warning, Say::Again),
            (3, 160, Severity::Critical, Say::Again),
            (4, 160, Severity::Warning, Say::Nothing(Silence::Recent)),
            (9, 160, Severity::Warning, Say::Again),
        ] {
            let seen = Sighting {
                severity,
                ..sighting(hour, "b", "1.0", bytes)
            };
            let say = incident.sight(&seen, hour == 1, &policy);
            assert_eq!(say, expected, "hour {hour}");
            if say == Say::Again {
                incident.tell(time(hour));
            }
        }
        assert_eq!((incident.n_sightings, incident.n_nodes), (6, 2));
        assert_eq!(incident.severity, Severity::Critical);
    }

    #[test]
    fn what_was_not_told_becomes_due() {
        let policy = Policy::default();
        let mut incident = told_at_opening();
        assert!(!incident.is_due(time(100), &policy));
        incident.sight(&sighting(1, "b", "1.0", 100), true, &policy);
        assert!(!incident.is_due(time(5), &policy));
        assert!(incident.is_due(time(6), &policy));
        incident.tell(time(6));
        assert!(!incident.is_due(time(100), &policy));
    }

    #[test]
    fn a_fix_is_held_against_newer_versions_and_newer_captures_only() {
        let policy = Policy::default();
        let resolved = |version: &str| {
            let mut incident = told_at_opening();
            incident.status = Status::Resolved {
                at: time(10),
                by: Resolver::Person("fixed".to_owned()),
                version: Some(version.to_owned()),
            };
            incident
        };
        // A node that still runs the old version, and a capture from before.
        let mut incident = resolved("1.10");
        for seen in [sighting(12, "b", "1.9", 100), sighting(5, "b", "1.10", 100)] {
            assert_eq!(
                incident.sight(&seen, false, &policy),
                Say::Nothing(Silence::BeforeTheFix)
            );
            assert!(!incident.status.is_active());
        }
        assert_eq!(
            incident.sight(&sighting(13, "b", "1.10.1", 100), false, &policy),
            Say::Regressed
        );
        assert_eq!(incident.round, 2);
        assert_eq!(
            incident.status,
            Status::Regressed {
                fixed_in: Some("1.10".to_owned()),
                fixed_at: time(10)
            }
        );
        // Without versions the time decides.
        let mut unknown = resolved("1.10");
        let seen = Sighting {
            version: None,
            ..sighting(12, "b", "", 100)
        };
        assert_eq!(unknown.sight(&seen, false, &policy), Say::Regressed);
    }

    #[test]
    fn mute_ends_by_itself() {
        let policy = Policy::default();
        let mut incident = told_at_opening();
        incident.status = Status::Muted {
            until: Some(time(20)),
            reason: "known".to_owned(),
        };
        let say = incident.sight(&sighting(19, "a", "1.0", 9_999), false, &policy);
        assert_eq!(say, Say::Nothing(Silence::Muted));
        let say = incident.sight(&sighting(20, "a", "1.0", 9_999), false, &policy);
        assert_eq!((say, &incident.status), (Say::Again, &Status::Open));
    }
}
