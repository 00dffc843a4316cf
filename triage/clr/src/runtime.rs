//! The runtime in a process: found, identified, its layout checked.

use crate::completeness::{Completeness, Log};
use crate::dac_table::DacTable;
use crate::emitted::Emitted;
use crate::gc_vars::GcVars;
use crate::gcdesc::RefMap;
use crate::image_ranges::ImageRanges;
use crate::layout::{self, Chosen, Layout, LayoutSource, Refusal, Scene};
use crate::limits;
use crate::modules::{ModuleInfo, Modules};
use crate::parallel;
use crate::segments::{Heap, HeapRange, Heaps};
use crate::shapes::ShapeTable;
use crate::threads::{self, ManagedThread};
use crate::types::TypeInfo;
use crate::version::{self, Version};
use crate::walk::{Object, Walk, Walker};
use leakhound_dump::{Memory, MemoryExt, Module, ProcessImage};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

/// How to read a runtime.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Read nothing but what [`crate::Peeker`] needs: no modules.
    pub heaps_only: bool,
    /// Use no layout table and no descriptor: find every offset in the process itself. For a runtime that its table
    /// misjudges, and for tests of that search.
    pub without_tables: bool,
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
    /// Where the layout came from that it is read with.
    pub layout_source: LayoutSource,
    /// That layout was proved on real dumps of this version.
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
        "{module} is a .NET runtime, but its description of the GC heap is not in the dump; a dump with the whole writable memory is needed (createdump --withheap, gcore; on Windows ProcDump -mp or -ma, or MiniDumpWithDataSegs beside MiniDumpWithPrivateReadWriteMemory)"
    )]
    NoGcDescription {
        /// Path of the runtime module.
        module: String,
    },
    /// The runtime's table of variables is missing.
    #[error(
        "{module} is a .NET runtime, but the table of its variables is not in the dump: heap minidumps leave the read-only data of modules out; give a folder with the files of the process's modules, coreclr.dll included (--modules FOLDER), or take a full dump (ProcDump -ma)"
    )]
    NoVariables {
        /// Path of the runtime module.
        module: String,
    },
    /// No layout table for this version, and none could be found by calibration.
    #[error(
        "{module} is .NET {version}, which this build does not know, and its structures could not be found by what they must look like; layout tables: {supported}"
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
    pub(crate) dac_table: DacTable,
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
    pub(crate) emitted: OnceLock<Emitted>,
    /// Managed loader allocators by module, as far as looked for.
    pub(crate) loader_allocators: RwLock<HashMap<u64, Option<u64>>>,
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
        let log = Arc::new(Log::default());
        let heaps = Heaps::read(&*memory, &found.vars, &log).ok_or(NoRuntime::NoHeap {
            module: path.clone(),
        })?;
        let ranges = heaps.ranges();
        let scene = Scene {
            memory: &*memory,
            os: image.os,
            arch: image.arch,
            image: &found.image,
            vars: &found.vars,
            table: &found.table,
            ranges: &ranges,
            os_threads: image.threads.iter().map(|t| t.os_id).collect(),
            heaps_only: options.heaps_only,
        };
        let named = version.map(|v| (v.major, v.minor));
        let chosen = layout::choose(&scene, named, !options.without_tables)
            .map_err(|refusal| no_layout(refusal, &scene, version, &path))?;
        for note in &chosen.notes {
            log.note(note.clone());
        }
        if !chosen.layout.proven && chosen.source == LayoutSource::Table {
            log.note(format!(
                "The layout of .NET {} was computed from sources and never proved on a dump.",
                chosen.layout.version.0
            ));
        }
        let anchors = chosen.anchors;
        let threads = anchors.thread_store.map_or_else(Vec::new, |store| {
            threads::read(&*memory, &chosen.layout, store, &log)
        });
        let alloc_contexts = alloc_contexts(&*memory, &chosen, &found.table, &heaps, &threads);
        let word = |at: u64| memory.u32(at);
        let state = word(found.vars.current_background_state);
        let (major, minor) = chosen.layout.version;
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
            layout_source: chosen.source,
            layout_proven: chosen.layout.proven,
        };
        if info.gc_in_progress {
            log.note("The dump was taken while the collector was moving objects: numbers are approximate.".into());
        }
        let app_domain = found
            .table
            .pointer(&*memory, DacTable::APP_DOMAIN)
            .filter(|_| !options.heaps_only);
        let modules = if options.heaps_only {
            Modules::none()
        } else {
            Modules::read(&*memory, &chosen.layout, app_domain, &log)
        };
        Ok(Self {
            os_threads: image.threads.clone(),
            info,
            ranges,
            heaps,
            alloc_contexts,
            shapes: ShapeTable::new(Arc::clone(&memory), anchors.free),
            free_table: anchors.free.address,
            string_table: anchors.string_table,
            modules,
            threads,
            finalizer_thread: anchors.finalizer_thread,
            ref_maps: RwLock::default(),
            type_infos: RwLock::default(),
            emitted: OnceLock::new(),
            loader_allocators: RwLock::default(),
            vars: found.vars,
            dac_table: found.table,
            layout: chosen.layout,
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
    let named = |m: &&Module| {
        m.file_name() == "libcoreclr.so" || m.file_name().eq_ignore_ascii_case("coreclr.dll")
    };
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
    let mut without_table = None;
    for module in known.iter().chain(&hosts) {
        let ranges = ImageRanges::of(memory, module);
        let Some(vars) = GcVars::find(memory, &ranges.data, &ranges.all) else {
            continue;
        };
        let Some(table) = DacTable::find(memory, &ranges.data, &ranges.all, &vars) else {
            without_table.get_or_insert(module);
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
    Err(match (without_table, known.first()) {
        (Some(module), _) => NoRuntime::NoVariables {
            module: module.path.display().to_string(),
        },
        (None, Some(module)) => NoRuntime::NoGcDescription {
            module: module.path.display().to_string(),
        },
        (None, None) => NoRuntime::NotDotNet {
            modules: image.modules.len(),
        },
    })
}

fn no_layout(
    refusal: Refusal,
    scene: &Scene<'_>,
    version: Option<Version>,
    path: &str,
) -> NoRuntime {
    match refusal {
        Refusal::NoTable => NoRuntime::Unsupported {
            module: path.to_owned(),
            version: version.map_or_else(
                || "of an unknown version".to_owned(),
                |v| format!("{v} for {:?} {:?}", scene.os, scene.arch),
            ),
            supported: layout::supported(),
        },
        Refusal::Mismatch { version, reason } => NoRuntime::LayoutMismatch {
            module: path.to_owned(),
            version,
            reason,
        },
    }
}

/// Pieces of the heap that are handed out but not yet objects, sorted.
fn alloc_contexts(
    memory: &dyn Memory,
    chosen: &Chosen,
    table: &DacTable,
    heaps: &Heaps,
    threads: &[ManagedThread],
) -> Vec<(u64, u64)> {
    let global = chosen
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
