//! Graph, reachability and dominators on heap-like graphs, against `petgraph` in the same run.
//!
//! `cargo bench -p leakhound-graph`. Set `LEAKHOUND_BENCH_OBJECTS=5000000` for another size.

use std::hint::black_box;
use std::iter::{Chain, Copied, Flatten};
use std::time::{Duration, Instant};
use std::{option, slice};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use leakhound_graph::rows::Targets;
use leakhound_graph::{DominatorTree, Dominators, Follow, Graph, Marker, Owners, Roots};
use petgraph::algo::dominators::simple_fast;
use petgraph::visit::{GraphBase, GraphRef, IntoNeighbors, Visitable};

/// A heap: most references go to objects allocated nearby, one in eight anywhere.
fn heap_edges(node: u32, nodes: u32, mut edge: impl FnMut(u32)) {
    let mut state = u64::from(node).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    // A tree of fan-out two keeps everything reachable; nearby objects are its leaves.
    for child in [2 * u64::from(node) + 1, 2 * u64::from(node) + 2] {
        if child < u64::from(nodes) {
            edge(child as u32);
        }
    }
    let far = random() % 8 == 0;
    edge(if far {
        random() % nodes
    } else {
        (node + random() % 64).min(nodes - 1)
    });
}

fn heap(nodes: u32) -> Graph {
    let built = Graph::build(nodes.into(), |range, sink| {
        for node in range {
            heap_edges(node, nodes, |to| sink.edge(node, to));
        }
    });
    built.unwrap_or_else(|e| panic!("{e}"))
}

/// A heap with one doubly linked list of `links` nodes held at both ends, as an LRU cache is.
fn heap_with_list(nodes: u32, links: u32) -> Graph {
    let built = Graph::build(nodes.into(), |range, sink| {
        for node in range {
            if node < nodes - links {
                heap_edges(node, nodes - links, |to| sink.edge(node, to));
                continue;
            }
            if node + 1 < nodes {
                sink.edge(node, node + 1);
            }
            if node > nodes - links {
                sink.edge(node, node - 1);
            }
        }
    });
    built.unwrap_or_else(|e| panic!("{e}"))
}

fn roots(ends: &[u32]) -> Roots {
    let mut roots = Roots::new();
    for &node in ends {
        let group = roots.group(0);
        roots.add(group, node);
    }
    roots
}

fn dominators(graph: &Graph, roots: &Roots) -> Dominators {
    Dominators::compute(graph, roots, Follow::LIVE, |_| 0).unwrap_or_else(|e| panic!("{e}"))
}

/// Our graph as `petgraph` sees it: the same rows, so that only the algorithms differ. The last id is the top.
#[derive(Clone, Copy)]
struct Peer<'g> {
    graph: &'g Graph,
    ends: &'g [u32],
}

impl GraphBase for Peer<'_> {
    type NodeId = u32;
    type EdgeId = u32;
}

impl GraphRef for Peer<'_> {}

impl Visitable for Peer<'_> {
    type Map = Visited;
    fn visit_map(&self) -> Visited {
        Visited(vec![false; self.graph.nodes() as usize + 1])
    }
    fn reset_map(&self, map: &mut Visited) {
        map.0.fill(false);
    }
}

struct Visited(Vec<bool>);

impl petgraph::visit::VisitMap<u32> for Visited {
    fn visit(&mut self, node: u32) -> bool {
        !std::mem::replace(&mut self.0[node as usize], true)
    }
    fn is_visited(&self, node: &u32) -> bool {
        self.0[*node as usize]
    }
    fn unvisit(&mut self, node: u32) -> bool {
        std::mem::replace(&mut self.0[node as usize], false)
    }
}

impl<'g> IntoNeighbors for Peer<'g> {
    type Neighbors = Chain<Flatten<option::IntoIter<Targets<'g>>>, Copied<slice::Iter<'g, u32>>>;
    fn neighbors(self, node: u32) -> Self::Neighbors {
        let strong = (node != self.graph.nodes()).then(|| self.graph.strong(node));
        let ends: &[u32] = if strong.is_none() { self.ends } else { &[] };
        strong.into_iter().flatten().chain(ends.iter().copied())
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = black_box(run());
    (result, start.elapsed())
}

/// Both algorithms once on the same graph; their answers must agree where a dominator is a node.
fn compare(name: &str, graph: &Graph, ends: &[u32]) {
    let roots = roots(ends);
    let (ours, our_time) = timed(|| dominators(graph, &roots));
    let ours = DominatorTree::new(ours, 8, |_| 24);
    let top = graph.nodes();
    let (theirs, their_time) = timed(|| simple_fast(Peer { graph, ends }, top));
    for node in 0..graph.nodes() {
        let expected = theirs.immediate_dominator(node).filter(|&d| d != top);
        let found = match ours.idom(node) {
            Some(leakhound_graph::Holder::Node(d)) => Some(d),
            _ => None,
        };
        assert_eq!(found, expected, "node {node}");
    }
    println!(
        "{name}: {} nodes, {} edges: SEMI-NCA {our_time:.2?}, petgraph simple_fast {their_time:.2?}, ratio {:.1}",
        graph.nodes(),
        graph.strong_edges(),
        their_time.as_secs_f64() / our_time.as_secs_f64()
    );
}

fn benches(c: &mut Criterion) {
    let nodes = std::env::var("LEAKHOUND_BENCH_OBJECTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000u32);
    let graph = heap(nodes);
    compare("heap", &graph, &[0]);
    // The peer needs a pass over everything per link: links are few so that the comparison ends.
    let links = (200_000_000 / nodes).clamp(10, 500);
    let name = format!("heap and a list of {links} held at both ends");
    compare(
        &name,
        &heap_with_list(nodes, links),
        &[0, nodes - links, nodes - 1],
    );
    let one = roots(&[0]);
    let mut group = c.benchmark_group(format!("{nodes} objects"));
    group.sample_size(10);
    group.throughput(Throughput::Elements(nodes.into()));
    group.bench_function("build", |b| b.iter(|| heap(nodes)));
    group.bench_function("reach", |b| {
        b.iter(|| {
            let mut marker = Marker::new(&graph, Follow::LIVE);
            marker.mark([0], |_| ());
            marker.marked().len()
        });
    });
    group.bench_function("dominators", |b| b.iter(|| dominators(&graph, &one)));
    group.bench_function("tree and retained sizes", |b| {
        b.iter_batched(
            || dominators(&graph, &one),
            |computed| DominatorTree::new(computed, 8, |_| 24).total(),
            BatchSize::PerIteration,
        );
    });
    let tree = DominatorTree::new(dominators(&graph, &one), 8, |_| 24);
    group.bench_function("retained by type", |b| {
        b.iter(|| tree.retained_by_type(1000, |n| n % 1000))
    });
    group.bench_function("owners", |b| {
        b.iter(|| Owners::assign(&graph, &one, Follow::LIVE, |_| 0));
    });
    group.bench_function("the other way round", |b| b.iter(|| graph.reversed()));
    group.finish();
}

criterion_group!(graph_benches, benches);
criterion_main!(graph_benches);
