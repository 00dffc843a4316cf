//! Process image to managed heap.
//!
//! The model on one page. A process has one [`Runtime`]; it knows its version and the [`layout`](RuntimeInfo::layout_proven)
//! of its own structures. The runtime has [heaps](Heap) made of [segments](Segment); a segment is a row of objects and free
//! blocks, which [`Runtime::walk`] visits in parallel. Every object's first word leads to its type ([`TypeInfo`]), and the
//! type says where its references lie. Roots are statics, thread statics, handles, the finalization queue and stacks.
//!
//! Nothing here needs Microsoft's debugging library, a symbol file or the machine that the dump came from.
//!
//! Invariants: only this crate knows the memory of the runtime. It knows no file format and judges nothing. It claims only
//! what it proved: a layout that does not fit is refused, damage is counted in [`Completeness`], and no byte of a dump can make
//! it panic, loop for ever or allocate without a cap.

mod app_properties;
pub mod completeness;
mod dac_table;
mod descriptor;
mod dictionaries;
mod emitted;
mod exceptions;
mod fields;
mod finalization;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gc_state;
mod gc_vars;
mod gcdesc;
mod handles;
mod histogram;
mod image_ranges;
mod layout;
pub mod limits;
mod load_contexts;
mod loader_allocator;
mod locks;
pub mod metadata;
mod method_table;
mod modules;
pub mod moments;
mod names;
mod parallel;
mod payloads;
mod pe;
mod peek;
mod process_start;
mod range_index;
mod references;
mod runtime;
mod segments;
mod shapes;
mod snapshot;
mod stacks;
mod statics;
mod strings;
mod thread_statics;
mod threads;
mod types;
mod version;
mod walk;
mod window;

pub use completeness::{Completeness, Problem};
pub use exceptions::ExceptionInfo;
pub use fields::{Field, FieldKind};
pub use finalization::{Finalization, FinalizerState, FinalizerThread};
pub use frames::{Frame, SystemCall};
pub use gc_state::{
    Budget, GcState, GcTiming, LastCollection, LatencyMode, Mechanisms, OutOfMemory,
};
pub use handles::{Handle, HandleKind};
pub use histogram::{Histogram, Tally};
pub use layout::LayoutSource;
pub use load_contexts::LoadContext;
pub use locks::{MonitorLock, SyncBlocks};
pub use modules::{Module, ModuleInfo};
pub use moments::MomentField;
pub use payloads::Payloads;
pub use peek::{Parts, Peek, Peeker};
pub use process_start::ProcessStart;
pub use references::{Edges, References};
pub use runtime::{NoRuntime, Options, Runtime, RuntimeInfo};
pub use segments::{Generation, Heap, HeapRange, Segment};
pub use shapes::TypeId;
pub use snapshot::Snapshot;
pub use stacks::StackRoots;
pub use statics::StaticField;
pub use thread_statics::ThreadStaticField;
pub use threads::ManagedThread;
pub use types::TypeInfo;
pub use version::Version;
pub use walk::{FREE_BUCKETS, Object, RangeStats, Walk};
