//! Owners: every reachable node given to exactly one root group, the one that a person would name.
//!
//! Dominators answer "what would be freed"; shared objects then belong to nobody. A diagnosis needs an account that adds up:
//! groups are taken in tiers (static fields before stacks, say), and inside a tier the nearest group wins. The tree that this
//! search leaves behind also gives the shortest path from the owner to each node.

use crate::graph::{Follow, Graph};
use crate::roots::{GroupId, Roots};

/// No owner: unreachable.
const NONE: u32 = u32::MAX;
/// Parent of a node that a root holds itself.
const ROOT: u32 = u32::MAX;

/// The account: 12 bytes per node.
#[derive(Debug)]
pub struct Owners {
    group: Vec<u32>,
    parent: Vec<u32>,
    /// Reached nodes, nearest first within their tier.
    order: Vec<u32>,
}

impl Owners {
    /// Assigns owners. `tier` ranks a group's kind (the tag of [`Roots::group`]); lower tiers are searched to the end first.
    /// O(n + e) time.
    #[must_use]
    pub fn assign(graph: &Graph, roots: &Roots, follow: Follow, tier: impl Fn(u8) -> u8) -> Self {
        let n = graph.nodes() as usize;
        let mut owners = Self {
            group: vec![NONE; n],
            parent: vec![ROOT; n],
            order: Vec::new(),
        };
        let mut slots: Vec<(u8, u32, u32)> = roots
            .slots()
            .filter_map(|(group, node)| Some((tier(roots.kind(group)?), group.0, node)))
            .filter(|&(_, _, node)| (node as usize) < n)
            .collect();
        slots.sort_unstable();
        let mut next = 0;
        for tier in slots.chunk_by(|a, b| a.0 == b.0) {
            for &(_, group, node) in tier {
                if owners.group[node as usize] == NONE {
                    owners.group[node as usize] = group;
                    owners.order.push(node);
                }
            }
            while let Some(&node) = owners.order.get(next) {
                next += 1;
                let group = owners.group[node as usize];
                for target in graph.successors(node, follow) {
                    if owners.group[target as usize] == NONE {
                        owners.group[target as usize] = group;
                        owners.parent[target as usize] = node;
                        owners.order.push(target);
                    }
                }
            }
        }
        owners
    }

    /// The group that owns `node`; `None` when no root reaches it.
    #[must_use]
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

    /// Number of nodes that some root reaches.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.order.len()
    }

    /// Adds up sizes along the tree of first paths. 12 bytes per node.
    #[must_use]
    pub fn weigh(&self, groups: u32, size: impl Fn(u32) -> u64) -> Weights {
        let mut weights = Weights {
            below: vec![0; self.group.len()],
            heaviest: vec![NONE; self.group.len()],
            groups: vec![Share::default(); groups as usize],
        };
        for &node in self.order.iter().rev() {
            let at = node as usize;
            let own = size(node);
            weights.below[at] += own;
            let total = weights.below[at];
            if let Some(share) = weights.groups.get_mut(self.group[at] as usize) {
                share.bytes += own;
                share.nodes += 1;
                if self.parent[at] == ROOT && total > share.heaviest_bytes {
                    share.heaviest_bytes = total;
                    share.heaviest = Some(node);
                }
            }
            if self.parent[at] != ROOT {
                let parent = self.parent[at] as usize;
                weights.below[parent] += total;
                let rival = weights.heaviest[parent];
                if rival == NONE || weights.below[rival as usize] < total {
                    weights.heaviest[parent] = node;
                }
            }
        }
        weights
    }
}

/// What one group owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Sum of sizes.
    pub bytes: u64,
    /// Number of nodes.
    pub nodes: u64,
    /// The root node below which most of it lies.
    pub heaviest: Option<u32>,
    heaviest_bytes: u64,
}

/// Sizes added up along first paths.
#[derive(Debug)]
pub struct Weights {
    below: Vec<u64>,
    heaviest: Vec<u32>,
    groups: Vec<Share>,
}

/// A step down is taken only when it keeps this share, in percent: Eclipse MAT's drop ratio
/// (`FindLeaksQuery`, `big_drop_ratio` 0.7).
const DROP_PERCENT: u128 = 70;

impl Weights {
    /// What `group` owns.
    #[must_use]
    pub fn share(&self, group: GroupId) -> Share {
        self.groups
            .get(group.0 as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Sizes of a node and of everything first reached through it.
    #[must_use]
    pub fn below(&self, node: u32) -> u64 {
        self.below.get(node as usize).copied().unwrap_or_default()
    }

    /// The way from `node` down to where its weight spreads over many: the accumulation point is the last element.
    /// At most `longest` nodes.
    #[must_use]
    pub fn accumulation(&self, node: u32, longest: usize) -> Vec<u32> {
        let mut path = vec![node];
        let mut at = node;
        while path.len() < longest {
            let child = self.heaviest.get(at as usize).copied().unwrap_or(NONE);
            if child == NONE
                || u128::from(self.below(child)) * 100 < u128::from(self.below(at)) * DROP_PERCENT
            {
                break;
            }
            path.push(child);
            at = child;
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two statics (0 holds 2, 1 holds 3), a stack that holds 3 and 5; 2 -> 4, 3 -> 4, 3 -> 6, 6 -> 7.
    fn example() -> Result<(Owners, Roots, [GroupId; 3]), crate::GraphError> {
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
        Ok((owners, roots, [stack, a, b]))
    }

    #[test]
    fn statics_own_before_stacks_and_the_account_adds_up() -> Result<(), crate::GraphError> {
        let (owners, roots, [stack, a, b]) = example()?;
        assert_eq!(owners.of(3), Some(b));
        assert_eq!(owners.of(5), Some(stack));
        assert_eq!(owners.of(8), None);
        assert_eq!(owners.reached(), 8);
        let weights = owners.weigh(roots.groups(), |_| 10);
        let bytes = |g| weights.share(g).bytes;
        assert_eq!(bytes(stack) + bytes(a) + bytes(b), 80);
        assert_eq!(bytes(stack), 10);
        Ok(())
    }

    #[test]
    fn accumulation_stops_where_the_weight_spreads() -> Result<(), crate::GraphError> {
        // 0 -> 1 -> 2 -> {3..13}: one container in another, then many equal children.
        let mut edges = vec![(0, 1), (1, 2)];
        edges.extend((3..13).map(|leaf| (2, leaf)));
        let graph = Graph::from_edges(13, &edges)?;
        let mut roots = Roots::new();
        let group = roots.group(0);
        roots.add(group, 0);
        let owners = Owners::assign(&graph, &roots, Follow::STRONG, |kind| kind);
        let weights = owners.weigh(1, |node| if node >= 3 { 1_000 } else { 16 });
        assert_eq!(weights.share(group).heaviest, Some(0));
        assert_eq!(weights.accumulation(0, 32), [0, 1, 2]);
        assert_eq!(weights.below(2), 10_016);
        assert_eq!(owners.parent(3), Some(2));
        Ok(())
    }
}
