//! What the algorithms hold at most on graphs that have many edges: counted where memory is asked for, so that neither the machine
//! nor the order of tests matters.
#![allow(clippy::unwrap_used)]

use leakhound_graph::{
    DominatorTree, Edges, Follow, Graph, Holder, Owners, Roots, RowBuffer, Search,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes that are held, and the most that ever were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps to the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
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

const NODES: u32 = 100_000;
/// Of the 48 bytes per object that a sheet may hold, what the list of objects leaves to the graph. What does not grow with the heap
/// (64 MB in a sheet, for tens of millions of objects) is a twentieth here.
const BYTES_PER_NODE: usize = 48 - 10;
const BYTES: usize = 3 << 20;

/// Eight references of each node to any others.
struct Any;

impl Edges for Any {
    fn nodes(&self) -> u32 {
        NODES
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        let mut targets = RowBuffer::default();
        for node in nodes {
            let mut dice = u64::from(node) << 32 | 0x9E37_79B9;
            for _ in 0..8 {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                targets.push((dice >> 20) as u32 % NODES);
            }
            targets.finish(|targets| row(node, targets));
        }
    }
}

/// Cliques of forty, each with a way to the next.
struct Cliques;

const CLIQUE: u32 = 40;

impl Edges for Cliques {
    fn nodes(&self) -> u32 {
        NODES
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        for node in nodes {
            let first = node / CLIQUE * CLIQUE;
            let targets: Vec<u32> = (first..first + CLIQUE + 1)
                .filter(|target| *target != node && *target < NODES)
                .collect();
            row(node, &targets);
        }
    }
}

/// One array that refers to two others over and over: few nodes, many edges.
struct Repeated;

impl Edges for Repeated {
    fn nodes(&self) -> u32 {
        3
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        if nodes.contains(&0) {
            let mut targets = RowBuffer::default();
            (0..2_000_000).for_each(|i| targets.push(1 + i % 2));
            targets.finish(|targets| row(0, targets));
        }
    }
}

/// Everything that a sheet does; the most that was held meanwhile.
fn peak(edges: &impl Edges, check: impl FnOnce(&DominatorTree)) -> usize {
    let mut roots = Roots::new();
    let group = roots.group(0);
    roots.add(group, 0);
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let graph = Graph::pack(edges).unwrap();
    let owners = Owners::assign(&graph, &roots, Follow::LIVE, |kind| kind);
    let search = Search::new(&graph, &roots, Follow::LIVE, |kind| kind).unwrap();
    let room = u64::from(edges.nodes()) * 2;
    let dominators = search.solve_within(graph, edges, room).unwrap();
    let tree = DominatorTree::new(dominators, 8, |_| 24);
    let most = PEAK.load(Ordering::Relaxed) - before;
    check(&tree);
    assert_eq!(owners.shares(1, |_| 24)[0].bytes, tree.total());
    most
}

/// One test: another one would be counted too.
#[test]
fn many_edges_take_no_more_than_a_budget_per_node() {
    let budget = NODES as usize * BYTES_PER_NODE + BYTES;
    let any = peak(&Any, |tree| {
        // Whoever has one of eight references to it has no other way to most.
        assert!(tree.reachable() > NODES - NODES / 100);
        assert!(tree.retained(0) == tree.total());
    });
    assert!(any < budget, "any: {any} of {budget}");
    let cliques = peak(&Cliques, |tree| {
        assert_eq!(tree.reachable(), NODES);
        assert_eq!(tree.idom(NODES - 1), Some(Holder::Node(NODES - CLIQUE)));
        assert_eq!(
            tree.idom(NODES - CLIQUE),
            Some(Holder::Node(NODES - 2 * CLIQUE))
        );
    });
    assert!(cliques < budget, "cliques: {cliques} of {budget}");
    let repeated = peak(&Repeated, |tree| assert_eq!(tree.reachable(), 3));
    assert!(repeated < BYTES, "repeated: {repeated} of {BYTES}");
}
