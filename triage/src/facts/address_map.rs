//! A Windows address space as the byte account sees it: what is committed, whose it is, what `!address -summary` shows.

use super::account::{IMAGE, Mapping, NT_HEAP, RUNTIME};
use leakhound_dump::{AddressKind, AddressRange, MemoryExt, Module, ProcessImage};
use std::collections::{BTreeSet, HashSet};

/// `_HEAP_SEGMENT::SegmentSignature` of the NT heap, and the signature of a segment heap, both 16 bytes from the start.
const HEAP_SIGNATURES: [u32; 2] = [0xFFEE_FFEE, 0xDDEE_DDEE];

/// Every stretch that is committed or reserved; reserved ones cost nothing.
pub(super) fn mappings(image: &ProcessImage) -> Vec<Mapping<'_>> {
    let map = &image.address_map;
    // The JIT's and the loader's heaps have code somewhere; other allocations have none.
    let with_code: HashSet<u64> = map
        .iter()
        .filter(|r| r.execute && r.kind != AddressKind::Image)
        .map(|r| r.allocation)
        .collect();
    let heaps: BTreeSet<u64> = map
        .iter()
        .filter(|r| r.kind == AddressKind::Private && r.committed && r.start == r.allocation)
        .filter(|r| {
            let signature = image.memory.u32(r.start.saturating_add(16));
            signature.is_some_and(|s| HEAP_SIGNATURES.contains(&s))
        })
        .map(|r| r.allocation)
        .collect();
    let path = |range: &AddressRange| match range.kind {
        AddressKind::Image => module_path(&image.modules, range.start).unwrap_or(IMAGE),
        _ if heaps.contains(&range.allocation) => NT_HEAP,
        _ if with_code.contains(&range.allocation) => RUNTIME,
        _ => "",
    };
    map.iter()
        .filter(|range| range.start < range.end)
        .map(|range| Mapping {
            start: range.start,
            end: range.end,
            cost: if range.committed {
                range.end - range.start
            } else {
                0
            },
            path: path(range),
            readable: range.committed,
            writable: range.write,
            executable: range.execute,
            shared: range.kind == AddressKind::Mapped,
        })
        .collect()
}

/// Modules are sorted by base.
fn module_path(modules: &[Module], address: u64) -> Option<&str> {
    let last = modules
        .partition_point(|m| m.base <= address)
        .checked_sub(1)?;
    let module = &modules[last];
    (address - module.base < module.size)
        .then(|| module.path.to_str())
        .flatten()
        .filter(|path| path.as_bytes().get(1) == Some(&b':'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::account::{self, GcShare};
    use super::*;
    use leakhound_dump::{Arch, Os, SyntheticMemory};
    use leakhound_rules::FactSheet;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn range(
        start: u64,
        pages: u64,
        allocation: u64,
        committed: bool,
        kind: AddressKind,
    ) -> AddressRange {
        AddressRange {
            start,
            end: start + pages * 0x1000,
            allocation,
            committed,
            kind,
            write: kind == AddressKind::Private,
            execute: false,
        }
    }

    #[test]
    fn what_is_committed_is_counted_where_it_belongs() {
        let mut memory = SyntheticMemory::new();
        memory
            .map(0x10_0000, 0x1000)
            .put_u32(0x10_0010, 0xFFEE_FFEE);
        let mut image = ProcessImage::new(Os::Windows, Arch::X64, Arc::new(memory));
        image.modules = vec![Module {
            base: 0x40_0000,
            size: 0x2000,
            path: PathBuf::from(r"C:\app\Cart.exe"),
            build_id: Vec::new(),
            version: None,
        }];
        let code = AddressRange {
            execute: true,
            ..range(0x30_1000, 2, 0x30_0000, true, AddressKind::Mapped)
        };
        image.address_map = vec![
            range(0x10_0000, 1, 0x10_0000, true, AddressKind::Private),
            range(0x10_1000, 15, 0x10_0000, false, AddressKind::Private),
            range(0x20_0000, 4, 0x20_0000, true, AddressKind::Private),
            range(0x30_0000, 1, 0x30_0000, true, AddressKind::Mapped),
            code,
            range(0x40_0000, 2, 0x40_0000, true, AddressKind::Image),
            range(0x50_0000, 1, 0x50_0000, true, AddressKind::Image),
            range(0x60_0000, 8, 0x60_0000, true, AddressKind::Mapped),
        ];
        let mut sheet = FactSheet::default();
        account::write(&image, &[], &GcShare::default(), &mut sheet);
        let pages = |name: &str| sheet.get_int(name).unwrap() / 0x1000;
        assert_eq!(pages("memory.commit"), 19);
        assert_eq!(pages("memory.native"), 1);
        assert_eq!(pages("memory.unattributed"), 4);
        assert_eq!(pages("memory.runtime"), 3);
        assert_eq!(pages("memory.images"), 3);
        assert_eq!(pages("memory.mapped_files"), 8);
        assert!(sheet.completeness.problems.is_empty());
    }
}
