//! Calibration of static and thread-static fields.

use super::super::{Layout, NOWHERE, Scene, StaticsLayout, TokenWord};
use super::sample::Sample;
use crate::limits;
use crate::method_table::{MethodTable, could_be};
use leakhound_dump::MemoryExt;
use std::collections::HashSet;

/// Bytes of `Module` and of `Thread` that are searched.
const SEARCHED: u64 = 1_800;
/// Threads that guesses are tried on.
const TRIED: usize = 64;

/// Finds where modules (up to 8) and threads keep static fields. The form of the type's token tells the family.
pub(super) fn find(scene: &Scene<'_>, sample: &Sample, threads: &[u64], layout: &mut Layout) {
    if layout.module.type_def_map == NOWHERE {
        return;
    }
    match layout.token {
        TokenWord::Long => {
            layout.statics = StaticsLayout::PerType;
            layout.thread.statics = thread_data(scene, threads).unwrap_or(NOWHERE);
        }
        TokenWord::Short => {
            let modules = sample.modules();
            let block = module_block(scene, &modules);
            layout.statics = StaticsLayout::PerModule {
                block: block.unwrap_or(NOWHERE),
                index: block.map_or(NOWHERE, |b| b + 8),
            };
            if let Some(block) = block {
                layout.thread.statics =
                    thread_block(scene, threads, &modules, block + 8).unwrap_or(NOWHERE);
            }
        }
    }
}

/// vm/appdomain.hpp, `DomainLocalModule`: the block of a module's statics repeats the index that follows its address in the
/// module, and its references lie inside of an array of objects.
fn module_block(scene: &Scene<'_>, modules: &[u64]) -> Option<u64> {
    let memory = scene.memory;
    let mut best = (0, None);
    for offset in (0..SEARCHED).step_by(8) {
        let mut indices = HashSet::new();
        let mut held = 0;
        for module in modules {
            let Some((block, index)) = module.checked_add(offset).and_then(|at| {
                Some((
                    memory.u64(at).filter(|b| could_be(*b))?,
                    memory.u64(at + 8)?,
                ))
            }) else {
                continue;
            };
            let (Some(references), Some(own)) = (memory.u64(block + 32), memory.u64(block + 40))
            else {
                continue;
            };
            if own != index || index >= limits::CLASS_TABLE || !indices.insert(index) {
                continue;
            }
            held += usize::from(references != 0 && scene.in_heap(references));
        }
        if held > best.0 {
            best = (held, Some(offset));
        }
    }
    best.1
}

/// vm/threadstatics.h, `ThreadLocalBlock` (up to 8): a table by module index; a block's references are an array of objects
/// behind a handle.
fn thread_block(scene: &Scene<'_>, threads: &[u64], modules: &[u64], index: u64) -> Option<u64> {
    let memory = scene.memory;
    let indices: Vec<u64> = modules
        .iter()
        .filter_map(|m| memory.u64(m.checked_add(index)?))
        .filter(|i| *i < limits::CLASS_TABLE)
        .collect();
    let mut best = (0, None);
    for offset in (0..SEARCHED).step_by(8) {
        let mut arrays = HashSet::new();
        for thread in threads.iter().take(TRIED) {
            let at = thread.checked_add(offset)?;
            let (Some(blocks), Some(count)) = (memory.u64(at), memory.u64(at + 8)) else {
                continue;
            };
            if !could_be(blocks) || count == 0 || count > limits::CLASS_TABLE {
                continue;
            }
            for index in indices.iter().filter(|i| **i < count) {
                let array = blocks
                    .checked_add(index * 8)
                    .and_then(|at| memory.u64(at))
                    .filter(|b| could_be(*b))
                    .and_then(|block| memory.u64(block + 16))
                    .filter(|h| could_be(*h))
                    .and_then(|handle| memory.u64(handle))
                    .filter(|a| is_reference_array(scene, *a));
                arrays.extend(array);
            }
        }
        if arrays.len() > best.0 {
            best = (arrays.len(), Some(offset));
        }
    }
    best.1
}

/// Numbers below this are kept in `ThreadLocalData` itself (2 in 10), but counted with those of the array.
const DIRECT: u64 = 8;

/// vm/threadstatics.h, `ThreadLocalData` (from 9): two counts, then an array of objects as long as the first one says.
fn thread_data(scene: &Scene<'_>, threads: &[u64]) -> Option<u64> {
    let memory = scene.memory;
    let mut best = (0, None);
    for offset in (0..SEARCHED).step_by(8) {
        let mut arrays = HashSet::new();
        for thread in threads.iter().take(TRIED) {
            let data = thread
                .checked_add(offset)
                .and_then(|at| memory.u64(at))
                .filter(|d| could_be(*d));
            let Some(data) = data else { continue };
            let (Some(counts), Some(array)) = (memory.u64(data), memory.u64(data + 8)) else {
                continue;
            };
            let used = counts & 0xFFFF_FFFF;
            if used == 0 || !is_reference_array(scene, array) {
                continue;
            }
            let length = memory.u32(array + 8).unwrap_or(0);
            if used <= u64::from(length) + DIRECT && counts >> 32 <= limits::CLASS_TABLE {
                arrays.insert(array);
            }
        }
        if arrays.len() > best.0 {
            best = (arrays.len(), Some(offset));
        }
    }
    best.1
}

/// An object that is an array of references.
fn is_reference_array(scene: &Scene<'_>, address: u64) -> bool {
    scene
        .object_type(address)
        .is_some_and(|table: MethodTable| {
            table.is_array() && table.has_references() && table.component_size() == 8
        })
}
