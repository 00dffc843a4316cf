//! Every algorithm against the definition of what it computes, on random graphs.
#![allow(clippy::unwrap_used)]

use leakhound_graph::{
    DominatorTree, Dominators, EdgeClass, Edges, ExtraEdge, Follow, Graph, GroupId, Holder,
    NodeSet, Owners, Reached, Roots, Rows, Search, paths,
};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

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
        self.alive_by(gone, &|group| Some(group) != closed)
    }

    /// The same of the groups that are open.
    fn alive_by(&self, gone: &dyn Fn(u32) -> bool, open: &dyn Fn(u32) -> bool) -> Vec<bool> {
        let mut alive = vec![false; self.nodes as usize];
        for &(group, node) in &self.slots {
            if node < self.nodes && open(group) && !gone(node) {
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

    /// Dominator tree with all kinds of roots in one rank.
    fn tree(&self) -> DominatorTree {
        let dominators =
            Dominators::compute(&self.graph(), &self.roots(), Follow::LIVE, |_| 0).unwrap();
        DominatorTree::new(dominators, 1, |node| self.sizes[node as usize])
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

/// Counting (by two threads) sees other edges than what comes after.
struct Fickle<'a> {
    first: &'a Rows,
    later: &'a Rows,
    passes: AtomicU32,
}

impl Edges for Fickle<'_> {
    fn nodes(&self) -> u32 {
        self.first.nodes()
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        let counting = self.passes.fetch_add(1, Ordering::Relaxed) < 2;
        let edges = if counting { self.first } else { self.later };
        edges.each_row(nodes, row);
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

/// Rank and length of the shortest path by relaxation, one rank after the other; kinds of rank 255 hold nothing.
fn ranked_distances(case: &Case, rank: impl Fn(u8) -> u8) -> Vec<Option<(u8, usize)>> {
    let mut best: Vec<Option<(u8, usize)>> = vec![None; case.nodes as usize];
    for r in 0..=2u8 {
        let mut distance: Vec<Option<usize>> = vec![None; case.nodes as usize];
        for &(group, node) in &case.slots {
            let ranked = node < case.nodes && rank((group % 3) as u8) == r;
            if ranked && best[node as usize].is_none() {
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
    best
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
        let tree = case.tree();
        let all = case.alive(&|_| false, None);
        prop_assert_eq!(tree.total(), case.bytes(&all));
        prop_assert_eq!(tree.reachable() as usize, all.iter().filter(|a| **a).count());
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
        let tree = case.tree();
        let all = case.alive(&|_| false, None);
        for node in 0..case.nodes {
            // By definition: d dominates node when node dies with d.
            let dies_with = |d: u32| d != node && all[d as usize] && !case.alive(&|n| n == d, None)[node as usize];
            let by_definition: Vec<u32> = (0..case.nodes).filter(|&d| all[node as usize] && dies_with(d)).collect();
            let chain: Vec<Holder> = tree.chain(node).collect();
            let mut nodes: Vec<u32> = chain
                .iter()
                .filter_map(|h| if let Holder::Node(n) = h { Some(*n) } else { None })
                .collect();
            nodes.sort_unstable();
            prop_assert_eq!(nodes, by_definition, "node {}", node);
            prop_assert!(chain.iter().all(|holder| tree.dominates(*holder, node)));
            prop_assert_eq!(tree.idom(node), chain.first().copied());
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
    fn predecessors_in_blocks_say_what_all_at_once_say(case in case(), room in 0u64..20) {
        let (graph, roots) = (case.graph(), case.roots());
        let rank = |kind: u8| kind / 2;
        let search = || Search::new(&graph, &roots, Follow::LIVE, rank).unwrap();
        let again = Rows::pack(graph.rows()).unwrap();
        let whole = search().solve(&graph, graph.rows()).unwrap();
        let blocks = search().solve_within(graph.clone(), &again, room).unwrap();
        let trees = [whole, blocks].map(|found| DominatorTree::new(found, 1, |node| case.sizes[node as usize]));
        for node in 0..case.nodes {
            prop_assert_eq!(trees[0].idom(node), trees[1].idom(node), "node {}", node);
            prop_assert_eq!(trees[0].retained(node), trees[1].retained(node), "node {}", node);
        }
    }

    #[test]
    fn edges_that_change_between_passes_are_an_error_or_another_answer(case in case(), other in case(), room in 0u64..5) {
        let (graph, roots) = (case.graph(), case.roots());
        let search = Search::new(&graph, &roots, Follow::LIVE, |_| 0).unwrap();
        let edges: Vec<(u32, u32)> = other.strong.iter().map(|(a, b)| (a % case.nodes, b % case.nodes)).collect();
        let changed = Graph::from_edges(case.nodes.into(), &edges).unwrap();
        let fickle = Fickle { first: graph.rows(), later: changed.rows(), passes: AtomicU32::new(0) };
        if let Ok(found) = search.solve_within(graph.clone(), &fickle, room) {
            prop_assert!(DominatorTree::new(found, 1, |_| 1).reachable() <= case.nodes);
        }
    }

    #[test]
    fn levels_of_the_tree(case in case()) {
        let tree = case.tree();
        let above = |node: &u32| tree.chain(*node).filter(|h| matches!(h, Holder::Node(_))).count() as u32;
        let depths: Vec<u32> =
            (0..case.nodes).filter(|n| tree.idom(*n).is_some()).map(|n| above(&n) + 1).collect();
        for depth in 0..5 {
            let expected = depths.iter().filter(|d| **d <= depth).count();
            prop_assert_eq!(tree.nodes_within(depth) as usize, expected);
        }
        for node in 0..case.nodes {
            for (child, bytes) in tree.children(Holder::Node(node)) {
                let Holder::Node(child) = child else { panic!("{child:?} below a node") };
                prop_assert_eq!(tree.idom(child), Some(Holder::Node(node)));
                prop_assert_eq!(tree.retained(child), bytes);
            }
            let heaviest = tree.children(Holder::Node(node)).map(|(_, bytes)| bytes).max();
            prop_assert_eq!(tree.heaviest_child(Holder::Node(node)).map(|(_, bytes)| bytes), heaviest);
        }
    }

    #[test]
    fn retained_by_type_counts_no_byte_twice(case in case()) {
        let tree = case.tree();
        // Type 4 is out of range on purpose.
        let totals = tree.retained_by_type(4, |node| case.types[node as usize]);
        let all = case.alive(&|_| false, None);
        for t in 0..4u32 {
            let members: Vec<u32> =
                (0..case.nodes).filter(|&n| all[n as usize] && case.types[n as usize] == t).collect();
            let dominated = |n: u32| {
                members.contains(&n)
                    || tree.chain(n).any(|h| matches!(h, Holder::Node(d) if members.contains(&d)))
            };
            let expected: u64 =
                (0..case.nodes).filter(|&n| all[n as usize] && dominated(n)).map(|n| case.sizes[n as usize]).sum();
            prop_assert_eq!(totals[t as usize].bytes, expected, "type {}", t);
            prop_assert_eq!(totals[t as usize].count as usize, members.len());
        }
    }

    #[test]
    fn a_weaker_kind_of_root_takes_nothing_away_from_a_better_one(case in case()) {
        let rank = |kind: u8| 2 - kind;
        let rank_of = |group: u32| rank((group % 3) as u8);
        let dominators = Dominators::compute(&case.graph(), &case.roots(), Follow::LIVE, rank).unwrap();
        let tree = DominatorTree::new(dominators, 1, |node| case.sizes[node as usize]);
        // As if the weaker roots were not there.
        let with = |gone: &dyn Fn(u32) -> bool, worst: u8, closed: Option<u32>| {
            case.alive_by(gone, &|group| rank_of(group) <= worst && Some(group) != closed)
        };
        let by_rank: Vec<Vec<bool>> = (0..3).map(|worst| with(&|_| false, worst, None)).collect();
        for node in 0..case.nodes {
            let best = (0..3u8).find(|r| by_rank[usize::from(*r)][node as usize]);
            let expected = best.map_or(0, |r| {
                case.bytes(&by_rank[usize::from(r)]) - case.bytes(&with(&|n| n == node, r, None))
            });
            prop_assert_eq!(tree.retained(node), expected, "node {}", node);
        }
        for group in 0..case.groups {
            let all = case.bytes(&by_rank[usize::from(rank_of(group))]);
            let without = case.bytes(&with(&|_| false, rank_of(group), Some(group)));
            prop_assert_eq!(tree.retained_by_group(GroupId(group)), all - without, "group {}", group);
        }
        prop_assert_eq!(tree.total(), case.bytes(&by_rank[2]));
        // Together: what one or another dominates, each byte once.
        let members: Vec<u32> = (0..case.nodes).filter(|n| case.types[*n as usize] == 1).collect();
        let dominated = |n: u32| members.iter().any(|m| tree.dominates(Holder::Node(*m), n));
        let expected: u64 = (0..case.nodes).filter(|n| dominated(*n)).map(|n| case.sizes[n as usize]).sum();
        prop_assert_eq!(tree.retained_together(members.iter().copied()), expected);
        // A wide sum and a coarse granule give the same tree.
        let dominators = Dominators::compute(&case.graph(), &case.roots(), Follow::LIVE, rank).unwrap();
        let wide = DominatorTree::new(dominators, 16, |node| case.sizes[node as usize] << 40);
        for node in 0..case.nodes {
            prop_assert_eq!(wide.retained(node), tree.retained(node) << 40);
        }
    }

    #[test]
    fn owners_are_the_nearest_of_the_best_kind_and_add_up(case in case()) {
        let (graph, roots) = (case.graph(), case.roots());
        let rank = |kind: u8| 2 - kind;
        let owners = Owners::assign(&graph, &roots, Follow::LIVE, rank);
        let distances = ranked_distances(&case, rank);
        for node in 0..case.nodes {
            let mut steps = 1;
            let mut at = node;
            while let Some(parent) = owners.parent(at) {
                let class = graph.class(parent, at);
                prop_assert!(matches!(class, Some(EdgeClass::Strong | EdgeClass::Dependent)));
                prop_assert_eq!(owners.of(parent), owners.of(node));
                at = parent;
                steps += 1;
            }
            let found = owners.of(node).map(|group| (rank((group.0 % 3) as u8), steps));
            prop_assert_eq!(found, distances[node as usize], "node {}", node);
            if let Some(group) = owners.of(node) {
                prop_assert!(case.slots.contains(&(group.0, at)));
            }
        }
        let shares = owners.shares(case.groups, |node| case.sizes[node as usize]);
        for group in 0..case.groups {
            let own: Vec<u32> = (0..case.nodes).filter(|n| owners.of(*n) == Some(GroupId(group))).collect();
            let share = shares[group as usize];
            prop_assert_eq!(share.nodes as usize, own.len());
            prop_assert_eq!(share.bytes, own.iter().map(|n| case.sizes[*n as usize]).sum::<u64>());
        }
    }

    #[test]
    fn paths_from_each_kind_are_real_and_shortest(case in case()) {
        let (graph, roots) = (case.graph(), case.roots());
        let reversed = graph.reversed().unwrap();
        for node in 0..case.nodes {
            let found = paths::from_each_kind(&reversed, &roots, Follow::LIVE, node);
            for kind in 0..3u8 {
                let distances = ranked_distances(&case, |k| if k == kind { 0 } else { u8::MAX });
                let path = found.iter().find(|(k, _)| *k == kind).map(|(_, path)| path);
                let expected = distances[node as usize].filter(|(r, _)| *r == 0).map(|(_, d)| d);
                prop_assert_eq!(path.map(|p| p.nodes.len()), expected, "node {}, kind {}", node, kind);
                let Some(path) = path else { continue };
                prop_assert!(case.slots.contains(&(path.group.0, path.nodes[0])));
                prop_assert_eq!((path.group.0 % 3) as u8, kind);
                prop_assert_eq!(path.nodes.last(), Some(&node));
                for step in path.nodes.windows(2) {
                    let class = graph.class(step[0], step[1]);
                    prop_assert!(matches!(class, Some(EdgeClass::Strong | EdgeClass::Dependent)));
                }
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
