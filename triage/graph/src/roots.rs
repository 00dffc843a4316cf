//! Roots, gathered in groups.

/// A group of roots that a reader thinks of as one: a static field, a thread's stack, the handles of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Root groups and the nodes that they hold. Each group becomes a node of its own above the graph, so that what
/// several slots of one root hold together counts as held by that root.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    kinds: Vec<u8>,
    /// (group, node); sorted on demand by the algorithms.
    slots: Vec<(u32, u32)>,
}

impl Roots {
    /// No roots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a group. `kind` is the caller's own tag.
    pub fn group(&mut self, kind: u8) -> GroupId {
        self.kinds.push(kind);
        GroupId((self.kinds.len() - 1) as u32)
    }

    /// Makes `node` a root of `group`. The same node may belong to many groups.
    pub fn add(&mut self, group: GroupId, node: u32) {
        self.slots.push((group.0, node));
    }

    /// Number of groups.
    #[must_use]
    pub fn groups(&self) -> u32 {
        self.kinds.len() as u32
    }

    /// The tag given to [`group`](Self::group).
    #[must_use]
    pub fn kind(&self, group: GroupId) -> Option<u8> {
        self.kinds.get(group.0 as usize).copied()
    }

    /// Slots with their groups, in the order in which they were added.
    pub fn slots(&self) -> impl Iterator<Item = (GroupId, u32)> {
        self.slots
            .iter()
            .map(|&(group, node)| (GroupId(group), node))
    }

    /// Nodes held by groups whose kind passes.
    pub fn of_kind(&self, passes: impl Fn(u8) -> bool) -> impl Iterator<Item = u32> {
        self.slots
            .iter()
            .filter(move |(group, _)| self.kinds.get(*group as usize).is_some_and(|&k| passes(k)))
            .map(|&(_, node)| node)
    }

    /// Rows (group to nodes) of the slots that lead to nodes of a graph of `nodes` nodes.
    pub(crate) fn rows(&self, nodes: u32) -> (Vec<u32>, Vec<u32>) {
        let mut slots: Vec<(u32, u32)> = self
            .slots
            .iter()
            .copied()
            .filter(|&(group, node)| group < self.groups() && node < nodes)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        let mut offsets = vec![0u32; self.kinds.len() + 1];
        for &(group, _) in &slots {
            offsets[group as usize + 1] += 1;
        }
        for i in 1..offsets.len() {
            offsets[i] += offsets[i - 1];
        }
        (offsets, slots.into_iter().map(|(_, node)| node).collect())
    }
}
