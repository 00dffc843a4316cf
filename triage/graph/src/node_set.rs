//! A set of nodes, one bit each.

/// One bit per node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    /// An empty set for the nodes `0..nodes`.
    #[must_use]
    pub fn new(nodes: u32) -> Self {
        Self {
            words: vec![0; (nodes as usize).div_ceil(64)],
        }
    }

    /// Puts `node` in; true when it was not there before. Nodes beyond the set's size are never in it.
    #[inline]
    pub fn insert(&mut self, node: u32) -> bool {
        let Some(word) = self.words.get_mut(node as usize / 64) else {
            return false;
        };
        let bit = 1 << (node % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Whether `node` is in the set.
    #[must_use]
    #[inline]
    pub fn contains(&self, node: u32) -> bool {
        self.words
            .get(node as usize / 64)
            .is_some_and(|word| word & 1 << (node % 64) != 0)
    }

    /// Number of nodes in the set. O(n / 64).
    #[must_use]
    pub fn len(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// The nodes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    i as u32 * 64 + bit
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_in_order() {
        let mut set = NodeSet::new(200);
        let members = [0, 63, 64, 65, 127, 128, 199];
        for &node in members.iter().rev() {
            assert!(set.insert(node));
            assert!(!set.insert(node));
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), members);
        assert_eq!(set.len(), 7);
        assert!(!set.contains(1) && !set.contains(100_000));
        assert!(!set.insert(100_000));
    }
}
