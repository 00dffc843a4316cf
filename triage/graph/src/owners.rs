//! Owners: every reachable node given to exactly one root group, the one that a person would name.
//!
//! Dominators answer "what would be freed"; shared objects then belong to nobody. A diagnosis needs an account that adds up:
//! groups are taken in tiers (static fields before stacks, say), and inside a tier the nearest group wins. The tree that this
//! search leaves behind also gives the shortest path from the owner to each node.

use crate::graph::{Follow, Graph};
use crate::roots::{GroupId, Roots};
use rayon::prelude::*;

/// No owner: unreachable.
const NONE: u32 = u32::MAX;
/// Parent of a node that a root holds itself.
const ROOT: u32 = u32::MAX;
/// Nodes in one piece of parallel work.
const PIECE: usize = 1 << 20;

/// Nodes of a frontier whose edges are looked at together.
const BATCH: usize = 32;

/// Who owns a node, and through which other it was reached: side by side, for a search reads both at once.
#[derive(Debug, Clone, Copy)]
struct Reached {
    group: u32,
    parent: u32,
}

/// The account: 8 bytes per node.
#[derive(Debug)]
pub struct Owners {
    nodes: Vec<Reached>,
}

impl Owners {
    /// Assigns owners. `tier` ranks a group's kind (the tag of [`Roots::group`]); lower tiers are searched to the end first.
    /// O(n + e) time; 8 further bytes per node on the widest frontier while it runs.
    #[must_use]
    pub fn assign(graph: &Graph, roots: &Roots, follow: Follow, tier: impl Fn(u8) -> u8) -> Self {
        let n = graph.nodes() as usize;
        let nobody = Reached {
            group: NONE,
            parent: ROOT,
        };
        let mut nodes = vec![nobody; n];
        let mut slots: Vec<(u8, u32, u32)> = roots
            .slots()
            .filter_map(|(group, node)| Some((tier(roots.kind(group)?), group.0, node)))
            .filter(|&(_, _, node)| (node as usize) < n)
            .collect();
        slots.sort_unstable();
        let (mut frontier, mut next) = (Vec::new(), Vec::new());
        for tier in slots.chunk_by(|a, b| a.0 == b.0) {
            for &(_, group, node) in tier {
                let own = &mut nodes[node as usize];
                if own.group == NONE {
                    own.group = group;
                    frontier.push(node);
                }
            }
            while !frontier.is_empty() {
                for batch in frontier.chunks(BATCH) {
                    touch(graph, &nodes, batch);
                    for &node in batch {
                        let group = nodes[node as usize].group;
                        let mut reach = |target: u32| {
                            let own = &mut nodes[target as usize];
                            if own.group == NONE {
                                *own = Reached {
                                    group,
                                    parent: node,
                                };
                                next.push(target);
                            }
                        };
                        graph.strong(node).iter().for_each(|target| reach(*target));
                        for edge in graph.extra(node) {
                            if follow.follows(edge.class) {
                                reach(edge.to);
                            }
                        }
                    }
                }
                frontier.clear();
                std::mem::swap(&mut frontier, &mut next);
            }
        }
        Self { nodes }
    }

    /// The group that owns `node`; `None` when no root reaches it.
    #[must_use]
    #[inline]
    pub fn of(&self, node: u32) -> Option<GroupId> {
        self.nodes
            .get(node as usize)
            .filter(|own| own.group != NONE)
            .map(|own| GroupId(own.group))
    }

    /// The node through which `node` was reached first; `None` for roots and unreachable nodes.
    #[must_use]
    pub fn parent(&self, node: u32) -> Option<u32> {
        self.nodes
            .get(node as usize)
            .map(|own| own.parent)
            .filter(|&p| p != ROOT)
    }

    /// What each of `groups` groups owns: every reached node counts once. O(n), in parallel.
    #[must_use]
    pub fn shares(&self, groups: u32, size: impl Fn(u32) -> u64 + Sync) -> Vec<Share> {
        let none = || vec![Share::default(); groups as usize];
        self.nodes
            .par_chunks(PIECE)
            .enumerate()
            .fold(none, |mut shares, (piece, owners)| {
                for (node, own) in ((piece * PIECE) as u32..).zip(owners) {
                    if let Some(share) = shares.get_mut(own.group as usize) {
                        share.bytes = share.bytes.saturating_add(size(node));
                        share.nodes += 1;
                    }
                }
                shares
            })
            .reduce(none, |mut all, part| {
                for (share, more) in all.iter_mut().zip(part) {
                    share.bytes = share.bytes.saturating_add(more.bytes);
                    share.nodes += more.nodes;
                }
                all
            })
    }
}

/// Reads what a batch will need. A search that goes from node to node waits for memory at each of them; here the waits of a batch
/// overlap, which makes the whole search several times as fast on a heap that no cache holds.
fn touch(graph: &Graph, nodes: &[Reached], batch: &[u32]) {
    let rows = batch.iter().map(|node| graph.strong(*node));
    let first = rows.clone().filter_map(|row| row.first());
    std::hint::black_box(first.fold(0, |sum, target| sum ^ target));
    let targets = rows.flat_map(|row| row.iter().take(BATCH));
    let groups = targets.map(|target| nodes[*target as usize].group);
    std::hint::black_box(groups.fold(0, |sum, group| sum ^ group));
}

/// What one group owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Sum of sizes.
    pub bytes: u64,
    /// Number of nodes.
    pub nodes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statics_own_before_stacks_and_the_account_adds_up() -> Result<(), crate::GraphError> {
        // Two statics (0 holds 2, 1 holds 3), a stack that holds 3 and 5; 2 -> 4, 3 -> 4, 3 -> 6, 6 -> 7.
        let graph = Graph::from_edges(9, &[(0, 2), (1, 3), (2, 4), (3, 4), (3, 6), (6, 7)])?;
        let mut roots = Roots::new();
        let stack = roots.group(9);
        roots.add(stack, 3);
        roots.add(stack, 5);
        let a = roots.group(0);
        roots.add(a, 0);
        let b = roots.group(0);
        roots.add(b, 1);
        let owners = Owners::assign(&graph, &roots, Follow::STRONG, |kind| kind);
        assert_eq!(owners.of(3), Some(b));
        assert_eq!(owners.of(5), Some(stack));
        assert_eq!(owners.of(8), None);
        assert_eq!(owners.parent(7), Some(6));
        let shares = owners.shares(roots.groups(), |_| 10);
        let bytes = |group: GroupId| shares[group.0 as usize].bytes;
        assert_eq!((bytes(stack), bytes(a), bytes(b)), (10, 30, 40));
        Ok(())
    }
}
