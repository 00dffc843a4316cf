//! Structures that the library fills in: dotnet/runtime src/coreclr/inc/dacprivate.h, frozen there by size.

/// DacpThreadStoreData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct ThreadStore {
    pub threads: i32,
    pub unstarted: i32,
    pub background: i32,
    pub pending: i32,
    pub dead: i32,
    pub first: u64,
    pub finalizer: u64,
    pub gc: u64,
    host: u32,
}
const _: () = assert!(size_of::<ThreadStore>() == 0x38);

/// DacpThreadData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct ThreadData {
    pub managed_id: u32,
    pub os_id: u32,
    pub state: i32,
    pub preemptive_disabled: u32,
    pub alloc_pointer: u64,
    pub alloc_limit: u64,
    context: u64,
    domain: u64,
    frame: u64,
    lock_count: i32,
    first_nested_exception: u64,
    teb: u64,
    fiber: u64,
    pub last_thrown: u64,
    pub next: u64,
}
const _: () = assert!(size_of::<ThreadData>() == 0x68);

/// DacpGcHeapData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct GcHeapData {
    pub server: i32,
    pub valid: i32,
    pub heaps: u32,
    pub max_generation: u32,
}
const _: () = assert!(size_of::<GcHeapData>() == 0x10);

/// DacpGenerationData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct Generation {
    pub start_segment: u64,
    pub allocation_start: u64,
    pub alloc_pointer: u64,
    pub alloc_limit: u64,
}
const _: () = assert!(size_of::<Generation>() == 0x20);

/// DacpGcHeapDetails.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct HeapDetails {
    pub address: u64,
    pub alloc_allocated: u64,
    mark_array: u64,
    state: u64,
    next_sweep: u64,
    saved_sweep_segment: u64,
    saved_sweep_start: u64,
    background_lowest: u64,
    background_highest: u64,
    pub generations: [Generation; 4],
    pub ephemeral_segment: u64,
    pub fill_pointers: [u64; 7],
    lowest: u64,
    highest: u64,
    card_table: u64,
}
const _: () = assert!(size_of::<HeapDetails>() == 0x120);

/// DacpHeapSegmentData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct SegmentData {
    pub address: u64,
    pub allocated: u64,
    pub committed: u64,
    pub reserved: u64,
    pub used: u64,
    pub mem: u64,
    pub next: u64,
    heap: u64,
    high_alloc_mark: u64,
    pub flags: u64,
    background_allocated: u64,
}
const _: () = assert!(size_of::<SegmentData>() == 0x58);

/// DacpMethodTableData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct MethodTableData {
    pub is_free: i32,
    pub module: u64,
    pub class: u64,
    pub parent: u64,
    interfaces: u16,
    methods: u16,
    vtable_slots: u16,
    virtuals: u16,
    pub base_size: u32,
    pub component_size: u32,
    pub token: u32,
    attributes: u32,
    shared: i32,
    /// Statics of its own apart from the module's: instances of generic classes (up to 8).
    pub dynamic: i32,
    pub contains_pointers: i32,
}
const _: () = assert!(size_of::<MethodTableData>() == 0x48);

/// DacpMethodTableFieldData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct FieldCounts {
    pub instance: u16,
    pub statics: u16,
    pub thread_statics: u16,
    pub first: u64,
    context_offset: u16,
    context_size: u16,
}
const _: () = assert!(size_of::<FieldCounts>() == 0x18);

/// DacpFieldDescData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct FieldData {
    /// CorElementType of the storage.
    pub kind: i32,
    signature_kind: i32,
    type_table: u64,
    type_module: u64,
    type_token: u32,
    pub token: u32,
    pub enclosing: u64,
    pub offset: u32,
    pub thread_local: i32,
    context_local: i32,
    pub is_static: i32,
    pub next: u64,
}
const _: () = assert!(size_of::<FieldData>() == 0x40);

/// DacpModuleData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct ModuleData {
    pub address: u64,
    file: u64,
    il_base: u64,
    metadata_start: u64,
    metadata_size: u64,
    assembly: u64,
    pub is_reflection: i32,
    is_pe_file: i32,
    base_class_index: u64,
    pub module_id: u64,
    transient_flags: u32,
    maps: [u64; 7],
    lookup_heap: u64,
    thunk_heap: u64,
    pub module_index: u64,
}
const _: () = assert!(size_of::<ModuleData>() == 0xA0);

/// DacpDomainLocalModuleData, and DacpThreadLocalModuleData, which has the same shape.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct LocalModule {
    owner: u64,
    id: u64,
    class_data: u64,
    dynamic_table: u64,
    pub gc_statics: u64,
    other_statics: u64,
}
const _: () = assert!(size_of::<LocalModule>() == 0x30);

/// DacpAppDomainStoreData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct AppDomainStore {
    shared: u64,
    pub system: u64,
    pub count: i32,
}
const _: () = assert!(size_of::<AppDomainStore>() == 0x18);

/// DacpSyncBlockData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct SyncBlock {
    pub object: u64,
    pub free: i32,
    address: u64,
    com_flags: u32,
    pub held: u32,
    pub recursion: u32,
    pub holder: u64,
    pub waiters: u32,
    domain: u64,
    pub count: u32,
}
const _: () = assert!(size_of::<SyncBlock>() == 0x48);

/// SOSHandleData (sospriv.idl).
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct HandleData {
    domain: u64,
    pub handle: u64,
    pub secondary: u64,
    pub kind: u32,
    strong: i32,
    references: u32,
    jupiter: u32,
    pegged: i32,
}
