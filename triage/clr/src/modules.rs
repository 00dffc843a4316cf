//! Managed modules: name, path, metadata, and the tables that lead to their types.

use crate::completeness::{Log, Problem};
use crate::layout::{BucketShape, Layout};
use crate::limits;
use crate::metadata::Metadata;
use crate::method_table::could_be;
use crate::pe;
use leakhound_dump::{Memory, MemoryExt};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A loaded managed module.
pub struct Module {
    /// Address of the runtime's `Module`.
    pub address: u64,
    /// File name, such as `Shop.dll`; the assembly's name for modules made at run time.
    pub name: String,
    /// Path the runtime loaded it from.
    pub path: Option<String>,
    /// Address of its image.
    pub image: u64,
    /// Bytes of its image.
    pub image_bytes: u64,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) type_defs: Vec<u64>,
}

/// A module as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleInfo {
    /// File name.
    pub name: String,
    /// Path the runtime loaded it from.
    pub path: Option<String>,
    /// Name of the assembly, when metadata is at hand.
    pub assembly: Option<String>,
    /// Version of the assembly.
    pub version: Option<[u16; 4]>,
    /// Module version id, in the usual spelling.
    pub mvid: Option<String>,
    /// Address of the image; 0 for modules made at run time.
    pub base: u64,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// Metadata was readable.
    pub has_metadata: bool,
    /// Made at run time (`System.Reflection.Emit`).
    pub dynamic: bool,
}

impl Module {
    /// For a report.
    #[must_use]
    pub fn info(&self) -> ModuleInfo {
        let metadata = self.metadata.as_ref();
        let assembly = metadata.and_then(Metadata::assembly);
        ModuleInfo {
            name: self.name.clone(),
            path: self.path.clone(),
            assembly: assembly.map(|(name, _)| name.to_owned()),
            version: assembly.map(|(_, version)| version),
            mvid: metadata.and_then(Metadata::mvid).map(spell_guid),
            base: self.image,
            image_bytes: self.image_bytes,
            has_metadata: metadata.is_some(),
            dynamic: self.image == 0,
        }
    }
}

fn spell_guid(b: [u8; 16]) -> String {
    let (first, second, third) = (
        u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        u16::from_le_bytes([b[4], b[5]]),
        u16::from_le_bytes([b[6], b[7]]),
    );
    let tail: String = b[8..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{first:08x}-{second:04x}-{third:04x}-{}-{}",
        &tail[..4],
        &tail[4..]
    )
}

/// Every module met so far.
pub(crate) struct Modules {
    known: RwLock<BTreeMap<u64, Option<Arc<Module>>>>,
    room: Room,
}

/// What all modules together may still take: a damaged dump can lead thousands of them to the same pages.
struct Room {
    metadata_bytes: AtomicUsize,
    type_defs: AtomicUsize,
}

fn take(room: &AtomicUsize, much: usize) -> bool {
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(much)
    })
    .is_ok()
}

impl Modules {
    /// Without any; names then come from the modules that types lead to.
    pub fn none() -> Self {
        Self {
            known: RwLock::default(),
            room: Room {
                metadata_bytes: AtomicUsize::new(limits::ALL_METADATA_BYTES),
                type_defs: AtomicUsize::new(limits::TYPES),
            },
        }
    }

    /// Reads the application domain's list of assemblies.
    pub fn read(memory: &dyn Memory, layout: &Layout, app_domain: Option<u64>, log: &Log) -> Self {
        let modules = Self::none();
        let Some(list) = app_domain.and_then(|d| d.checked_add(layout.app_domain.assemblies))
        else {
            log.note(
                "The application domain was not found: modules are those that objects lead to."
                    .into(),
            );
            return modules;
        };
        for entry in array_list(memory, list, limits::MODULES, log) {
            let module = layout
                .app_domain
                .entry_to_module
                .iter()
                .try_fold(entry, |at, offset| memory.u64(at.checked_add(*offset)?));
            if let Some(module) = module.filter(|m| could_be(*m)) {
                modules.get(memory, layout, module, log);
            }
        }
        modules
    }

    /// The module at an address; `None` when nothing there looks like one.
    pub fn get(
        &self,
        memory: &dyn Memory,
        layout: &Layout,
        address: u64,
        log: &Log,
    ) -> Option<Arc<Module>> {
        if let Some(known) = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&address)
        {
            return known.clone();
        }
        let module = load(memory, layout, address, &self.room, log).map(Arc::new);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::MODULES {
            log.count(Problem::LimitReached);
            return None;
        }
        known.entry(address).or_insert(module).clone()
    }

    /// All modules, by address.
    pub fn all(&self) -> Vec<Arc<Module>> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .flatten()
            .cloned()
            .collect()
    }
}

fn load(
    memory: &dyn Memory,
    layout: &Layout,
    address: u64,
    room: &Room,
    log: &Log,
) -> Option<Module> {
    if !could_be(address) {
        return None;
    }
    let l = &layout.module;
    let pointer =
        |at: u64, offset: u64| memory.u64(at.checked_add(offset)?).filter(|p| could_be(*p));
    let file = pointer(address, l.pe_assembly);
    let (mut path, mut image, mut image_bytes, mut metadata, mut why) = (None, 0, 0, None, None);
    for pe_image in l.pe_image.iter().filter_map(|o| pointer(file?, *o)) {
        path = path.or_else(|| utf16_path(memory, pointer(pe_image, l.image_path)?));
        for loaded in l.image_layouts.iter().filter_map(|o| pointer(pe_image, *o)) {
            let (Some(base), Some(size), Some(flags)) = (
                memory.u64(loaded + 8),
                memory.u32(loaded + 16),
                memory.u32(loaded + 20),
            ) else {
                continue;
            };
            // Bit 0: mapped; otherwise a flat copy of the file.
            let left = room.metadata_bytes.load(Ordering::Relaxed);
            match pe::metadata(memory, base, flags & 1 == 0, left) {
                Ok(read) => {
                    take(&room.metadata_bytes, read.len());
                    metadata = Some(read);
                    (image, image_bytes) = (base, u64::from(size));
                }
                Err(error) => {
                    if image == 0 {
                        (image, image_bytes) = (base, u64::from(size));
                    }
                    why.get_or_insert(error);
                }
            }
            if metadata.is_some() {
                break;
            }
        }
        if metadata.is_some() {
            break;
        }
    }
    let (claimed, type_defs) = lookup_map(memory, address.checked_add(l.type_def_map)?, room, log);
    if let Some(read) = &metadata
        && read.type_def_count().checked_add(1) != Some(claimed)
    {
        log.count(Problem::WrongMetadata);
        metadata = None;
    }
    if metadata.is_none() && image != 0 {
        log.count(Problem::ModuleWithoutMetadata);
        tracing::debug!(
            module = address,
            path,
            error = why.map(tracing::field::display),
            "Module without metadata"
        );
    }
    let file_name = path
        .as_deref()
        .and_then(|p: &str| p.rsplit(['/', '\\']).next())
        .filter(|n| !n.is_empty());
    let name = metadata
        .as_ref()
        .and_then(Metadata::module_name)
        .or(file_name)
        .map(str::to_owned)
        .or_else(|| simple_name(memory, address.checked_add(l.pe_assembly)?))
        .unwrap_or_else(|| "Dynamic".to_owned());
    Some(Module {
        address,
        name,
        path,
        image,
        image_bytes,
        metadata,
        type_defs,
    })
}

/// `Module::m_pSimpleName` (vm/ceeload.h): the assembly's name in UTF-8. It lies right before the assembly's file in 3.1 to 8; in 9
/// the path lies between them, in 10 the file's name too, both empty for a module made at run time.
fn simple_name(memory: &dyn Memory, file_place: u64) -> Option<String> {
    [8, 16, 24].into_iter().find_map(|before| {
        let at = memory.u64(file_place.checked_sub(before)?)?;
        let mut bytes = vec![0; limits::SIMPLE_NAME_BYTES];
        let got = could_be(at & !7).then(|| memory.read(at, &mut bytes))?;
        bytes.truncate(got);
        let end = bytes.iter().position(|b| *b == 0).filter(|end| *end > 0)?;
        bytes.truncate(end);
        let name = String::from_utf8(bytes).ok()?;
        (!name.chars().any(char::is_control)).then_some(name)
    })
}

pub(crate) fn utf16_path(memory: &dyn Memory, at: u64) -> Option<String> {
    let mut units = Vec::new();
    for i in 0..2048 {
        match memory.u16(at.checked_add(i * 2)?)? {
            0 => break,
            unit => units.push(unit),
        }
    }
    String::from_utf16(&units)
        .ok()
        .filter(|path| path.len() > 1)
}

/// Pointers of an `ArrayList`: count, first block {next, capacity, entries}, later blocks one word shorter at the front.
fn array_list(memory: &dyn Memory, list: u64, limit: usize, log: &Log) -> Vec<u64> {
    let Some(count) = memory.u32(list) else {
        return Vec::new();
    };
    let mut left = count as usize;
    if left > limit {
        log.count(Problem::LimitReached);
        left = limit;
    }
    let mut entries = Vec::new();
    let mut block = list + 8;
    let mut seen = HashSet::new();
    while left > 0 && block != 0 && seen.insert(block) {
        let (Some(next), Some(capacity)) = (memory.u64(block), memory.u32(block.wrapping_add(8)))
        else {
            log.count(Problem::DamagedModule);
            break;
        };
        for i in 0..(capacity as usize).min(left) as u64 {
            entries.extend(
                memory
                    .u64(block.wrapping_add(16 + i * 8))
                    .filter(|p| could_be(*p)),
            );
            left -= 1;
        }
        block = next;
    }
    entries
}

/// Entries of a `LookupMap` of method tables (index = row id) and the count that its first block claims.
fn lookup_map(memory: &dyn Memory, map: u64, room: &Room, log: &Log) -> (u32, Vec<u64>) {
    let mut entries: Vec<u64> = Vec::new();
    let (mut block, mut claimed) = (map, 0);
    let mut seen = HashSet::new();
    while block != 0 && seen.insert(block) {
        let (Some(next), Some(table), Some(count)) = (
            memory.u64(block),
            memory.u64(block.wrapping_add(8)),
            memory.u32(block.wrapping_add(16)),
        ) else {
            log.count(Problem::DamagedModule);
            break;
        };
        if block == map {
            claimed = count;
        }
        if count == 0 {
            break;
        }
        if count > limits::TYPE_DEFS || !take(&room.type_defs, count as usize) {
            log.count(Problem::LimitReached);
            break;
        }
        // The low bits carry flags of the map.
        let last = table.checked_add(u64::from(count - 1) * 8);
        let bytes = last
            .and_then(|l| memory.u64(l))
            .and_then(|_| memory.bytes(table, count as usize * 8));
        let Some(bytes) = bytes else {
            log.count(Problem::DamagedModule);
            break;
        };
        entries.extend(
            bytes
                .chunks_exact(8)
                .map(|w| u64::from_le_bytes(w.try_into().unwrap_or_default()) & !7),
        );
        block = next;
    }
    (claimed, entries)
}

/// Type handles of a module's generic instances, at most `room` of them.
pub(crate) fn instantiations(
    memory: &dyn Memory,
    layout: &Layout,
    module: u64,
    room: usize,
    log: &Log,
) -> Vec<u64> {
    let mut handles = Vec::new();
    let Some(table) = module
        .checked_add(layout.module.instantiations)
        .and_then(|at| memory.u64(at))
        .filter(|t| could_be(*t))
    else {
        return handles;
    };
    let chained = layout.module.instantiation_buckets == BucketShape::Chained;
    let (count_at, first) = if chained { (24, 3) } else { (28, 0) };
    let (Some(mut buckets), Some(count)) = (memory.u64(table + 16), memory.u32(table + count_at))
    else {
        return handles;
    };
    let limit = (count.min(limits::INSTANTIATIONS) as usize).min(room);
    let (mut arrays, mut entries) = (HashSet::new(), HashSet::new());
    while buckets != 0 && arrays.insert(buckets) && arrays.len() < 64 {
        let length = if chained {
            memory.u64(buckets)
        } else {
            memory.u32(table + 24).map(u64::from)
        };
        // A length is believed when its last bucket is there.
        let last = |l: u64| memory.u64(buckets.wrapping_add((first + l.saturating_sub(1)) * 8));
        let length = length
            .filter(|l| *l <= u64::from(limits::INSTANTIATIONS))
            .filter(|l| last(*l).is_some());
        let Some(length) = length else {
            log.count(Problem::DamagedModule);
            break;
        };
        for i in 0..length {
            let mut entry = memory
                .u64(buckets.wrapping_add((first + i) * 8))
                .unwrap_or(0);
            // The end of a chain is marked by bit 0.
            while entry & 1 == 0 && could_be(entry) {
                if handles.len() >= limit || !entries.insert(entry) {
                    // A chain that bites its tail, or more entries than the table says it has.
                    log.count(Problem::DamagedModule);
                    return handles;
                }
                let (Some(handle), Some(next)) = (memory.u64(entry), memory.u64(entry + 8)) else {
                    log.count(Problem::DamagedModule);
                    break;
                };
                handles.push(handle & !1);
                entry = next;
            }
        }
        buckets = if chained {
            memory.u64(buckets + 8).unwrap_or(0)
        } else {
            0
        };
    }
    handles
}
