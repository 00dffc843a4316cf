//! Which layout a runtime is read with, and the proof that it fits.
//!
//! In this order: the table of its version, corrected by the runtime's own descriptor where that fits; what of it the process
//! contradicts, found by calibration; for a runtime without a table, everything by calibration. A layout is taken only when
//! it leads to anchors that no wrong one can reach.

use super::{Layout, LayoutSource, NO_SLOT, calibrate, candidates};
use crate::completeness::Log;
use crate::dac_table::DacTable;
use crate::descriptor::Descriptor;
use crate::gc_vars::GcVars;
use crate::image_ranges::ImageRanges;
use crate::method_table::MethodTable;
use crate::segments::HeapRange;
use crate::threads;
use leakhound_dump::{Arch, Memory, Os};

/// What a layout is chosen by.
pub(crate) struct Scene<'a> {
    pub memory: &'a dyn Memory,
    pub os: Os,
    pub arch: Arch,
    /// The runtime's own image.
    pub image: &'a ImageRanges,
    /// What its collector says about itself.
    pub vars: &'a GcVars,
    /// Its table of variables.
    pub table: &'a DacTable,
    /// Where objects lie, in address order.
    pub ranges: &'a [HeapRange],
    /// Kernel ids of the process's threads, as the dump has them.
    pub os_threads: Vec<u32>,
    /// Nothing but threads and the most basic types is wanted.
    pub heaps_only: bool,
}

/// A layout with the anchors that proved it.
pub(crate) struct Chosen {
    pub layout: Layout,
    pub source: LayoutSource,
    pub anchors: Anchors,
    /// What had to be corrected, found or given up, one sentence each.
    pub notes: Vec<String>,
}

/// What a right layout leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchors {
    /// The type of free blocks.
    pub free: MethodTable,
    /// `System.String`.
    pub string_table: u64,
    /// The list of threads; absent only when calibration found none.
    pub thread_store: Option<u64>,
    pub finalizer_thread: u64,
}

/// Why no layout was chosen.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no table for this version, and calibration did not lead anywhere.
    NoTable,
    /// The table of this version does not fit, and neither does what calibration found.
    Mismatch {
        /// Version of the table.
        version: String,
        /// What was expected and found.
        reason: String,
    },
}

/// Chooses a layout for a runtime of `version`, if that is known. Without `tables`, calibration finds all of it.
pub(crate) fn choose(
    scene: &Scene<'_>,
    version: Option<(u16, u16)>,
    tables: bool,
) -> Result<Chosen, Refusal> {
    // Runtimes before 9 do not describe themselves: there is no need to search their images.
    let may_describe = version.is_none_or(|(major, _)| major >= 9) && tables && !scene.heaps_only;
    let descriptor = may_describe
        .then(|| Descriptor::find(scene.memory, scene.image))
        .flatten();
    let mut refused = None;
    if tables {
        for table in candidates(version, scene.os, scene.arch) {
            let name = format!("{}.{}", table.version.0, table.version.1);
            match described(scene, table, descriptor.as_ref()) {
                Ok(chosen) => return Ok(refine(scene, chosen)),
                Err(reason) => refused = Some((name, reason)),
            }
        }
    }
    let found = calibrate::whole(scene, version, descriptor.as_ref());
    match (found, refused) {
        (Some(mut chosen), refused) => {
            if let Some((name, reason)) = refused.filter(|_| version.is_some()) {
                chosen.notes.insert(
                    0,
                    format!("The layout table of .NET {name} does not fit this process ({reason}): offsets were found by calibration."),
                );
            }
            Ok(chosen)
        }
        (None, Some((version_name, reason))) if version.is_some() => Err(Refusal::Mismatch {
            version: version_name,
            reason,
        }),
        _ => Err(Refusal::NoTable),
    }
}

/// A table with the descriptor's word over its own, if that leads to the anchors; else the table as it is.
fn described(
    scene: &Scene<'_>,
    table: Layout,
    descriptor: Option<&Descriptor>,
) -> Result<Chosen, String> {
    let mut notes = Vec::new();
    if let Some(descriptor) = descriptor {
        let mut corrected = table.clone();
        let changes = descriptor.apply(&mut corrected);
        if let Some(what) = descriptor.collector_contradicts(scene.vars) {
            notes.push(format!(
                "The collector's descriptor contradicts its table of addresses ({what}): the table was believed."
            ));
        }
        match anchors(scene, &corrected) {
            Ok(found) if descriptor.agrees(scene.memory, scene.table, &corrected.dac) => {
                if !changes.is_empty() {
                    notes.push(format!(
                        "The runtime's own descriptor differs from the layout table of .NET {}.{} and was believed: {}.",
                        table.version.0,
                        table.version.1,
                        changes.join(", ")
                    ));
                    // What was proved is the table, not this mixture.
                    corrected.proven = false;
                }
                return Ok(Chosen {
                    layout: corrected,
                    source: LayoutSource::Descriptor,
                    anchors: found,
                    notes,
                });
            }
            Ok(_) => notes.push(
                "The runtime's own descriptor names other variables than its table of variables: the layout table was believed.".into(),
            ),
            Err(reason) => notes.push(format!(
                "The runtime's own descriptor does not fit this process ({reason}): the layout table was believed."
            )),
        }
    }
    let found = anchors(scene, &table)?;
    Ok(Chosen {
        layout: table,
        source: LayoutSource::Table,
        anchors: found,
        notes,
    })
}

/// Looks at what the anchors do not prove, and finds what does not fit.
fn refine(scene: &Scene<'_>, mut chosen: Chosen) -> Chosen {
    if !scene.heaps_only {
        let notes = calibrate::repair(scene, &mut chosen.layout, &chosen.anchors);
        if !notes.is_empty() {
            chosen.layout.proven = false;
            chosen.source = LayoutSource::Calibrated;
            chosen.notes.extend(notes);
        }
    }
    chosen
}

/// Proves a layout on anchors that only the right one can reach: the type of free blocks, the type of strings, and a list of
/// threads that passes by the finalizer thread.
pub(super) fn anchors(scene: &Scene<'_>, layout: &Layout) -> Result<Anchors, String> {
    let memory = scene.memory;
    let slot = |distance: i32| scene.table.pointer(memory, distance);
    let free = slot(layout.dac.free_method_table)
        .and_then(|at| MethodTable::read(memory, at))
        .filter(MethodTable::is_free_pattern);
    let free = free.ok_or("the type of free blocks is not where it should be")?;
    let string =
        slot(layout.dac.string_method_table).and_then(|at| MethodTable::read_valid(memory, at));
    let string = string
        .filter(MethodTable::is_string_pattern)
        .ok_or("System.String is not where it should be")?;
    let object =
        slot(layout.dac.object_method_table).and_then(|at| MethodTable::read_valid(memory, at));
    if object.is_none_or(|o| o.base_size != 24 || string.parent != o.address) {
        return Err("System.Object is not where it should be".into());
    }
    let finalizer_thread =
        slot(DacTable::FINALIZER_THREAD).ok_or("there is no finalizer thread")?;
    // Calibration that found no list of threads says so; a table must lead to one.
    let thread_store = if layout.dac.thread_store == NO_SLOT {
        None
    } else {
        let store = slot(layout.dac.thread_store).ok_or("there is no list of threads")?;
        let known = threads::addresses(memory, layout, store, &Log::default());
        if !known.contains(&finalizer_thread) {
            return Err(format!(
                "the list of {} threads does not hold the finalizer thread",
                known.len()
            ));
        }
        Some(store)
    };
    Ok(Anchors {
        free,
        string_table: string.address,
        thread_store,
        finalizer_thread,
    })
}
