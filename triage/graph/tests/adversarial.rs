//! Shapes on which other algorithms take quadratic time or overflow the stack.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use leakhound_graph::dominator_tree::BIG_DROP;
use leakhound_graph::{
    DominatorTree, Dominators, EdgeClass, ExtraEdge, Follow, Graph, Holder, Owners, Reached, Roots,
    paths,
};

const MILLION: u32 = 1_000_000;
/// Ten times more for an unoptimized build, whose tests also share the cores; a quadratic algorithm needs hours.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });

/// Runs everything on `graph` within [`LIMIT`] and hands the tree over.
fn all(graph: &Graph, roots: &Roots, check: impl FnOnce(&DominatorTree)) {
    let start = Instant::now();
    let dominators = Dominators::compute(graph, roots, Follow::LIVE, |_| 0).unwrap();
    let tree = DominatorTree::new(dominators, 8, |_| 24);
    let took = start.elapsed();
    assert!(took < LIMIT, "dominators took {took:?}");
    check(&tree);
    let start = Instant::now();
    let by_type = tree.retained_by_type(1, |_| 0);
    assert_eq!(by_type[0].bytes, tree.total());
    let targets: Vec<u32> = roots.slots().map(|(_, node)| node).collect();
    let reached = Reached::by_first(graph, [targets], Follow::LIVE);
    assert_eq!(reached.totals(1, |_| 1)[0].0, u64::from(tree.reachable()));
    let owners = Owners::assign(graph, roots, Follow::LIVE, |_| 0);
    let owned = owners.shares(roots.groups(), |_| 24);
    assert_eq!(owned.iter().map(|s| s.bytes).sum::<u64>(), tree.total());
    let last = graph.nodes() - 1;
    let found = paths::from_each_kind(&graph.reversed().unwrap(), roots, Follow::LIVE, last);
    assert_eq!(found.len(), 1);
    let took = start.elapsed();
    assert!(took < LIMIT, "the rest took {took:?}");
}

fn doubly_linked(nodes: u32) -> Graph {
    Graph::build(nodes.into(), |range, sink| {
        for i in range {
            sink.edge(i, i + 1);
            if i > 0 {
                sink.edge(i, i - 1);
            }
        }
    })
    .unwrap()
}

#[test]
fn a_doubly_linked_list_held_at_both_ends() {
    let graph = doubly_linked(MILLION);
    let mut roots = Roots::new();
    for node in [0, MILLION - 1] {
        let group = roots.group(0);
        roots.add(group, node);
    }
    all(&graph, &roots, |tree| {
        for node in [0, 1, MILLION / 2, MILLION - 1] {
            assert_eq!(tree.idom(node), Some(Holder::Several));
            assert_eq!(tree.retained(node), 24);
        }
    });
}

#[test]
fn a_doubly_linked_list_whose_both_ends_belong_to_one_root() {
    let graph = doubly_linked(MILLION);
    let mut roots = Roots::new();
    let queue = roots.group(0);
    roots.add(queue, 0);
    roots.add(queue, MILLION - 1);
    all(&graph, &roots, |tree| {
        assert_eq!(tree.idom(MILLION / 2), Some(Holder::Group(queue)));
        assert_eq!(tree.retained_by_group(queue), u64::from(MILLION) * 24);
    });
}

#[test]
fn a_singly_linked_list_and_its_accumulation_point() {
    let graph = Graph::build(MILLION.into(), |range, sink| {
        range.for_each(|i| sink.edge(i, i + 1))
    })
    .unwrap();
    assert_eq!(graph.dropped_edges(), 1);
    let mut roots = Roots::new();
    let head = roots.group(0);
    roots.add(head, 0);
    all(&graph, &roots, |tree| {
        assert_eq!(tree.retained(1), u64::from(MILLION - 1) * 24);
        assert_eq!(tree.chain(MILLION - 1).count(), MILLION as usize);
        let point = tree.accumulation_point(Holder::Node(0), BIG_DROP).unwrap();
        assert_eq!((point.holder, point.depth), (Holder::Node(0), 0));
    });
}

#[test]
fn a_ladder_where_every_rung_has_two_ways_down() {
    // 2i and 2i + 1 both lead to 2i + 2 and 2i + 3: nothing below the top dominates anything.
    let graph = Graph::build(MILLION.into(), |range, sink| {
        for i in range {
            let below = (i & !1) + 2;
            sink.edge(i, below);
            sink.edge(i, below + 1);
        }
    })
    .unwrap();
    let mut roots = Roots::new();
    let group = roots.group(0);
    roots.add(group, 0);
    roots.add(group, 1);
    all(&graph, &roots, |tree| {
        assert_eq!(tree.idom(MILLION - 1), Some(Holder::Group(group)));
        assert_eq!(tree.retained(0), 24);
    });
}

#[test]
fn a_dictionary_of_a_million_entries_and_one_ring() {
    // 0 is the array of entries, the others are entries; each also refers to the next one, in a ring.
    let graph = Graph::build(MILLION.into(), |range, sink| {
        for i in range {
            if i == 0 {
                (1..MILLION).for_each(|entry| sink.edge(0, entry));
            } else {
                sink.edge(i, i % (MILLION - 1) + 1);
            }
        }
    })
    .unwrap();
    let mut roots = Roots::new();
    let group = roots.group(0);
    roots.add(group, 0);
    all(&graph, &roots, |tree| {
        assert_eq!(tree.idom(MILLION / 3), Some(Holder::Node(0)));
        let point = tree
            .accumulation_point(Holder::Group(group), BIG_DROP)
            .unwrap();
        assert_eq!((point.holder, point.depth), (Holder::Node(0), 1));
        assert_eq!(point.largest_child_bytes, 24);
        assert_eq!(tree.children(Holder::Node(0)).count(), MILLION as usize - 1);
    });
}

#[test]
fn one_primary_with_a_quarter_million_dependents() {
    let n = MILLION / 4;
    let dependents = (1..n).map(|to| ExtraEdge {
        from: 0,
        to,
        class: EdgeClass::Dependent,
        tag: to,
    });
    let graph = Graph::from_edges(n.into(), &[])
        .unwrap()
        .with_extra(dependents);
    let mut roots = Roots::new();
    let group = roots.group(0);
    roots.add(group, 0);
    all(&graph, &roots, |tree| {
        assert_eq!(tree.retained(0), u64::from(n) * 24)
    });
}
