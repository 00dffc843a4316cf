//! What the collector did and why: collections by generation, the last one, budgets, the last failure to find memory.
//!
//! Source: gc/gcpriv.h (`dynamic_data`, `static_data`, `gc_mechanisms`), gc/gcinterface.h and gc/gcrecord.h (`oom_history`,
//! `gc_global_mechanism_p`, `gc_reason`, `gc_pause_mode`) of 3.1 to 10. `GcDacVars` leads to the failure record and the counters
//! of mechanisms only; the other two are found by shapes that nothing else in the collector's data has, and agree with each
//! other, or are unknown.

use crate::gc_vars::{GcVars, scan_words};
use crate::limits;
use crate::runtime::Runtime;
use crate::version::Version;
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;

/// What the collector says about its work so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcState {
    /// Collections of generation 0, 1 and 2, each counting the older ones too, as `GC.CollectionCount` does. Of the first heap.
    pub collections: Option<[u64; 3]>,
    /// The last collection, or the one that runs.
    pub last: Option<LastCollection>,
    /// `GCSettings.LatencyMode`.
    pub latency_mode: Option<LatencyMode>,
    /// How the collections so far were done.
    pub mechanisms: Option<Mechanisms>,
    /// The last time each heap could not find memory; heaps that always could are absent.
    pub out_of_memory: Vec<OutOfMemory>,
    /// What each generation of each heap may still allocate before it is collected.
    pub budgets: Vec<Budget>,
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastCollection {
    /// Its number, from 1.
    pub index: u64,
    /// The oldest generation it collected.
    pub generation: u8,
    /// Why it was started, in words.
    pub reason: &'static str,
    /// Somebody called `GC.Collect`.
    pub induced: bool,
    /// It moved objects together.
    pub compacting: bool,
    /// It ran in the background.
    pub concurrent: bool,
}

/// `GCSettings.LatencyMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencyMode {
    /// Concurrent collection is off.
    Batch,
    /// Concurrent collection is on.
    Interactive,
    /// Generation 2 is spared, for a moment.
    LowLatency,
    /// Blocking collections of generation 2 are avoided.
    SustainedLowLatency,
    /// Inside of `TryStartNoGCRegion`.
    NoGcRegion,
}

impl LatencyMode {
    /// As it is written: `batch`, `sustained_low_latency`, ….
    #[must_use]
    pub fn name(self) -> &'static str {
        [
            "batch",
            "interactive",
            "low_latency",
            "sustained_low_latency",
            "no_gc_region",
        ][self as usize]
    }
}

/// Counters over all collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mechanisms {
    /// In the background.
    pub concurrent: u64,
    /// Moved objects together.
    pub compacting: u64,
    /// Moved survivors to the next generation.
    pub promoting: u64,
    /// Left survivors where they were, because of pinned objects.
    pub demoting: u64,
    /// Turned from generation 1 into generation 2.
    pub elevated: u64,
}

/// A failure to find memory for an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutOfMemory {
    /// Index of the heap.
    pub heap: u32,
    /// What failed, in words.
    pub reason: &'static str,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// Number of the collection it happened after.
    pub gc_index: u64,
    /// What the system had left, MB; 0 when it was not asked.
    pub available_mb: u64,
}

/// What one generation of one heap may allocate between collections, and what its last collection left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Index of the heap.
    pub heap: u32,
    /// 0, 1, 2, 3 for large and 4 for pinned objects.
    pub generation: u8,
    /// Bytes between two collections.
    pub bytes: u64,
    /// Bytes in objects after its last collection.
    pub size_bytes: u64,
    /// Bytes that its last collection promoted.
    pub promoted_bytes: u64,
    /// Bytes in holes after its last collection.
    pub fragmentation_bytes: u64,
    /// Collections of it.
    pub collections: u64,
}

/// `gc_reason`, in its order.
const REASONS: [&str; 18] = [
    "allocation of small objects",
    "GC.Collect",
    "low memory",
    "empty",
    "allocation of large objects",
    "no space for small objects",
    "no space for large objects",
    "GC.Collect, not forced",
    "stress test",
    "low memory, blocking",
    "GC.Collect, compacting",
    "low memory, told by the host",
    "provisional mode",
    "low memory, blocking, told by the host",
    "tuning of generation 2",
    "tuning of large objects",
    "step of a tuned background collection",
    "GC.Collect, aggressive",
];
/// Those of them that a program asked for.
const INDUCED: [u32; 4] = [1, 7, 10, 17];

/// `oom_reason`, in its order.
const FAILURES: [&str; 7] = [
    "none",
    "over the budget",
    "memory could not be committed",
    "address space could not be reserved",
    "no room for a large object",
    "too little memory in the system",
    "full collections freed too little",
];

/// How far the collector's variables may lie from the one that is known. They are neighbors: 64 kB in all versions seen.
const NEIGHBORHOOD_BYTES: u64 = 1 << 20;
/// Bytes of a server heap's object that are searched.
const HEAP_OBJECT_BYTES: u64 = 32 << 10;

/// `dynamic_data` of one heap: the words of each generation. 21 words each in every version.
type Table = Vec<[u64; WORDS]>;
const WORDS: usize = 21;
const STATIC_DATA_BYTES: u64 = 56;

impl Runtime {
    /// What the collector says about its work.
    #[must_use]
    pub fn gc_state(&self) -> GcState {
        let (memory, vars) = (&*self.memory, &self.vars);
        let tables = self.dynamic_data();
        let collections = tables
            .iter()
            .flatten()
            .next()
            .map(|t| [t[0][11], t[1][11], t[2][11]]);
        let settings = collections.and_then(|counts| find_settings(memory, vars, counts[0]));
        let mut state = GcState {
            collections,
            latency_mode: settings.as_ref().and_then(|s| latency(s.pause_mode)),
            last: settings.map(|s| s.collection),
            mechanisms: mechanisms(memory, vars),
            ..GcState::default()
        };
        for (heap, table) in (0u32..).zip(&tables) {
            for (generation, words) in (0u8..).zip(table.iter().flatten()) {
                state.budgets.push(Budget {
                    heap,
                    generation,
                    bytes: words[3],
                    size_bytes: words[10],
                    promoted_bytes: words[12],
                    fragmentation_bytes: words[14],
                    collections: words[11],
                });
            }
        }
        let heaps = server_heaps(memory, vars);
        let records: Vec<u64> = if vars.heap_count == 0 {
            vec![vars.oom_info]
        } else {
            // Position 3 of the array of field offsets; before 6.0 it lies at 24 (gc/dac_gcheap_fields.h).
            let offset = match vars.heap_field_offsets {
                0 => Some(24),
                at => at.checked_add(12).and_then(|at| memory.u32(at)),
            };
            heaps
                .iter()
                .map(|heap| heap.saturating_add(offset.map_or(u64::MAX, u64::from)))
                .collect()
        };
        state.out_of_memory = (0u32..)
            .zip(records)
            .filter_map(|(heap, at)| out_of_memory(memory, heap, at))
            .collect();
        state
    }

    fn dynamic_data(&self) -> Vec<Option<Table>> {
        let (memory, vars) = (&*self.memory, &self.vars);
        dynamic_data_places(memory, vars)
            .into_iter()
            .map(|at| read_table(memory, vars, at?))
            .collect()
    }
}

/// Where the table of each heap lies; looked for once, then a few reads tell the counts.
pub(crate) fn dynamic_data_places(memory: &dyn Memory, vars: &GcVars) -> Vec<Option<u64>> {
    if vars.heap_count == 0 {
        return vec![find_table(memory, vars, neighborhood(vars))];
    }
    let heaps = server_heaps(memory, vars);
    let inside = |heap: &u64| *heap..heap.saturating_add(HEAP_OBJECT_BYTES);
    heaps
        .iter()
        .map(|heap| find_table(memory, vars, inside(heap)))
        .collect()
}

/// Collections of generations 0, 1 and 2, from a table found before.
pub(crate) fn collections(memory: &dyn Memory, vars: &GcVars, table: u64) -> Option<[u64; 3]> {
    let table = read_table(memory, vars, table)?;
    Some([table[0][11], table[1][11], table[2][11]])
}

/// How long the collector works, as the first heap remembers it: all heaps collect together.
///
/// Of each generation only the last collection is remembered, so whoever wants a sum looks often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcTiming {
    /// Collections begun so far whose oldest generation was 0, 1 and 2.
    pub begun: [u64; 3],
    /// The oldest generation of the last of them.
    pub last: usize,
    /// How long the last one took that included each generation and has ended. One in the background counts from its begin to
    /// its end, though the program ran meanwhile; for generations 0 and 1, from the last small collection to its end.
    pub elapsed: [Duration; 3],
    /// Collections that ran in the background and have ended; the server collector does not tell.
    pub background: Option<u64>,
    /// One runs in the background now.
    pub in_background: bool,
}

/// `c_gc_state_free`: marking and planning come before it.
const BACKGROUND_FREE: u32 = 2;

/// The word of `gc_elapsed_time`, and its unit in microseconds, by version. `None` where that was not proved.
fn elapsed_word(version: Version) -> Option<(usize, u64)> {
    match version.major {
        // `time_clock`, `gc_elapsed_time`, `gc_speed`.
        3 => Some((17, 1_000)),
        // `time_clock`, `previous_time_clock`, `gc_elapsed_time`.
        8..=10 => Some((18, 1)),
        _ => None,
    }
}

/// Times of collections, from a table found before.
pub(crate) fn timing(
    memory: &dyn Memory,
    vars: &GcVars,
    table: u64,
    version: Version,
) -> Option<GcTiming> {
    /// Nothing takes a day.
    const MOST: Duration = Duration::from_secs(24 * 60 * 60);
    let (word, unit) = elapsed_word(version)?;
    let table = read_table(memory, vars, table)?;
    let (count, clock) = (|i: usize| table[i][11], |i: usize| table[i][15]);
    let elapsed =
        [0, 1, 2].map(|i: usize| Duration::from_micros(table[i][word].saturating_mul(unit)));
    // A collection sets the clock of every generation that it includes.
    let last = (0..3).rfind(|i| clock(*i) == clock(0))?;
    let state = memory.u32(vars.current_background_state);
    let is_plausible =
        elapsed.iter().all(|e| *e < MOST) && state.is_none_or(|s| s <= BACKGROUND_FREE);
    is_plausible.then_some(GcTiming {
        begun: [
            count(0).checked_sub(count(1))?,
            count(1).checked_sub(count(2))?,
            count(2),
        ],
        last,
        elapsed,
        background: mechanisms(memory, vars).map(|m| m.concurrent),
        in_background: state.is_some_and(|s| s != BACKGROUND_FREE),
    })
}

fn neighborhood(vars: &GcVars) -> Range<u64> {
    vars.invalid_count.saturating_sub(NEIGHBORHOOD_BYTES)
        ..vars.invalid_count.saturating_add(NEIGHBORHOOD_BYTES)
}

fn server_heaps(memory: &dyn Memory, vars: &GcVars) -> Vec<u64> {
    let count = memory.u32(vars.heap_count).unwrap_or(0).min(limits::HEAPS);
    let Some(array) = memory.u64(vars.heaps).filter(|_| vars.heap_count != 0) else {
        return Vec::new();
    };
    (0..u64::from(count))
        .filter_map(|i| memory.u64(array.checked_add(i * 8)?))
        .collect()
}

/// The last word of each generation's record points at its constants, which lie in a row.
fn find_table(memory: &dyn Memory, vars: &GcVars, range: Range<u64>) -> Option<u64> {
    const LAST: u64 = (WORDS as u64 - 1) * 8;
    // Regions that are not there would be looked at page by page.
    let regions = memory.regions();
    let first = regions.partition_point(|r| r.end <= range.start);
    regions[first..]
        .iter()
        .take_while(|r| r.start < range.end)
        .find_map(|region| {
            let part = region.start.max(range.start)..region.end.min(range.end);
            scan_words(memory, part, |at, bytes| {
                let constants = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
                if constants < 1 << 16 || constants % 8 != 0 {
                    return None;
                }
                let next = memory.u64(at.checked_add(WORDS as u64 * 8)?)?;
                if next.checked_sub(constants) != Some(STATIC_DATA_BYTES) {
                    return None;
                }
                let table = at.checked_sub(LAST)?;
                read_table(memory, vars, table).map(|_| table)
            })
        })
}

/// Reads and judges a table.
fn read_table(memory: &dyn Memory, vars: &GcVars, at: u64) -> Option<Table> {
    const MOST: u64 = 1 << 40;
    let count = usize::try_from(vars.generation_count.min(limits::GENERATIONS)).ok()?;
    let bytes = memory.bytes(at, count * WORDS * 8)?;
    let mut table = Table::with_capacity(count);
    for record in bytes.chunks_exact(WORDS * 8) {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(record.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        table.push(words);
    }
    let constants = |i: usize| table[i][WORDS - 1];
    let in_a_row = (1..count)
        .all(|i| constants(i).checked_sub(constants(0)) == Some(STATIC_DATA_BYTES * i as u64));
    let counts: Vec<u64> = table.iter().map(|t| t[11]).collect();
    let plausible = counts[0] < MOST
        && counts[0] >= counts[1]
        && counts[1] >= counts[2]
        && counts[3..].iter().all(|c| *c <= counts[0])
        && memory.u64(constants(0)).is_some()
        && table.iter().all(|t| t[14] < MOST && t[10] < MOST);
    (in_a_row && plausible).then_some(table)
}

/// `gc_mechanisms settings`.
struct Settings {
    collection: LastCollection,
    pause_mode: u32,
}

/// The record whose number is that of the last collection. There is one for background collections too, and in server GC one that
/// was never used; where two could be meant and disagree, none is believed.
fn find_settings(memory: &dyn Memory, vars: &GcVars, index: u64) -> Option<Settings> {
    let range = neighborhood(vars);
    let regions = memory.regions();
    let first = regions.partition_point(|r| r.end <= range.start);
    let mut found: Vec<[u32; 17]> = Vec::new();
    for region in regions[first..].iter().take_while(|r| r.start < range.end) {
        let part = region.start.max(range.start)..region.end.min(range.end);
        scan_words(memory, part, |at, bytes| {
            if bytes[..8] == index.to_le_bytes()
                && let Some(fields) = settings_fields(memory, at)
                && !found.contains(&fields)
                && found.len() < 16
            {
                found.push(fields);
            }
            None::<()>
        });
    }
    // Card bundles are on in every 64-bit heap of 40 MB of address space and more.
    let certain: Vec<&[u32; 17]> = found.iter().filter(|f| f[7] == 1).collect();
    let fields = match (certain.as_slice(), found.as_slice()) {
        ([one], _) => **one,
        ([], [one]) => *one,
        _ => return None,
    };
    Some(Settings {
        collection: LastCollection {
            index,
            generation: u8::try_from(fields[0]).ok()?,
            reason: REASONS.get(fields[13] as usize)?,
            induced: INDUCED.contains(&fields[13]),
            compacting: fields[2] != 0,
            concurrent: fields[5] != 0,
        },
        pause_mode: fields[14],
    })
}

/// The 32-bit fields behind `gc_index`: condemned generation, promotion, compaction, large object compaction, heap expansion,
/// concurrent, demotion, card bundles, gen0 reductions, should lock elevation, times locked, elevation reduced, minimal, reason,
/// pause mode, found finalizers, background.
fn settings_fields(memory: &dyn Memory, at: u64) -> Option<[u32; 17]> {
    let bytes: [u8; 68] = memory.array(at.checked_add(8)?)?;
    let mut fields = [0; 17];
    for (field, bytes) in fields.iter_mut().zip(bytes.chunks_exact(4)) {
        *field = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    let flags = [1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 15, 16];
    let plausible = fields[0] <= 2
        && flags.iter().all(|i| fields[*i] <= 1)
        && fields[8] < 1 << 16
        && fields[10] < 64
        && (fields[13] as usize) < REASONS.len()
        && latency(fields[14]).is_some();
    plausible.then_some(fields)
}

fn latency(mode: u32) -> Option<LatencyMode> {
    Some(match mode {
        0 => LatencyMode::Batch,
        1 => LatencyMode::Interactive,
        2 => LatencyMode::LowLatency,
        3 => LatencyMode::SustainedLowLatency,
        4 => LatencyMode::NoGcRegion,
        _ => return None,
    })
}

fn mechanisms(memory: &dyn Memory, vars: &GcVars) -> Option<Mechanisms> {
    let bytes: [u8; 48] = memory.array(vars.global_mechanisms)?;
    let word =
        |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default());
    // A collector that was built without them leaves something else there.
    let plausible = (0..6).all(|i| word(i) < 1 << 32);
    plausible.then(|| Mechanisms {
        concurrent: word(0),
        compacting: word(1),
        promoting: word(2),
        demoting: word(3),
        elevated: word(5),
    })
}

/// `oom_history`: reason 0, size 8, reserved 16, allocated 24, collection 32, what failed 40, size 48, page file 56, large 64.
fn out_of_memory(memory: &dyn Memory, heap: u32, at: u64) -> Option<OutOfMemory> {
    let bytes: [u8; 72] = memory.array(at)?;
    let word =
        |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default());
    let reason = (word(0) & 0xFFFF_FFFF) as usize;
    let large = word(8) & 0xFFFF_FFFF;
    if reason == 0 || large > 1 || word(4) > 1 << 40 {
        return None;
    }
    Some(OutOfMemory {
        heap,
        reason: FAILURES.get(reason)?,
        bytes: word(1),
        gc_index: word(4),
        available_mb: word(7),
    })
}
