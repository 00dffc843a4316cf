//! The matrix as a table: one row for each cell.

use crate::difference::{Facet, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

/// Differences of one cell that are spelled out when it fails.
const SHOWN: usize = 20;
/// Names the file that tables are appended to.
const TABLE_FILE: &str = "LEAKHOUND_MATRIX_TABLE";

#[derive(Default)]
pub struct Table {
    verdicts: Vec<Verdict>,
}

impl Table {
    pub fn add(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    fn markdown(&self, title: &str) -> String {
        let mut text = format!("### {title}\n\n| program | .NET | GC | dump |");
        for facet in Facet::ALL {
            write!(text, " {} |", facet.title()).unwrap();
        }
        text.push_str("\n|---|---|---|---|");
        text.push_str(&"---:|".repeat(Facet::ALL.len()));
        text.push('\n');
        for verdict in &self.verdicts {
            write!(text, "| {} |", verdict.place.join(" | ")).unwrap();
            for facet in Facet::ALL {
                write!(text, " {} |", verdict.column(facet)).unwrap();
            }
            text.push('\n');
        }
        let mut notes = BTreeMap::new();
        for (entry, times) in self.verdicts.iter().flat_map(Verdict::notes) {
            notes.entry(entry.name).or_insert((entry.reason, 0)).1 += times;
        }
        if !notes.is_empty() {
            text.push_str("\nAccepted differences:\n\n");
        }
        for (name, (reason, times)) in notes {
            writeln!(text, "* {name} ({times}): {reason}").unwrap();
        }
        text
    }

    /// Prints it, and appends it to the file that the environment names.
    pub fn publish(&self, title: &str) {
        let text = self.markdown(title);
        println!("{text}");
        if let Some(file) = std::env::var_os(TABLE_FILE) {
            let file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(file);
            file.unwrap()
                .write_all(format!("{text}\n").as_bytes())
                .unwrap();
        }
    }

    pub fn assert_equal(&self) {
        let mut text = String::new();
        for verdict in self.verdicts.iter().filter(|v| !v.differences.is_empty()) {
            writeln!(
                text,
                "{}: {} differences",
                verdict.label,
                verdict.differences.len()
            )
            .unwrap();
            for d in verdict.differences.iter().take(SHOWN) {
                let title = d.facet.title();
                writeln!(
                    text,
                    "  {title}: {}: ours {:?}, theirs {:?}",
                    d.what, d.ours, d.theirs
                )
                .unwrap();
            }
        }
        assert!(text.is_empty(), "{text}");
        for verdict in &self.verdicts {
            for facet in [
                Facet::Segments,
                Facet::Generations,
                Facet::Types,
                Facet::Statics,
                Facet::Threads,
            ] {
                assert!(
                    verdict.compared[&facet] > 0,
                    "{}: nothing was compared of {}",
                    verdict.label,
                    facet.title()
                );
            }
        }
    }
}
