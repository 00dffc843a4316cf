//! The contract descriptor: what the runtime says about its own structures, from .NET 9 on.
//!
//! Source: docs/design/datacontracts/contract-descriptor.md and data_descriptor.md of dotnet/runtime; headers and texts of
//! 9.0.1, 9.0.5, 10.0.9 and 10.0.13. The symbol `DotNetRuntimeContractDescriptor` is a header of 40 bytes among the runtime's
//! data: magic, flags, the text's length and address, the number and address of the pointers that the text refers to by
//! index. The text is JSON. In a dump without the header (createdump leaves clean pages out) the text alone is looked for,
//! in the image as it is, which may be the file on disk: that has the offsets, but not the addresses of variables.

mod text;

use crate::dac_table::DacTable;
use crate::gc_vars::{GcVars, scan_words};
use crate::image_ranges::ImageRanges;
use crate::layout::{AllocContextPlace, DacSlots, Layout};
use crate::limits;
use leakhound_dump::{Memory, MemoryExt};
use std::collections::BTreeMap;
use text::Text;

/// Offsets of fields by type, and addresses of variables.
#[derive(Debug, Default)]
pub(crate) struct Descriptor {
    types: BTreeMap<String, BTreeMap<String, u64>>,
    /// Variables by name; empty when only the text was found.
    variables: BTreeMap<String, u64>,
}

/// "DNCCDAC" and a zero, as a number.
const MAGIC: u64 = 0x0043_4144_4343_4E44;
/// Descriptors within descriptors (the collector's own, managed types).
const MOST_PARTS: usize = 8;

impl Descriptor {
    /// Finds it in the runtime's image.
    pub fn find(memory: &dyn Memory, image: &ImageRanges) -> Option<Self> {
        let mut header = None;
        for range in &image.data {
            header = scan_words(memory, range.clone(), |at, word| {
                (word[..8] == MAGIC.to_le_bytes())
                    .then(|| read(memory, at).map(|found| (at, found)))
                    .flatten()
            });
            if header.is_some() {
                break;
            }
        }
        let Some((at, (text, pointers))) = header else {
            let mut descriptor = Self::default();
            descriptor.add(text::search(memory, &image.all)?, &[]);
            return Some(descriptor);
        };
        let mut descriptor = Self::default();
        let mut open = descriptor.add(text, &pointers);
        let mut seen = vec![at];
        // Each leads to a pointer that is null until its part of the runtime has started.
        while let Some(place) = open.pop() {
            let Some(part) = memory.u64(place).filter(|part| *part != 0) else {
                continue;
            };
            if seen.contains(&part) || seen.len() >= MOST_PARTS {
                continue;
            }
            seen.push(part);
            if let Some((text, pointers)) = read(memory, part) {
                open.extend(descriptor.add(text, &pointers));
            }
        }
        Some(descriptor)
    }

    /// Takes over a text; later ones add to earlier ones. Returns the places of further descriptors' addresses.
    fn add(&mut self, text: Text, pointers: &[u64]) -> Vec<u64> {
        let pointer = |index: usize| pointers.get(index).copied().filter(|at| *at != 0);
        for (name, fields) in text.types {
            self.types.entry(name).or_default().extend(fields);
        }
        for (name, index) in text.globals {
            if let Some(at) = pointer(index) {
                self.variables.insert(name, at);
            }
        }
        text.parts.into_iter().filter_map(pointer).collect()
    }

    /// Offset of a field.
    fn field(&self, of: &str, name: &str) -> Option<u64> {
        self.types.get(of)?.get(name).copied()
    }

    /// Puts what it says over a layout; returns what it changed that was known before: `Thread.OSId is 304, not 296`.
    pub fn apply(&self, layout: &mut Layout) -> Vec<String> {
        let mut changes = Vec::new();
        let mut set = |own: &mut u64, of: &str, name: &str| {
            let Some(offset) = self.field(of, name) else {
                return;
            };
            if *own != offset && *own != crate::layout::NOWHERE {
                changes.push(format!("{of}.{name} is {offset}, not {own}"));
            }
            *own = offset;
        };
        set(
            &mut layout.thread_store.first_link,
            "ThreadStore",
            "FirstThreadLink",
        );
        let thread = &mut layout.thread;
        set(&mut thread.link, "Thread", "LinkNext");
        set(&mut thread.os_id, "Thread", "OSId");
        set(&mut thread.managed_id, "Thread", "Id");
        set(&mut thread.state, "Thread", "State");
        set(
            &mut thread.preemptive_disabled,
            "Thread",
            "PreemptiveGCDisabled",
        );
        set(&mut thread.frame, "Thread", "Frame");
        set(&mut thread.exposed_object, "Thread", "GCHandle");
        set(&mut thread.statics, "Thread", "ThreadLocalDataPtr");
        let module = &mut layout.module;
        set(&mut module.pe_assembly, "Module", "PEAssembly");
        set(
            &mut module.type_def_map,
            "Module",
            "TypeDefToMethodTableMap",
        );
        set(&mut module.instantiations, "Module", "AvailableTypeParams");
        set(
            &mut layout.app_domain.assemblies,
            "AppDomain",
            "DomainAssemblyList",
        );
        if let Some(place) = self.alloc_context() {
            let own = &mut layout.thread.alloc_context;
            if *own != place && *own != AllocContextPlace::Inline(crate::layout::NOWHERE) {
                changes.push(format!("allocation contexts are at {place:?}, not {own:?}"));
            }
            *own = place;
        }
        changes
    }

    fn alloc_context(&self) -> Option<AllocContextPlace> {
        let locals = self.field("Thread", "RuntimeThreadLocals")?;
        let context = self.field("RuntimeThreadLocals", "AllocContext")?;
        // From 10 on the collector's context lies inside of the execution engine's.
        let inner = self
            .field("EEAllocContext", "GCAllocationContext")
            .unwrap_or(0);
        let pointer = self.field("GCAllocContext", "Pointer")?;
        (self.field("GCAllocContext", "Limit")? == pointer + 8)
            .then_some(AllocContextPlace::Behind(locals, context + inner + pointer))
    }

    /// The variables that it names are those of the table of variables, as far as both name them.
    pub fn agrees(&self, memory: &dyn Memory, table: &DacTable, slots: &DacSlots) -> bool {
        let same = |name: &str, distance: i32| {
            let Some(named) = self.variables.get(name) else {
                return true;
            };
            table
                .variable(memory, distance)
                .is_none_or(|own| own == *named)
        };
        same("ThreadStore", slots.thread_store)
            && same("FreeObjectMethodTable", slots.free_method_table)
            && same("ObjectMethodTable", slots.object_method_table)
            && same("StringMethodTable", slots.string_method_table)
            && same("FinalizerThread", DacTable::FINALIZER_THREAD)
            && same("AppDomain", DacTable::APP_DOMAIN)
    }

    /// What the collector's own part (from .NET 11 on) says otherwise than what its memory is read by; `None` when all is
    /// the same, or there is no such part.
    ///
    /// Source: gc/datadescriptor/datadescriptor.inc of dotnet/runtime as it stood before .NET 11; no dump has shown it yet.
    pub fn collector_contradicts(&self, vars: &GcVars) -> Option<String> {
        // gc/gcpriv.h, `heap_segment`: what the reader of segments takes for granted.
        const SEGMENT: [(&str, u64); 6] = [
            ("Allocated", 0),
            ("Committed", 8),
            ("Reserved", 16),
            ("Mem", 32),
            ("Flags", 40),
            ("Next", 48),
        ];
        let differs = |name: &str, own: u64| {
            self.variables
                .get(name)
                .is_some_and(|named| own != 0 && *named != own)
        };
        let variables = [
            ("GCHeapGenerationTable", vars.generation_table),
            ("GCHeapAllocAllocated", vars.alloc_allocated),
            ("GCHeapEphemeralHeapSegment", vars.ephemeral_segment),
            ("GCHeapFinalizeQueue", vars.finalize_queue),
            ("NumHeaps", vars.heap_count),
            ("Heaps", vars.heaps),
            ("StructureInvalidCount", vars.invalid_count),
            ("CurrentGCState", vars.current_background_state),
        ];
        let variable = variables
            .iter()
            .find(|(name, own)| differs(name, *own))
            .map(|(name, _)| format!("the variable {name} is elsewhere"));
        let field = || {
            SEGMENT
                .iter()
                .find(|(name, offset)| {
                    self.field("HeapSegment", name)
                        .is_some_and(|own| own != *offset)
                })
                .map(|(name, _)| format!("HeapSegment.{name} is elsewhere"))
        };
        let size = || {
            self.field("Generation", "!")
                .filter(|size| *size != vars.generation_size)
                .map(|size| format!("a generation has {size} bytes"))
        };
        variable.or_else(field).or_else(size)
    }

    /// The entries of the table of variables that hold the variables it names; those of `known` where it names none.
    pub fn slots(&self, memory: &dyn Memory, table: &DacTable, known: &DacSlots) -> DacSlots {
        let place = |name: &str, known: i32| {
            let Some(named) = self.variables.get(name) else {
                return known;
            };
            (-64..128)
                .find(|distance| table.variable(memory, *distance) == Some(*named))
                .unwrap_or(known)
        };
        DacSlots {
            thread_store: place("ThreadStore", known.thread_store),
            free_method_table: place("FreeObjectMethodTable", known.free_method_table),
            object_method_table: place("ObjectMethodTable", known.object_method_table),
            string_method_table: place("StringMethodTable", known.string_method_table),
            global_alloc_context: known.global_alloc_context,
        }
    }
}

/// Reads the descriptor whose header is at an address: its text, and its pointers.
fn read(memory: &dyn Memory, at: u64) -> Option<(Text, Vec<u64>)> {
    let header: [u8; 40] = memory.array(at)?;
    let word = |i: usize| u64::from_le_bytes(header[i..i + 8].try_into().unwrap_or_default());
    let (magic, flags) = (word(0), word(8) & 0xFFFF_FFFF);
    let (bytes, text_at) = ((word(8) >> 32) as usize, word(16));
    let (count, pointers_at) = ((word(24) & 0xFFFF_FFFF) as usize, word(32));
    // Bit 0 is always set; bit 1 marks 32-bit pointers.
    if magic != MAGIC || flags & 3 != 1 {
        return None;
    }
    if bytes > limits::DESCRIPTOR_BYTES || count > limits::DESCRIPTOR_POINTERS {
        return None;
    }
    let text = Text::parse(&memory.bytes(text_at, bytes)?)?;
    let pointers = memory.bytes(pointers_at, count * 8)?;
    let pointers = pointers
        .chunks_exact(8)
        .map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()))
        .collect();
    Some((text, pointers))
}

#[cfg(test)]
mod tests;
