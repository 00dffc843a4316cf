//! Calibration of threads: their list, their ids, what they allocate from.

use super::super::{AllocContextPlace, NOWHERE, Scene, ThreadLayout};
use crate::limits;
use crate::method_table::{MethodTable, could_be};
use crate::segments::Generation;
use leakhound_dump::MemoryExt;
use std::collections::HashSet;

/// Entries before `g_gcDacGlobals` that `ThreadStore::s_pThreadStore` can be: 18 in 3.1 and 5, 4 from 8 on.
const SLOTS: std::ops::RangeInclusive<i32> = -40..=-4;
/// Bytes of `ThreadStore` that its list starts in.
const STORE_BYTES: u64 = 320;
/// Bytes of `Thread` that the link between threads lies in.
const THREAD_BYTES: u64 = 2_000;
/// Bytes of `Thread` that its ids lie in.
const ID_BYTES: u64 = 800;
/// Threads that guesses are tried on.
const TRIED: usize = 64;

/// The list of threads and what was found in them.
pub(super) struct Found {
    pub slot: i32,
    pub first_link: u64,
    pub thread: ThreadLayout,
    pub addresses: Vec<u64>,
}

/// Finds the list that passes by the finalizer thread and ends.
pub(super) fn find(scene: &Scene<'_>, finalizer: u64) -> Option<Found> {
    let memory = scene.memory;
    if !could_be(finalizer) {
        return None;
    }
    let mut best: Option<Found> = None;
    let mut budget = limits::CALIBRATION_WORDS;
    for slot in SLOTS {
        let Some(store) = scene.table.pointer(memory, slot).filter(|at| could_be(*at)) else {
            continue;
        };
        for first_link in (0..STORE_BYTES).step_by(8) {
            let Some((link, addresses)) = follow(scene, store, first_link, finalizer, &mut budget)
            else {
                continue;
            };
            let known = best.as_ref().map_or(1, |b| b.addresses.len());
            if addresses.len() > known {
                best = Some(Found {
                    slot,
                    first_link,
                    thread: ThreadLayout {
                        link,
                        os_id: NOWHERE,
                        managed_id: NOWHERE,
                        state: NOWHERE,
                        preemptive_disabled: NOWHERE,
                        frame: NOWHERE,
                        exposed_object: NOWHERE,
                        alloc_context: AllocContextPlace::Inline(NOWHERE),
                        statics: NOWHERE,
                    },
                    addresses,
                });
            }
        }
    }
    let mut found = best?;
    let threads = &found.addresses;
    if let Some(offset) = os_id(scene, threads, finalizer) {
        found.thread.os_id = offset;
        // vm/threads.h: `m_ExposedObject` follows in every version.
        found.thread.exposed_object = exposed_object(scene, threads, offset + 8);
    }
    if let Some(offset) = managed_id(scene, threads) {
        found.thread.managed_id = offset;
    }
    if let Some(offset) = state(scene, threads, finalizer) {
        // vm/threads.h: the mode and the chain of frames follow in every version.
        found.thread.state = offset;
        found.thread.preemptive_disabled = offset + 4;
        found.thread.frame = offset + 8;
    }
    if let Some(place) = alloc_context(scene, threads) {
        found.thread.alloc_context = place;
    }
    Some(found)
}

/// Follows a list from its first link to its end: the link's place in `Thread`, and the threads.
fn follow(
    scene: &Scene<'_>,
    store: u64,
    first_link: u64,
    finalizer: u64,
    budget: &mut u64,
) -> Option<(u64, Vec<u64>)> {
    let mut links = Vec::new();
    let mut seen = HashSet::new();
    let mut at = scene.memory.u64(store + first_link)?;
    // Words of the list itself that lead to its own first link are no links.
    let own_words = store..store + STORE_BYTES;
    while at != 0 {
        if own_words.contains(&at)
            || !could_be(at)
            || !seen.insert(at)
            || links.len() >= limits::THREADS
        {
            return None;
        }
        links.push(at);
        *budget = budget.checked_sub(1)?;
        at = scene.memory.u64(at)?;
    }
    let own = links
        .iter()
        .find(|at| (finalizer..finalizer.saturating_add(THREAD_BYTES)).contains(*at))?;
    let link = own - finalizer;
    let threads = links
        .iter()
        .map(|at| at.checked_sub(link).filter(|t| could_be(*t)))
        .collect::<Option<Vec<u64>>>()?;
    Some((link, threads))
}

fn tried(threads: &[u64]) -> impl Iterator<Item = u64> + '_ {
    threads.iter().copied().take(TRIED)
}

/// The word where threads have ids that the dump knows, each another.
fn os_id(scene: &Scene<'_>, threads: &[u64], finalizer: u64) -> Option<u64> {
    let known: HashSet<u32> = scene
        .os_threads
        .iter()
        .copied()
        .filter(|id| *id != 0)
        .collect();
    let mut best = (1, None);
    for offset in (0..ID_BYTES).step_by(8) {
        let id = |thread: u64| scene.memory.u64(thread.checked_add(offset)?);
        let is_known = |id: u64| u32::try_from(id).is_ok_and(|id| known.contains(&id));
        if !id(finalizer).is_some_and(is_known) {
            continue;
        }
        let ids: Vec<u64> = tried(threads)
            .filter_map(id)
            .filter(|id| is_known(*id))
            .collect();
        let distinct: HashSet<u64> = ids.iter().copied().collect();
        if distinct.len() == ids.len() && ids.len() > best.0 {
            best = (ids.len(), Some(offset));
        }
    }
    best.1
}

/// The place of a handle whose object has the same type in every thread.
fn exposed_object(scene: &Scene<'_>, threads: &[u64], offset: u64) -> u64 {
    let types: HashSet<u64> = tried(threads)
        .filter_map(|thread| {
            let handle = scene.memory.u64(thread.checked_add(offset)?)?;
            let object = scene.memory.u64(handle).filter(|_| could_be(handle))?;
            scene.object_type(object).map(|t| t.address)
        })
        .collect();
    if types.len() == 1 { offset } else { NOWHERE }
}

/// The word where threads have small numbers, each another: best all from 1 on, without a gap.
fn managed_id(scene: &Scene<'_>, threads: &[u64]) -> Option<u64> {
    let mut small = None;
    for offset in (0..ID_BYTES).step_by(4) {
        let ids: Option<Vec<u32>> = tried(threads)
            .map(|thread| scene.memory.u32(thread.checked_add(offset)?))
            .collect();
        let ids = ids?;
        let distinct: HashSet<u32> = ids.iter().copied().collect();
        let highest = ids.iter().copied().max()?;
        if distinct.len() != ids.len() || distinct.contains(&0) {
            continue;
        }
        if highest as usize == ids.len() {
            return Some(offset);
        }
        // Numbers of threads that ended are given out again, so the highest stays near the count.
        if small.is_none() && highest as usize <= 4 * threads.len() + 64 {
            small = Some(offset);
        }
    }
    small
}

/// The first word that can be `m_State`, with the mode (0 or 1) and the chain of frames (an address, or all ones) behind it.
fn state(scene: &Scene<'_>, threads: &[u64], finalizer: u64) -> Option<u64> {
    const BACKGROUND: u32 = 0x200;
    const UNSTARTED_OR_DEAD: u32 = 0xC00;
    let memory = scene.memory;
    (0..32).step_by(8).find(|offset| {
        let finalizer_state = memory.u32(finalizer + offset);
        let background =
            finalizer_state.is_some_and(|s| s & (BACKGROUND | UNSTARTED_OR_DEAD) == BACKGROUND);
        background
            && tried(threads).all(|thread| {
                let at = thread + offset;
                let mode = memory.u32(at + 4);
                let frame = memory.u64(at + 8);
                mode.is_some_and(|m| m <= 1)
                    && frame.is_some_and(|f| f == u64::MAX || f == 0 || could_be(f))
            })
    })
}

/// The pair of words that are, where they are not null, the unformatted end of an allocated piece of generation 0.
fn alloc_context(scene: &Scene<'_>, threads: &[u64]) -> Option<AllocContextPlace> {
    let memory = scene.memory;
    let inline = (0..600).step_by(8).map(AllocContextPlace::Inline);
    let behind = (0..256)
        .step_by(8)
        .flat_map(|pointer| [0, 8, 16, 24].map(|at| AllocContextPlace::Behind(pointer, at)));
    let score = |place: AllocContextPlace| {
        let mut pieces = HashSet::new();
        for thread in tried(threads) {
            let at = match place {
                AllocContextPlace::Inline(offset) => thread.checked_add(offset)?,
                AllocContextPlace::Behind(pointer, offset) => {
                    let base = memory.u64(thread.checked_add(pointer)?)?;
                    if base == 0 {
                        continue;
                    }
                    base.checked_add(offset).filter(|at| could_be(*at))?
                }
            };
            match (memory.u64(at)?, memory.u64(at + 8)?) {
                (0, 0) => {}
                (from, to) if is_piece(scene, from, to) && pieces.insert(from) => {}
                _ => return None,
            }
        }
        Some(pieces.len()).filter(|n| *n > 0)
    };
    let mut best = None;
    for place in inline.chain(behind) {
        if let Some(pieces) = score(place)
            && best.is_none_or(|(most, _)| pieces > most)
        {
            best = Some((pieces, place));
        }
    }
    best.map(|(_, place)| place)
}

/// The heap goes on with an object behind the piece, and the room for a smallest one that the runtime leaves.
fn is_piece(scene: &Scene<'_>, from: u64, to: u64) -> bool {
    if !could_be(from) || !could_be(to) || from > to {
        return false;
    }
    let after = scene.ranges.partition_point(|r| r.start <= from);
    let Some(range) = after.checked_sub(1).map(|i| &scene.ranges[i]) else {
        return false;
    };
    if range.generation != Generation::Gen0 || to > range.end {
        return false;
    }
    let next = to.saturating_add(24);
    let word = scene.memory.u64(next).map(|w| w & !7);
    next >= range.end
        || word.is_some_and(|w| {
            MethodTable::read_valid(scene.memory, w).is_some()
                || MethodTable::read(scene.memory, w).is_some_and(|t| t.is_free_pattern())
        })
}
