//! Owners: every reachable node given to exactly one root group, the one that a person would name.
//!
//! Dominators answer "what would be freed"; shared objects then belong to nobody. A diagnosis needs an account that adds up:
//! groups are taken in tiers (static fields before stacks, say), and inside a tier the nearest group wins. The tree that this
//! search leaves behind also gives the shortest path from the owner to each node.

use crate::graph::{Follow, Graph};
use crate::node_set::NodeSet;
use crate::roots::{GroupId, Roots};
use rayon::prelude::*;
use std::collections::VecDeque;

/// No owner: unreachable.
const NONE: u32 = u32::MAX;
/// Parent of a node that a root holds itself.
const ROOT: u32 = u32::MAX;
/// Nodes in one piece of parallel work.
const PIECE: usize = 1 << 20;

/// Nodes of a frontier whose edges are looked at together.
const BATCH: usize = 32;
/// Nodes of a frontier that lie together.
const FRONTIER_PIECE: usize = 1 << 16;

/// The account: 6 bytes per node, 8 when there are more than 65,534 groups.
#[derive(Debug)]
pub struct Owners {
    groups: Groups,
    /// Through which other node each was reached.
    parents: Vec<u32>,
}

/// A group for each node.
#[derive(Debug)]
enum Groups {
    Few(Vec<u16>),
    Many(Vec<u32>),
}

impl Groups {
    fn new(nodes: usize, groups: u32) -> Self {
        if groups < u16::MAX.into() {
            Self::Few(vec![u16::MAX; nodes])
        } else {
            Self::Many(vec![NONE; nodes])
        }
    }

    /// The group of a node, or [`NONE`].
    #[inline]
    fn of(&self, node: u32) -> u32 {
        match self {
            Self::Few(groups) => match groups.get(node as usize) {
                None | Some(&u16::MAX) => NONE,
                Some(group) => (*group).into(),
            },
            Self::Many(groups) => groups.get(node as usize).copied().unwrap_or(NONE),
        }
    }

    #[inline]
    fn set(&mut self, node: u32, group: u32) {
        match self {
            // Fits: they were counted.
            Self::Few(groups) => groups[node as usize] = group as u16,
            Self::Many(groups) => groups[node as usize] = group,
        }
    }
}

impl Owners {
    /// Assigns owners. `tier` ranks a group's kind (the tag of [`Roots::group`]); lower tiers are searched to the end first.
    /// O(n + e) time; 1/8 byte per node, and 4 per node that is reached and not yet searched from, while it runs.
    #[must_use]
    pub fn assign(graph: &Graph, roots: &Roots, follow: Follow, tier: impl Fn(u8) -> u8) -> Self {
        let n = graph.nodes() as usize;
        let mut groups = Groups::new(n, roots.groups());
        let mut parents = vec![ROOT; n];
        let mut slots: Vec<(u8, u32, u32)> = roots
            .slots()
            .filter_map(|(group, node)| Some((tier(roots.kind(group)?), group.0, node)))
            .filter(|&(_, _, node)| (node as usize) < n)
            .collect();
        slots.sort_unstable();
        // A bit tells whether a node was reached: all bits lie near, most owners far away.
        let mut reached = NodeSet::new(graph.nodes());
        // In the order of groups, level by level: of two that are equally near the first wins, in every capture.
        let mut frontier = Frontier::default();
        for tier in slots.chunk_by(|a, b| a.0 == b.0) {
            for &(_, group, node) in tier {
                if reached.insert(node) {
                    groups.set(node, group);
                    frontier.push(node);
                }
            }
            while let Some(piece) = frontier.take() {
                for batch in piece.chunks(BATCH) {
                    touch(graph, &groups, batch);
                    for &node in batch {
                        let group = groups.of(node);
                        let mut reach = |target: u32| {
                            if reached.insert(target) {
                                groups.set(target, group);
                                parents[target as usize] = node;
                                frontier.push(target);
                            }
                        };
                        graph.strong(node).for_each(&mut reach);
                        for edge in graph.extra(node) {
                            if follow.follows(edge.class) {
                                reach(edge.to);
                            }
                        }
                    }
                }
                frontier.done_with(piece);
            }
        }
        Self { groups, parents }
    }

    /// The group that owns `node`; `None` when no root reaches it.
    #[must_use]
    #[inline]
    pub fn of(&self, node: u32) -> Option<GroupId> {
        let group = self.groups.of(node);
        (group != NONE).then_some(GroupId(group))
    }

    /// The node through which `node` was reached first; `None` for roots and unreachable nodes.
    #[must_use]
    pub fn parent(&self, node: u32) -> Option<u32> {
        let parent = self.parents.get(node as usize).copied();
        parent.filter(|parent| *parent != ROOT)
    }

    /// What each of `groups` groups owns: every reached node counts once. O(n), in parallel.
    #[must_use]
    pub fn shares(&self, groups: u32, size: impl Fn(u32) -> u64 + Sync) -> Vec<Share> {
        let none = || vec![Share::default(); groups as usize];
        let nodes = self.parents.len();
        (0..nodes.div_ceil(PIECE))
            .into_par_iter()
            .fold(none, |mut shares, piece| {
                let end = ((piece + 1) * PIECE).min(nodes) as u32;
                for node in (piece * PIECE) as u32..end {
                    if let Some(share) = shares.get_mut(self.groups.of(node) as usize) {
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

/// Nodes that were reached and not yet searched from, first in, first out. In pieces: a level can hold nearly every node, and
/// what has been searched is of no use.
#[derive(Default)]
struct Frontier {
    pieces: VecDeque<Vec<u32>>,
    spare: Vec<u32>,
}

impl Frontier {
    fn push(&mut self, node: u32) {
        match self.pieces.back_mut() {
            Some(last) if last.len() < FRONTIER_PIECE => last.push(node),
            _ => {
                let mut piece = std::mem::take(&mut self.spare);
                piece.reserve_exact(FRONTIER_PIECE);
                piece.push(node);
                self.pieces.push_back(piece);
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u32>> {
        self.pieces.pop_front()
    }

    /// Its room is used again.
    fn done_with(&mut self, mut piece: Vec<u32>) {
        piece.clear();
        self.spare = piece;
    }
}

/// Reads what a batch will need. A search that goes from node to node waits for memory at each of them; here the waits of a batch
/// overlap, which makes the whole search several times as fast on a heap that no cache holds.
fn touch(graph: &Graph, groups: &Groups, batch: &[u32]) {
    let near = batch
        .iter()
        .map(|node| groups.of(*node) ^ u32::from(graph.rows().touch(*node)));
    std::hint::black_box(near.fold(0, |all, one| all ^ one));
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

    #[test]
    fn more_groups_than_16_bits_count() -> Result<(), crate::GraphError> {
        let nodes = 70_000;
        let graph = Graph::from_edges(nodes, &[(69_999, 5)])?;
        let mut roots = Roots::new();
        for node in (0..nodes as u32).filter(|node| *node != 5) {
            let group = roots.group(0);
            roots.add(group, node);
        }
        let owners = Owners::assign(&graph, &roots, Follow::STRONG, |kind| kind);
        assert_eq!(owners.of(4), Some(GroupId(4)));
        assert_eq!(
            (owners.of(5), owners.parent(5)),
            (Some(GroupId(69_998)), Some(69_999))
        );
        assert_eq!(owners.shares(roots.groups(), |_| 1)[69_998].nodes, 2);
        Ok(())
    }
}
