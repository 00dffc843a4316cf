//! Packed rows give back what went in, and refuse what is no row.
#![allow(clippy::unwrap_used)]

use leakhound_graph::{Edges, Graph, GraphError, RowBuffer, Rows};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// Rows as a caller has them.
struct Given {
    nodes: u32,
    rows: BTreeMap<u32, Vec<u32>>,
}

impl Edges for Given {
    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        self.rows
            .range(nodes)
            .for_each(|(node, targets)| row(*node, targets));
    }
}

fn given(nodes: u32, edges: &[(u32, u32)]) -> Given {
    let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (from, to) in edges {
        rows.entry(*from).or_default().push(*to);
    }
    for row in rows.values_mut() {
        row.sort_unstable();
        row.dedup();
    }
    Given { nodes, rows }
}

/// Every row, by either way of reading it.
fn check(given: &Given, rows: &Rows, sample: impl Iterator<Item = u32>) {
    let expected: u64 = given.rows.values().map(|row| row.len() as u64).sum();
    assert_eq!((rows.nodes(), rows.edges()), (given.nodes, expected));
    for node in sample {
        let row: Vec<u32> = rows.row(node).collect();
        let expected = given.rows.get(&node).cloned().unwrap_or_default();
        assert_eq!(rows.row(node).len(), expected.len());
        assert_eq!(row, expected, "node {node}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn rows_come_back(
        nodes in prop_oneof![3 => 1u32..40, 1 => 65_000..70_000u32],
        seeds in proptest::collection::vec((any::<u32>(), any::<u32>(), 0u32..3), 0..300),
    ) {
        // Near, far, and many from one node.
        let edges: Vec<(u32, u32)> = seeds
            .iter()
            .map(|(a, b, kind)| match kind {
                0 => (a % nodes, b % nodes),
                1 => (a % nodes, (a % nodes).saturating_sub(b % 9)),
                _ => (nodes / 2, b % nodes),
            })
            .collect();
        let given = given(nodes, &edges);
        let rows = Rows::pack(&given).unwrap();
        check(&given, &rows, 0..nodes);
        let from = edges.first().map_or(0, |edge| edge.0);
        let (mut walked, stretch) = (Vec::new(), from..nodes - nodes / 5);
        rows.each_row(stretch.clone(), &mut |node, targets| walked.push((node, targets.to_vec())));
        let expected = given.rows.iter().filter(|(node, _)| stretch.contains(node));
        let expected: Vec<(u32, Vec<u32>)> = expected.map(|(node, row)| (*node, row.clone())).collect();
        prop_assert_eq!(walked, expected);
    }

    #[test]
    fn a_buffer_makes_a_set_of_what_comes(targets in proptest::collection::vec(0u32..300, 1..2_000)) {
        let mut buffer = RowBuffer::default();
        let expected: Vec<u32> = std::collections::BTreeSet::from_iter(targets.iter().copied()).into_iter().collect();
        for _ in 0..2 {
            targets.iter().for_each(|target| buffer.push(*target));
            let mut row = Vec::new();
            buffer.finish(|targets| row.extend_from_slice(targets));
            prop_assert_eq!(&row, &expected);
            buffer.finish(|_| panic!("it is empty"));
        }
    }
}

#[test]
fn the_widest_gaps_and_the_longest_rows() {
    // Gaps of all widths, from the last node and from the first, and more targets than a byte counts.
    let nodes = 3_000_000;
    let mut edges: Vec<(u32, u32)> = (0..22).map(|bits| (nodes - 1, 1 << bits)).collect();
    edges.extend([(0, nodes - 1), (0, 0), (1, nodes - 1), (70_000, 0)]);
    edges.extend((0..300_000).map(|i| (70_001, i * 10)));
    edges.extend((0..255).map(|i| (70_002, i)));
    edges.extend((0..254).map(|i| (70_003, nodes - 254 + i)));
    let given = given(nodes, &edges);
    let rows = Rows::pack(&given).unwrap();
    let near = 69_990..70_020;
    check(
        &given,
        &rows,
        near.chain([0, 1, 2, 65_535, 65_536, nodes - 1]),
    );
    // A byte and a quarter of a start for each node, four bits for each of the gaps of ten.
    assert!(
        rows.bytes() < u64::from(nodes) * 2 + 300_000,
        "{}",
        rows.bytes()
    );
}

#[test]
fn neighbours_take_bits_and_any_others_what_the_number_of_nodes_needs() {
    let nodes = 100_000;
    let clique = |range: Range<u32>, sink: &mut leakhound_graph::EdgeSink| {
        for i in range {
            (0..100).for_each(|k| sink.edge(i, i / 100 * 100 + k));
        }
    };
    let clique = Graph::build(nodes.into(), clique).unwrap();
    assert!(clique.rows().bytes() < u64::from(nodes) * 5);
    let any = |range: Range<u32>, sink: &mut leakhound_graph::EdgeSink| {
        for i in range {
            (0..8).for_each(|k| sink.edge(i, (i + k).wrapping_mul(2_654_435_761) % nodes));
        }
    };
    let any = Graph::build(nodes.into(), any).unwrap();
    assert!(any.rows().bytes() < any.strong_edges() * 3);
}

#[test]
fn what_is_no_row_is_refused() {
    let bad = |nodes, node, row: &[u32]| {
        let rows = BTreeMap::from([(node, row.to_vec())]);
        Rows::pack(&Given { nodes, rows }).err()
    };
    assert_eq!(bad(3, 1, &[0, 2]), None);
    for row in [&[2, 1][..], &[1, 1], &[0, 3]] {
        assert_eq!(bad(3, 1, row), Some(GraphError::BadRow { node: 1 }));
    }
    assert!(
        Rows::pack(&Given {
            nodes: 0,
            rows: BTreeMap::new()
        })
        .is_ok()
    );
    let many = Given {
        nodes: u32::MAX,
        rows: BTreeMap::new(),
    };
    assert!(matches!(
        Rows::pack(&many),
        Err(GraphError::TooManyNodes { .. })
    ));
}

#[test]
fn edges_that_lead_nowhere_are_counted_not_followed() {
    let graph = Graph::build(3, |_, sink| {
        sink.edge(0, 3);
        sink.edge(7, 0);
        sink.edge(1, 2);
        sink.edge(1, 2);
    })
    .unwrap();
    assert_eq!((graph.strong_edges(), graph.dropped_edges()), (1, 2));
    assert_eq!(graph.strong(1).collect::<Vec<_>>(), [2]);
}
