//! Every fact that a trigger or a rule may name: one table, its type, unit and sentence.
//!
//! `leakhound rules facts` and the catalogue page are printed from this table.

use std::sync::LazyLock;

/// What kind of value a fact or a column has. The unit is part of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes, a whole number.
    Bytes,
    /// A number of things.
    Count,
    /// A share, 0 to 1; written `30%`.
    Ratio,
    /// A time span, in milliseconds.
    Duration,
    /// Bytes per hour.
    BytesPerHour,
    /// Things per hour.
    CountPerHour,
    /// Yes or no.
    Bool,
    /// A name.
    Text,
    /// Several names in order, such as a path.
    Texts,
}

impl Kind {
    /// Its unit, as it stands in evidence.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::Duration => "ms",
            Self::BytesPerHour => "bytes/h",
            Self::CountPerHour => "count/h",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::Texts => "texts",
        }
    }

    /// What it is, for a sentence: "`loh.free` is *a number of bytes*".
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Bytes => "a number of bytes",
            Self::Count => "a count",
            Self::Ratio => "a share",
            Self::Duration => "a time span",
            Self::BytesPerHour => "bytes per hour",
            Self::CountPerHour => "a count per hour",
            Self::Bool => "yes or no",
            Self::Text => "a text",
            Self::Texts => "a list of texts",
        }
    }

    /// A literal of this kind.
    #[must_use]
    pub fn example(self) -> &'static str {
        match self {
            Self::Bytes => "100 MB",
            Self::Count => "10_000",
            Self::Ratio => "30%",
            Self::Duration => "10 min",
            Self::BytesPerHour => "100 MB/h",
            Self::CountPerHour => "60/h",
            Self::Bool => "true",
            Self::Text | Self::Texts => "\"System.String\"",
        }
    }
}

/// Where a fact can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// From the running process by the collector, and in the sheet (taken at capture time).
    Live,
    /// From the dump only.
    Sheet,
    /// From two or more sheets of the same service.
    Growth,
}

impl Scope {
    /// One word for a listing.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sheet => "sheet",
            Self::Growth => "growth",
        }
    }
}

/// A scalar fact.
#[derive(Debug, Clone, Copy)]
pub struct Fact {
    /// Dotted name.
    pub name: &'static str,
    /// Type and unit.
    pub kind: Kind,
    /// Where it can be read.
    pub scope: Scope,
    /// What it means, one sentence.
    pub sentence: &'static str,
}

/// A list fact with its columns.
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// Dotted name.
    pub name: &'static str,
    /// Where it can be read.
    pub scope: Scope,
    /// What an element is, one sentence.
    pub sentence: &'static str,
    /// Columns: name, kind, sentence.
    pub columns: &'static [(&'static str, Kind, &'static str)],
}

use Kind::{Bool, Bytes, BytesPerHour, Count, CountPerHour, Duration, Ratio, Text, Texts};
use Scope::{Growth, Live, Sheet};

const fn fact(name: &'static str, kind: Kind, scope: Scope, sentence: &'static str) -> Fact {
    Fact {
        name,
        kind,
        scope,
        sentence,
    }
}

/// Scalar facts, by family.
#[rustfmt::skip]
pub const FACTS: &[Fact] = &[
    // The process, sampled by the collector and kept in the manifest.
    fact("private_bytes", Bytes, Live, "Memory that belongs to the process alone: private resident pages plus its swap (Linux), private usage (Windows)."),
    fact("rss", Bytes, Live, "Resident memory, shared pages included."),
    fact("rss.anonymous", Bytes, Live, "Resident memory that is backed by no file: heaps, stacks."),
    fact("rss.file", Bytes, Live, "Resident memory that is backed by files: images, mapped files."),
    fact("rss.shared", Bytes, Live, "Resident shared memory (shmem, tmpfs)."),
    fact("swap", Bytes, Live, "Memory of the process that is swapped out."),
    fact("commit", Bytes, Live, "Memory the process could touch without asking again: private writable mappings (Linux), commit charge (Windows)."),
    fact("threads", Count, Live, "OS threads."),
    fact("fds", Count, Live, "Open file descriptors (Linux) or handles (Windows)."),
    fact("cpu", Ratio, Live, "Processor use since the sample before; 100% is one core."),
    fact("cpu.machine", Ratio, Live, "The same as a share of the machine; 100% is all its cores."),
    fact("uptime", Duration, Live, "Time since the process started."),
    fact("limit", Bytes, Live, "The memory limit that binds first: cgroup, job object or GC hard limit."),
    fact("limit_used", Bytes, Live, "What counts against that limit now."),
    fact("limit_share", Ratio, Live, "Used share of the limit."),
    fact("limit_file", Bytes, Live, "Page cache that counts against the limit but can be reclaimed."),
    fact("memory_pressure", Ratio, Live, "Share of the last 10 s in which some task of the cgroup waited for memory (PSI); of the node where the cgroup does not say."),
    fact("memory_pressure.full", Ratio, Live, "The same for all its tasks at once: nothing was done for lack of memory."),
    fact("node.memory_pressure", Ratio, Live, "Share of the last 10 s in which some task of the node waited for memory (PSI)."),
    fact("node.memory", Bytes, Live, "Physical memory of the node."),
    fact("node.available", Bytes, Live, "Memory the node could hand out without swapping."),
    fact("time_to_limit", Duration, Live, "Time until the limit is reached if use grows on as in the history kept; unknown when it does not grow."),
    fact("managed.gen0", Bytes, Live, "Generation 0 of the running process, read without a pause."),
    fact("managed.gen1", Bytes, Live, "Generation 1 of the running process, read without a pause."),
    fact("managed.gen2", Bytes, Live, "Generation 2 of the running process, read without a pause."),
    fact("managed.loh", Bytes, Live, "Large object heap of the running process, read without a pause."),
    fact("managed.poh", Bytes, Live, "Pinned object heap of the running process, read without a pause."),
    fact("managed.heap", Bytes, Live, "All generations of the running process together: objects, dead or alive, and the holes between them."),
    fact("managed.committed", Bytes, Live, "Committed bytes of the GC heap of the running process, read without a pause."),
    fact("managed.finalizer_ready", Count, Live, "Objects that wait for the finalizer thread in the running process."),
    fact("managed.handles", Count, Live, "GC handles in use in the running process."),
    fact("managed.handles.strong", Count, Live, "Strong GC handles in the running process."),
    fact("managed.handles.pinned", Count, Live, "Pinned GC handles in the running process."),
    fact("managed.handles.async_pinned", Count, Live, "Async pinned GC handles (overlapped I/O) in the running process."),
    fact("managed.handles.weak", Count, Live, "Weak GC handles, short and long, with a live target in the running process."),
    fact("managed.handles.dependent", Count, Live, "Dependent GC handles (ConditionalWeakTable) in the running process."),
    fact("managed.handles.ref_counted", Count, Live, "Reference-counted GC handles (COM, Java) in the running process."),
    fact("managed.handles.sized_ref", Count, Live, "Sized-reference GC handles in the running process."),
    fact("managed.gc_count.gen0", Count, Live, "Collections of generation 0 and older since the process started."),
    fact("managed.gc_count.gen1", Count, Live, "Collections of generation 1 and older since the process started."),
    fact("managed.gc_count.gen2", Count, Live, "Collections of generation 2 since the process started."),

    // The capture itself.
    fact("runtime.name", Text, Sheet, "`.NET`, or `none` when no runtime was found."),
    fact("runtime.version", Text, Sheet, "Version of the runtime."),
    fact("runtime.os", Text, Sheet, "`linux` or `windows`."),
    fact("runtime.host", Text, Sheet, "How the program is hosted: `dotnet`, `apphost` or `single-file`."),
    fact("runtime.command", Text, Sheet, "Command line, with secrets masked."),
    fact("completeness.heap", Ratio, Sheet, "Share of heap bytes that parsed as objects."),
    fact("completeness.names", Ratio, Sheet, "Share of types with a full name."),
    fact("completeness.references", Ratio, Sheet, "Share of references that lead to an object."),
    fact("completeness.during_gc", Bool, Sheet, "The capture was taken while a collection moved objects."),

    // The byte account.
    fact("memory.commit", Bytes, Sheet, "The total of the byte account: what the process has committed."),
    fact("memory.images", Bytes, Sheet, "Executables and libraries."),
    fact("memory.stacks", Bytes, Sheet, "Thread stacks."),
    fact("memory.gc", Bytes, Sheet, "Committed by the garbage-collected heap."),
    fact("memory.gc_live", Bytes, Sheet, "Objects that are reachable, also those that only the finalizer's queues reach."),
    fact("memory.gc_garbage", Bytes, Sheet, "Objects that are dead and wait for a collection."),
    fact("memory.gc_free", Bytes, Sheet, "Holes between objects."),
    fact("memory.gc_empty", Bytes, Sheet, "Committed by the GC and holding no objects."),
    fact("memory.runtime", Bytes, Sheet, "Loader heaps, JIT code, GC bookkeeping: memory of the runtime itself."),
    fact("memory.native", Bytes, Sheet, "Native heaps (malloc arenas, the brk heap)."),
    fact("memory.mapped_files", Bytes, Sheet, "Mapped data files."),
    fact("memory.unattributed", Bytes, Sheet, "What none of the above explains."),

    // The managed heap.
    fact("heap.reserved", Bytes, Sheet, "Address space reserved for the GC heap."),
    fact("heap.committed", Bytes, Sheet, "Committed bytes of all generations."),
    fact("heap.used", Bytes, Sheet, "Bytes in objects, dead or alive, all generations."),
    fact("heap.free", Bytes, Sheet, "Bytes in holes between objects, all generations."),
    fact("heap.empty", Bytes, Sheet, "Committed bytes past the last object of each segment or region, and free regions."),
    fact("heap.live", Bytes, Sheet, "Bytes in objects reachable from a root."),
    fact("heap.finalizing", Bytes, Sheet, "Bytes in dead objects that only the finalizer's queues reach: they stay until finalizers have run."),
    fact("heap.garbage", Bytes, Sheet, "Bytes in objects nothing reaches: the next full collection frees them."),
    fact("heap.objects", Count, Sheet, "Objects, dead or alive."),
    fact("heap.types", Count, Sheet, "Types with at least one object."),
    fact("gen0.reserved", Bytes, Sheet, "Address space reserved for generation 0."),
    fact("gen0.committed", Bytes, Sheet, "Committed bytes of generation 0."),
    fact("gen0.used", Bytes, Sheet, "Bytes in objects of generation 0."),
    fact("gen0.free", Bytes, Sheet, "Bytes in holes of generation 0."),
    fact("gen0.largest_free", Bytes, Sheet, "Largest hole of generation 0."),
    fact("gen0.objects", Count, Sheet, "Objects of generation 0."),
    fact("gen0.live", Bytes, Sheet, "Live bytes of generation 0."),
    fact("gen0.finalizing", Bytes, Sheet, "Dead bytes of generation 0 that only the finalizer's queues reach."),
    fact("gen0.garbage", Bytes, Sheet, "Dead bytes of generation 0 that nothing reaches."),
    fact("gen1.reserved", Bytes, Sheet, "Address space reserved for generation 1."),
    fact("gen1.committed", Bytes, Sheet, "Committed bytes of generation 1."),
    fact("gen1.used", Bytes, Sheet, "Bytes in objects of generation 1."),
    fact("gen1.free", Bytes, Sheet, "Bytes in holes of generation 1."),
    fact("gen1.largest_free", Bytes, Sheet, "Largest hole of generation 1."),
    fact("gen1.objects", Count, Sheet, "Objects of generation 1."),
    fact("gen1.live", Bytes, Sheet, "Live bytes of generation 1."),
    fact("gen1.finalizing", Bytes, Sheet, "Dead bytes of generation 1 that only the finalizer's queues reach."),
    fact("gen1.garbage", Bytes, Sheet, "Dead bytes of generation 1 that nothing reaches."),
    fact("gen2.reserved", Bytes, Sheet, "Address space reserved for generation 2."),
    fact("gen2.committed", Bytes, Sheet, "Committed bytes of generation 2."),
    fact("gen2.used", Bytes, Sheet, "Bytes in objects of generation 2."),
    fact("gen2.free", Bytes, Sheet, "Bytes in holes of generation 2."),
    fact("gen2.largest_free", Bytes, Sheet, "Largest hole of generation 2."),
    fact("gen2.objects", Count, Sheet, "Objects of generation 2."),
    fact("gen2.live", Bytes, Sheet, "Live bytes of generation 2."),
    fact("gen2.finalizing", Bytes, Sheet, "Dead bytes of generation 2 that only the finalizer's queues reach."),
    fact("gen2.garbage", Bytes, Sheet, "Dead bytes of generation 2 that nothing reaches."),
    fact("loh.reserved", Bytes, Sheet, "Address space reserved for the large object heap."),
    fact("loh.committed", Bytes, Sheet, "Committed bytes of the large object heap."),
    fact("loh.used", Bytes, Sheet, "Bytes in objects of the large object heap."),
    fact("loh.free", Bytes, Sheet, "Bytes in holes of the large object heap."),
    fact("loh.largest_free", Bytes, Sheet, "Largest hole of the large object heap."),
    fact("loh.objects", Count, Sheet, "Objects of the large object heap."),
    fact("loh.live", Bytes, Sheet, "Live bytes of the large object heap."),
    fact("loh.finalizing", Bytes, Sheet, "Dead bytes of the large object heap that only the finalizer's queues reach."),
    fact("loh.garbage", Bytes, Sheet, "Dead bytes of the large object heap that nothing reaches."),
    fact("poh.reserved", Bytes, Sheet, "Address space reserved for the pinned object heap."),
    fact("poh.committed", Bytes, Sheet, "Committed bytes of the pinned object heap."),
    fact("poh.used", Bytes, Sheet, "Bytes in objects of the pinned object heap."),
    fact("poh.free", Bytes, Sheet, "Bytes in holes of the pinned object heap."),
    fact("poh.largest_free", Bytes, Sheet, "Largest hole of the pinned object heap."),
    fact("poh.objects", Count, Sheet, "Objects of the pinned object heap."),
    fact("poh.live", Bytes, Sheet, "Live bytes of the pinned object heap."),
    fact("poh.finalizing", Bytes, Sheet, "Dead bytes of the pinned object heap that only the finalizer's queues reach."),
    fact("poh.garbage", Bytes, Sheet, "Dead bytes of the pinned object heap that nothing reaches."),
    fact("soh.committed", Bytes, Sheet, "Committed bytes of generations 0, 1 and 2 together."),
    fact("soh.free", Bytes, Sheet, "Bytes in holes of generations 0, 1 and 2 together."),
    fact("soh.pinned_free", Bytes, Sheet, "Bytes in holes of generations 0, 1 and 2 that lie directly before or after an object with a pinned handle."),
    fact("frozen.committed", Bytes, Sheet, "Committed bytes of frozen segments (NonGC heap)."),
    fact("frozen.used", Bytes, Sheet, "Bytes in objects of frozen segments."),
    fact("frozen.live", Bytes, Sheet, "Live bytes of frozen segments: all of them, for they are never collected."),
    fact("frozen.objects", Count, Sheet, "Objects of frozen segments."),

    // The collector's state.
    fact("gc.server", Bool, Sheet, "Server GC is on."),
    fact("gc.heaps", Count, Sheet, "GC heaps."),
    fact("gc.regions", Bool, Sheet, "The heap is made of regions, not segments."),
    fact("gc.in_progress", Bool, Sheet, "A collection was moving objects when the capture was taken."),
    fact("gc.background", Bool, Sheet, "A background collection was marking or sweeping when the capture was taken."),
    fact("gc.gen0_collections", Count, Sheet, "Collections of generation 0 and older since the start."),
    fact("gc.gen1_collections", Count, Sheet, "Collections of generation 1 and older since the start."),
    fact("gc.gen2_collections", Count, Sheet, "Collections of generation 2 since the start."),
    fact("gc.compacting_collections", Count, Sheet, "Collections that moved objects together."),
    fact("gc.concurrent_collections", Count, Sheet, "Collections that ran in the background."),
    fact("gc.last_generation", Count, Sheet, "Oldest generation of the last collection."),
    fact("gc.last_reason", Text, Sheet, "Why the last collection was started."),
    fact("gc.last_induced", Bool, Sheet, "The last collection was asked for by the program (GC.Collect)."),
    fact("gc.last_compacting", Bool, Sheet, "The last collection moved objects together."),
    fact("gc.latency_mode", Text, Sheet, "GCSettings.LatencyMode: `batch`, `interactive`, `low_latency`, `sustained_low_latency`, `no_gc_region`."),
    fact("gc.concurrent", Bool, Sheet, "Concurrent (background) collection is on."),
    fact("gc.hard_limit", Bytes, Sheet, "The limit that the GC heap was given (GCHeapHardLimit)."),
    fact("gc.conserve_memory", Count, Sheet, "GCConserveMemory, 0 to 9."),
    fact("gc.retain_vm", Bool, Sheet, "The GC keeps memory it could give back (GCRetainVM)."),
    fact("gc.affinitized", Bool, Sheet, "Server GC threads are bound to processors (GCNoAffinitize is not set)."),
    fact("gc.oom_reason", Text, Sheet, "Why the GC could not find memory, the last time that happened; unknown when it never did."),
    fact("gc.oom_bytes", Bytes, Sheet, "Bytes that were asked for then."),
    fact("gc.collections_since_oom", Count, Sheet, "Collections since then."),

    // Finalization.
    fact("finalizer.registered", Count, Sheet, "Objects registered for finalization."),
    fact("finalizer.ready", Count, Sheet, "Dead objects that wait for the finalizer thread."),
    fact("finalizer.ready_bytes", Bytes, Sheet, "Their own size."),
    fact("finalizer.ready_retained", Bytes, Sheet, "What they keep alive, themselves included."),
    fact("finalizer.ready_critical", Count, Sheet, "Those of them with critical finalizers, which run last."),
    fact("finalizer.thread_busy", Bool, Sheet, "The finalizer thread is inside a finalizer, not waiting for work."),
    fact("finalizer.thread_state", Text, Sheet, "`idle`, `busy` or `blocked`, as far as one moment tells."),
    fact("finalizer.thread_sure", Bool, Sheet, "That state is proved, not guessed from the system call the thread is in."),
    fact("finalizer.running", Text, Sheet, "Type of the object whose finalizer runs."),
    fact("finalizer.waits_in", Text, Sheet, "Where the finalizer thread waits: the method it called, or the system call."),
    fact("finalizer.lock", Text, Sheet, "Type of the object whose lock the finalizer thread waits for."),
    fact("finalizer.lock_owner", Text, Sheet, "The thread that holds that lock."),

    // Handles.
    fact("handles.total", Count, Sheet, "GC handles in use."),
    fact("handles.strong", Count, Sheet, "Strong handles."),
    fact("handles.pinned", Count, Sheet, "Pinned handles."),
    fact("handles.pinned_bytes", Bytes, Sheet, "Size of the objects that pinned handles hold in place."),
    fact("handles.async_pinned", Count, Sheet, "Async pinned handles (overlapped I/O)."),
    fact("handles.weak", Count, Sheet, "Weak handles, short and long, with a live target."),
    fact("handles.weak_dead", Count, Sheet, "Weak handles whose target is gone; an estimate from below."),
    fact("handles.dependent", Count, Sheet, "Dependent handles (ConditionalWeakTable)."),
    fact("handles.ref_counted", Count, Sheet, "Reference-counted handles (COM, Java)."),
    fact("handles.sized_ref", Count, Sheet, "Sized-reference handles."),

    // Locks.
    fact("locks.blocks", Count, Sheet, "Objects that have a sync block."),
    fact("locks.blocks_free", Count, Sheet, "Sync blocks that were used and are free again."),
    fact("locks.held", Count, Sheet, "Locks with a sync block that some thread holds; one that nobody ever waited for has none."),
    fact("locks.entering", Count, Sheet, "Threads that wait to enter a lock."),
    fact("locks.waiting", Count, Sheet, "Threads in Monitor.Wait."),

    // Modules.
    fact("modules.count", Count, Sheet, "Loaded managed modules."),
    fact("modules.dynamic", Count, Sheet, "Modules made at run time (Reflection.Emit)."),
    fact("contexts.count", Count, Sheet, "Load contexts."),
    fact("contexts.collectible", Count, Sheet, "Load contexts that can be unloaded."),
    fact("contexts.unloading", Count, Sheet, "Load contexts that were unloaded, or whose object nobody refers to any more, and of which something is still held."),

    // Exceptions.
    fact("exceptions.count", Count, Sheet, "Exception objects on the heap."),
    fact("exceptions.live", Count, Sheet, "Those of them that are reachable."),

    // Strings.
    fact("strings.count", Count, Sheet, "Live strings."),
    fact("strings.bytes", Bytes, Sheet, "Bytes in live strings."),
    fact("strings.duplicate_bytes", Bytes, Sheet, "Bytes in live strings that repeat another string's content."),

    // Threads.
    fact("threads.managed", Count, Sheet, "Managed threads that are alive."),
    fact("threads.dead", Count, Sheet, "Managed thread objects whose OS thread is gone."),
    fact("threads.background", Count, Sheet, "Live managed background threads."),
    fact("threads.unstarted", Count, Sheet, "Managed threads that were made and never started."),
    fact("threads.workers", Count, Sheet, "Live managed threads that the runtime counts as thread pool workers; newer runtimes leave that to managed code."),
    fact("threads.stack_bytes", Bytes, Sheet, "Resident stack memory of all threads."),

    // What waits.
    fact("threadpool.queued", Count, Sheet, "Work items that wait for a thread of the pool."),
    fact("cancellation.sources", Count, Sheet, "Live cancellation token sources."),
    fact("cancellation.cancelled", Count, Sheet, "Those of them that were cancelled."),
    fact("cancellation.timed", Count, Sheet, "Those of them that a timer will cancel, or has."),
    fact("cancellation.largest_source", Count, Sheet, "Registrations on the cancellation token source that has most of them."),

    // Growth between captures of the same service; unknown without an earlier one.
    fact("growth.captures", Count, Growth, "Captures compared, this one included."),
    fact("growth.span", Duration, Growth, "Time between the first and the last of them."),
    fact("growth.last_span", Duration, Growth, "Time between the last capture and the one before it."),
    fact("growth.collections", Count, Growth, "Collections of generation 0 and older between the first and the last of them: how much happened in between."),
    fact("growth.commit", Bytes, Growth, "Growth of the commit from the first to the last; 0 when it shrank."),
    fact("growth.commit_step", Bytes, Growth, "Growth of the commit since the capture before the last; 0 when it shrank."),
    fact("growth.commit_in_every_step", Bool, Growth, "The commit grew from each capture to the next."),
    fact("growth.commit_rate", BytesPerHour, Growth, "Growth of the commit per hour: the slope of a line through all captures."),
    fact("growth.commit_rate_error", BytesPerHour, Growth, "Standard error of that rate; unknown with two captures."),
    fact("growth.managed", Bytes, Growth, "Growth of live managed bytes from the first to the last; 0 when they shrank."),
    fact("growth.managed_step", Bytes, Growth, "Growth of live managed bytes since the capture before the last; 0 when they shrank."),
    fact("growth.managed_in_every_step", Bool, Growth, "Live managed bytes grew from each capture to the next."),
    fact("growth.managed_rate", BytesPerHour, Growth, "Growth of live managed bytes per hour: the slope of a line through all captures."),
    fact("growth.managed_rate_error", BytesPerHour, Growth, "Standard error of that rate; unknown with two captures."),
    fact("growth.native", Bytes, Growth, "Growth of native and unattributed memory from the first to the last; 0 when it shrank."),
    fact("growth.native_step", Bytes, Growth, "Growth of native and unattributed memory since the capture before the last; 0 when it shrank."),
    fact("growth.native_in_every_step", Bool, Growth, "Native and unattributed memory grew from each capture to the next."),
    fact("growth.native_rate", BytesPerHour, Growth, "Growth of native and unattributed memory per hour: the slope of a line through all captures."),
    fact("growth.native_rate_error", BytesPerHour, Growth, "Standard error of that rate; unknown with two captures."),
    fact("growth.threads", Count, Growth, "Growth of OS threads from the first to the last; 0 when they shrank."),
    fact("growth.threads_step", Count, Growth, "Growth of OS threads since the capture before the last; 0 when they shrank."),
    fact("growth.threads_in_every_step", Bool, Growth, "OS threads grew from each capture to the next."),
    fact("growth.threads_rate", CountPerHour, Growth, "Growth of OS threads per hour: the slope of a line through all captures."),
    fact("growth.threads_rate_error", CountPerHour, Growth, "Standard error of that rate; unknown with two captures."),
];

/// List facts.
#[rustfmt::skip]
pub const LISTS: &[List] = &[
    List { name: "types", scope: Sheet, sentence: "Types by bytes, the largest first.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Objects."),
        ("bytes", Bytes, "Their own size."),
        ("live_bytes", Bytes, "Size of those that are reachable."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once."),
    ]},
    List { name: "statics", scope: Sheet, sentence: "Static fields by what they own, the largest first.", columns: &[
        ("field", Text, "`Namespace.Type.field`."),
        ("type", Text, "Type of the object it holds."),
        ("thread_static", Bool, "One value per thread."),
        ("owned", Bytes, "Bytes of the objects that it is the nearest owner of: each object counts for one root only, also where several share it."),
        ("retained", Bytes, "Bytes that would go if the field were cleared: what no other root holds too."),
        ("objects", Count, "Objects owned."),
        ("elements", Count, "Elements, when it is a collection."),
        ("element_type", Text, "What it mostly holds."),
        ("held_in", Text, "The application's own field that holds the fullest collection below it, when that is another field; absent otherwise."),
        ("bound", Text, "What shows that this collection has a bound: a number of its holder that it has reached, or an order in which entries go; absent when nothing does."),
        ("path", Texts, "From the field to what accumulates."),
    ]},
    List { name: "dominators", scope: Sheet, sentence: "Objects that retain most, the largest first; what one of them explains is not listed again.", columns: &[
        ("type", Text, "Full C# name."),
        ("bytes", Bytes, "Its own size."),
        ("retained", Bytes, "Bytes that would go with it."),
        ("accumulates_in", Text, "Type of the object below it from which on the bytes spread over many."),
        ("elements", Count, "Elements, when it is a collection or leads to one."),
        ("element_type", Text, "What that mostly holds."),
        ("path", Texts, "From the root that owns it to it, with field names."),
    ]},
    List { name: "accumulations", scope: Sheet, sentence: "Places where objects pile up: few holders and at least ten times as many objects, counted along the ways from roots, merged by type.", columns: &[
        ("type", Text, "Full C# name of what piles up."),
        ("holder", Text, "Type that holds it."),
        ("root", Text, "The root that it hangs on."),
        ("count", Count, "Objects."),
        ("bytes", Bytes, "Their size, with what hangs on them and piles up nowhere else."),
        ("path", Texts, "From the root to what piles up, merged by type."),
    ]},
    List { name: "pinned", scope: Sheet, sentence: "Targets of pinned handles by type and generation.", columns: &[
        ("type", Text, "Full C# name of the target."),
        ("generation", Text, "`gen0`, `gen1`, `gen2`, `loh`, `poh`, `frozen`."),
        ("count", Count, "Handles."),
        ("bytes", Bytes, "Size of the targets."),
        ("free_nearby", Bytes, "Holes directly before and after the targets."),
    ]},
    List { name: "handle_targets", scope: Sheet, sentence: "Targets of handles by kind and type.", columns: &[
        ("kind", Text, "`strong`, `pinned`, `weak`, …"),
        ("type", Text, "Full C# name of the target."),
        ("count", Count, "Handles."),
        ("bytes", Bytes, "Size of the targets."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once; strong handles only."),
    ]},
    List { name: "generations", scope: Sheet, sentence: "Generations of each heap.", columns: &[
        ("heap", Count, "Index of the heap."),
        ("generation", Text, "`gen0`, `gen1`, `gen2`, `loh`, `poh`, `frozen`."),
        ("reserved", Bytes, "Address space."),
        ("committed", Bytes, "Committed bytes."),
        ("used", Bytes, "Bytes in objects."),
        ("free", Bytes, "Bytes in holes."),
        ("largest_free", Bytes, "The largest hole."),
        ("objects", Count, "Objects."),
        ("holes", Count, "Holes."),
    ]},
    List { name: "free_blocks", scope: Sheet, sentence: "Holes by generation and size; each row covers sizes up to twice its own.", columns: &[
        ("generation", Text, "`gen0`, `gen1`, `gen2`, `loh`, `poh`, `frozen`."),
        ("from", Bytes, "Smallest size of the row."),
        ("count", Count, "Holes."),
    ]},
    List { name: "handle_kinds", scope: Sheet, sentence: "Handles by kind and generation of their target.", columns: &[
        ("kind", Text, "`strong`, `pinned`, `weak_short`, …"),
        ("generation", Text, "`gen0`, `gen1`, `gen2`, `loh`, `poh`, `frozen`; empty when the target is no object."),
        ("count", Count, "Handles."),
        ("bytes", Bytes, "Size of the targets."),
    ]},
    List { name: "finalizable_generations", scope: Sheet, sentence: "Objects registered for finalization by the generation whose collection looks at them.", columns: &[
        ("generation", Text, "`gen0`, `gen1`, `gen2`, `loh`, `poh`."),
        ("count", Count, "Objects."),
        ("bytes", Bytes, "Their own size."),
    ]},
    List { name: "held_locks", scope: Sheet, sentence: "Locks that are held or waited for, the most waited for first.", columns: &[
        ("type", Text, "Type of the object."),
        ("owner", Text, "The thread that holds it; empty when none does."),
        ("recursion", Count, "Times the owner entered it."),
        ("entering", Count, "Threads that wait to enter."),
        ("waiting", Count, "Threads in Monitor.Wait."),
    ]},
    List { name: "thrown", scope: Sheet, sentence: "The exceptions that threads threw last, which they may have handled long ago.", columns: &[
        ("thread", Text, "The thread."),
        ("type", Text, "Full C# name."),
        ("hresult", Text, "HResult, hexadecimal."),
        ("message", Text, "Message, shortened and scrubbed; absent when strings may not leave the node."),
    ]},
    List { name: "managed_threads", scope: Sheet, sentence: "Managed threads that are alive.", columns: &[
        ("id", Count, "Managed id."),
        ("os_id", Count, "Kernel thread id."),
        ("name", Text, "Thread.Name, or the kernel's."),
        ("background", Bool, "Does not keep the process alive."),
        ("worker", Bool, "Belongs to the thread pool, as far as the runtime says."),
        ("retained", Bytes, "Bytes that its stack alone keeps alive, as far as a word that looks like a reference is one."),
        ("calls", Text, "The innermost call into the runtime or native code, where it is known."),
        ("system_call", Text, "The system call it is in."),
    ]},
    List { name: "modules", scope: Sheet, sentence: "Loaded managed modules.", columns: &[
        ("name", Text, "File name."),
        ("version", Text, "Version of the assembly."),
        ("mvid", Text, "Module version id."),
        ("path", Text, "Path it was loaded from."),
        ("bytes", Bytes, "Bytes of its image."),
        ("retained", Bytes, "Bytes on the heap that would go with one or another object of its types, each byte once."),
        ("dynamic", Bool, "Made at run time."),
    ]},
    List { name: "dynamic_modules", scope: Sheet, sentence: "Modules made at run time by name, the most frequent first.", columns: &[
        ("name", Text, "Name of the assembly with digits erased."),
        ("count", Count, "Modules."),
    ]},
    List { name: "load_contexts", scope: Sheet, sentence: "Load contexts.", columns: &[
        ("name", Text, "Its name."),
        ("type", Text, "Full name of its class."),
        ("collectible", Bool, "It can be unloaded."),
        ("unloading", Bool, "It was unloaded and something still holds a part of it."),
        ("assemblies", Count, "Modules in it."),
        ("held_by", Text, "The root that reaches its object; empty when none does."),
    ]},
    List { name: "settings", scope: Sheet, sentence: "Settings of the runtime.", columns: &[
        ("name", Text, "Variable or property."),
        ("value", Text, "Its value."),
        ("source", Text, "`environment` or `runtimeconfig`."),
    ]},
    List { name: "finalizable", scope: Sheet, sentence: "Objects registered for finalization by type, without those that were disposed (GC.SuppressFinalize).", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Objects."),
        ("bytes", Bytes, "Their own size."),
    ]},
    List { name: "ready", scope: Sheet, sentence: "Objects that wait for the finalizer thread by type.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Objects."),
        ("bytes", Bytes, "Their own size."),
    ]},
    List { name: "duplicate_strings", scope: Sheet, sentence: "String contents that occur more than once, by wasted bytes.", columns: &[
        ("value", Text, "The content, shortened and scrubbed, or its length and hash when strings may not leave the node."),
        ("length", Count, "Characters."),
        ("count", Count, "Copies."),
        ("wasted", Bytes, "Bytes of all copies but one."),
    ]},
    List { name: "thread_names", scope: Sheet, sentence: "OS threads by name.", columns: &[
        ("name", Text, "Name with digits erased."),
        ("runs", Text, "The type of the application's own that most of their stacks hold; empty when there is none."),
        ("count", Count, "Threads."),
    ]},
    List { name: "native_regions", scope: Sheet, sentence: "Memory outside the GC heap by kind, the largest first.", columns: &[
        ("kind", Text, "`malloc: thread arenas`, `malloc: brk heap`, `anonymous, owner unknown`, …"),
        ("count", Count, "Mappings."),
        ("bytes", Bytes, "Committed bytes."),
    ]},
    List { name: "collections", scope: Sheet, sentence: "Types of live collections by the room they waste, the most wasteful first.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Collections."),
        ("elements", Count, "Elements in all of them."),
        ("capacity", Count, "Elements that they have room for."),
        ("empty", Count, "Collections without an element."),
        ("wasted", Bytes, "Bytes reserved for elements that are not there."),
        ("path", Texts, "From a root to the one that wastes most."),
    ]},
    List { name: "shapes", scope: Sheet, sentence: "Live objects of well-known types and what they hold: lazies, thread locals, execution contexts, pools, contexts of databases, token sources; then collections.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Objects."),
        ("elements", Count, "What all of them hold: elements, values, connections, tracked entities, registrations; of a Lazy, whether its value was made."),
        ("capacity", Count, "What they have room for."),
        ("largest", Count, "What the fullest of them holds."),
        ("retained", Bytes, "Bytes reached through the fullest first."),
        ("idle", Bytes, "Bytes that wait in them to be used again; absent where they are not for that."),
        ("oldest", Duration, "Time from the moment that the oldest element bears to the capture; absent where elements bear none."),
        ("newest", Duration, "The same of the newest."),
        ("moment", Text, "The field of the elements that says so."),
        ("path", Texts, "From a root to the fullest; absent where that keeps little alive."),
    ]},
    List { name: "http_pools", scope: Sheet, sentence: "Hosts that HTTP connections lead to, most connections first.", columns: &[
        ("host", Text, "Name and port; the name as a hash when strings may not leave the node."),
        ("connections", Count, "Open connections, in use or idle."),
        ("pools", Count, "Pools that hold them: one for each handler."),
        ("path", Texts, "From a root to the fullest pool."),
    ]},
    List { name: "queues", scope: Sheet, sentence: "Long queues, channels and blocking collections, the longest first.", columns: &[
        ("queue", Text, "The field that holds it: `Namespace.Type.field`."),
        ("type", Text, "Its type."),
        ("elements", Count, "Elements that wait in it."),
        ("retained", Bytes, "Bytes that would go with it."),
        ("oldest", Duration, "Time from the moment that the oldest element bears to the capture; absent where elements bear none."),
        ("newest", Duration, "The same of the newest."),
        ("moment", Text, "The field of the elements that says so."),
        ("path", Texts, "From the root to it."),
    ]},
    List { name: "event_handlers", scope: Sheet, sentence: "Events and delegates with many handlers, the most first.", columns: &[
        ("event", Text, "The field that holds it: `Namespace.Type.field`."),
        ("type", Text, "Type of the delegate."),
        ("handlers", Count, "Handlers."),
        ("target_type", Text, "The type that most of those looked at belong to."),
        ("of_target", Count, "How many of them."),
        ("retained", Bytes, "Bytes that would go with it."),
        ("path", Texts, "From the root to it."),
    ]},
    List { name: "timers", scope: Sheet, sentence: "Live timers by what they call.", columns: &[
        ("calls", Text, "The type whose method is called, or the state when the framework's own is."),
        ("count", Count, "Timers."),
        ("bytes", Bytes, "Their own size."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once."),
        ("path", Texts, "From a root to the one that keeps most alive."),
    ]},
    List { name: "registrations", scope: Sheet, sentence: "Registrations on cancellation tokens by who made them.", columns: &[
        ("registered_by", Text, "The type of the callback, or of its state when the framework's own is called."),
        ("count", Count, "Registrations."),
        ("bytes", Bytes, "Their own size."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once."),
        ("path", Texts, "From a root to the one that keeps most alive."),
    ]},
    List { name: "async_calls", scope: Sheet, sentence: "Calls of asynchronous methods that have not ended, by method and place.", columns: &[
        ("method", Text, "The method."),
        ("waits_at", Count, "Number of the await it waits at, from 0."),
        ("count", Count, "Calls."),
        ("bytes", Bytes, "Size of their state."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once."),
        ("path", Texts, "From a root to the one that keeps most alive."),
    ]},
    List { name: "resources", scope: Sheet, sentence: "Live objects that stand for something scarce or expensive.", columns: &[
        ("type", Text, "Full C# name."),
        ("kind", Text, "`connection`, `http client`, `file`, `wait handle`, `cache`, …"),
        ("count", Count, "Objects."),
        ("bytes", Bytes, "Their own size."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once."),
        ("path", Texts, "From a root to the one that keeps most alive."),
    ]},
    List { name: "exceptions", scope: Sheet, sentence: "Live exceptions by type, those that keep most alive first.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Exceptions."),
        ("bytes", Bytes, "Their own size."),
        ("retained", Bytes, "Bytes that would go with one or another of them, each byte once: traces, messages, inner exceptions."),
        ("thrown", Count, "Those of them that were thrown, and carry a stack trace."),
        ("inner", Count, "Most inner exceptions below one of them."),
        ("path", Texts, "From a root to the one that keeps most alive."),
    ]},
    List { name: "large_arrays", scope: Sheet, sentence: "Live arrays on the large object heap by type, the largest share first.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Arrays."),
        ("bytes", Bytes, "Their own size."),
        ("path", Texts, "From a root to the largest."),
    ]},
    List { name: "growing_statics", scope: Growth, sentence: "Static fields that owned more in every capture than in the one before.", columns: &[
        ("field", Text, "`Namespace.Type.field`."),
        ("type", Text, "Type of the object it holds."),
        ("thread_static", Bool, "One value per thread."),
        ("owned", Bytes, "Bytes of the objects that it is the nearest owner of, now."),
        ("retained", Bytes, "Bytes that would go now if the field were cleared."),
        ("previous", Bytes, "Bytes in the first capture compared."),
        ("delta", Bytes, "Growth over all captures compared."),
        ("step", Bytes, "Growth since the capture before the last."),
        ("rate", BytesPerHour, "Growth per hour: the slope of a line through all captures."),
        ("rate_error", BytesPerHour, "Standard error of that rate; unknown with two captures."),
        ("last_rate", BytesPerHour, "Growth per hour over the last step alone."),
        ("steps", Count, "Captures in a row in which it grew."),
        ("elements", Count, "Elements now, when it is a collection."),
        ("element_type", Text, "What it mostly holds."),
        ("held_in", Text, "The application's own field that holds the fullest collection below it, when that is another field; absent otherwise."),
        ("path", Texts, "From the field to what accumulates."),
    ]},
    List { name: "growing_types", scope: Growth, sentence: "Types whose live bytes grew in every capture.", columns: &[
        ("type", Text, "Full C# name."),
        ("count", Count, "Objects now, dead or alive."),
        ("bytes", Bytes, "Live bytes now."),
        ("previous", Bytes, "Bytes in the first capture compared."),
        ("delta", Bytes, "Growth over all captures compared."),
        ("step", Bytes, "Growth since the capture before the last."),
        ("rate", BytesPerHour, "Growth per hour: the slope of a line through all captures."),
        ("rate_error", BytesPerHour, "Standard error of that rate; unknown with two captures."),
        ("last_rate", BytesPerHour, "Growth per hour over the last step alone."),
        ("steps", Count, "Captures in a row in which it grew."),
    ]},
    List { name: "growing_places", scope: Growth, sentence: "Places where more objects piled up in every capture than in the one before.", columns: &[
        ("type", Text, "Full C# name of what piles up."),
        ("holder", Text, "Type that holds it."),
        ("root", Text, "The root that it hangs on."),
        ("count", Count, "Objects now."),
        ("bytes", Bytes, "Bytes now, with what hangs on them."),
        ("previous", Bytes, "Bytes in the first capture compared."),
        ("delta", Bytes, "Growth over all captures compared."),
        ("step", Bytes, "Growth since the capture before the last."),
        ("rate", BytesPerHour, "Growth per hour: the slope of a line through all captures."),
        ("rate_error", BytesPerHour, "Standard error of that rate; unknown with two captures."),
        ("last_rate", BytesPerHour, "Growth per hour over the last step alone."),
        ("steps", Count, "Captures in a row in which it grew."),
        ("path", Texts, "From the root to what piles up, merged by type."),
    ]},
    List { name: "growing_shapes", scope: Growth, sentence: "Queues, events, timers and other well-known shapes that grew in every capture.", columns: &[
        ("shape", Text, "`queue`, `event`, `timer`, `registration`, `async call`, `exception`, `resource`, `handle`, `finalizable`, `thread`, `collection`, …"),
        ("name", Text, "The field, type or method it is known by."),
        ("now", Count, "How many now: elements, handlers, objects."),
        ("previous", Count, "How many in the first capture compared."),
        ("delta", Count, "Growth over all captures compared."),
        ("step", Count, "Growth since the capture before the last."),
        ("rate", CountPerHour, "Growth per hour: the slope of a line through all captures."),
        ("rate_error", CountPerHour, "Standard error of that rate; unknown with two captures."),
        ("last_rate", CountPerHour, "Growth per hour over the last step alone."),
        ("steps", Count, "Captures in a row in which it grew."),
        ("bytes_delta", Bytes, "Growth of what they keep alive, over all captures compared; 0 where that is not known."),
    ]},
];

/// The scalar fact called `name`.
#[must_use]
pub fn fact_named(name: &str) -> Option<&'static Fact> {
    FACTS.iter().find(|f| f.name == name)
}

/// The list fact called `name`.
#[must_use]
pub fn list_named(name: &str) -> Option<&'static List> {
    LISTS.iter().find(|l| l.name == name)
}

static FINGERPRINT: LazyLock<String> = LazyLock::new(|| {
    let columns = LISTS.iter().flat_map(|list| {
        let columns = list.columns.iter().map(|(name, ..)| *name);
        std::iter::once(list.name).chain(columns)
    });
    let mut names: Vec<&str> = FACTS.iter().map(|fact| fact.name).chain(columns).collect();
    names.sort_unstable();
    // FNV-1a: two vocabularies shall differ, nobody shall be kept from forging one.
    let hash = names
        .join("\n")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
});

/// The names of all facts and columns in one word, the same for the same names in any order.
#[must_use]
pub fn fingerprint() -> &'static str {
    &FINGERPRINT
}

#[cfg(test)]
mod tests;
