//! The byte account: where the committed memory went. Its entries add up to the commit; when they do not, it says so.

use leakhound_rules::diagnosis::MemoryAccount;
use serde::Serialize;

use crate::report::amount;

/// One line of the account.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Short name, the same in every report: `gc_live`.
    pub name: &'static str,
    /// As a reader sees it.
    pub label: &'static str,
    /// Exact bytes.
    pub bytes: u64,
    /// `1.02 GB`.
    pub text: String,
    /// Share of the total, 0 to 1.
    pub share: f64,
    /// `68%`.
    pub share_text: String,
}

/// Where the committed memory went.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The total in bytes: the commit, or the sum of what is known.
    pub total: u64,
    /// The same as text.
    pub total_text: String,
    /// What is known, in the order of a report.
    pub entries: Vec<Entry>,
    /// Labels of what could not be read.
    pub unknown: Vec<&'static str>,
    /// What a reader has to know about the sum; empty when it is exact.
    pub note: Option<String>,
}

impl Account {
    /// Draws up the account.
    #[must_use]
    pub fn new(memory: &MemoryAccount) -> Self {
        let mut known: Vec<(&'static str, &'static str, u64)> = Vec::new();
        let mut unknown = Vec::new();
        for (name, label, bytes) in memory.entries() {
            match bytes {
                Some(bytes) => known.push((name, label, bytes)),
                None => unknown.push(label),
            }
        }
        if let Some(rest) = unsplit_gc(memory) {
            unknown.retain(|label| !label.starts_with("GC heap"));
            known.insert(0, ("gc", "GC heap, not broken down", rest));
        }
        let sum = known
            .iter()
            .fold(0_u64, |sum, (_, _, bytes)| sum.saturating_add(*bytes));
        let total = memory.commit.unwrap_or(sum);
        let entries = known
            .into_iter()
            .map(|(name, label, bytes)| {
                let share = if total == 0 {
                    0.0
                } else {
                    bytes as f64 / total as f64
                };
                Entry {
                    name,
                    label,
                    bytes,
                    text: amount::bytes(bytes),
                    share,
                    share_text: amount::share(share),
                }
            })
            .collect();
        Self {
            total,
            total_text: amount::bytes(total),
            note: note(memory.commit, sum, &unknown),
            entries,
            unknown,
        }
    }

    /// Entries with something in them.
    pub fn filled(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.bytes > 0)
    }
}

/// The part of the GC heap that no known entry covers, when the heap as a whole is known and one of its parts is not.
fn unsplit_gc(memory: &MemoryAccount) -> Option<u64> {
    let parts = [
        memory.gc_live,
        memory.gc_garbage,
        memory.gc_free,
        memory.gc_empty,
    ];
    if parts.iter().all(Option::is_some) {
        return None;
    }
    let known: u64 = parts.into_iter().flatten().fold(0, u64::saturating_add);
    Some(memory.gc?.saturating_sub(known))
}

fn note(commit: Option<u64>, sum: u64, unknown: &[&str]) -> Option<String> {
    let missing = match unknown {
        [] => String::new(),
        labels => format!("Could not be read: {}. ", labels.join(", ")),
    };
    let total = match commit {
        None if sum == 0 => {
            return Some("The capture has no memory map, so there is no account.".to_owned());
        }
        None => "The commit is unknown; shares are of what could be read.".to_owned(),
        Some(commit) if commit > sum => {
            format!("{} are in no line above.", amount::bytes(commit - sum))
        }
        Some(commit) if commit < sum => format!(
            "The lines add up to {} more than the commit: some memory was counted twice.",
            amount::bytes(sum - commit)
        ),
        Some(_) => String::new(),
    };
    let note = format!("{missing}{total}");
    (!note.is_empty()).then(|| note.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> MemoryAccount {
        MemoryAccount {
            commit: Some(1000),
            images: Some(100),
            stacks: Some(10),
            gc: Some(700),
            gc_live: Some(400),
            gc_garbage: Some(200),
            gc_free: Some(60),
            gc_empty: Some(40),
            runtime: Some(50),
            native: Some(90),
            mapped_files: Some(20),
            unattributed: Some(30),
        }
    }

    #[test]
    fn an_exact_account_has_nothing_to_add() {
        let account = Account::new(&whole());
        assert_eq!(
            account.entries.iter().map(|e| e.bytes).sum::<u64>(),
            account.total
        );
        assert_eq!(account.note, None);
        assert!((account.entries.iter().map(|e| e.share).sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_account_that_does_not_add_up_says_so() {
        let less = Account::new(&MemoryAccount {
            commit: Some(1500),
            ..whole()
        });
        assert_eq!(less.note.as_deref(), Some("500 B are in no line above."));
        let more = Account::new(&MemoryAccount {
            commit: Some(900),
            ..whole()
        });
        assert!(
            more.note
                .is_some_and(|note| note.contains("100 B more than the commit"))
        );
    }

    #[test]
    fn a_heap_whose_parts_are_unknown_stays_in_the_sum() {
        let account = Account::new(&MemoryAccount {
            gc_live: None,
            gc_garbage: None,
            ..whole()
        });
        let gc = account
            .entries
            .iter()
            .find(|e| e.name == "gc")
            .map(|e| e.bytes);
        assert_eq!(gc, Some(600));
        assert_eq!(account.entries.iter().map(|e| e.bytes).sum::<u64>(), 1000);
        assert_eq!(account.note, None);
    }

    #[test]
    fn nothing_known_is_not_zero() {
        let account = Account::new(&MemoryAccount::default());
        assert!(account.entries.is_empty());
        assert!(
            account
                .note
                .is_some_and(|note| note.contains("no memory map"))
        );
    }
}
