//! The closed list of categories: what kinds of memory trouble exist. A rule must name one.

use serde::{Deserialize, Serialize};

macro_rules! categories {
    ($( $variant:ident = $name:literal, $sentence:literal; )+) => {
        /// A kind of memory trouble.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Category {
            $( #[doc = $sentence] #[serde(rename = $name)] $variant, )+
        }

        impl Category {
            /// Every category, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// As it stands in JSON and in rule files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What it is, one sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $( Self::$variant => $sentence, )+ }
            }

            /// The category called `name`.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name { $( $name => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

categories! {
    FinalizerBacklog = "finalizer-backlog", "Dead objects wait for a finalizer thread that does not keep up.";
    LohFragmentation = "loh-fragmentation", "The large object heap is full of holes.";
    HeapFragmentation = "heap-fragmentation", "Generations 0 to 2 are full of holes.";
    PinnedHandles = "pinned-handles", "Pinned handles keep the collector from compacting.";
    AsyncPinnedHandles = "async-pinned-handles", "Outstanding overlapped I/O pins its buffers.";
    StrongHandleLeak = "strong-handle-leak", "Strong handles are allocated and not freed.";
    WeakHandleLeak = "weak-handle-leak", "Weak handles pile up; every collection scans them.";
    DependentHandles = "dependent-handles", "ConditionalWeakTable entries pile up.";
    StaticRoot = "static-root", "One static field keeps a large part of the heap alive.";
    StaticRootGrowth = "static-root-growth", "A static field keeps more and more alive.";
    RetainedGrowth = "retained-growth", "Live managed memory grows from capture to capture.";
    EventHandlerLeak = "event-handler-leak", "An event keeps its subscribers alive.";
    TimerLeak = "timer-leak", "Timers are created and not disposed.";
    CancellationRegistrations = "cancellation-registrations", "A long-lived token collects registrations.";
    AsyncBacklog = "async-backlog", "Many calls of one async method wait at the same await.";
    QueueBacklog = "queue-backlog", "A producer is faster than its consumer.";
    ThreadpoolBacklog = "threadpool-backlog", "Work items queue up in the thread pool.";
    ThreadLeak = "thread-leak", "Threads are created and do not end.";
    ThreadStatic = "thread-static", "A value is kept once per thread.";
    StringDuplication = "string-duplication", "The same text is kept many times.";
    CollectionWaste = "collection-waste", "Collections are much larger than what they hold.";
    LargeBuffers = "large-buffers", "Large arrays are allocated and not pooled.";
    UndisposedResources = "undisposed-resources", "Disposable objects are left to the finalizer.";
    ConnectionLeak = "connection-leak", "Connections are opened and not returned.";
    DynamicAssemblies = "dynamic-assemblies", "Code is generated again and again.";
    LoadContextLeak = "load-context-leak", "Unloaded plug-ins stay in memory.";
    ExceptionsKept = "exceptions-kept", "Exceptions are kept after they were handled.";
    NativeGrowth = "native-growth", "Memory outside the managed heap dominates or grows.";
    NativeFragmentation = "native-fragmentation", "The native allocator keeps memory that nobody uses.";
    PohGrowth = "poh-growth", "The pinned object heap is large.";
    GarbageWaiting = "garbage-waiting", "Most of the heap is dead and waits for a collection.";
    CommittedFree = "committed-free", "The collector keeps committed memory that holds no objects.";
    PageCache = "page-cache", "File cache is mistaken for memory of the process.";
    GcSettings = "gc-settings", "The collector is configured for a different machine.";
    NearLimit = "near-limit", "The memory limit is close.";
    DumpUnreliable = "dump-unreliable", "The capture could not be read well enough to judge it.";
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
