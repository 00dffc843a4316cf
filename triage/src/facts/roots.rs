//! Roots: what keeps objects alive, in groups that a person would name.

use leakhound_clr::{Finalization, Handle, HandleKind, Runtime, Snapshot};
use leakhound_dump::{MemoryExt, ProcessImage};
use leakhound_graph::{GroupId, NodeSet, Roots};
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
    /// Objects with a finalizer that has not run. What only they reach is dead, and stays until it has.
    Registered,
}

impl RootKind {
    /// Every kind, in order.
    pub const ALL: [Self; 8] = [
        Self::Static,
        Self::ThreadStatic,
        Self::Handle,
        Self::RuntimeArray,
        Self::Frozen,
        Self::Stack,
        Self::Ready,
        Self::Registered,
    ];

    /// One word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::ThreadStatic => "thread_static",
            Self::Handle => "handle",
            Self::RuntimeArray => "runtime",
            Self::Frozen => "frozen",
            Self::Stack => "stack",
            Self::Ready => "finalizer_ready",
            Self::Registered => "finalizer_registered",
        }
    }

    /// How sure it is that such a root holds what it seems to hold; lower is surer. Retained sizes are those of a heap without
    /// the less sure roots: a word of a stack that happens to look like a reference takes nothing away from a static field.
    #[must_use]
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Static | Self::ThreadStatic | Self::Handle => 0,
            Self::RuntimeArray | Self::Frozen => 1,
            Self::Stack => 2,
            Self::Ready => 3,
            Self::Registered => 4,
        }
    }

    /// The kind with this tag.
    #[must_use]
    pub(crate) fn of(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied()
    }
}

/// A root group with its name.
#[derive(Debug, Clone)]
pub struct Root {
    /// Its group: its index among all of them.
    pub group: GroupId,
    /// What it is.
    pub kind: RootKind,
    /// Field, handle kind or thread.
    pub name: String,
    /// Kernel id of the thread of a stack.
    pub thread: Option<u32>,
}

impl Root {
    /// As a path begins: `static Shop.Cache.Items`, `strong handles`.
    #[must_use]
    pub fn title(&self) -> String {
        match self.kind {
            RootKind::Static | RootKind::ThreadStatic => format!("static {}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// Every root of a heap.
pub struct RootSet {
    /// Groups with their names, by group.
    pub roots: Vec<Root>,
    /// What they hold.
    pub groups: Roots,
    /// Arrays of the runtime that hold static fields: their content belongs to the fields.
    pub holders: NodeSet,
    /// Groups from this one on are [`RootKind::Registered`].
    pub registered: GroupId,
}

/// Finds all roots.
#[must_use]
pub fn gather(
    image: &ProcessImage,
    runtime: &Runtime,
    objects: &Snapshot,
    handles: &[Handle],
    finalization: &Finalization,
) -> RootSet {
    let mut found = Found::new(runtime, objects);
    found.statics();
    found.thread_statics();
    found.handles(handles);
    found.frozen();
    found.stacks(image);
    found.ready(finalization);
    let registered = found.registered(finalization);
    let mut holders = NodeSet::new(objects.len() as u32);
    for holder in &found.holders {
        holders.insert(*holder);
    }
    RootSet {
        roots: found.roots,
        groups: found.groups,
        holders,
        registered,
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
        self.roots.push(Root {
            group,
            kind,
            name,
            thread: None,
        });
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
            if let Some(root) = self.roots.last_mut() {
                root.thread = Some(thread.os_id);
            }
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

    /// Suppressed ones stay in the queue until they die, and die like any other.
    fn registered(&mut self, finalization: &Finalization) -> GroupId {
        let group = self.open(
            RootKind::Registered,
            "registered for finalization".to_owned(),
        );
        for (_, object) in &finalization.registered {
            if !self.runtime.is_finalizer_suppressed(*object) {
                self.add(group, *object);
            }
        }
        group
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
