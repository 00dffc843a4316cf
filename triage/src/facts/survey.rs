//! The heap as numbers: objects, references, roots in named groups, who owns what and who retains what. Every managed family
//! stands on it.

use super::roots::{self, RootSet};
pub use super::roots::{Root, RootKind, stack_words};
use leakhound_clr::{Finalization, Handle, HandleKind, Runtime, Snapshot};
use leakhound_dump::ProcessImage;
use leakhound_graph::graph::{EdgeClass, ExtraEdge, Follow};
use leakhound_graph::{
    DominatorTree, Edges, Graph, GraphError, GroupId, Holder, NodeSet, Owners, Roots, RowBuffer,
    Search, Share,
};
use std::ops::Range;

/// Objects lie on multiples of this, and so their sizes are.
const GRANULE_BYTES: u64 = 8;

/// Objects with the references between them, and the roots.
pub struct HeapGraph<'a> {
    /// The runtime that was walked.
    pub runtime: &'a Runtime,
    /// Every object.
    pub objects: Snapshot,
    /// References between them.
    pub graph: Graph,
    /// What keeps them.
    pub roots: RootSet,
    handles: Vec<Handle>,
    finalization: Finalization,
}

impl<'a> HeapGraph<'a> {
    /// Walks the heap, finds the roots and follows the references.
    ///
    /// # Errors
    /// The heap has more objects or references than ids.
    pub fn read(
        image: &ProcessImage,
        runtime: &'a Runtime,
        at: &mut dyn FnMut(f64, &str),
    ) -> Result<Self, GraphError> {
        let objects = runtime.snapshot();
        at(0.2, "reading the roots");
        let handles = runtime.handles();
        let finalization = runtime.finalization();
        let roots = roots::gather(image, runtime, &objects, &handles, &finalization);
        at(0.25, "following the references");
        let graph = Graph::pack(&HeapEdges {
            runtime,
            objects: &objects,
            holders: &roots.holders,
            again: false,
        })?;
        let dependent = handles.iter().filter(|h| h.kind == HandleKind::Dependent);
        let graph = graph.with_extra(dependent.filter_map(|handle| {
            Some(ExtraEdge {
                from: objects.index_of(handle.target)?,
                to: objects.index_of(handle.secondary)?,
                class: EdgeClass::Dependent,
                tag: 0,
            })
        }));
        Ok(Self {
            runtime,
            objects,
            graph,
            roots,
            handles,
            finalization,
        })
    }

    /// Assigns owners and finds what each object retains.
    ///
    /// # Errors
    /// The heap has more objects, roots or references than ids.
    pub fn survey(self, at: &mut dyn FnMut(f64, &str)) -> Result<Survey<'a>, GraphError> {
        let Self {
            runtime,
            objects,
            graph,
            roots,
            handles,
            finalization,
        } = self;
        let RootSet {
            roots,
            groups,
            registered,
            holders,
        } = roots;
        at(0.4, "finding owners");
        // An unknown tag is nobody's: worse than every kind.
        let rank = |tag: u8| RootKind::of(tag).map_or(u8::MAX, RootKind::rank);
        // One after the other: what each needs while it runs is the most that is ever held.
        let owners = Owners::assign(&graph, &groups, Follow::LIVE, |kind| kind);
        let search = Search::new(&graph, &groups, Follow::LIVE, rank)?;
        let references = graph.strong_edges();
        at(0.55, "finding what would go with what");
        let again = HeapEdges {
            runtime,
            objects: &objects,
            holders: &holders,
            again: true,
        };
        let dominators = search.solve(graph, &again)?;
        let tree = DominatorTree::new(dominators, GRANULE_BYTES, |object| objects.size(object));
        let shares = owners.shares(groups.groups(), |object| objects.size(object));
        Ok(Survey {
            runtime,
            objects,
            references,
            roots,
            groups,
            owners,
            tree,
            shares,
            registered,
            handles,
            finalization,
        })
    }
}

/// The references of a heap as a graph reads them, object by object from the dump.
struct HeapEdges<'a> {
    runtime: &'a Runtime,
    objects: &'a Snapshot,
    /// What lies in the runtime's arrays of statics belongs to the fields, not to the arrays.
    holders: &'a NodeSet,
    /// What leads nowhere has been counted.
    again: bool,
}

impl Edges for HeapEdges<'_> {
    fn nodes(&self) -> u32 {
        self.objects.len() as u32
    }

    fn each_row(&self, nodes: Range<u32>, row: &mut dyn FnMut(u32, &[u32])) {
        let mut references = self.runtime.references_in_order(self.objects);
        if self.again {
            references = references.again();
        }
        let mut targets = RowBuffer::default();
        for object in nodes {
            if !self.holders.contains(object) {
                references.each(object, |target| targets.push(target));
                targets.finish(|targets| row(object, targets));
            }
        }
    }
}

/// Who reaches an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A root does.
    Live,
    /// Only the queues of the finalizer do: dead, and there until its finalizer or that of another has run.
    Finalizer,
    /// Nobody: the next collection of its generation frees it.
    Garbage,
}

/// Everything measured in one walk.
pub struct Survey<'a> {
    /// The runtime that was walked.
    pub runtime: &'a Runtime,
    /// Every object.
    pub objects: Snapshot,
    /// Number of references between them; several from one object to another count as one.
    pub references: u64,
    /// Root groups; a group's number is its index.
    pub roots: Vec<Root>,
    /// What they hold.
    pub groups: Roots,
    /// Who owns each object.
    pub owners: Owners,
    /// Who retains it.
    pub tree: DominatorTree,
    shares: Vec<Share>,
    registered: GroupId,
    /// Every handle in use.
    pub handles: Vec<Handle>,
    /// Objects with finalizers.
    pub finalization: Finalization,
}

impl<'a> Survey<'a> {
    /// Walks the heap, builds the graph, finds the roots, assigns owners and finds what each object retains.
    ///
    /// # Errors
    /// The heap has more objects or references than ids.
    pub fn take(
        image: &ProcessImage,
        runtime: &'a Runtime,
        at: &mut dyn FnMut(f64, &str),
    ) -> Result<Self, GraphError> {
        HeapGraph::read(image, runtime, at)?.survey(at)
    }

    /// Some root reaches the object; for what waits for its finalizer that is the queue it waits in.
    #[must_use]
    #[inline]
    pub fn is_live(&self, object: u32) -> bool {
        self.owners
            .of(object)
            .is_some_and(|group| group < self.registered)
    }

    /// Who reaches an object.
    #[must_use]
    pub fn reach(&self, object: u32) -> Reach {
        match self.root_of(object).map(|root| root.kind) {
            None => Reach::Garbage,
            Some(RootKind::Ready | RootKind::Registered) => Reach::Finalizer,
            Some(_) => Reach::Live,
        }
    }

    /// The root that owns an object: the nearest of the best kind that reaches it.
    #[must_use]
    pub fn root_of(&self, object: u32) -> Option<&Root> {
        self.root(self.owners.of(object)?)
    }

    /// A root by its group.
    #[must_use]
    pub fn root(&self, group: GroupId) -> Option<&Root> {
        self.roots.get(group.0 as usize)
    }

    /// Bytes that would go if the object went (its retained size), roots of doubtful kinds left aside: see [`RootKind`].
    #[must_use]
    pub fn retained(&self, object: u32) -> u64 {
        self.tree.retained(object)
    }

    /// Bytes that would go if a root went.
    #[must_use]
    pub fn retained_by(&self, root: &Root) -> u64 {
        self.tree.retained_by_group(root.group)
    }

    /// Bytes that one or another of some objects retains, each byte once.
    #[must_use]
    pub fn retained_together(&self, objects: impl IntoIterator<Item = u32>) -> u64 {
        self.tree.retained_together(objects)
    }

    /// What a root owns: each object counts for one root only, so that the account adds up where objects are shared.
    #[must_use]
    pub fn owned_by(&self, root: &Root) -> Share {
        let share = self.shares.get(root.group.0 as usize);
        share.copied().unwrap_or_default()
    }

    /// From a holder down to where its bytes spread out (Eclipse MAT's drop ratio): the last object is the accumulation point.
    /// At most `longest` objects.
    #[must_use]
    pub fn accumulation(&self, object: u32, longest: usize) -> Vec<u32> {
        let mut way = vec![object];
        let mut at = (object, self.retained(object));
        while way.len() < longest {
            let child = self.tree.heaviest_child(Holder::Node(at.0));
            let Some((Holder::Node(child), bytes)) = child else {
                break;
            };
            if (bytes as f64) < at.1 as f64 * leakhound_graph::dominator_tree::BIG_DROP {
                break;
            }
            way.push(child);
            at = (child, bytes);
        }
        way
    }

    /// Full name of an object's type.
    #[must_use]
    pub fn type_name(&self, object: u32) -> String {
        self.runtime
            .type_info(self.objects.type_id(object))
            .map_or_else(|| "?".to_owned(), |info| info.name.clone())
    }

    /// Name of an object's type without namespaces.
    #[must_use]
    pub fn short_type_name(&self, object: u32) -> String {
        self.runtime
            .type_info(self.objects.type_id(object))
            .map_or_else(|| "?".to_owned(), |info| info.short_name.clone())
    }
}
