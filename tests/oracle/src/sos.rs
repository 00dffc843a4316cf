//! ISOSDacInterface: the questions that SOS asks, and the shapes of the answers.
//!
//! Declarations: dotnet/runtime src/coreclr/inc/sospriv.idl; the order of its functions has been fixed since .NET Core 1.0.

pub mod answers;

use crate::com::{Guid, HResult, Interface, S_OK};
use crate::data_target::DataTarget;
use crate::metadata::FieldNames;
use answers::{
    AppDomainStore, FieldCounts, FieldData, GcHeapData, Generation, HandleData, HeapDetails,
    LocalModule, MethodTableData, ModuleData, SegmentData, SyncBlock, ThreadData, ThreadStore,
};
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
/// ISOSDacInterface14 knows where statics are (9.0 and later).
const IID_SOS_14: Guid = Guid(
    0x9aa2_2aca,
    0x6dc6,
    0x4a0c,
    [0xb4, 0xe0, 0x70, 0xd2, 0x41, 0x6b, 0x98, 0x37],
);
/// No runtime has more; a larger answer is a wrong one.
const MOST_GENERATIONS: usize = 8;
const MOST_HEAPS: u32 = 1024;
const MOST_ENTRIES: i32 = 1 << 20;
const NAME_CHARS: usize = 4096;

/// The loaded library with the core in its hands.
pub struct Dac {
    sos: Interface,
    sos8: Option<Interface>,
    sos14: Option<Interface>,
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
            let sos14 = sos.query(&IID_SOS_14);
            Ok(Self { sos, sos8, sos14 })
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

    /// A list that is asked for twice: for its length, then for its entries.
    fn list(&self, slot: usize, of: Option<u64>, what: &str) -> Result<Vec<u64>> {
        type List = unsafe extern "C" fn(*mut c_void, i32, *mut u64, *mut i32) -> HResult;
        type ListOf = unsafe extern "C" fn(*mut c_void, u64, i32, *mut u64, *mut i32) -> HResult;
        let ask = |entries: &mut [u64]| -> Result<usize> {
            let (count, mut needed) = (i32::try_from(entries.len())?, 0);
            let place = if entries.is_empty() {
                std::ptr::null_mut()
            } else {
                entries.as_mut_ptr()
            };
            // SAFETY: callers pass slots of (count, entries, needed), or of (address, count, entries, needed).
            let result = unsafe {
                match of {
                    None => self.sos.slot::<List>(slot)(self.sos.this(), count, place, &mut needed),
                    Some(of) => self.sos.slot::<ListOf>(slot)(
                        self.sos.this(),
                        of,
                        count,
                        place,
                        &mut needed,
                    ),
                }
            };
            if result < 0 || !(0..MOST_ENTRIES).contains(&needed) {
                bail!("{what}: {result:#x}, {needed} entries");
            }
            Ok(usize::try_from(needed)?)
        };
        let mut entries = vec![0; ask(&mut [])?];
        if !entries.is_empty() {
            ask(&mut entries)?;
        }
        Ok(entries)
    }

    /// Every module of every assembly of the application domain.
    pub fn modules(&self) -> Result<Vec<u64>> {
        let store: AppDomainStore = self.get(4, "GetAppDomainStoreData")?;
        // The library wants exactly as many places as there are domains.
        let mut domains = vec![0_u64; usize::try_from(store.count)?];
        type Domains = unsafe extern "C" fn(*mut c_void, u32, *mut u64, *mut u32) -> HResult;
        let mut needed = 0;
        // SAFETY: slot 5 is GetAppDomainList(count, values, needed).
        let result = unsafe {
            let call: Domains = self.sos.slot(5);
            let count = u32::try_from(domains.len())?;
            call(self.sos.this(), count, domains.as_mut_ptr(), &mut needed)
        };
        done(result, "GetAppDomainList")?;
        let mut modules = Vec::new();
        for domain in domains {
            for assembly in self.list(9, Some(domain), "GetAssemblyList")? {
                modules.extend(self.list(15, Some(assembly), "GetAssemblyModuleList")?);
            }
        }
        modules.sort_unstable();
        modules.dedup();
        Ok(modules)
    }

    /// Method tables of the classes that a module defines, as far as they are loaded.
    pub fn classes(&self, module: u64) -> Result<Vec<u64>> {
        type Visit = unsafe extern "C" fn(u32, u64, *mut c_void);
        type Traverse = unsafe extern "C" fn(*mut c_void, i32, u64, Visit, *mut c_void) -> HResult;
        const DEFINITIONS: i32 = 0;
        unsafe extern "C" fn visit(_: u32, table: u64, list: *mut c_void) {
            // SAFETY: `list` is the vector below, which outlives the traversal.
            unsafe { (*list.cast::<Vec<u64>>()).push(table) };
        }
        let mut tables: Vec<u64> = Vec::new();
        // SAFETY: slot 14 is TraverseModuleMap(map, module, callback, token).
        let result = unsafe {
            let call: Traverse = self.sos.slot(14);
            let list = (&raw mut tables).cast();
            call(self.sos.this(), DEFINITIONS, module, visit, list)
        };
        done(result, "TraverseModuleMap")?;
        Ok(tables)
    }

    pub fn module(&self, address: u64) -> Result<ModuleData> {
        self.get_of(13, address, "GetModuleData")
    }

    /// The library's own reader of a module's metadata.
    pub fn field_names(&self, module: u64) -> Result<FieldNames> {
        let pointer: usize = self.get_of(12, module, "GetModule")?;
        // SAFETY: GetModule returns an interface with a reference for us.
        let object = unsafe { Interface::own(pointer as *mut c_void) }
            .context("GetModule returned nothing")?;
        FieldNames::of(&object)
    }

    pub fn field_counts(&self, method_table: u64) -> Result<FieldCounts> {
        self.get_of(39, method_table, "GetMethodTableFieldData")
    }

    pub fn field(&self, address: u64) -> Result<FieldData> {
        self.get_of(42, address, "GetFieldDescData")
    }

    /// The library tells where the statics of a class are, rather than those of a module.
    pub fn knows_static_bases(&self) -> bool {
        self.sos14.is_some()
    }

    /// Where the static references of a class start (9 and later); `None`: nowhere yet.
    pub fn static_base(&self, method_table: u64) -> Result<Option<u64>> {
        type Base = unsafe extern "C" fn(*mut c_void, u64, *mut u64, *mut u64) -> HResult;
        let sos = self.sos14.as_ref().context("no ISOSDacInterface14")?;
        let (mut other, mut references) = (0, 0);
        // SAFETY: ISOSDacInterface14, slot 3: GetStaticBaseAddress(table, other, references).
        let result = unsafe {
            let call: Base = sos.slot(3);
            call(sos.this(), method_table, &mut other, &mut references)
        };
        Ok((result == S_OK && references != 0).then_some(references))
    }

    /// Where a thread's static references of a class start (9 and later); `None`: nowhere yet.
    pub fn thread_static_base(&self, method_table: u64, thread: u64) -> Result<Option<u64>> {
        type Base = unsafe extern "C" fn(*mut c_void, u64, u64, *mut u64, *mut u64) -> HResult;
        let sos = self.sos14.as_ref().context("no ISOSDacInterface14")?;
        let (mut other, mut references) = (0, 0);
        // SAFETY: ISOSDacInterface14, slot 4: GetThreadStaticBaseAddress(table, thread, other, references).
        let result = unsafe {
            let call: Base = sos.slot(4);
            call(
                sos.this(),
                method_table,
                thread,
                &mut other,
                &mut references,
            )
        };
        Ok((result == S_OK && references != 0).then_some(references))
    }

    /// Where the static references of a module's classes start (up to 8).
    pub fn module_statics(&self, module: u64) -> Result<Option<u64>> {
        let data: Result<LocalModule> =
            self.get_of(57, module, "GetDomainLocalModuleDataFromModule");
        Ok(data.ok().map(|data| data.gc_statics).filter(|at| *at != 0))
    }

    /// Where a thread's static references of a module's classes start (up to 8); `None`: it has none.
    pub fn thread_module_statics(&self, thread: u64, index: u64) -> Result<Option<u64>> {
        type Get = unsafe extern "C" fn(*mut c_void, u64, u32, *mut LocalModule) -> HResult;
        let mut data = LocalModule::default();
        // SAFETY: slot 58 is GetThreadLocalModuleData(thread, index, data).
        let result = unsafe {
            let call: Get = self.sos.slot(58);
            call(self.sos.this(), thread, u32::try_from(index)?, &mut data)
        };
        Ok((result == S_OK && data.gc_statics != 0).then_some(data.gc_statics))
    }

    /// Every sync block that is in use.
    pub fn sync_blocks(&self) -> Vec<SyncBlock> {
        type Get = unsafe extern "C" fn(*mut c_void, u32, *mut SyncBlock) -> HResult;
        let ask = |number: u32| {
            let mut data = SyncBlock::default();
            // SAFETY: slot 59 is GetSyncBlockData(number, data); the first number is 1.
            let result = unsafe {
                let call: Get = self.sos.slot(59);
                call(self.sos.this(), number, &mut data)
            };
            (result == S_OK).then_some(data)
        };
        // Without any sync block, the first question fails.
        let count = ask(1).map_or(0, |first| first.count);
        (1..=count)
            .filter_map(ask)
            .filter(|block| block.free == 0)
            .collect()
    }

    pub fn thread_store(&self) -> Result<ThreadStore> {
        self.get(3, "GetThreadStoreData")
    }

    pub fn thread(&self, address: u64) -> Result<ThreadData> {
        self.get_of(17, address, "GetThreadData")
    }

    /// Every thread of the thread store, with its address.
    pub fn threads(&self) -> Result<Vec<(u64, ThreadData)>> {
        let store = self.thread_store()?;
        let mut threads = Vec::new();
        let mut address = store.first;
        for _ in 0..store.threads {
            if address == 0 {
                break;
            }
            let thread = self.thread(address)?;
            threads.push((address, thread));
            address = thread.next;
        }
        Ok(threads)
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

    /// Fill pointers of a heap's finalization queue.
    pub fn fill_pointers(&self, details: &HeapDetails) -> Result<Vec<u64>> {
        type Fill = unsafe extern "C" fn(*mut c_void, u32, *mut u64, *mut u32) -> HResult;
        type FillOf = unsafe extern "C" fn(*mut c_void, u64, u32, *mut u64, *mut u32) -> HResult;
        let Some(sos8) = &self.sos8 else {
            return Ok(details.fill_pointers.to_vec());
        };
        let mut fill = vec![0; MOST_GENERATIONS + 4];
        let count = u32::try_from(fill.len())?;
        let mut needed = 0;
        // SAFETY: ISOSDacInterface8: 5 GetFinalizationFillPointers, 7 the same of one server heap.
        let result = unsafe {
            if details.address == 0 {
                sos8.slot::<Fill>(5)(sos8.this(), count, fill.as_mut_ptr(), &mut needed)
            } else {
                let call: FillOf = sos8.slot(7);
                call(
                    sos8.this(),
                    details.address,
                    count,
                    fill.as_mut_ptr(),
                    &mut needed,
                )
            }
        };
        done(result, "GetFinalizationFillPointers")?;
        fill.truncate(needed as usize);
        Ok(fill)
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
