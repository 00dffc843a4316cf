//! Retained sizes: what would go if a node went.

use crate::dominators::{Dominators, Holder, NONE};
use crate::roots::GroupId;

/// How far [`DominatorTree::accumulation_point`] descends.
const MAX_DESCENT: u32 = 1000;
/// Eclipse MAT's ratio: a child that retains less than this share of its parent is a "big drop".
pub const BIG_DROP: f64 = 0.7;

/// The dominator tree with retained sizes: 16 bytes per reachable node beside the [`Dominators`].
pub struct DominatorTree<'d> {
    dominators: &'d Dominators,
    first_child: Vec<u32>,
    next_sibling: Vec<u32>,
    retained: Vec<u64>,
}

/// What the objects of one type hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeRetained {
    /// Reachable objects of the type.
    pub count: u64,
    /// Bytes that one or another of them dominates, each byte once. What two of them hold only together is not in it,
    /// so this is a lower bound of what would go if all of them went.
    pub bytes: u64,
}

/// Where memory accumulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accumulation {
    /// The node (or root group) whose children are all much smaller than itself.
    pub holder: Holder,
    /// What it retains.
    pub retained_bytes: u64,
    /// What its largest child retains; 0 when it has none.
    pub largest_child_bytes: u64,
    /// Steps down from where the search began.
    pub depth: u32,
}

impl<'d> DominatorTree<'d> {
    /// Builds the tree and adds up sizes. O(n).
    #[must_use]
    pub fn new(dominators: &'d Dominators, size: impl Fn(u32) -> u64) -> Self {
        let idom = dominators.idoms();
        let n = idom.len();
        let mut first_child = vec![NONE; n];
        let mut next_sibling = vec![NONE; n];
        let mut retained: Vec<u64> = (0..n as u32)
            .map(|number| dominators.node_at(number).map_or(0, &size))
            .collect();
        // A dominator has a smaller preorder number than what it dominates.
        for number in (1..n).rev() {
            let above = idom[number] as usize;
            next_sibling[number] = first_child[above];
            first_child[above] = number as u32;
            retained[above] = retained[above].saturating_add(retained[number]);
        }
        Self {
            dominators,
            first_child,
            next_sibling,
            retained,
        }
    }

    /// Bytes that would go if `node` went; 0 when no root reaches it.
    #[must_use]
    pub fn retained(&self, node: u32) -> u64 {
        self.dominators
            .number_of(node)
            .map_or(0, |n| self.retained[n as usize])
    }

    /// Bytes that only this group of roots holds.
    #[must_use]
    pub fn retained_by_group(&self, group: GroupId) -> u64 {
        self.dominators
            .number_of_group(group)
            .map_or(0, |n| self.retained[n as usize])
    }

    /// Bytes of everything that the roots reach.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.retained.first().copied().unwrap_or(0)
    }

    /// What `holder` dominates directly, with retained bytes, in no particular order.
    pub fn children(&self, holder: Holder) -> impl Iterator<Item = (Holder, u64)> {
        let mut at = self
            .number(holder)
            .map_or(NONE, |n| self.first_child[n as usize]);
        std::iter::from_fn(move || {
            let number = at;
            at = *self.next_sibling.get(number as usize)?;
            Some((
                self.dominators.holder(number),
                self.retained[number as usize],
            ))
        })
    }

    /// Retained bytes by type, without counting an object under another of its type. O(n), no stack.
    ///
    /// Nodes whose type is not below `types` are passed over.
    #[must_use]
    pub fn retained_by_type(&self, types: u32, type_of: impl Fn(u32) -> u32) -> Vec<TypeRetained> {
        let mut totals = vec![TypeRetained::default(); types as usize];
        // How many objects of each type lie on the path from the top to where we are.
        let mut open = vec![0u32; types as usize];
        let idom = self.dominators.idoms();
        let type_at = |number: u32| {
            let t = type_of(self.dominators.node_at(number)?);
            (t < types).then_some(t as usize)
        };
        let mut at = 0u32;
        loop {
            if let Some(t) = type_at(at) {
                totals[t].count += 1;
                if open[t] == 0 {
                    totals[t].bytes = totals[t].bytes.saturating_add(self.retained[at as usize]);
                }
                open[t] += 1;
            }
            if self.first_child[at as usize] != NONE {
                at = self.first_child[at as usize];
                continue;
            }
            loop {
                if let Some(t) = type_at(at) {
                    open[t] -= 1;
                }
                if at == 0 {
                    return totals;
                }
                let sibling = self.next_sibling[at as usize];
                if sibling != NONE {
                    at = sibling;
                    break;
                }
                at = idom[at as usize];
            }
        }
    }

    /// Descends from `holder` to the largest child as long as that retains at least `ratio` ([`BIG_DROP`]) of its
    /// parent, and names the place where the memory spreads out: the collection, not the container that holds all.
    ///
    /// A chain that never spreads out (a linked list) within 1,000 steps is its own accumulation point: `holder`.
    #[must_use]
    pub fn accumulation_point(&self, holder: Holder, ratio: f64) -> Option<Accumulation> {
        let start = self.number(holder)?;
        let mut at = start;
        for depth in 0..MAX_DESCENT {
            let own = self.retained[at as usize];
            let (child, largest) = self.largest_child(at);
            if child == NONE || (largest as f64) < own as f64 * ratio {
                return Some(self.accumulation(at, largest, depth));
            }
            at = child;
        }
        let (_, largest) = self.largest_child(start);
        Some(self.accumulation(start, largest, 0))
    }

    fn accumulation(&self, number: u32, largest_child_bytes: u64, depth: u32) -> Accumulation {
        Accumulation {
            holder: self.dominators.holder(number),
            retained_bytes: self.retained[number as usize],
            largest_child_bytes,
            depth,
        }
    }

    fn largest_child(&self, number: u32) -> (u32, u64) {
        let mut best = (NONE, 0);
        let mut at = self.first_child[number as usize];
        while at != NONE {
            let bytes = self.retained[at as usize];
            if best.0 == NONE || bytes > best.1 {
                best = (at, bytes);
            }
            at = self.next_sibling[at as usize];
        }
        best
    }

    fn number(&self, holder: Holder) -> Option<u32> {
        match holder {
            Holder::Node(node) => self.dominators.number_of(node),
            Holder::Group(group) => self.dominators.number_of_group(group),
            Holder::Several => Some(0),
        }
    }
}
