//! Spares primaries: of a partition whose replicas show the same, a secondary is captured, and the primary's clients notice nothing.
//!
//! Agents do not talk to each other. The one that captured a secondary leaves a notice with the cluster, and the one that watches the
//! primary asks for it for a while before it captures by itself. Neither clock is compared with another: a notice lasts as long as the
//! cluster keeps it. The watcher waits for nobody: it looks at this board, and whoever asks the cluster writes on it.

use leakhound_archive::manifest::FabricRecord;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Partitions asked about at once, and notices that wait to be told; a node has some hundred replicas.
const MAX_ENTRIES: usize = 1_000;

/// A capture of secondaries that the cluster is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Id of the partition.
    pub partition: String,
    /// Key of the bundle.
    pub bundle: String,
    /// For how long the primary is spared.
    pub lasts_ms: u64,
    /// When it was made, in milliseconds since 1970 on this node.
    pub made_ms: i64,
}

/// What the watcher wants to know of other nodes, and what it has to tell them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct NoticeBoard(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    patience_ms: Option<u64>,
    /// Until when each partition is asked about, and the node on which a secondary of it was captured. They stay until the watcher
    /// has looked, which may sample a process more seldom than it lets it wait.
    asked: BTreeMap<String, (i64, Option<String>)>,
    notices: Vec<Notice>,
}

impl NoticeBoard {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // No code that panics runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a primary waits for a notice; `None` when none are asked for and none are told.
    pub fn set_patience(&self, patience_ms: Option<u64>) {
        let mut entries = self.entries();
        entries.patience_ms = patience_ms;
        if patience_ms.is_none() {
            entries.asked.clear();
            entries.notices.clear();
        }
    }

    /// See [`NoticeBoard::set_patience`].
    #[must_use]
    pub fn patience_ms(&self) -> Option<u64> {
        self.entries().patience_ms
    }

    /// Has the cluster asked about partitions until then.
    pub fn ask(&self, partitions: &[String], until_ms: i64) {
        let mut entries = self.entries();
        for partition in partitions {
            if entries.asked.len() < MAX_ENTRIES || entries.asked.contains_key(partition) {
                let asked = entries.asked.entry(partition.clone()).or_default();
                asked.0 = until_ms;
            }
        }
    }

    /// The node on which secondaries of all these partitions were captured, as far as has been answered.
    #[must_use]
    pub fn captured_on(&self, partitions: &[String]) -> Option<String> {
        let entries = self.entries();
        let mut node = None;
        for partition in partitions {
            node = Some(entries.asked.get(partition)?.1.clone()?);
        }
        node
    }

    /// Asks about them no more.
    pub fn forget(&self, partitions: &[String]) {
        let mut entries = self.entries();
        for partition in partitions {
            entries.asked.remove(partition);
        }
    }

    /// Has the cluster told of a capture, where that is wanted.
    pub fn tell(&self, notice: Notice) {
        let mut entries = self.entries();
        if entries.patience_ms.is_some() && entries.notices.len() < MAX_ENTRIES {
            entries.notices.push(notice);
        }
    }

    /// Partitions to ask about now: those that are not answered, and not over.
    #[must_use]
    pub fn questions(&self, now_ms: i64) -> Vec<String> {
        let entries = self.entries();
        let open = entries.asked.iter();
        open.filter(|(_, (until_ms, node))| *until_ms >= now_ms && node.is_none())
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// The cluster's answer about a partition.
    pub fn answer(&self, partition: &str, node: Option<String>) {
        if let Some(asked) = self.entries().asked.get_mut(partition) {
            asked.1 = node;
        }
    }

    /// What is to be told.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.entries().notices.clone()
    }

    /// A notice was told, or is of no use any more.
    pub fn told(&self, notice: &Notice) {
        self.entries().notices.retain(|other| other != notice);
    }
}

/// Partitions of a process of which it holds nothing but primaries, as far as roles are known; empty when there is a secondary.
#[must_use]
pub fn primaries(fabric: &FabricRecord) -> Vec<String> {
    let with_role = || fabric.replicas.iter().filter(|r| r.role.is_some());
    if with_role().any(|replica| replica.role.as_deref() != Some("Primary")) {
        return Vec::new();
    }
    // One whose partition is not known could not be asked about.
    let partitions: Option<Vec<String>> = with_role().map(|r| r.partition.clone()).collect();
    partitions.unwrap_or_default()
}

/// Partitions of which a process holds a secondary.
pub fn secondaries(fabric: &FabricRecord) -> impl Iterator<Item = String> {
    let is_secondary = |role: &Option<String>| {
        matches!(role.as_deref(), Some("ActiveSecondary" | "IdleSecondary"))
    };
    let all = fabric.replicas.iter();
    all.filter(move |replica| is_secondary(&replica.role))
        .filter_map(|replica| replica.partition.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakhound_archive::manifest::ReplicaRecord;

    fn process(replicas: &[(&str, Option<&str>)]) -> FabricRecord {
        let replica = |(partition, role): &(&str, Option<&str>)| ReplicaRecord {
            partition: Some((*partition).to_owned()),
            role: role.map(str::to_owned),
            ..ReplicaRecord::default()
        };
        FabricRecord {
            replicas: replicas.iter().map(replica).collect(),
            ..FabricRecord::default()
        }
    }

    fn notice(partition: &str) -> Notice {
        Notice {
            partition: partition.to_owned(),
            bundle: "Shop.Cart/1".to_owned(),
            lasts_ms: 1,
            made_ms: 0,
        }
    }

    #[test]
    fn a_process_is_spared_only_where_it_holds_nothing_but_primaries() {
        let primary = Some("Primary");
        let both = process(&[("p1", primary), ("p2", primary), ("p3", None)]);
        assert_eq!(primaries(&both), ["p1", "p2"]);
        assert_eq!(secondaries(&both).count(), 0);
        let mixed = process(&[("p1", primary), ("p2", Some("ActiveSecondary"))]);
        assert_eq!(primaries(&mixed), [""; 0]);
        assert_eq!(secondaries(&mixed).collect::<Vec<_>>(), ["p2"]);
        let stateless = process(&[("p1", None)]);
        assert_eq!(primaries(&stateless), [""; 0]);
        let mut nameless = both;
        nameless.replicas[0].partition = None;
        assert_eq!(primaries(&nameless), [""; 0]);
    }

    #[test]
    fn all_partitions_must_have_been_captured_elsewhere() {
        let board = NoticeBoard::default();
        let partitions = ["p1".to_owned(), "p2".to_owned()];
        board.set_patience(Some(1_000));
        board.ask(&partitions, 10);
        assert_eq!(board.questions(5), partitions);
        assert_eq!(board.captured_on(&partitions), None);
        board.answer("p1", Some("_Node_1".to_owned()));
        assert_eq!(board.captured_on(&partitions), None);
        board.answer("p2", Some("_Node_2".to_owned()));
        board.answer("of nobody", Some("_Node_2".to_owned()));
        assert_eq!(board.captured_on(&partitions).as_deref(), Some("_Node_2"));
        // What was answered is not asked again, and waits for whoever looks late.
        assert_eq!(board.questions(5), [""; 0]);
        assert!(board.captured_on(&partitions).is_some());
        board.ask(&["p3".to_owned()], 10);
        assert_eq!(board.questions(10), ["p3"]);
        assert_eq!(board.questions(11), [""; 0]);
        board.forget(&partitions);
        assert_eq!(board.captured_on(&partitions), None);
        assert_eq!(board.captured_on(&[]), None);
    }

    #[test]
    fn nothing_is_told_unless_it_is_wanted_and_nothing_grows_without_end() {
        let board = NoticeBoard::default();
        board.tell(notice("p1"));
        assert_eq!(board.notices(), []);
        board.set_patience(Some(1_000));
        let many: Vec<String> = (0..2 * MAX_ENTRIES).map(|n| format!("p{n}")).collect();
        for partition in &many {
            board.tell(notice(partition));
        }
        board.ask(&many, 10);
        assert_eq!(board.questions(0).len(), MAX_ENTRIES);
        assert_eq!(board.notices().len(), MAX_ENTRIES);
        board.told(&notice("p7"));
        assert_eq!(board.notices().len(), MAX_ENTRIES - 1);
        board.set_patience(None);
        assert_eq!(board.questions(0), [""; 0]);
    }
}
