//! The heap as numbers: objects, references, roots in named groups, and who owns what. Every managed family stands on it.

use leakhound_clr::{Finalization, Handle, HandleKind, Runtime, Snapshot};
use leakhound_dump::{MemoryExt, ProcessImage};
use leakhound_graph::graph::{EdgeClass, ExtraEdge, Follow};
use leakhound_graph::{Graph, GraphError, GroupId, Owners, Roots, Weights};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Words of one thread's stack that are looked at: 8 MiB, the usual limit of a main thread.
const STACK_WORDS: usize = 1 << 20;

/// What a root group is. The order is the order in which owners are sought: what a person would name comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RootKind {
    /// A static field.
    Static,
    /// A thread-static field, over all threads.
    ThreadStatic,
    /// Handles of one kind.
    Handle,
    /// Arrays of the runtime that hold literals and the like.
    RuntimeArray,
    /// Frozen objects, which are never collected.
    Frozen,
    /// A thread's stack and registers, scanned conservatively.
    Stack,
    /// Dead objects that wait for the finalizer.
    Ready,
}

/// A root group with its name.
#[derive(Debug, Clone)]
pub struct Root {
    /// Its group.
    pub group: GroupId,
    /// What it is.
    pub kind: RootKind,
    /// Field, handle kind or thread.
    pub name: String,
}

/// Everything measured in one walk.
pub struct Survey<'a> {
    /// The runtime that was walked.
    pub runtime: &'a Runtime,
    /// Every object.
    pub objects: Snapshot,
    /// References between them.
    pub graph: Graph,
    /// Root groups.
    pub roots: Vec<Root>,
    /// Who owns each object.
    pub owners: Owners,
    /// How much.
    pub weights: Weights,
    /// Every handle in use.
    pub handles: Vec<Handle>,
    /// Objects with finalizers.
    pub finalization: Finalization,
}

impl<'a> Survey<'a> {
    /// Walks the heap, builds the graph, finds the roots and assigns owners.
    ///
    /// # Errors
    /// The heap has more objects or references than ids.
    pub fn take(
        image: &ProcessImage,
        runtime: &'a Runtime,
        at: &mut dyn FnMut(f64, &str),
    ) -> Result<Self, GraphError> {
        let objects = runtime.snapshot();
        at(0.3, "reading the roots");
        let handles = runtime.handles();
        let finalization = runtime.finalization();
        let mut found = Found::new(runtime, &objects);
        found.statics();
        found.thread_statics();
        found.handles(&handles);
        found.frozen();
        found.stacks(image);
        found.ready(&finalization);
        let Found {
            roots,
            groups,
            holders,
            ..
        } = found;

        at(0.35, "following the references");
        let edges = runtime.edges(&objects);
        let graph = Graph::build(objects.len() as u64, |range, sink| {
            for node in range {
                // What lies in the runtime's arrays of statics belongs to the fields, not to the arrays.
                if holders.contains(&node) {
                    continue;
                }
                let (from, to) = (edges.starts[node as usize], edges.starts[node as usize + 1]);
                for target in &edges.targets[from as usize..to as usize] {
                    sink.edge(node, *target);
                }
            }
        })?;
        drop(edges);
        let dependent = handles.iter().filter(|h| h.kind == HandleKind::Dependent);
        let graph = graph.with_extra(dependent.filter_map(|handle| {
            Some(ExtraEdge {
                from: objects.index_of(handle.target)?,
                to: objects.index_of(handle.secondary)?,
                class: EdgeClass::Dependent,
                tag: 0,
            })
        }));
        at(0.6, "finding the owners");
        let owners = Owners::assign(&graph, &groups, Follow::LIVE, |kind| kind);
        let weights = owners.weigh(groups.groups(), |node| objects.size(node));
        Ok(Self {
            runtime,
            objects,
            graph,
            roots,
            owners,
            weights,
            handles,
            finalization,
        })
    }

    /// Some root reaches the object.
    #[must_use]
    pub fn is_live(&self, object: u32) -> bool {
        self.owners.of(object).is_some()
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

/// Roots while they are gathered.
struct Found<'a> {
    runtime: &'a Runtime,
    objects: &'a Snapshot,
    groups: Roots,
    roots: Vec<Root>,
    /// Arrays of the runtime that hold static fields.
    holders: HashSet<u32>,
    /// Their slots that belong to a field.
    labelled: HashSet<u64>,
}

impl<'a> Found<'a> {
    fn new(runtime: &'a Runtime, objects: &'a Snapshot) -> Self {
        Self {
            runtime,
            objects,
            groups: Roots::new(),
            roots: Vec::new(),
            holders: HashSet::new(),
            labelled: HashSet::new(),
        }
    }

    fn open(&mut self, kind: RootKind, name: String) -> GroupId {
        let group = self.groups.group(kind as u8);
        self.roots.push(Root { group, kind, name });
        group
    }

    fn add(&mut self, group: GroupId, address: u64) {
        if let Some(object) = self.objects.index_of(address) {
            self.groups.add(group, object);
        }
    }

    /// A slot inside the heap lies in an array of the runtime; that array is no owner.
    fn hold(&mut self, slot: u64) {
        if let Some(holder) = self.objects.index_around(slot) {
            self.holders.insert(holder);
            self.labelled.insert(slot);
        }
    }

    fn statics(&mut self) {
        for field in self.runtime.statics() {
            self.hold(field.slot);
            if field.object != 0 {
                let group = self.open(RootKind::Static, field.name);
                self.add(group, field.object);
            }
        }
    }

    fn thread_statics(&mut self) {
        let mut by_name: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for field in self.runtime.thread_statics() {
            self.hold(field.slot);
            by_name.entry(field.name).or_default().push(field.object);
        }
        for (name, objects) in by_name {
            let group = self.open(RootKind::ThreadStatic, name);
            for object in objects {
                self.add(group, object);
            }
        }
    }

    fn handles(&mut self, handles: &[Handle]) {
        let mut by_kind: HashMap<HandleKind, GroupId> = HashMap::new();
        let arrays = self.open(RootKind::RuntimeArray, "runtime arrays".to_owned());
        for handle in handles.iter().filter(|h| h.kind.is_root()) {
            let group = match by_kind.get(&handle.kind) {
                Some(group) => *group,
                None => {
                    let name = format!("{} handles", handle.kind.name().replace('_', " "));
                    let group = self.open(RootKind::Handle, name);
                    by_kind.insert(handle.kind, group);
                    group
                }
            };
            self.add(group, handle.target);
        }
        // What the runtime's arrays hold besides fields: literals (up to 7), and other things of its own.
        let mut inside = Vec::new();
        let mut references = self.runtime.references(self.objects);
        for holder in &self.holders {
            let address = self.objects.address(*holder);
            references.each_slot(*holder, |offset, target| {
                if !self.labelled.contains(&(address + offset)) {
                    inside.push(target);
                }
            });
            self.groups.add(arrays, *holder);
        }
        drop(references);
        for target in inside {
            self.add(arrays, target);
        }
    }

    fn frozen(&mut self) {
        let group = self.open(RootKind::Frozen, "frozen objects".to_owned());
        for piece in self.objects.pieces(u32::MAX) {
            if self.objects.generation(piece.start) == leakhound_clr::Generation::Frozen {
                for object in piece {
                    self.groups.add(group, object);
                }
            }
        }
    }

    /// Every word that could be a reference counts as one: it may keep garbage, and can never lose what is alive.
    fn stacks(&mut self, image: &ProcessImage) {
        for thread in &image.threads {
            let name = match &thread.name {
                Some(name) => format!("stack of thread {} ({name})", thread.os_id),
                None => format!("stack of thread {}", thread.os_id),
            };
            let group = self.open(RootKind::Stack, name);
            for word in &thread.registers {
                self.maybe(group, *word);
            }
            for word in stack_words(image, thread) {
                self.maybe(group, word);
            }
        }
    }

    fn maybe(&mut self, group: GroupId, word: u64) {
        if word > 0xFFFF
            && let Some(object) = self.objects.index_around(word)
        {
            self.groups.add(group, object);
        }
    }

    fn ready(&mut self, finalization: &Finalization) {
        let group = self.open(RootKind::Ready, "ready for finalization".to_owned());
        for object in finalization
            .ready
            .iter()
            .chain(&finalization.ready_critical)
        {
            self.add(group, *object);
        }
    }
}

/// The stack of a thread as words, from its pointer up; empty when it is not in the dump.
#[must_use]
pub fn stack_words(image: &ProcessImage, thread: &leakhound_dump::Thread) -> Vec<u64> {
    let regions = image.memory.regions();
    let at = regions.partition_point(|r| r.end <= thread.sp);
    let Some(region) = regions.get(at).filter(|r| r.start <= thread.sp) else {
        return Vec::new();
    };
    let start = thread.sp & !7;
    let words = (((region.end - start) / 8) as usize).min(STACK_WORDS);
    image
        .memory
        .bytes(start, words * 8)
        .unwrap_or_default()
        .chunks_exact(8)
        .map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()))
        .collect()
}
