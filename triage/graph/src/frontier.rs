//! The nodes that a breadth-first search is at: a list while they are few, a bit per node when they are many.

use crate::node_set::NodeSet;

/// As many times fewer nodes than there are make a list: then it takes no more than bits do, and a chain of a million steps costs
/// no look at all bits for each.
const FEW: usize = 32;

/// A set of nodes that is filled, then emptied. At most 1/4 byte per node of the graph.
#[derive(Debug)]
pub(crate) struct Frontier {
    few: Vec<u32>,
    /// Takes over, in the order of nodes, once there are more.
    many: NodeSet,
    nodes: u32,
    spread: bool,
}

impl Frontier {
    pub(crate) fn new(nodes: u32) -> Self {
        Self {
            few: Vec::new(),
            many: NodeSet::new(0),
            nodes,
            spread: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.spread && self.few.is_empty()
    }

    /// Adds a node that is not in it.
    #[inline]
    pub(crate) fn push(&mut self, node: u32) {
        if self.spread {
            self.many.insert(node);
            return;
        }
        self.few.push(node);
        if self.few.len() > (self.nodes as usize / FEW).max(FEW) {
            self.spread = true;
            if self.many.is_empty() {
                self.many = NodeSet::new(self.nodes);
            }
            for node in self.few.drain(..) {
                self.many.insert(node);
            }
        }
    }

    /// Takes all nodes out, in batches of at most `size`.
    pub(crate) fn drain(&mut self, size: usize, mut batch: impl FnMut(&[u32])) {
        if self.spread {
            let mut own = Vec::with_capacity(size);
            for node in self.many.iter() {
                own.push(node);
                if own.len() == size {
                    batch(&own);
                    own.clear();
                }
            }
            batch(&own);
            self.many.clear();
            self.spread = false;
        } else {
            self.few.chunks(size).for_each(&mut batch);
            self.few.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_once_however_many_there_are() {
        let nodes = 10_000;
        let mut frontier = Frontier::new(nodes);
        for count in [0, 5, 3_000, 7, 10_000, 1] {
            let members: Vec<u32> = (0..count).map(|i| i * 7 % nodes).collect();
            members.iter().for_each(|node| frontier.push(*node));
            assert_eq!(frontier.is_empty(), count == 0);
            let mut found = Vec::new();
            frontier.drain(32, |batch| found.extend_from_slice(batch));
            assert!(frontier.is_empty());
            if count <= nodes / FEW as u32 {
                assert_eq!(found, members);
            } else {
                assert!(found.is_sorted());
                let mut sorted = members;
                sorted.sort_unstable();
                assert_eq!(found, sorted);
            }
        }
    }
}
