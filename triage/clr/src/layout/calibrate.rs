//! Calibration: offsets found in the process itself, by what must hold in any runtime.
//!
//! Nothing here knows a version. Each step looks for the one place where a relation holds that no other place fulfils (a list
//! that passes by the finalizer thread and ends; a map whose entry for each row is that row's type; a pointer that leads back),
//! over several threads or modules at once. A step that finds nothing costs one feature: the histogram of the heap needs
//! none but the first.

mod modules;
mod sample;
mod statics;
mod threads;

use super::choose::anchors;
use super::{Anchors, AppDomainLayout, Chosen, Layout, LayoutSource, NO_SLOT, NOWHERE, Scene};
use crate::descriptor::Descriptor;
use crate::layout::{AllocContextPlace, StaticsLayout};
use crate::method_table::MethodTable;
use sample::Sample;

/// Entries of the table of variables behind `g_gcDacGlobals` that are looked at: 3.1 has 86, 10 has 109.
const ENTRIES: i32 = 128;

/// A layout for a runtime that has no table, or whose table does not fit. `None` when not even the most basic types are found.
pub(super) fn whole(
    scene: &Scene<'_>,
    version: Option<(u16, u16)>,
    descriptor: Option<&Descriptor>,
) -> Option<Chosen> {
    let mut layout = Layout::unknown(version.unwrap_or_default(), scene.os, scene.arch);
    basic_types(scene, &mut layout)?;
    let mut notes = vec![
        "There is no proved layout for this runtime: offsets were found by calibration.".to_owned(),
    ];
    let finalizer = scene
        .table
        .pointer(scene.memory, crate::dac_table::DacTable::FINALIZER_THREAD);
    search(scene, &mut layout, finalizer);
    if let Some(descriptor) = descriptor {
        let mut described = layout.clone();
        descriptor.apply(&mut described);
        described.dac = descriptor.slots(scene.memory, scene.table, &layout.dac);
        if anchors(scene, &described).is_ok() {
            layout = described;
            notes.push("The runtime's own descriptor gave what it names.".to_owned());
        }
    }
    notes.extend(missing(&layout, scene.heaps_only));
    let anchors = anchors(scene, &layout).ok()?;
    Some(Chosen {
        layout,
        source: LayoutSource::Calibrated,
        anchors,
        notes,
    })
}

/// Holds a layout whose anchors fit to everything else, and corrects what the process contradicts. Returns one sentence for
/// each correction: none when all of it holds.
pub(super) fn repair(scene: &Scene<'_>, layout: &mut Layout, anchors: &Anchors) -> Vec<String> {
    let sample = Sample::take(scene, &anchors.free);
    // A dump that shows no types at all can neither prove nor contradict.
    if sample.plain.is_empty() {
        return Vec::new();
    }
    let map_fits = modules::type_def_map_fits(scene, &sample, layout);
    if layout.proven && map_fits {
        return Vec::new();
    }
    let table = layout.clone();
    let mut found = Layout::unknown(table.version, table.os, table.arch);
    found.dac = table.dac.clone();
    search(scene, &mut found, Some(anchors.finalizer_thread));
    let Changes { corrected, added } = merge(layout, &found);
    let name = format!("{}.{}", table.version.0, table.version.1);
    let mut notes = Vec::new();
    if !corrected.is_empty() {
        notes.push(format!(
            "The layout table of .NET {name} does not fit this process everywhere; corrected by calibration: {}.",
            corrected.join(", ")
        ));
    }
    if !added.is_empty() {
        notes.push(format!(
            "The layout of .NET {name} was computed from sources and never proved on a dump; calibration added what it lacks: {}.",
            added.join(", ")
        ));
    }
    notes.extend(missing(layout, false));
    notes
}

/// Free blocks, strings, objects: the entries whose targets look like nothing else.
fn basic_types(scene: &Scene<'_>, layout: &mut Layout) -> Option<()> {
    let memory = scene.memory;
    let entries = || (1..ENTRIES).filter_map(|d| Some((d, scene.table.pointer(memory, d)?)));
    let free = entries().find(|(_, at)| {
        MethodTable::read(memory, *at).is_some_and(|table| table.is_free_pattern())
    })?;
    let string = entries().find_map(|(d, at)| {
        let table = MethodTable::read_valid(memory, at).filter(MethodTable::is_string_pattern)?;
        let parent = MethodTable::read_valid(memory, table.parent)?;
        (parent.base_size == 24 && parent.parent == 0).then_some((d, table))
    })?;
    let object = entries().find(|(_, at)| *at == string.1.parent)?;
    layout.dac.free_method_table = free.0;
    layout.dac.string_method_table = string.0;
    layout.dac.object_method_table = object.0;
    Some(())
}

/// Every step, each on what the earlier ones found.
fn search(scene: &Scene<'_>, layout: &mut Layout, finalizer: Option<u64>) {
    let found = finalizer.and_then(|f| threads::find(scene, f));
    let addresses = found.map_or_else(Vec::new, |found| {
        layout.dac.thread_store = found.slot;
        layout.thread_store.first_link = found.first_link;
        layout.thread = found.thread;
        found.addresses
    });
    if scene.heaps_only {
        return;
    }
    let free = scene
        .table
        .pointer(scene.memory, layout.dac.free_method_table)
        .and_then(|at| MethodTable::read(scene.memory, at));
    let Some(free) = free else { return };
    let sample = Sample::take(scene, &free);
    modules::find(scene, &sample, layout);
    statics::find(scene, &sample, &addresses, layout);
    if let Some(domain) = modules::find_list(scene, layout) {
        layout.app_domain = domain;
    }
}

/// What calibration did to a table.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// What the table had otherwise.
    corrected: Vec<&'static str>,
    /// What the table did not have.
    added: Vec<&'static str>,
}

/// Takes over what calibration found and the table says otherwise, or not at all; gives up what it could not confirm and what
/// would lead to false names.
fn merge(layout: &mut Layout, found: &Layout) -> Changes {
    let mut changes = Changes::default();
    let mut take = |name: &'static str, own: &mut u64, found: u64| {
        if found == NOWHERE || *own == found {
            return;
        }
        if *own == NOWHERE {
            changes.added.push(name);
        } else {
            changes.corrected.push(name);
        }
        *own = found;
    };
    let (own, other) = (&mut layout.thread, &found.thread);
    take("thread ids", &mut own.os_id, other.os_id);
    take("managed thread ids", &mut own.managed_id, other.managed_id);
    take("thread states", &mut own.state, other.state);
    take(
        "thread modes",
        &mut own.preemptive_disabled,
        other.preemptive_disabled,
    );
    take("frames", &mut own.frame, other.frame);
    take(
        "thread objects",
        &mut own.exposed_object,
        other.exposed_object,
    );
    take("thread statics", &mut own.statics, other.statics);
    let (own, other) = (&mut layout.module, &found.module);
    take(
        "type definitions",
        &mut own.type_def_map,
        other.type_def_map,
    );
    take("images", &mut own.pe_assembly, other.pe_assembly);
    take("image paths", &mut own.image_path, other.image_path);
    take(
        "generic instances",
        &mut own.instantiations,
        other.instantiations,
    );
    take(
        "assemblies",
        &mut layout.app_domain.assemblies,
        found.app_domain.assemblies,
    );
    if other.instantiations != NOWHERE {
        own.instantiation_buckets = other.instantiation_buckets;
    }
    // A table knows more places than one process uses.
    for (own, found) in [
        (&mut own.pe_image, other.pe_image),
        (&mut own.image_layouts, other.image_layouts),
    ] {
        if found.iter().any(|place| !own.contains(place)) {
            *own = found;
        }
    }
    if found.app_domain.assemblies != NOWHERE {
        layout.app_domain = AppDomainLayout {
            assemblies: found.app_domain.assemblies,
            entry_to_module: found.app_domain.entry_to_module,
        };
    }
    let nowhere = AllocContextPlace::Inline(NOWHERE);
    if found.thread.alloc_context != nowhere
        && found.thread.alloc_context != layout.thread.alloc_context
    {
        layout.thread.alloc_context = found.thread.alloc_context;
        changes.corrected.push("allocation contexts");
    }
    if found.module.type_def_map != NOWHERE && found.token != layout.token {
        layout.token = found.token;
        changes.corrected.push("type tokens");
    }
    // A wrong place of statics names the wrong objects: only a confirmed one is kept.
    if found.statics != layout.statics {
        let lacked =
            matches!(layout.statics, StaticsLayout::PerModule { block, .. } if block == NOWHERE);
        layout.statics = found.statics.clone();
        if lacked {
            changes.added.push("static fields");
        } else {
            changes.corrected.push("static fields");
        }
    }
    if found.thread.statics == NOWHERE && layout.thread.statics != NOWHERE {
        layout.thread.statics = NOWHERE;
        changes.corrected.push("thread statics (not found)");
    }
    changes
}

/// What a layout lacks, one sentence for each feature that is lost.
fn missing(layout: &Layout, heaps_only: bool) -> Vec<String> {
    let mut lost = Vec::new();
    let mut say = |is_missing: bool, sentence: &str| {
        if is_missing {
            lost.push(sentence.to_owned());
        }
    };
    say(
        layout.dac.thread_store == NO_SLOT,
        "Calibration found no list of threads: there are no thread facts, and memory that threads allocate from may be counted as damage.",
    );
    if heaps_only {
        return lost;
    }
    say(
        layout.dac.thread_store != NO_SLOT && layout.thread.os_id == NOWHERE,
        "Calibration found no kernel ids in the runtime's threads: stacks are not matched with them.",
    );
    say(
        layout.module.type_def_map == NOWHERE,
        "Calibration found no table of type definitions: types have no names, and there are no static fields.",
    );
    say(
        layout.module.type_def_map != NOWHERE && layout.module.pe_assembly == NOWHERE,
        "Calibration found no way from modules to their images: types have no names.",
    );
    say(
        layout.module.instantiations == NOWHERE,
        "Calibration found no table of generic instances: static fields of generic classes are missing.",
    );
    let no_statics =
        matches!(layout.statics, StaticsLayout::PerModule { block, .. } if block == NOWHERE);
    say(
        no_statics,
        "Calibration found no blocks of static fields: there are none in this report.",
    );
    say(
        layout.thread.statics == NOWHERE,
        "Calibration found no thread statics: there are none in this report.",
    );
    say(
        layout.app_domain.assemblies == NOWHERE,
        "Calibration found no list of assemblies: modules are those that objects lead to.",
    );
    lost
}

#[cfg(test)]
mod tests;
