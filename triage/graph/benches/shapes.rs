//! Shapes on which graph algorithms go wrong, at full size, without a dump: seconds, and the most bytes that were held per node,
//! counted where memory is asked for.
//!
//! `cargo bench -p leakhound-graph --bench shapes -- [NAME]…`; ten million nodes each, or `LEAKHOUND_BENCH_OBJECTS`. What a sheet holds
//! besides (the list of objects) takes some 12 of the 48 bytes that it may take for each object.
#![allow(clippy::unwrap_used, missing_docs)]

use leakhound_graph::{DominatorTree, Edges, Follow, Graph, Owners, Roots, RowBuffer, Search};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Counts bytes that are held, and the most that ever were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of 48 bytes per object and 64 MB, what the list of objects leaves.
const BYTES_PER_NODE: f64 = 48.0 - 12.0;
const BYTES: f64 = (64 << 20) as f64;

type Targets = fn(node: u32, nodes: u32, to: &mut dyn FnMut(u32));

/// Name, how many times fewer nodes than asked for, and the targets of a node.
const SHAPES: &[(&str, u32, Targets)] = &[
    ("random, eight each", 1, |node, nodes, to| {
        let mut dice = u64::from(node) << 32 | 0x9E37_79B9;
        for _ in 0..8 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            to(((dice >> 20) % u64::from(nodes)) as u32);
        }
    }),
    ("list, both ways", 1, |node, nodes, to| {
        if node > 0 {
            to(node - 1);
        }
        if node + 1 < nodes {
            to(node + 1);
        }
    }),
    // The array of entries, and what each entry holds somewhere else.
    ("dictionary", 1, |node, nodes, to| {
        let entries = nodes / 2;
        if node == 0 {
            (1..=entries).for_each(to);
        } else if node <= entries {
            to(entries + (node.wrapping_mul(2_654_435_761) % (nodes - entries)));
        }
    }),
    ("star that leads back", 1, |node, nodes, to| {
        if node == 0 {
            (1..nodes).for_each(to);
        } else {
            to(0);
        }
    }),
    ("binary tree", 1, |node, nodes, to| {
        let below = 2 * u64::from(node) + 1;
        (below..below + 2)
            .filter(|below| *below < u64::from(nodes))
            .for_each(|below| to(below as u32));
    }),
    ("vine of a binary tree", 1, |node, nodes, to| {
        if node % 2 == 0 && node + 2 < nodes {
            to(node + 1);
            to(node + 2);
        }
    }),
    ("cliques of a hundred", 10, |node, nodes, to| {
        let first = node / 100 * 100;
        (first..(first + 101).min(nodes))
            .filter(|target| *target != node)
            .for_each(to);
    }),
    // Chains of orders with five objects each, as the ledger of the other benches.
    ("service", 1, |node, nodes, to| {
        let order = node / 4 * 4;
        if node % 4 == 0 {
            (order + 1..order + 4).for_each(&mut *to);
            if node % 4_000 != 0 {
                to(order - 4);
            }
            // Chains hang in the first of all.
            if node == 0 {
                (1..nodes / 4_000).for_each(|chain| to(chain * 4_000 + 3_996));
            }
        } else if node % 4 == 3 {
            to(order);
        }
    }),
];

struct Shape {
    nodes: u32,
    targets: Targets,
}

impl Edges for Shape {
    fn nodes(&self) -> u32 {
        self.nodes
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        let mut targets = RowBuffer::default();
        for node in nodes {
            (self.targets)(node, self.nodes, &mut |target| targets.push(target));
            targets.finish(|targets| row(node, targets));
        }
    }
}

fn measure(name: &str, shape: &Shape) {
    let mut roots = Roots::new();
    let group = roots.group(0);
    roots.add(group, 0);
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut last = Instant::now();
    let mut stages = Vec::new();
    let mut stage = |name: &str| {
        let now = Instant::now();
        let peak = (PEAK.swap(HELD.load(Ordering::Relaxed), Ordering::Relaxed) - before) as f64;
        stages.push((name.to_owned(), (now - last).as_secs_f64(), peak));
        last = now;
    };
    let graph = Graph::pack(shape).unwrap();
    let edges = graph.strong_edges();
    let row_bytes = graph.rows().bytes();
    stage("pack");
    let owners = Owners::assign(&graph, &roots, Follow::LIVE, |kind| kind);
    let search = Search::new(&graph, &roots, Follow::LIVE, |kind| kind).unwrap();
    stage("search and owners");
    let dominators = search.solve(graph, shape).unwrap();
    stage("dominators");
    let tree = DominatorTree::new(dominators, 8, |_| 24);
    stage("tree");
    assert_eq!(owners.shares(1, |_| 24)[0].bytes, tree.total());
    let nodes = f64::from(shape.nodes);
    let seconds: f64 = stages.iter().map(|stage| stage.1).sum();
    let peak = stages.iter().map(|stage| stage.2).fold(0.0, f64::max);
    println!(
        "{name}: {} nodes, {edges} edges in {:.1} bytes a node: {seconds:.2} s, {:.1} bytes a node, {:.0}% of the budget",
        shape.nodes,
        row_bytes as f64 / nodes,
        peak / nodes,
        peak / (nodes * BYTES_PER_NODE + BYTES) * 100.0
    );
    for (stage, seconds, peak) in stages {
        println!(
            "    {seconds:.2} s, {:.1} bytes a node: {stage}",
            peak / nodes
        );
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    // What `cargo test --benches` says: it shall compile, not run for minutes.
    if wanted.iter().any(|word| word == "--test") {
        return;
    }
    let nodes = std::env::var("LEAKHOUND_BENCH_OBJECTS").map_or(10_000_000, |n| n.parse().unwrap());
    for (name, fewer, targets) in SHAPES {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            let shape = Shape {
                nodes: nodes / fewer,
                targets: *targets,
            };
            measure(name, &shape);
        }
    }
}
