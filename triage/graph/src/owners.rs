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

/// The account: 8 bytes per node.
#[derive(Debug)]
pub struct Owners {
    group: Vec<u32>,
    parent: Vec<u32>,
}

impl Owners {
    /// Assigns owners. `tier` ranks a group's kind (the tag of [`Roots::group`]); lower tiers are searched to the end first.
    /// O(n + e) time; 8 further bytes per node on the widest frontier while it runs.
    #[must_use]
    pub fn assign(graph: &Graph, roots: &Roots, follow: Follow, tier: impl Fn(u8) -> u8) -> Self {
        let n = graph.nodes() as usize;
        let mut owners = Self {
            group: vec![NONE; n],
            parent: vec![ROOT; n],
        };
        let mut slots: Vec<(u8, u32, u32)> = roots
            .slots()
            .filter_map(|(group, node)| Some((tier(roots.kind(group)?), group.0, node)))
            .filter(|&(_, _, node)| (node as usize) < n)
            .collect();
        slots.sort_unstable();
        let (mut frontier, mut next) = (Vec::new(), Vec::new());
        for tier in slots.chunk_by(|a, b| a.0 == b.0) {
            for &(_, group, node) in tier {
                if owners.group[node as usize] == NONE {
                    owners.group[node as usize] = group;
                    frontier.push(node);
                }
            }
            while !frontier.is_empty() {
                for node in frontier.drain(..) {
                    let group = owners.group[node as usize];
                    for target in graph.successors(node, follow) {
                        let own = &mut owners.group[target as usize];
                        if *own == NONE {
                            *own = group;
                            owners.parent[target as usize] = node;
                            next.push(target);
                        }
                    }
                }
                std::mem::swap(&mut frontier, &mut next);
            }
        }
        owners
    }

    /// The group that owns `node`; `None` when no root reaches it.
    #[must_use]
    #[inline]
    pub fn of(&self, node: u32) -> Option<GroupId> {
        self.group
            .get(node as usize)
            .filter(|&&g| g != NONE)
            .map(|&g| GroupId(g))
    }

    /// The node through which `node` was reached first; `None` for roots and unreachable nodes.
    #[must_use]
    pub fn parent(&self, node: u32) -> Option<u32> {
        self.parent
            .get(node as usize)
            .copied()
            .filter(|&p| p != ROOT)
    }

    /// What each of `groups` groups owns: every reached node counts once. O(n), in parallel.
    #[must_use]
    pub fn shares(&self, groups: u32, size: impl Fn(u32) -> u64 + Sync) -> Vec<Share> {
        let none = || vec![Share::default(); groups as usize];
        self.group
            .par_chunks(PIECE)
            .enumerate()
            .fold(none, |mut shares, (piece, owners)| {
                for (node, group) in ((piece * PIECE) as u32..).zip(owners) {
                    if let Some(share) = shares.get_mut(*group as usize) {
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
