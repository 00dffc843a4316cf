//! ISOSDacInterface: the questions that SOS asks, and the shapes of the answers.
//!
//! Declarations: dotnet/runtime src/coreclr/inc/sospriv.idl (order of the functions) and dacprivate.h (structures);
//! the order has been fixed since .NET Core 1.0.

use crate::com::{Guid, HResult, Interface, S_OK};
use crate::data_target::DataTarget;
use anyhow::{Context, Result, bail};
use leakhound_dump::ProcessImage;
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const IID_SOS: Guid = Guid(
    0x436f_00f2,
    0xb42a,
    0x4b9f,
    [0x87, 0x0c, 0xe7, 0x3d, 0xb6, 0x6a, 0xe9, 0x30],
);
/// ISOSDacInterface8 knows generations beyond the large object heap (5.0 and later).
const IID_SOS_8: Guid = Guid(
    0xc12f_35a9,
    0xe55c,
    0x4520,
    [0xa8, 0x94, 0xb3, 0xdc, 0x51, 0x65, 0xdf, 0xce],
);
/// No runtime has more; a larger answer is a wrong one.
const MOST_GENERATIONS: usize = 8;
const MOST_HEAPS: u32 = 1024;
const NAME_CHARS: usize = 4096;

/// The loaded library with the core in its hands.
pub struct Dac {
    sos: Interface,
    sos8: Option<Interface>,
}

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

/// DacpThreadData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct ThreadData {
    pub managed_id: u32,
    pub os_id: u32,
    pub state: i32,
    preemptive_disabled: u32,
    pub alloc_pointer: u64,
    pub alloc_limit: u64,
    context: u64,
    domain: u64,
    frame: u64,
    lock_count: i32,
    first_nested_exception: u64,
    teb: u64,
    fiber: u64,
    last_thrown: u64,
    pub next: u64,
}

/// DacpGcHeapData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct GcHeapData {
    pub server: i32,
    pub valid: i32,
    pub heaps: u32,
    pub max_generation: u32,
}

/// DacpGenerationData.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
pub struct Generation {
    pub start_segment: u64,
    pub allocation_start: u64,
    pub alloc_pointer: u64,
    pub alloc_limit: u64,
}

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
    fill_pointers: [u64; 7],
    lowest: u64,
    highest: u64,
    card_table: u64,
}

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
    dynamic: i32,
    pub contains_pointers: i32,
}

/// SOSHandleData.
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

type Get<T> = unsafe extern "C" fn(*mut c_void, *mut T) -> HResult;
type GetOf<T> = unsafe extern "C" fn(*mut c_void, u64, *mut T) -> HResult;

impl Dac {
    /// Loads the library and gives it the core.
    pub fn load(library: &Path, image: &ProcessImage) -> Result<Self> {
        type DllMain = unsafe extern "C" fn(*mut c_void, u32, *mut c_void) -> i32;
        type Create =
            unsafe extern "C" fn(*const Guid, *mut DataTarget, *mut *mut c_void) -> HResult;
        const PROCESS_ATTACH: u32 = 1;
        let path = CString::new(library.as_os_str().as_bytes())?;
        // SAFETY: the library is the runtime's own; its entry points are called as its sources declare them.
        unsafe {
            let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
            if handle.is_null() {
                let why = std::ffi::CStr::from_ptr(libc::dlerror());
                bail!("{}: {}", library.display(), why.to_string_lossy());
            }
            let entry = |name: &std::ffi::CStr| {
                let address = libc::dlsym(handle, name.as_ptr());
                if address.is_null() {
                    bail!(
                        "{} exports no {}",
                        library.display(),
                        name.to_string_lossy()
                    );
                }
                Ok(address)
            };
            // Outside of Windows, DllMain starts the platform layer that the library carries.
            let main: DllMain = std::mem::transmute(entry(c"DllMain")?);
            main(std::ptr::null_mut(), PROCESS_ATTACH, std::ptr::null_mut());
            let create: Create = std::mem::transmute(entry(c"CLRDataCreateInstance")?);
            let mut out = std::ptr::null_mut();
            let result = create(&IID_SOS, DataTarget::leak(image), &mut out);
            if result != S_OK {
                bail!(
                    "CLRDataCreateInstance: {result:#x}: is this the library of the core's runtime?"
                );
            }
            let sos = Interface::own(out).context("CLRDataCreateInstance returned nothing")?;
            let sos8 = sos.query(&IID_SOS_8);
            Ok(Self { sos, sos8 })
        }
    }

    fn get<T: Default>(&self, slot: usize, what: &str) -> Result<T> {
        let mut value = T::default();
        // SAFETY: callers pass slots whose function fills one structure of type T.
        let result = unsafe {
            let call: Get<T> = self.sos.slot(slot);
            call(self.sos.this(), &mut value)
        };
        done(result, what).map(|()| value)
    }

    fn get_of<T: Default>(&self, slot: usize, address: u64, what: &str) -> Result<T> {
        let mut value = T::default();
        // SAFETY: callers pass slots whose function takes an address and fills one structure of type T.
        let result = unsafe {
            let call: GetOf<T> = self.sos.slot(slot);
            call(self.sos.this(), address, &mut value)
        };
        done(result, what).map(|()| value)
    }

    pub fn thread_store(&self) -> Result<ThreadStore> {
        self.get(3, "GetThreadStoreData")
    }

    pub fn thread(&self, address: u64) -> Result<ThreadData> {
        self.get_of(17, address, "GetThreadData")
    }

    pub fn method_table(&self, address: u64) -> Result<MethodTableData> {
        self.get_of(37, address, "GetMethodTableData")
    }

    pub fn gc(&self) -> Result<GcHeapData> {
        self.get(46, "GetGCHeapData")
    }

    pub fn segment(&self, address: u64) -> Result<SegmentData> {
        self.get_of(50, address, "GetHeapSegmentData")
    }

    /// Every heap: one of the workstation collector, or all of the server collector.
    pub fn heaps(&self, gc: &GcHeapData) -> Result<Vec<(HeapDetails, Vec<Generation>)>> {
        if gc.server == 0 {
            let details: HeapDetails = self.get(49, "GetGCHeapStaticData")?;
            let generations = self.generations(None, &details)?;
            return Ok(vec![(details, generations)]);
        }
        self.heap_addresses(gc.heaps)?
            .into_iter()
            .map(|address| {
                let details: HeapDetails = self.get_of(48, address, "GetGCHeapDetails")?;
                let generations = self.generations(Some(address), &details)?;
                Ok((details, generations))
            })
            .collect()
    }

    /// The library wants exactly as many places as there are heaps.
    fn heap_addresses(&self, heaps: u32) -> Result<Vec<u64>> {
        type List = unsafe extern "C" fn(*mut c_void, u32, *mut u64, *mut u32) -> HResult;
        if heaps > MOST_HEAPS {
            bail!("the library reports {heaps} heaps");
        }
        let mut addresses = vec![0; heaps as usize];
        let mut needed = 0;
        // SAFETY: slot 47 is GetGCHeapList(count, addresses, needed).
        let result = unsafe {
            let call: List = self.sos.slot(47);
            call(self.sos.this(), heaps, addresses.as_mut_ptr(), &mut needed)
        };
        done(result, "GetGCHeapList")?;
        addresses.truncate(needed as usize);
        Ok(addresses)
    }

    /// All generations, the pinned object heap included where there is one.
    fn generations(&self, heap: Option<u64>, details: &HeapDetails) -> Result<Vec<Generation>> {
        type Table = unsafe extern "C" fn(*mut c_void, u32, *mut Generation, *mut u32) -> HResult;
        type TableOf =
            unsafe extern "C" fn(*mut c_void, u64, u32, *mut Generation, *mut u32) -> HResult;
        let Some(sos8) = &self.sos8 else {
            return Ok(details.generations.to_vec());
        };
        let mut table = vec![Generation::default(); MOST_GENERATIONS];
        let mut needed = 0;
        // SAFETY: ISOSDacInterface8: 3 GetNumberGenerations, 4 GetGenerationTable, 5 GetFinalizationFillPointers,
        // 6 GetGenerationTableSvr.
        let result = unsafe {
            match heap {
                None => {
                    let call: Table = sos8.slot(4);
                    call(
                        sos8.this(),
                        MOST_GENERATIONS as u32,
                        table.as_mut_ptr(),
                        &mut needed,
                    )
                }
                Some(heap) => {
                    let call: TableOf = sos8.slot(6);
                    call(
                        sos8.this(),
                        heap,
                        MOST_GENERATIONS as u32,
                        table.as_mut_ptr(),
                        &mut needed,
                    )
                }
            }
        };
        done(result, "GetGenerationTable")?;
        table.truncate(needed as usize);
        Ok(table)
    }

    /// Name of a type as SOS prints it.
    pub fn type_name(&self, method_table: u64) -> Result<String> {
        type Name = unsafe extern "C" fn(*mut c_void, u64, u32, *mut u16, *mut u32) -> HResult;
        let mut name = vec![0_u16; NAME_CHARS];
        let mut needed = 0;
        // SAFETY: slot 36 is GetMethodTableName(mt, count, name, needed).
        let result = unsafe {
            let call: Name = self.sos.slot(36);
            call(
                self.sos.this(),
                method_table,
                NAME_CHARS as u32,
                name.as_mut_ptr(),
                &mut needed,
            )
        };
        done(result, "GetMethodTableName")?;
        let length = name.iter().position(|unit| *unit == 0).unwrap_or(0);
        Ok(String::from_utf16_lossy(&name[..length]))
    }

    /// Every handle of every kind.
    pub fn handles(&self) -> Result<Vec<HandleData>> {
        type Next = unsafe extern "C" fn(*mut c_void, u32, *mut HandleData, *mut u32) -> HResult;
        let pointer: usize = self.get(61, "GetHandleEnum")?;
        // SAFETY: GetHandleEnum returns an interface with a reference for us.
        let list = unsafe { Interface::own(pointer as *mut c_void) }
            .context("GetHandleEnum returned nothing")?;
        let mut handles = Vec::new();
        let mut batch = vec![HandleData::default(); 256];
        loop {
            let mut fetched = 0;
            // SAFETY: ISOSHandleEnum: 3 Skip, 4 Reset, 5 GetCount, 6 Next(count, handles, fetched).
            let result = unsafe {
                let call: Next = list.slot(6);
                call(
                    list.this(),
                    batch.len() as u32,
                    batch.as_mut_ptr(),
                    &mut fetched,
                )
            };
            if result < 0 {
                bail!("ISOSHandleEnum::Next: {result:#x}");
            }
            handles.extend_from_slice(&batch[..fetched as usize]);
            if (fetched as usize) < batch.len() {
                return Ok(handles);
            }
        }
    }
}

fn done(result: HResult, what: &str) -> Result<()> {
    if result == S_OK {
        Ok(())
    } else {
        bail!("{what}: {result:#x}")
    }
}
