//! Retained sizes: what would go if a node went.
//!
//! The tree is kept in its own preorder: what a node dominates is one stretch of positions, its children follow one another, and
//! "is this below that" is a comparison of numbers.

use crate::dominators::{Dominators, Holder, NONE};
use crate::roots::GroupId;

/// How far [`DominatorTree::accumulation_point`] descends.
const MAX_DESCENT: u32 = 1000;
/// Eclipse MAT's ratio: a child that retains less than this share of its parent is a "big drop".
pub const BIG_DROP: f64 = 0.7;

/// The dominator tree with retained sizes: 20 bytes per reachable node, 24 when they add up to more than [`u32::MAX`] granules.
pub struct DominatorTree {
    nodes: u32,
    groups: u32,
    /// Position to vertex: node, `nodes + group`, or `nodes + groups` for the top (position 0).
    vertex: Vec<u32>,
    /// Position to that of the immediate dominator; 0 for the top itself.
    above: Vec<u32>,
    /// Position to the one after all that it dominates.
    end: Vec<u32>,
    retained: Amounts,
    /// Node to position.
    position: Vec<u32>,
    group_position: Vec<u32>,
}

/// Sums of bytes, in granules of which every size is a multiple.
struct Amounts {
    granule_bytes: u64,
    granules: Granules,
}

enum Granules {
    /// All together fit.
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Amounts {
    #[inline]
    fn bytes(&self, at: u32) -> u64 {
        let granules = match &self.granules {
            Granules::Narrow(all) => all.get(at as usize).map_or(0, |n| u64::from(*n)),
            Granules::Wide(all) => all.get(at as usize).copied().unwrap_or(0),
        };
        granules.saturating_mul(self.granule_bytes)
    }
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

impl DominatorTree {
    /// Builds the tree and adds up sizes, which are multiples of `granule_bytes` (what is beyond a multiple is cut off).
    /// O(n); while it runs it needs 4 to 8 bytes per node beyond what it keeps.
    #[must_use]
    pub fn new(dominators: Dominators, granule_bytes: u64, size: impl Fn(u32) -> u64) -> Self {
        let granule_bytes = granule_bytes.max(1);
        let (nodes, groups, order, idom) = dominators.into_parts();
        let granules = |vertex: u32| {
            if vertex < nodes {
                size(vertex) / granule_bytes
            } else {
                0
            }
        };
        let total: u64 = order
            .iter()
            .fold(0, |sum: u64, v| sum.saturating_add(granules(*v)));
        // A dominator has a smaller preorder number than what it dominates.
        let mut count = vec![1u32; order.len()];
        for number in (1..order.len()).rev() {
            count[idom[number] as usize] += count[number];
        }
        // First the position of the next child of each vertex, which in the end is the end of its stretch.
        let mut end = vec![0u32; order.len()];
        end[0] = 1;
        for number in 1..order.len() {
            let next = &mut end[idom[number] as usize];
            let own = *next;
            *next += count[number];
            end[number] = own + 1;
        }
        let start = |number: u32| end[number as usize] - count[number as usize];

        let mut vertex = vec![0u32; order.len()];
        for (number, v) in (0u32..).zip(&order) {
            vertex[start(number) as usize] = *v;
        }
        drop(order);
        let mut above = vec![0u32; idom.len()];
        for (number, dominator) in (0u32..).zip(&idom) {
            above[start(number) as usize] = start(*dominator);
        }
        drop(idom);
        let mut ends = vec![0u32; end.len()];
        for number in 0..end.len() as u32 {
            ends[start(number) as usize] = end[number as usize];
        }
        drop((end, count));

        let granules = if u32::try_from(total).is_ok() {
            let mut sums: Vec<u32> = vertex.iter().map(|v| granules(*v) as u32).collect();
            for at in (1..sums.len()).rev() {
                sums[above[at] as usize] += sums[at];
            }
            Granules::Narrow(sums)
        } else {
            let mut sums: Vec<u64> = vertex.iter().map(|v| granules(*v)).collect();
            for at in (1..sums.len()).rev() {
                let parent = above[at] as usize;
                sums[parent] = sums[parent].saturating_add(sums[at]);
            }
            Granules::Wide(sums)
        };
        let mut position = vec![NONE; nodes as usize];
        let mut group_position = vec![NONE; groups as usize];
        for (at, v) in (0u32..).zip(&vertex) {
            if *v < nodes {
                position[*v as usize] = at;
            } else if *v - nodes < groups {
                group_position[(*v - nodes) as usize] = at;
            }
        }
        Self {
            nodes,
            groups,
            vertex,
            above,
            end: ends,
            retained: Amounts {
                granule_bytes,
                granules,
            },
            position,
            group_position,
        }
    }

    /// Bytes that would go if `node` went; 0 when no root reaches it.
    #[must_use]
    #[inline]
    pub fn retained(&self, node: u32) -> u64 {
        self.position_of(node)
            .map_or(0, |at| self.retained.bytes(at))
    }

    /// Bytes that only this group of roots holds.
    #[must_use]
    pub fn retained_by_group(&self, group: GroupId) -> u64 {
        self.at(Holder::Group(group))
            .map_or(0, |at| self.retained.bytes(at))
    }

    /// Bytes that one or another of some nodes dominates, each byte once: a lower bound of what would go if all went.
    #[must_use]
    pub fn retained_together(&self, nodes: impl IntoIterator<Item = u32>) -> u64 {
        let mut positions: Vec<u32> = nodes
            .into_iter()
            .filter_map(|node| self.position_of(node))
            .collect();
        positions.sort_unstable();
        let (mut bytes, mut end) = (0u64, 0);
        for at in positions {
            // What lies below the one before is counted with it.
            if at >= end {
                bytes = bytes.saturating_add(self.retained.bytes(at));
                end = self.end[at as usize];
            }
        }
        bytes
    }

    /// Bytes of everything that the roots reach.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.retained.bytes(0)
    }

    /// Number of nodes that the roots reach.
    #[must_use]
    pub fn reachable(&self) -> u32 {
        self.vertex.len() as u32 - 1 - self.groups
    }

    /// Immediate dominator of `node`; `None` when no root reaches it.
    #[must_use]
    pub fn idom(&self, node: u32) -> Option<Holder> {
        let at = self.position_of(node)?;
        Some(self.holder(self.above[at as usize]))
    }

    /// Dominators of `node` from the nearest outwards; ends with a group or [`Holder::Several`].
    pub fn chain(&self, node: u32) -> impl Iterator<Item = Holder> {
        let mut at = self.position_of(node);
        std::iter::from_fn(move || {
            let next = self.above[at? as usize];
            let holder = self.holder(next);
            at = matches!(holder, Holder::Node(_)).then_some(next);
            Some(holder)
        })
    }

    /// Whether `holder` dominates `node`; every node dominates itself.
    #[must_use]
    pub fn dominates(&self, holder: Holder, node: u32) -> bool {
        let (Some(above), Some(at)) = (self.at(holder), self.position_of(node)) else {
            return false;
        };
        (above..self.end[above as usize]).contains(&at)
    }

    /// What `holder` dominates directly, with retained bytes, in no particular order.
    pub fn children(&self, holder: Holder) -> impl Iterator<Item = (Holder, u64)> {
        let at = self.at(holder);
        self.positions_below(at)
            .map(|at| (self.holder(at), self.retained.bytes(at)))
    }

    /// Positions of the children of a position.
    fn positions_below(&self, parent: Option<u32>) -> impl Iterator<Item = u32> {
        let (mut next, end) = parent.map_or((0, 0), |at| (at + 1, self.end[at as usize]));
        std::iter::from_fn(move || {
            let at = (next < end).then_some(next)?;
            next = self.end[at as usize];
            Some(at)
        })
    }

    /// Number of nodes that have fewer than `depth` other nodes above them: 1 for those that roots hold. O(their number).
    #[must_use]
    pub fn nodes_within(&self, depth: u32) -> u64 {
        let mut count = 0;
        let mut open: Vec<u32> = Vec::new();
        let mut at = 1;
        while let Some(vertex) = self.vertex.get(at as usize) {
            while open.last().is_some_and(|end| *end <= at) {
                open.pop();
            }
            let end = self.end[at as usize];
            if *vertex >= self.nodes {
                at += 1;
            } else if (open.len() as u64) < u64::from(depth) {
                count += 1;
                open.push(end);
                at += 1;
            } else {
                at = end;
            }
        }
        count
    }

    /// Retained bytes by type, without counting an object under another of its type. O(n); memory by depth and types.
    ///
    /// Nodes whose type is not below `types` are passed over.
    #[must_use]
    pub fn retained_by_type(&self, types: u32, type_of: impl Fn(u32) -> u32) -> Vec<TypeRetained> {
        let mut totals = vec![TypeRetained::default(); types as usize];
        // Where the outermost object of each type that we are below of ends.
        let mut covered = vec![0u32; types as usize];
        for (at, vertex) in (0u32..).zip(&self.vertex) {
            if *vertex >= self.nodes {
                continue;
            }
            let t = type_of(*vertex) as usize;
            let (Some(total), Some(covered)) = (totals.get_mut(t), covered.get_mut(t)) else {
                continue;
            };
            total.count += 1;
            if at >= *covered {
                total.bytes = total.bytes.saturating_add(self.retained.bytes(at));
                *covered = self.end[at as usize];
            }
        }
        totals
    }

    /// Descends from `holder` to the largest child as long as that retains at least `ratio` ([`BIG_DROP`]) of its
    /// parent, and names the place where the memory spreads out: the collection, not the container that holds all.
    ///
    /// A chain that never spreads out (a linked list) within 1,000 steps is its own accumulation point: `holder`.
    #[must_use]
    pub fn accumulation_point(&self, holder: Holder, ratio: f64) -> Option<Accumulation> {
        let start = self.at(holder)?;
        let mut at = start;
        for depth in 0..MAX_DESCENT {
            let own = self.retained.bytes(at);
            match self.largest_child(at) {
                Some((child, largest)) if largest as f64 >= own as f64 * ratio => at = child,
                largest => return Some(self.accumulation(at, largest, depth)),
            }
        }
        Some(self.accumulation(start, self.largest_child(start), 0))
    }

    fn accumulation(&self, at: u32, largest: Option<(u32, u64)>, depth: u32) -> Accumulation {
        Accumulation {
            holder: self.holder(at),
            retained_bytes: self.retained.bytes(at),
            largest_child_bytes: largest.map_or(0, |(_, bytes)| bytes),
            depth,
        }
    }

    fn largest_child(&self, at: u32) -> Option<(u32, u64)> {
        let children = self.positions_below(Some(at));
        children
            .map(|child| (child, self.retained.bytes(child)))
            .max_by_key(|(child, bytes)| (*bytes, std::cmp::Reverse(*child)))
    }

    /// The child of `holder` that retains most.
    #[must_use]
    pub fn heaviest_child(&self, holder: Holder) -> Option<(Holder, u64)> {
        let (child, bytes) = self.largest_child(self.at(holder)?)?;
        Some((self.holder(child), bytes))
    }

    fn position_of(&self, node: u32) -> Option<u32> {
        let at = self.position.get(node as usize).copied();
        at.filter(|at| *at != NONE)
    }

    fn at(&self, holder: Holder) -> Option<u32> {
        match holder {
            Holder::Node(node) => self.position_of(node),
            Holder::Group(group) => self.group_position.get(group.0 as usize).copied(),
            Holder::Several => Some(0),
        }
    }

    fn holder(&self, at: u32) -> Holder {
        let vertex = self.vertex[at as usize];
        if vertex < self.nodes {
            Holder::Node(vertex)
        } else if vertex - self.nodes < self.groups {
            Holder::Group(GroupId(vertex - self.nodes))
        } else {
            Holder::Several
        }
    }
}
