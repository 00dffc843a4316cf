//! What to delete from the archive, and why: a pure plan, and beside it the hand that carries it out.
//!
//! Whole bundles go by age, by count per service, and by the total size of the archive. A dump may go before its bundle:
//! sheets are small and can be judged again years later. When the archive is too large, the oldest dumps go first and whole
//! bundles only when that is not enough. Never deleted: bundles that a person marked, the newest ones of each service, and those
//! that are being worked on.

use crate::archive::{Archive, Filter};
use crate::bundle::SHEET_FILE;
use crate::error::Result;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashSet};

/// Limits of one kind of thing. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Older ones go.
    pub age: Option<SignedDuration>,
    /// Only the newest so many per service stay.
    pub per_service: Option<u32>,
    /// The archive's files together stay under this many bytes.
    pub total_bytes: Option<u64>,
}

/// What the archive may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Limits for whole bundles.
    pub bundles: Limits,
    /// Limits for dumps alone, usually tighter. Their sheets live on.
    pub dumps: Limits,
    /// So many newest bundles per service are never touched.
    pub keep_newest: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            bundles: Limits::default(),
            dumps: Limits::default(),
            keep_newest: 1,
        }
    }
}

/// A bundle as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Key of the bundle.
    pub key: String,
    /// Name of the service.
    pub service: String,
    /// Moment of the capture.
    pub captured_at: Timestamp,
    /// Size of the dump; 0 without one.
    pub dump_bytes: u64,
    /// Size of everything else.
    pub other_bytes: u64,
    /// Its sheet is there, so the dump may go alone.
    pub has_sheet: bool,
    /// A person marked it.
    pub is_kept: bool,
    /// It waits for analysis or is being analyzed.
    pub in_use: bool,
}

/// What is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The dump; manifest, sheet and diagnosis stay.
    Dump,
    /// Everything.
    Bundle,
}

/// One deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Key of the bundle.
    pub key: String,
    /// What of it.
    pub target: Target,
    /// Bytes that this frees.
    pub frees_bytes: u64,
    /// Why, as a sentence.
    pub reason: String,
}

/// What to delete, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one per bundle.
    pub deletions: Vec<Deletion>,
    /// Bytes in the archive after the plan.
    pub remaining_bytes: u64,
    /// Bytes above the total limit that protected bundles hold.
    pub excess_bytes: u64,
}

/// Fate of one item while the plan is made.
struct Entry<'a> {
    item: &'a Item,
    /// Newest of its service is 1.
    rank: u32,
    deletion: Option<(Target, String)>,
}

impl Entry<'_> {
    fn protected(&self, policy: &Policy) -> bool {
        self.item.is_kept || self.item.in_use || self.rank <= policy.keep_newest
    }

    fn remaining_dump_bytes(&self) -> u64 {
        if self.deletion.is_some() {
            0
        } else {
            self.item.dump_bytes
        }
    }

    fn remaining_bytes(&self) -> u64 {
        match &self.deletion {
            None => self.item.dump_bytes.saturating_add(self.item.other_bytes),
            Some((Target::Dump, _)) => self.item.other_bytes,
            Some((Target::Bundle, _)) => 0,
        }
    }

    /// What deleting the dump means here: without a sheet nothing useful would stay.
    fn dump_target(&self) -> Target {
        if self.item.has_sheet {
            Target::Dump
        } else {
            Target::Bundle
        }
    }
}

/// Decides what goes. Pure: same items, policy and time give the same plan.
#[must_use]
pub fn plan(items: &[Item], policy: &Policy, now: Timestamp) -> Plan {
    let mut entries = ranked(items);
    for entry in entries.iter_mut().filter(|e| !e.protected(policy)) {
        if let Some(reason) = overdue(&policy.bundles, entry, now, "bundles") {
            entry.deletion = Some((Target::Bundle, reason));
        } else if entry.item.dump_bytes > 0
            && let Some(reason) = overdue(&policy.dumps, entry, now, "dumps")
        {
            entry.deletion = Some((entry.dump_target(), reason));
        }
    }
    if let Some(limit) = policy.dumps.total_bytes {
        shrink(
            &mut entries,
            policy,
            limit,
            Entry::remaining_dump_bytes,
            |e| {
                (e.item.dump_bytes > 0).then(|| {
                    (
                        e.dump_target(),
                        format!("dumps are over their total of {limit} bytes"),
                    )
                })
            },
        );
    }
    let mut excess_bytes = 0;
    if let Some(limit) = policy.bundles.total_bytes {
        let reason = format!("the archive is over its total of {limit} bytes");
        shrink(&mut entries, policy, limit, Entry::remaining_bytes, |e| {
            (e.item.dump_bytes > 0).then(|| (e.dump_target(), reason.clone()))
        });
        shrink(&mut entries, policy, limit, Entry::remaining_bytes, |_| {
            Some((Target::Bundle, reason.clone()))
        });
        let total = sum(&entries, Entry::remaining_bytes);
        excess_bytes = total.saturating_sub(limit);
    }
    Plan {
        remaining_bytes: sum(&entries, Entry::remaining_bytes),
        excess_bytes,
        deletions: entries.into_iter().filter_map(deletion).collect(),
    }
}

/// Oldest first, each with its rank among its service's bundles counted from the newest.
fn ranked(items: &[Item]) -> Vec<Entry<'_>> {
    let mut sorted: Vec<&Item> = items.iter().collect();
    sorted.sort_by(|a, b| (a.captured_at, &a.key).cmp(&(b.captured_at, &b.key)));
    let mut seen = BTreeMap::<&str, u32>::new();
    let newest_first = sorted.into_iter().rev().map(|item| {
        let rank = seen.entry(item.service.as_str()).or_default();
        *rank += 1;
        Entry {
            item,
            rank: *rank,
            deletion: None,
        }
    });
    let mut entries: Vec<_> = newest_first.collect();
    entries.reverse();
    entries
}

fn overdue(limits: &Limits, entry: &Entry<'_>, now: Timestamp, what: &str) -> Option<String> {
    let age = now.duration_since(entry.item.captured_at);
    if let Some(limit) = limits.age
        && age > limit
    {
        let (age, limit) = (days(age), days(limit));
        return Some(format!("{age} old, {what} are kept for {limit}"));
    }
    let limit = limits.per_service?;
    let rank = entry.rank;
    (rank > limit)
        .then(|| format!("number {rank} of its service from the newest, {limit} {what} are kept"))
}

fn days(duration: SignedDuration) -> String {
    let hours = duration.as_hours();
    if hours < 48 {
        format!("{hours} hours")
    } else {
        format!("{} days", hours / 24)
    }
}

/// Marks entries, oldest first, with what `choose` says until the sum of `bytes` is within `limit`.
fn shrink<'a>(
    entries: &mut [Entry<'a>],
    policy: &Policy,
    limit: u64,
    bytes: impl Fn(&Entry<'a>) -> u64,
    choose: impl Fn(&Entry<'a>) -> Option<(Target, String)>,
) {
    let mut total = sum(entries, &bytes);
    for entry in entries.iter_mut() {
        if total <= limit {
            return;
        }
        let before = bytes(entry);
        if before == 0 || entry.protected(policy) {
            continue;
        }
        if let Some(deletion) = choose(entry) {
            let already_dump = matches!(entry.deletion, Some((Target::Dump, _)));
            if already_dump && deletion.0 == Target::Dump {
                continue;
            }
            entry.deletion = Some(deletion);
            total = total.saturating_sub(before.saturating_sub(bytes(entry)));
        }
    }
}

fn sum<'a>(entries: &[Entry<'a>], bytes: impl Fn(&Entry<'a>) -> u64) -> u64 {
    entries.iter().map(bytes).fold(0, u64::saturating_add)
}

fn deletion(entry: Entry<'_>) -> Option<Deletion> {
    let all = entry.item.dump_bytes.saturating_add(entry.item.other_bytes);
    let frees_bytes = all - entry.remaining_bytes();
    let (target, reason) = entry.deletion?;
    Some(Deletion {
        key: entry.item.key.clone(),
        target,
        frees_bytes,
        reason,
    })
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Deletions that were carried out.
    pub done: Vec<Deletion>,
    /// Deletions that failed, one sentence each. The rest was carried out nevertheless.
    pub problems: Vec<String>,
}

impl Archive {
    /// The archive as [`plan`] wants it. `in_use` are keys of bundles that wait for analysis or are being analyzed.
    ///
    /// # Errors
    /// The archive cannot be listed.
    pub fn items(&self, in_use: &HashSet<String>) -> Result<Vec<Item>> {
        let bundles = self.list(&Filter::default())?.bundles;
        let item = |bundle: crate::Bundle| {
            let dump_bytes = bundle.dump_bytes();
            let key = bundle.id().key();
            Item {
                in_use: in_use.contains(&key),
                key,
                service: bundle.id().service().to_owned(),
                captured_at: bundle.id().time(),
                dump_bytes,
                other_bytes: bundle.stored_bytes().saturating_sub(dump_bytes),
                has_sheet: bundle.has(SHEET_FILE),
                is_kept: bundle.is_kept(),
            }
        };
        Ok(bundles.into_iter().map(item).collect())
    }

    /// Plans what `policy` deletes now.
    ///
    /// # Errors
    /// The archive cannot be listed.
    pub fn plan(&self, policy: &Policy, in_use: &HashSet<String>, now: Timestamp) -> Result<Plan> {
        Ok(plan(&self.items(in_use)?, policy, now))
    }

    /// Carries out a plan. Looks at the `keep` marker once more, so a mark set since the plan was made still protects.
    #[must_use]
    pub fn prune(&self, plan: &Plan) -> Pruned {
        let mut pruned = Pruned::default();
        for deletion in &plan.deletions {
            let Ok(bundle) = self.bundle(&deletion.key) else {
                // Gone since the plan was made: what was wanted.
                continue;
            };
            if bundle.is_kept() {
                continue;
            }
            let result = match deletion.target {
                Target::Dump => self.delete_dump(&bundle),
                Target::Bundle => self.delete(&bundle),
            };
            match result {
                Ok(()) => pruned.done.push(deletion.clone()),
                Err(e) => pruned.problems.push(e.to_string()),
            }
        }
        pruned
    }
}

#[cfg(test)]
mod tests;
