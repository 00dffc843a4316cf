//! Every cap on a count or a length that a dump may claim, each with its reason.
//!
//! A dump is hostile until proved otherwise: nothing is allocated, looped or recursed on the word of a dump alone.

/// Bytes of one module's metadata; System.Private.CoreLib has about 4 MB, the largest seen in the wild 60 MB.
pub const METADATA_BYTES: usize = 256 << 20;
/// Bytes of all modules' metadata together.
pub const ALL_METADATA_BYTES: usize = 1 << 30;
/// Bytes of one name in metadata; the language allows 1,023 characters.
pub const NAME_BYTES: usize = 4 << 10;
/// Bytes of a composed type name; generics over generics may double at each level.
pub const TYPE_NAME_BYTES: usize = 4 << 10;
/// Types that one type name may be made of.
pub const TYPE_NAME_NODES: usize = 512;
/// Nested generic arguments, arrays and pointers in one type name.
pub const TYPE_NAME_DEPTH: usize = 24;
/// Arguments of one generic instance; C# allows 65,535, real ones have fewer than twenty.
pub const GENERIC_ARGUMENTS: u16 = 256;
/// Levels of nested classes.
pub const NESTED_CLASSES: usize = 32;
/// Levels of inheritance.
pub const BASE_CLASSES: usize = 128;
/// Types of one process; services with heavy code generation have about 200,000.
pub const TYPES: usize = 2_000_000;
/// Modules of one process.
pub const MODULES: usize = 65_536;
/// Type definitions of one module (24-bit row ids).
pub const TYPE_DEFS: u32 = 1 << 24;
/// Entries of one table of generic instances.
pub const INSTANTIATIONS: u32 = 4_000_000;
/// GC heaps; the runtime itself stops at 1,024.
pub const HEAPS: u32 = 1_024;
/// Generations of one heap.
pub const GENERATIONS: u64 = 5;
/// Segments or regions in one list: 256 GB of reserved range in 4 MB regions make 65,536; ten times that.
pub const SEGMENTS: usize = 1 << 20;
/// Managed threads.
pub const THREADS: usize = 200_000;
/// Handle tables of one bucket: one for each processor.
pub const HANDLE_SLOTS: usize = 1_024;
/// Buckets of handle tables.
pub const HANDLE_BUCKETS: usize = 1_024;
/// Segments of all handle tables: 7,680 handles each, hence 500 million handles.
pub const HANDLE_SEGMENTS: usize = 65_536;
/// Entries of one finalization queue.
pub const FINALIZATION_ENTRIES: u64 = 1 << 28;
/// Fields of one class (16-bit in the runtime).
pub const FIELDS: usize = 65_536;
/// Series of references in one type's description.
pub const GC_SERIES: i64 = 65_536;
/// Entries of one domain-local or thread-local class table.
pub const CLASS_TABLE: u64 = 1 << 22;
/// Bytes scanned word by word after damage before the rest of a range is given up.
pub const RESYNC_BYTES: u64 = 64 << 20;
/// Words that are remembered as "not a method table" while looking for the next object after damage.
pub const REJECTED_WORDS: usize = 1 << 20;
/// Elements of one array the facts code may read at once.
pub const ARRAY_ELEMENTS: u64 = 1 << 27;
/// UTF-16 units of a string that are ever copied out.
pub const STRING_UNITS: usize = 1 << 16;
/// Bytes of writable runtime data that are searched for the GC's self-description.
pub const RUNTIME_DATA_BYTES: u64 = 64 << 20;
/// Bytes of one stack that are scanned for object addresses.
pub const STACK_BYTES: u64 = 64 << 20;
/// Bytes of a module file that stands in for pages the dump lacks.
pub const MODULE_FILE_BYTES: u64 = 1 << 30;
/// Sections or program headers of one image.
pub const IMAGE_SECTIONS: usize = 256;
/// Links of a thread's chain of frames that are followed.
pub const FRAMES: usize = 64;
/// Bytes of a contract descriptor's text: 10 has 10,563.
pub const DESCRIPTOR_BYTES: usize = 512 << 10;
/// Pointers of a contract descriptor: 10 has 24.
pub const DESCRIPTOR_POINTERS: usize = 4_096;
/// Types, fields and globals of a contract descriptor together: 10 has about 500.
pub const DESCRIPTOR_NAMES: usize = 16_384;
/// Bytes of one of the runtime's own structures: the largest, `Thread` and `AppDomain`, have about 4,000.
pub const STRUCTURE_BYTES: u64 = 1 << 16;
/// Entries of the table of sync blocks: an object's header has 26 bits for its index.
pub const SYNC_BLOCKS: u32 = 1 << 26;
/// Entries of one dictionary of the framework's that are read.
pub const DICTIONARY_ENTRIES: u32 = 1 << 16;
/// Load contexts of one process.
pub const LOAD_CONTEXTS: usize = 65_536;
/// Bytes from the start of the main thread's stack to the end of its environment: the kernel's own limit is 6 MB.
pub const ENVIRONMENT_BYTES: u64 = 8 << 20;
/// Arguments and variables that a process was started with.
pub const ENVIRONMENT_ENTRIES: usize = 65_536;
/// Words that calibration reads in one search that a damaged dump could draw out: lists of threads, hashes of generic
/// instances.
pub const CALIBRATION_WORDS: u64 = 8_000_000;
/// Addresses that calibration judges as modules.
pub const CALIBRATION_MODULES: usize = 8_192;
/// Types emitted at run time whose names are kept.
pub const EMITTED_TYPES: usize = 1 << 17;
/// Bytes of an assembly's simple name.
pub const SIMPLE_NAME_BYTES: usize = 1_024;
