//! Shortest paths from the roots, to explain why a node is alive.

use crate::graph::{Follow, Reversed};
use crate::roots::{GroupId, Roots};

/// Marks a node that was not reached.
const NONE: u32 = u32::MAX;

/// How a root holds a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPath {
    /// The root.
    pub group: GroupId,
    /// From the node that the root refers to, down to the node asked for.
    pub nodes: Vec<u32>,
}

/// The shortest path from each kind of root that reaches `node`, ordered by kind; among several of the same length the one
/// whose root group comes first. `reversed` is [`Graph::reversed`](crate::Graph::reversed): one search backwards finds them all, and looks only at what
/// leads to the node. O(n + e) time, 4 bytes per node.
#[must_use]
pub fn from_each_kind(
    reversed: &Reversed,
    roots: &Roots,
    follow: Follow,
    node: u32,
) -> Vec<(u8, RootPath)> {
    let nodes = reversed.nodes();
    if node >= nodes {
        return Vec::new();
    }
    let mut slots: Vec<(u32, u8, u32)> = roots
        .slots()
        .filter_map(|(group, node)| Some((node, roots.kind(group)?, group.0)))
        .collect();
    slots.sort_unstable();
    // Towards the node that was asked for; itself for that one.
    let mut toward = vec![NONE; nodes as usize];
    toward[node as usize] = node;
    let mut best: Vec<Option<(u32, u32, u32)>> = vec![None; usize::from(u8::MAX) + 1];
    let (mut frontier, mut next) = (vec![node], Vec::new());
    let mut distance = 0u32;
    while !frontier.is_empty() {
        for &at in &frontier {
            let held = slots.partition_point(|slot| slot.0 < at);
            for &(_, kind, group) in slots[held..].iter().take_while(|slot| slot.0 == at) {
                let found = (distance, group, at);
                let known = &mut best[usize::from(kind)];
                *known = Some(known.map_or(found, |known| known.min(found)));
            }
        }
        for at in frontier.drain(..) {
            for above in reversed.predecessors(at, follow) {
                if toward[above as usize] == NONE {
                    toward[above as usize] = at;
                    next.push(above);
                }
            }
        }
        std::mem::swap(&mut frontier, &mut next);
        distance += 1;
    }
    let path = |(_, group, first): (u32, u32, u32)| {
        let mut nodes = vec![first];
        let mut at = first;
        while at != node {
            at = toward[at as usize];
            nodes.push(at);
        }
        RootPath {
            group: GroupId(group),
            nodes,
        }
    };
    (0..=u8::MAX)
        .zip(best)
        .filter_map(|(kind, found)| Some((kind, path(found?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::GraphError;
    use crate::graph::Graph;

    #[test]
    fn every_kind_of_root_has_its_own_shortest_path() -> Result<(), GraphError> {
        // static -> 0 -> 1 -> 2; stack -> 2, 3; handle -> 4 -> 2.
        let graph = Graph::from_edges(5, &[(0, 1), (1, 2), (3, 2), (4, 2)])?;
        let mut roots = Roots::new();
        let (stack, statics, handle) = (roots.group(2), roots.group(1), roots.group(3));
        roots.add(stack, 3);
        roots.add(stack, 2);
        roots.add(statics, 0);
        roots.add(handle, 4);
        let reversed = graph.reversed()?;
        let found = from_each_kind(&reversed, &roots, Follow::STRONG, 2);
        let path = |kind, group, nodes: &[u32]| {
            let nodes = nodes.to_vec();
            (kind, RootPath { group, nodes })
        };
        assert_eq!(
            found,
            [
                path(1, statics, &[0, 1, 2]),
                path(2, stack, &[2]),
                path(3, handle, &[4, 2])
            ]
        );
        assert_eq!(from_each_kind(&reversed, &roots, Follow::STRONG, 9), []);
        Ok(())
    }
}
