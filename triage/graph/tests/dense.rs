//! Dense graphs: more predecessors than are held at once, in rows that are small beside them.
#![allow(clippy::unwrap_used)]

use leakhound_graph::{DominatorTree, Dominators, Edges, Follow, Graph, Roots, Search};
use std::ops::Range;

const KNOTS: u32 = 6;
const KNOT: u32 = 80;

/// Edges that must not be asked for.
struct Closed;

impl Edges for Closed {
    fn nodes(&self) -> u32 {
        KNOTS * KNOT
    }

    fn each_row(&self, _: Range<u32>, _: &mut dyn FnMut(u32, &[u32])) {
        panic!("the graph is small enough to stay");
    }
}

/// Knots, each with all edges among its nodes, and one way from each to the next.
fn knots() -> Graph {
    let inside = (0..KNOTS * KNOT).flat_map(|from| {
        let first = from / KNOT * KNOT;
        (first..first + KNOT)
            .filter(move |to| *to != from)
            .map(move |to| (from, to))
    });
    // From the last of a knot to some node of the next.
    let bridges = (1..KNOTS).map(|knot| (knot * KNOT - 1, knot * KNOT + 7 * knot));
    let edges: Vec<(u32, u32)> = inside.chain(bridges).collect();
    Graph::from_edges(u64::from(KNOTS * KNOT), &edges).unwrap()
}

#[test]
fn a_graph_that_is_small_beside_what_is_gathered_stays_for_all_passes() {
    let graph = knots();
    let mut roots = Roots::new();
    let group = roots.group(0);
    roots.add(group, 3);
    let whole = Dominators::compute(&graph, &roots, Follow::LIVE, |kind| kind).unwrap();
    let whole = DominatorTree::new(whole, 8, |_| 24);
    let rows = graph.rows().bytes() / 4;
    // Several blocks each.
    for room in [2 * rows, 3 * rows, 6 * rows] {
        assert!(room < graph.strong_edges() / 2, "{room}");
        let search = Search::new(&graph, &roots, Follow::LIVE, |kind| kind).unwrap();
        let blocks = search.solve_within(&graph, &Closed, room).unwrap();
        let blocks = DominatorTree::new(blocks, 8, |_| 24);
        for node in 0..graph.nodes() {
            assert_eq!(blocks.idom(node), whole.idom(node), "{node}");
            assert_eq!(blocks.retained(node), whole.retained(node), "{node}");
        }
    }
    // What a knot is entered by holds it and all that follow.
    for knot in 1..KNOTS {
        let entry = knot * KNOT + 7 * knot;
        let nodes = u64::from((KNOTS - knot) * KNOT);
        assert_eq!(whole.retained(entry), nodes * 24, "{knot}");
    }
}
