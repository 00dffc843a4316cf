//! References between objects, as indices of a [`Snapshot`].

use crate::completeness::Problem;
use crate::gcdesc::RefMap;
use crate::runtime::Runtime;
use crate::shapes::TypeId;
use crate::snapshot::Snapshot;
use crate::window::{PIECE_BYTES, SMALL_PIECE_BYTES, Window};
use leakhound_dump::MemoryExt;
use rayon::prelude::*;
use std::sync::Arc;

/// Reads the references of one object after another; fastest in address order. One for each thread.
pub struct References<'a> {
    runtime: &'a Runtime,
    snapshot: &'a Snapshot,
    maps: Vec<Option<Arc<RefMap>>>,
    window: Window<'a>,
    /// Index of the range that the last object lay in.
    range: usize,
    dangling: u64,
    /// Whether references that lead nowhere are told.
    told: bool,
}

/// Outgoing references of every object in one array ("compressed sparse rows").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edges {
    /// The targets of object `i` are `targets[starts[i]..starts[i + 1]]`.
    pub starts: Vec<u32>,
    /// Indices of objects. The same target may occur twice.
    pub targets: Vec<u32>,
}

/// Words of a large array that are looked at in one go.
const RUN_WORDS: u64 = 1 << 13;
/// Objects in one piece of parallel work.
const PIECE_OBJECTS: u32 = 1 << 16;

impl Runtime {
    /// A reader of references for access in any order.
    #[must_use]
    pub fn references<'a>(&'a self, snapshot: &'a Snapshot) -> References<'a> {
        self.references_by(snapshot, SMALL_PIECE_BYTES)
    }

    fn references_by<'a>(&'a self, snapshot: &'a Snapshot, piece: usize) -> References<'a> {
        References {
            runtime: self,
            snapshot,
            maps: Vec::new(),
            window: Window::new(&*self.memory, piece),
            range: 0,
            dangling: 0,
            told: true,
        }
    }

    /// A reader of references for access in the order of addresses.
    #[must_use]
    pub fn references_in_order<'a>(&'a self, snapshot: &'a Snapshot) -> References<'a> {
        self.references_by(snapshot, PIECE_BYTES)
    }

    /// All references of all objects, in parallel. References of value-type arrays, closures and boxes are included; those
    /// that handles add (`ConditionalWeakTable`) are not: see [`Runtime::handles`].
    #[must_use]
    pub fn edges(&self, snapshot: &Snapshot) -> Edges {
        let pieces: Vec<(Vec<u32>, Vec<u32>)> = snapshot
            .pieces(PIECE_OBJECTS)
            .into_par_iter()
            .map_init(
                || self.references_in_order(snapshot),
                |references, piece| {
                    let mut counts = Vec::with_capacity(piece.len());
                    let mut targets = Vec::new();
                    for index in piece {
                        let before = targets.len();
                        references.each(index, |target| targets.push(target));
                        counts.push(u32::try_from(targets.len() - before).unwrap_or(u32::MAX));
                    }
                    targets.shrink_to_fit();
                    (counts, targets)
                },
            )
            .collect();
        let total: usize = pieces.iter().map(|(_, targets)| targets.len()).sum();
        let mut edges = Edges {
            starts: Vec::with_capacity(snapshot.len() + 1),
            targets: Vec::with_capacity(total.min(u32::MAX as usize)),
        };
        edges.starts.push(0);
        let mut end = 0u32;
        let mut whole = true;
        // Each piece is given back as soon as it is copied.
        for (counts, targets) in pieces {
            whole &= u32::try_from(edges.targets.len() + targets.len()).is_ok();
            if whole {
                edges.starts.extend(counts.into_iter().map(|count| {
                    end += count;
                    end
                }));
                edges.targets.extend_from_slice(&targets);
            } else {
                edges.starts.extend(counts.into_iter().map(|_| end));
            }
        }
        if !whole {
            self.log.count(Problem::LimitReached);
            self.log.note(
                "The heap has more than 4,294,967,295 references: those of its last objects were left out."
                    .into(),
            );
        }
        edges
    }

    fn ref_map(&self, id: TypeId) -> Arc<RefMap> {
        let cached = |maps: &Vec<Option<Arc<RefMap>>>| maps.get(id.index()).cloned().flatten();
        if let Some(map) = cached(
            &self
                .ref_maps
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        ) {
            return map;
        }
        let read = self
            .shapes
            .table(id)
            .and_then(|table| RefMap::read(&*self.memory, &table));
        let map = Arc::new(read.unwrap_or_else(|| {
            self.log.count(Problem::DamagedReferenceMap);
            RefMap::None
        }));
        let mut maps = self
            .ref_maps
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if maps.len() <= id.index() {
            maps.resize(self.shapes.len().max(id.index() + 1), None);
        }
        Arc::clone(maps[id.index()].get_or_insert(map))
    }
}

impl<'a> References<'a> {
    /// References that lead nowhere are not told again: another reader has done so.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.told = false;
        self
    }

    /// Calls `found` with every object that an object refers to.
    pub fn each(&mut self, index: u32, mut found: impl FnMut(u32)) {
        let snapshot = self.snapshot;
        let mut dangling = 0;
        self.each_slot(index, |_, target| match snapshot.index_of(target) {
            Some(target) => found(target),
            None => dangling += 1,
        });
        self.dangling += dangling;
    }

    /// Calls `found` with the offset (from the object's address) and the value of every reference that is not null.
    pub fn each_slot(&mut self, index: u32, mut found: impl FnMut(u64, u64)) {
        let id = self.snapshot.type_id(index);
        if self.maps.len() <= id.index() {
            self.maps
                .resize(self.runtime.shapes.len().max(id.index() + 1), None);
        }
        let runtime = self.runtime;
        let map = self.maps[id.index()].get_or_insert_with(|| runtime.ref_map(id));
        if **map == RefMap::None {
            return;
        }
        let address = self.snapshot.address_after(index, &mut self.range);
        let size = self.snapshot.size(index);
        let window = &mut self.window;
        map.runs(size, |start, words| {
            let mut done = 0;
            while done < words {
                let now = (words - done).min(RUN_WORDS);
                let offset = start + done * 8;
                let bytes = window.bytes(address.saturating_add(offset), (now * 8) as usize);
                for (i, word) in bytes.chunks_exact(8).enumerate() {
                    let target = u64::from_le_bytes(word.try_into().unwrap_or_default());
                    if target != 0 {
                        found(offset + i as u64 * 8, target);
                    }
                }
                done += now;
            }
        });
    }

    /// The object in a slot.
    #[must_use]
    pub fn at(&self, slot: u64) -> Option<u32> {
        self.snapshot.index_of(self.runtime.memory.u64(slot)?)
    }
}

impl Drop for References<'_> {
    fn drop(&mut self) {
        if self.dangling > 0 && self.told {
            self.runtime
                .log
                .add(Problem::DanglingReference, self.dangling);
        }
    }
}
