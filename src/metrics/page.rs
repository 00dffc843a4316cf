//! The figures as a page in Prometheus's text format.

use super::tally::Tally;
use jiff::Timestamp;
use leakhound_archive::archive::ServiceUsage;
use leakhound_archive::queue;
use leakhound_triage::notify::outbox;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub struct Figures {
    /// When the agent began.
    pub started: Timestamp,
    /// Now.
    pub written: Timestamp,
    /// What the collector did.
    pub tally: Tally,
    /// Captures that wait for their diagnosis.
    pub jobs: queue::Counts,
    /// Messages by destination.
    pub letters: BTreeMap<String, outbox::Counts>,
    /// Incidents by state.
    pub incidents: BTreeMap<&'static str, u64>,
    /// What lies in the archive.
    pub archive: Vec<ServiceUsage>,
    /// Free bytes of its volume, where they can be told.
    pub free_bytes: Option<u64>,
    /// How much the archive may hold in all.
    pub limit_bytes: Option<u64>,
    /// How much its dumps alone may hold.
    pub dump_limit_bytes: Option<u64>,
}

impl Figures {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = Page::default();
        page.family("build_info", "gauge", "The program; always 1.");
        page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        page.family("start_timestamp_seconds", "gauge", "When the agent began.");
        page.sample("start_timestamp_seconds", &[], self.started.as_second());
        page.family(
            "written_timestamp_seconds",
            "gauge",
            "When this was written; an old one means that no agent runs.",
        );
        page.sample("written_timestamp_seconds", &[], self.written.as_second());
        self.collector(&mut page);
        self.queue(&mut page);
        self.outbox(&mut page);
        page.family("incidents", "gauge", "Incidents by state.");
        for (state, n) in &self.incidents {
            page.sample("incidents", &[("state", state)], n);
        }
        self.archive(&mut page);
        page.0
    }

    fn collector(&self, page: &mut Page) {
        page.family(
            "watched_processes",
            "gauge",
            "Processes that are watched now.",
        );
        for (service, n) in self.tally.watched() {
            page.sample("watched_processes", &[("service", service)], n);
        }
        page.family(
            "captures_total",
            "counter",
            "Captures since the agent began: taken, failed, or held back by a limit (each reason once).",
        );
        for (service, captures) in self.tally.captures() {
            for (result, n) in [
                ("taken", captures.n_taken),
                ("failed", captures.n_failed),
                ("held", captures.n_held),
            ] {
                let labels = [("service", service.as_str()), ("result", result)];
                page.sample("captures_total", &labels, n);
            }
        }
        page.family(
            "adopted_dumps_total",
            "counter",
            "Dumps of others that were taken in since the agent began.",
        );
        page.sample("adopted_dumps_total", &[], self.tally.n_adopted());
    }

    fn queue(&self, page: &mut Page) {
        page.family(
            "queue_jobs",
            "gauge",
            "Captures by the state of their diagnosis; dead ones could not be read.",
        );
        for (state, n) in [
            ("waiting", self.jobs.waiting),
            ("running", self.jobs.running),
            ("done", self.jobs.done),
            ("dead", self.jobs.dead),
        ] {
            page.sample("queue_jobs", &[("state", state)], n);
        }
    }

    fn outbox(&self, page: &mut Page) {
        page.family(
            "outbox_messages",
            "gauge",
            "Messages that are remembered; dead ones were given up.",
        );
        for (destination, counts) in &self.letters {
            for (state, n) in [
                ("waiting", counts.n_waiting),
                ("sent", counts.n_delivered),
                ("dead", counts.n_dead),
            ] {
                let labels = [("destination", destination.as_str()), ("state", state)];
                page.sample("outbox_messages", &labels, n);
            }
        }
        page.family(
            "outbox_oldest_waiting_timestamp_seconds",
            "gauge",
            "When the oldest message that waits was planned.",
        );
        for (destination, counts) in &self.letters {
            if let Some(at) = counts.oldest_waiting {
                let labels = [("destination", destination.as_str())];
                page.sample(
                    "outbox_oldest_waiting_timestamp_seconds",
                    &labels,
                    at.as_second(),
                );
            }
        }
    }

    fn archive(&self, page: &mut Page) {
        type Read = fn(&ServiceUsage) -> i128;
        let families: [(&str, &str, Read); 4] = [
            ("archive_bundles", "Captures in the archive.", |usage| {
                usage.n_bundles as i128
            }),
            (
                "archive_bytes",
                "Bytes of captures in the archive.",
                |usage| usage.stored_bytes.into(),
            ),
            (
                "archive_dump_bytes",
                "Bytes of their dumps alone.",
                |usage| usage.dump_bytes.into(),
            ),
            (
                "last_capture_timestamp_seconds",
                "When the newest capture in the archive was taken.",
                |usage| usage.newest.as_second().into(),
            ),
        ];
        for (name, help, read) in families {
            page.family(name, "gauge", help);
            for usage in &self.archive {
                page.sample(name, &[("service", &usage.service)], read(usage));
            }
        }
        for (name, help, value) in [
            (
                "archive_limit_bytes",
                "How much the archive may hold (archive.retain.total).",
                self.limit_bytes,
            ),
            (
                "archive_dump_limit_bytes",
                "How much its dumps may hold (archive.retain_dumps.total).",
                self.dump_limit_bytes,
            ),
            (
                "archive_free_bytes",
                "Free bytes of the archive's volume.",
                self.free_bytes,
            ),
        ] {
            if let Some(value) = value {
                page.family(name, "gauge", help);
                page.sample(name, &[], value);
            }
        }
    }
}

/// Text under construction. Names are given without the prefix that all of them have.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(
            self.0,
            "# HELP leakhound_{name} {help}\n# TYPE leakhound_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "leakhound_{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_collector::collector::Event;

    #[test]
    fn the_page_is_as_it_is_documented() {
        let mut tally = Tally::default();
        let service = || "fabric:/Shop/Cart".to_owned();
        let odd = "a\"b\\c\nd".to_owned();
        let archive_changed = [
            Event::Watching {
                service: service(),
                pid: 7,
            },
            Event::Watching {
                service: service(),
                pid: 8,
            },
            Event::Watching {
                service: odd.clone(),
                pid: 9,
            },
            Event::Gone {
                service: odd,
                pid: 9,
            },
            Event::Held {
                service: service(),
                pid: 7,
                trigger: "t".into(),
                reason: "r".into(),
            },
            Event::Failed {
                service: service(),
                pid: 7,
                reason: "r".into(),
            },
            Event::Captured {
                service: service(),
                pid: 7,
                bundle: "b".into(),
                pause_ms: None,
            },
            Event::Adopted { bundle: "b".into() },
        ]
        .map(|event| tally.take(event));
        assert_eq!(
            archive_changed,
            [false, false, false, false, false, false, true, true]
        );
        let at = |second| Timestamp::from_second(second).unwrap();
        let figures = Figures {
            started: at(1_700_000_000),
            written: at(1_700_000_015),
            tally,
            jobs: queue::Counts {
                waiting: 1,
                running: 1,
                done: 40,
                dead: 0,
            },
            letters: BTreeMap::from([(
                "jira".to_owned(),
                outbox::Counts {
                    n_waiting: 2,
                    n_delivered: 9,
                    n_dead: 1,
                    oldest_waiting: Some(at(1_600_000_000)),
                },
            )]),
            incidents: BTreeMap::from([("muted", 0), ("open", 3)]),
            archive: vec![ServiceUsage {
                service: service(),
                n_bundles: 41,
                n_dumps: 10,
                stored_bytes: 5_000_000_000,
                dump_bytes: 4_900_000_000,
                oldest: at(1_500_000_000),
                newest: at(1_699_999_000),
            }],
            free_bytes: Some(u64::MAX),
            limit_bytes: Some(1_000_000_000_000),
            dump_limit_bytes: Some(50_000_000_000),
        };
        let golden = include_str!("golden.prom").replace("0.0.0", env!("CARGO_PKG_VERSION"));
        assert_eq!(figures.page(), golden);
    }
}
