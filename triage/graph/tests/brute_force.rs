//! Every algorithm against the definition of what it computes, on random graphs.
#![allow(clippy::unwrap_used)]

use leakhound_graph::{
    DominatorTree, Dominators, EdgeClass, ExtraEdge, Follow, Graph, GroupId, Holder, NodeSet,
    Reached, Roots, ShortestPaths,
};
use proptest::prelude::*;

/// A small graph with every kind of edge and root.
#[derive(Debug, Clone)]
struct Case {
    nodes: u32,
    strong: Vec<(u32, u32)>,
    dependent: Vec<(u32, u32)>,
    weak: Vec<(u32, u32)>,
    /// Group of each root slot and its node; node ids may be too large.
    slots: Vec<(u32, u32)>,
    groups: u32,
    sizes: Vec<u64>,
    types: Vec<u32>,
}

impl Case {
    fn graph(&self) -> Graph {
        let extra = |class| {
            move |&(from, to): &(u32, u32)| ExtraEdge {
                from,
                to,
                class,
                tag: 0,
            }
        };
        let dependent = self.dependent.iter().map(extra(EdgeClass::Dependent));
        let weak = self.weak.iter().map(extra(EdgeClass::Weak));
        Graph::from_edges(self.nodes.into(), &self.strong)
            .unwrap()
            .with_extra(dependent.chain(weak))
    }

    fn roots(&self) -> Roots {
        let mut roots = Roots::new();
        for group in 0..self.groups {
            roots.group((group % 3) as u8);
        }
        for &(group, node) in &self.slots {
            roots.add(GroupId(group), node);
        }
        roots
    }

    /// What lives when `gone` (a node) and `closed` (a group) are taken away: the definition, to a fixed point.
    fn alive(&self, gone: &dyn Fn(u32) -> bool, closed: Option<u32>) -> Vec<bool> {
        let mut alive = vec![false; self.nodes as usize];
        for &(group, node) in &self.slots {
            if node < self.nodes && Some(group) != closed && !gone(node) {
                alive[node as usize] = true;
            }
        }
        loop {
            let before = alive.clone();
            for &(from, to) in self.strong.iter().chain(&self.dependent) {
                if from < self.nodes && to < self.nodes && alive[from as usize] && !gone(to) {
                    alive[to as usize] = true;
                }
            }
            if alive == before {
                return alive;
            }
        }
    }

    fn bytes(&self, alive: &[bool]) -> u64 {
        alive
            .iter()
            .zip(&self.sizes)
            .filter(|(a, _)| **a)
            .map(|(_, s)| s)
            .sum()
    }
}

fn case() -> impl Strategy<Value = Case> {
    (1u32..24, 1u32..5).prop_flat_map(|(nodes, groups)| {
        let edge = (0..nodes, 0..nodes + 1);
        (
            proptest::collection::vec(edge.clone(), 0..60),
            proptest::collection::vec(edge.clone(), 0..6),
            proptest::collection::vec(edge, 0..4),
            proptest::collection::vec((0..groups, 0..nodes + 1), 0..8),
            proptest::collection::vec(0u64..1000, nodes as usize),
            proptest::collection::vec(0u32..5, nodes as usize),
        )
            .prop_map(move |(strong, dependent, weak, slots, sizes, types)| Case {
                nodes,
                strong,
                dependent,
                weak,
                slots,
                groups,
                sizes,
                types,
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn reachability(case in case()) {
        let graph = case.graph();
        let roots: Vec<u32> = case.slots.iter().map(|&(_, node)| node).collect();
        let reached = Reached::by_first(&graph, [roots], Follow::LIVE);
        let alive = case.alive(&|_| false, None);
        for node in 0..case.nodes {
            prop_assert_eq!(reached.by(node).is_some(), alive[node as usize], "node {}", node);
        }
        let totals = reached.totals(1, |node| case.sizes[node as usize]);
        prop_assert_eq!(totals[0].1, case.bytes(&alive));
    }

    #[test]
    fn retained_sizes_of_nodes_and_groups(case in case()) {
        let (graph, roots) = (case.graph(), case.roots());
        let dominators = Dominators::compute(&graph, &roots, Follow::LIVE).unwrap();
        let tree = DominatorTree::new(&dominators, |node| case.sizes[node as usize]);
        let all = case.alive(&|_| false, None);
        prop_assert_eq!(tree.total(), case.bytes(&all));
        prop_assert_eq!(dominators.reachable() as usize, all.iter().filter(|a| **a).count());
        for node in 0..case.nodes {
            let without = case.alive(&|n| n == node, None);
            prop_assert_eq!(tree.retained(node), case.bytes(&all) - case.bytes(&without), "node {}", node);
        }
        for group in 0..case.groups {
            let without = case.alive(&|_| false, Some(group));
            let expected = case.bytes(&all) - case.bytes(&without);
            prop_assert_eq!(tree.retained_by_group(GroupId(group)), expected, "group {}", group);
        }
    }

    #[test]
    fn immediate_dominators(case in case()) {
        let (graph, roots) = (case.graph(), case.roots());
        let dominators = Dominators::compute(&graph, &roots, Follow::LIVE).unwrap();
        let all = case.alive(&|_| false, None);
        for node in 0..case.nodes {
            // By definition: d dominates node when node dies with d.
            let dies_with = |d: u32| d != node && all[d as usize] && !case.alive(&|n| n == d, None)[node as usize];
            let by_definition: Vec<u32> = (0..case.nodes).filter(|&d| all[node as usize] && dies_with(d)).collect();
            let chain: Vec<Holder> = dominators.chain(node).collect();
            let mut nodes: Vec<u32> = chain
                .iter()
                .filter_map(|h| if let Holder::Node(n) = h { Some(*n) } else { None })
                .collect();
            nodes.sort_unstable();
            prop_assert_eq!(nodes, by_definition, "node {}", node);
            prop_assert_eq!(dominators.idom(node), chain.first().copied());
            if let Some(Holder::Group(group)) = chain.last() {
                prop_assert!(!case.alive(&|_| false, Some(group.0))[node as usize]);
            } else if all[node as usize] {
                prop_assert_eq!(chain.last(), Some(&Holder::Several));
                for group in 0..case.groups {
                    prop_assert!(case.alive(&|_| false, Some(group))[node as usize]);
                }
            }
        }
    }

    #[test]
    fn retained_by_type_counts_no_byte_twice(case in case()) {
        let (graph, roots) = (case.graph(), case.roots());
        let dominators = Dominators::compute(&graph, &roots, Follow::LIVE).unwrap();
        let tree = DominatorTree::new(&dominators, |node| case.sizes[node as usize]);
        // Type 4 is out of range on purpose.
        let totals = tree.retained_by_type(4, |node| case.types[node as usize]);
        let all = case.alive(&|_| false, None);
        for t in 0..4u32 {
            let members: Vec<u32> =
                (0..case.nodes).filter(|&n| all[n as usize] && case.types[n as usize] == t).collect();
            let dominated = |n: u32| {
                members.contains(&n)
                    || dominators.chain(n).any(|h| matches!(h, Holder::Node(d) if members.contains(&d)))
            };
            let expected: u64 =
                (0..case.nodes).filter(|&n| all[n as usize] && dominated(n)).map(|n| case.sizes[n as usize]).sum();
            prop_assert_eq!(totals[t as usize].bytes, expected, "type {}", t);
            prop_assert_eq!(totals[t as usize].count as usize, members.len());
        }
    }

    #[test]
    fn paths_are_real_shortest_and_ranked(case in case()) {
        let (graph, roots) = (case.graph(), case.roots());
        let rank = |kind: u8| (kind != 1).then_some(2 - kind);
        let paths = ShortestPaths::compute(&graph, &roots, Follow::LIVE, rank);
        // Distances by relaxation, rank by rank.
        let mut best: Vec<Option<(u8, usize)>> = vec![None; case.nodes as usize];
        for r in 0..=2u8 {
            let mut distance: Vec<Option<usize>> = vec![None; case.nodes as usize];
            for &(group, node) in &case.slots {
                if node < case.nodes && rank((group % 3) as u8) == Some(r) && best[node as usize].is_none() {
                    distance[node as usize] = Some(1);
                }
            }
            for _ in 0..case.nodes {
                for &(from, to) in case.strong.iter().chain(&case.dependent) {
                    if to >= case.nodes || best[to as usize].is_some() {
                        continue;
                    }
                    if let Some(d) = distance[from as usize] {
                        let old = distance[to as usize].unwrap_or(usize::MAX);
                        distance[to as usize] = Some(old.min(d + 1));
                    }
                }
            }
            for (b, d) in best.iter_mut().zip(&distance) {
                *b = b.or(d.map(|d| (r, d)));
            }
        }
        for node in 0..case.nodes {
            let path = paths.path(node);
            let found = path.as_ref().map(|p| (rank((p.group.0 % 3) as u8).unwrap(), p.nodes.len()));
            prop_assert_eq!(found, best[node as usize], "node {}", node);
            let Some(path) = path else { continue };
            prop_assert!(case.slots.contains(&(path.group.0, path.nodes[0])));
            prop_assert_eq!(path.nodes.last(), Some(&node));
            for step in path.nodes.windows(2) {
                let class = graph.class(step[0], step[1]);
                prop_assert!(matches!(class, Some(EdgeClass::Strong | EdgeClass::Dependent)));
            }
        }
    }

    #[test]
    fn sets_hold_what_was_put_in(members in proptest::collection::btree_set(0u32..500, 0..80)) {
        let mut set = NodeSet::new(500);
        for &m in &members {
            set.insert(m);
        }
        prop_assert_eq!(set.iter().collect::<Vec<_>>(), members.into_iter().collect::<Vec<_>>());
    }
}
