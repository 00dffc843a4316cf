//! The runtime in a process: found, identified, its layout checked.

use crate::completeness::{Completeness, Log};
use crate::dac_table::DacTable;
use crate::gc_vars::GcVars;
use crate::gcdesc::RefMap;
use crate::image_ranges::ImageRanges;
use crate::layout::{self, Layout};
use crate::limits;
use crate::method_table::MethodTable;
use crate::modules::{ModuleInfo, Modules};
use crate::parallel;
use crate::segments::{Heap, HeapRange, Heaps};
use crate::shapes::ShapeTable;
use crate::threads::{self, ManagedThread};
use crate::types::TypeInfo;
use crate::version::{self, Version};
use crate::walk::{Object, Walk, Walker};
use leakhound_dump::{Arch, Memory, MemoryExt, Module, Os, ProcessImage};
use serde::Serialize;
use std::sync::{Arc, RwLock};

/// How to read a runtime.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Read nothing but what [`crate::Peeker`] needs: no modules.
    pub heaps_only: bool,
}

/// What the runtime is and how its heap was when the dump was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeInfo {
    /// Product version, when the dump says; else that of the layout that fits.
    pub version: Version,
    /// The version was read, not deduced from the layout that fits.
    pub version_known: bool,
    /// Path of the module that the runtime lives in.
    pub module: String,
    /// GNU build id of that module, in hex, or empty.
    pub build_id: String,
    /// The runtime is part of the application's executable.
    pub single_file: bool,
    /// Server GC.
    pub server_gc: bool,
    /// GC heaps.
    pub heap_count: u32,
    /// The heap is made of regions, not of segments.
    pub regions: bool,
    /// A collection was moving objects: numbers are approximate.
    pub gc_in_progress: bool,
    /// A background collection was marking or sweeping.
    pub background_gc: bool,
    /// The layout tables of this version were proved on real dumps.
    pub layout_proven: bool,
}

/// Why a process image gives no managed heap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRuntime {
    /// No module looks like a runtime.
    #[error(
        "no .NET runtime found: none of the {modules} modules is libcoreclr.so or coreclr.dll, and no executable has the runtime built in"
    )]
    NotDotNet {
        /// Modules looked at.
        modules: usize,
    },
    /// The GC's self-description is not where it must be.
    #[error(
        "{module} is a .NET runtime, but its description of the GC heap is not in the dump; a dump with the whole writable memory is needed (createdump --withheap, gcore)"
    )]
    NoGcDescription {
        /// Path of the runtime module.
        module: String,
    },
    /// No layout table for this version.
    #[error(
        "{module} is .NET {version}, which this build does not know; it reads {supported} on Linux x64"
    )]
    Unsupported {
        /// Path of the runtime module.
        module: String,
        /// Its version, or what is known of it.
        version: String,
        /// Versions that have a table.
        supported: String,
    },
    /// The layout table does not fit what is in memory.
    #[error(
        "{module}: the layout of .NET {version} does not fit this process ({reason}); nothing read with it could be believed"
    )]
    LayoutMismatch {
        /// Path of the runtime module.
        module: String,
        /// Version of the table.
        version: String,
        /// What was expected and found.
        reason: String,
    },
    /// The heap's own tables cannot be read.
    #[error("{module}: the GC's tables of generations are not in the dump")]
    NoHeap {
        /// Path of the runtime module.
        module: String,
    },
}

/// A runtime, ready to be asked.
pub struct Runtime {
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) os_threads: Vec<leakhound_dump::Thread>,
    pub(crate) info: RuntimeInfo,
    pub(crate) vars: GcVars,
    pub(crate) layout: Layout,
    pub(crate) heaps: Heaps,
    pub(crate) ranges: Vec<HeapRange>,
    pub(crate) alloc_contexts: Vec<(u64, u64)>,
    pub(crate) shapes: ShapeTable,
    pub(crate) free_table: u64,
    pub(crate) string_table: u64,
    pub(crate) modules: Modules,
    pub(crate) threads: Vec<ManagedThread>,
    pub(crate) finalizer_thread: u64,
    pub(crate) ref_maps: RwLock<Vec<Option<Arc<RefMap>>>>,
    pub(crate) type_infos: RwLock<Vec<Option<Arc<TypeInfo>>>>,
    pub(crate) log: Arc<Log>,
}

/// A module that may hold a runtime, with what was found in it.
struct Found<'a> {
    module: &'a Module,
    image: ImageRanges,
    vars: GcVars,
    table: DacTable,
    single_file: bool,
}

impl Runtime {
    /// Finds the runtime in a process image, checks its layout, and reads its heaps, threads and modules.
    ///
    /// # Errors
    /// When there is no runtime, or one that this build cannot read: a sentence for the report, never nonsense.
    pub fn open(image: &ProcessImage, options: &Options) -> Result<Self, NoRuntime> {
        let memory = Arc::clone(&image.memory);
        let found = find_runtime(&*memory, image)?;
        let path = found.module.path.display().to_string();
        let version = version::find(&*memory, found.module, &found.image);
        let checked = choose_layout(&*memory, image, &found, version, &path)?;
        let log = Arc::new(Log::default());
        if !checked.layout.proven {
            log.note(format!(
                "The layout of .NET {} was computed from sources and never proved on a dump.",
                checked.layout.version.0
            ));
        }
        let heaps = Heaps::read(&*memory, &found.vars, &log).ok_or(NoRuntime::NoHeap {
            module: path.clone(),
        })?;
        let threads = threads::read(&*memory, &checked.layout, checked.thread_store, &log);
        let alloc_contexts = alloc_contexts(&*memory, &checked, &found.table, &heaps, &threads);
        let word = |at: u64| memory.u32(at);
        let state = word(found.vars.current_background_state);
        let (major, minor) = checked.layout.version;
        let info = RuntimeInfo {
            version: version.unwrap_or(Version {
                major,
                minor,
                patch: 0,
            }),
            version_known: version.is_some(),
            module: path,
            build_id: found
                .module
                .build_id
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect(),
            single_file: found.single_file,
            server_gc: heaps.server,
            heap_count: u32::try_from(heaps.heaps.len()).unwrap_or(u32::MAX),
            regions: heaps.regions,
            gc_in_progress: word(found.vars.invalid_count).is_some_and(|count| count != 0),
            background_gc: matches!(state, Some(0 | 1)),
            layout_proven: checked.layout.proven,
        };
        if info.gc_in_progress {
            log.note("The dump was taken while the collector was moving objects: numbers are approximate.".into());
        }
        let app_domain = found
            .table
            .pointer(&*memory, 1)
            .filter(|_| !options.heaps_only);
        let modules = if options.heaps_only {
            Modules::none()
        } else {
            Modules::read(&*memory, &checked.layout, app_domain, &log)
        };
        Ok(Self {
            os_threads: image.threads.clone(),
            info,
            ranges: heaps.ranges(),
            heaps,
            alloc_contexts,
            shapes: ShapeTable::new(Arc::clone(&memory), checked.free),
            free_table: checked.free.address,
            string_table: checked.string_table,
            modules,
            threads,
            finalizer_thread: checked.finalizer_thread,
            ref_maps: RwLock::default(),
            type_infos: RwLock::default(),
            vars: found.vars,
            layout: checked.layout,
            memory,
            log,
        })
    }

    /// What the runtime is.
    #[must_use]
    pub fn info(&self) -> &RuntimeInfo {
        &self.info
    }

    /// Heaps with their segments.
    #[must_use]
    pub fn heaps(&self) -> &[Heap] {
        &self.heaps.heaps
    }

    /// Ranges that objects lie in, in address order.
    #[must_use]
    pub fn ranges(&self) -> &[HeapRange] {
        &self.ranges
    }

    /// Managed threads, dead ones included.
    #[must_use]
    pub fn threads(&self) -> &[ManagedThread] {
        &self.threads
    }

    /// Loaded managed modules.
    #[must_use]
    pub fn modules(&self) -> Vec<ModuleInfo> {
        self.modules.all().iter().map(|m| m.info()).collect()
    }

    /// The address space behind it.
    #[must_use]
    pub fn memory(&self) -> &Arc<dyn Memory> {
        &self.memory
    }

    /// What could not be read so far. It grows while more is read.
    #[must_use]
    pub fn completeness(&self) -> Completeness {
        self.log.snapshot()
    }

    /// Walks every object, in parallel over ranges. Free blocks are counted, not visited.
    pub fn walk<A: Send>(
        &self,
        new: impl Fn() -> A + Sync,
        visit: impl Fn(&mut A, Object) + Sync,
    ) -> Walk<A> {
        parallel::walk(&self.walker(), &self.ranges, new, visit)
    }

    pub(crate) fn walker(&self) -> Walker<'_> {
        Walker {
            memory: &*self.memory,
            shapes: &self.shapes,
            alloc_contexts: &self.alloc_contexts,
            search_bytes: limits::RESYNC_BYTES,
            log: &self.log,
        }
    }
}

fn find_runtime<'a>(memory: &dyn Memory, image: &'a ProcessImage) -> Result<Found<'a>, NoRuntime> {
    let named = |m: &&Module| matches!(m.file_name(), "libcoreclr.so" | "coreclr.dll");
    let known: Vec<&Module> = image.modules.iter().filter(named).collect();
    // A single-file application has the runtime in its own executable, which has no suffix on Linux.
    let executable = |m: &&Module| {
        !m.file_name().contains(".so") && !m.file_name().to_ascii_lowercase().ends_with(".dll")
    };
    let hosts: Vec<&Module> = if known.is_empty() {
        image.modules.iter().filter(executable).collect()
    } else {
        Vec::new()
    };
    let single_file = known.is_empty();
    for module in known.iter().chain(&hosts) {
        let ranges = ImageRanges::of(memory, module);
        let Some(vars) = GcVars::find(memory, &ranges.data, &ranges.all) else {
            continue;
        };
        let Some(table) = DacTable::find(memory, &ranges.data, &ranges.all, &vars) else {
            continue;
        };
        return Ok(Found {
            module,
            image: ranges,
            vars,
            table,
            single_file,
        });
    }
    Err(match known.first() {
        Some(module) => NoRuntime::NoGcDescription {
            module: module.path.display().to_string(),
        },
        None => NoRuntime::NotDotNet {
            modules: image.modules.len(),
        },
    })
}

/// A layout with the anchors that proved it.
struct Checked {
    layout: Layout,
    free: MethodTable,
    string_table: u64,
    thread_store: u64,
    finalizer_thread: u64,
}

fn choose_layout(
    memory: &dyn Memory,
    image: &ProcessImage,
    found: &Found<'_>,
    version: Option<Version>,
    path: &str,
) -> Result<Checked, NoRuntime> {
    let (os, arch): (Os, Arch) = (image.os, image.arch);
    let named = version.map(|v| (v.major, v.minor));
    let candidates = layout::candidates(named, os, arch);
    let unsupported = || NoRuntime::Unsupported {
        module: path.to_owned(),
        version: version.map_or_else(
            || "of an unknown version".to_owned(),
            |v| format!("{v} for {os:?} {arch:?}"),
        ),
        supported: layout::supported(),
    };
    let mut refused = None;
    for layout in candidates {
        let name = format!("{}.{}", layout.version.0, layout.version.1);
        match check(memory, found, layout) {
            Ok(checked) => return Ok(checked),
            Err(reason) => refused = Some((name, reason)),
        }
    }
    match refused {
        Some((version, reason)) if named.is_some() => Err(NoRuntime::LayoutMismatch {
            module: path.to_owned(),
            version,
            reason,
        }),
        _ => Err(unsupported()),
    }
}

/// Proves a layout on anchors that only the right one can reach: the type of free blocks, the type of strings, and a list of
/// threads that passes by the finalizer thread.
fn check(memory: &dyn Memory, found: &Found<'_>, layout: Layout) -> Result<Checked, String> {
    let slot = |distance: i32| found.table.pointer(memory, distance);
    let free = slot(layout.dac.free_method_table)
        .and_then(|at| MethodTable::read(memory, at))
        .filter(MethodTable::is_free_pattern);
    let free = free.ok_or("the type of free blocks is not where it should be")?;
    let string =
        slot(layout.dac.string_method_table).and_then(|at| MethodTable::read_valid(memory, at));
    let string = string
        .filter(|s| s.base_size == 22 && s.component_size() == 2)
        .ok_or("System.String is not where it should be")?;
    let object =
        slot(layout.dac.object_method_table).and_then(|at| MethodTable::read_valid(memory, at));
    if object.is_none_or(|o| o.base_size != 24 || string.parent != o.address) {
        return Err("System.Object is not where it should be".into());
    }
    let thread_store = slot(layout.dac.thread_store).ok_or("there is no list of threads")?;
    let finalizer_thread = slot(-3).ok_or("there is no finalizer thread")?;
    let known = threads::addresses(memory, &layout, thread_store, &Log::default());
    if !known.contains(&finalizer_thread) {
        return Err(format!(
            "the list of {} threads does not hold the finalizer thread",
            known.len()
        ));
    }
    Ok(Checked {
        layout,
        free,
        string_table: string.address,
        thread_store,
        finalizer_thread,
    })
}

/// Pieces of the heap that are handed out but not yet objects, sorted.
fn alloc_contexts(
    memory: &dyn Memory,
    checked: &Checked,
    table: &DacTable,
    heaps: &Heaps,
    threads: &[ManagedThread],
) -> Vec<(u64, u64)> {
    let global = checked
        .layout
        .dac
        .global_alloc_context
        .and_then(|d| table.variable(memory, d));
    let global = global.and_then(|at| Some((memory.u64(at)?, memory.u64(at.checked_add(8)?)?)));
    let of_threads = threads.iter().map(|t| t.alloc_context);
    let of_generations = heaps
        .heaps
        .iter()
        .flat_map(|h| h.alloc_contexts.iter().copied());
    let mut all: Vec<(u64, u64)> = of_threads
        .chain(of_generations)
        .chain(global)
        .filter(|(p, l)| *p != 0 && p <= l)
        .collect();
    all.sort_unstable();
    all.dedup_by_key(|c| c.0);
    all
}
