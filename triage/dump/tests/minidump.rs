//! The minidump reader on dumps made by an independent writer, beside Mozilla's `minidump` as a second opinion.
#![allow(clippy::unwrap_used)]

#[path = "support/minidump.rs"]
mod support;

use std::sync::Arc;

use leakhound_dump::source::Bytes;
use leakhound_dump::{Arch, DumpError, MemoryExt, Os, ProcessImage, open};
use minidump::{Minidump, MinidumpModuleList, MinidumpThreadList, Module as _};
use proptest::prelude::*;
use support::MinidumpWriter;

const PATH: &str = r"C:\Program Files\dotnet\shared\Microsoft.NETCore.App\8.0.15\coreclr.dll";

fn read(bytes: Vec<u8>) -> Result<ProcessImage, DumpError> {
    open(Arc::new(Bytes::new(bytes)))
}

fn process(padded: bool) -> MinidumpWriter {
    MinidumpWriter::default()
        .system()
        .process(4242)
        .modules(
            padded,
            &[
                (
                    0x7ff8_0000_0000,
                    0x50_0000,
                    0x6601_2345,
                    [8, 0, 1525, 16413],
                    PATH,
                ),
                (
                    0x7ff7_0000_0000,
                    0x2_0000,
                    7,
                    [1, 2, 3, 4],
                    r"D:\svc\Cart.exe",
                ),
            ],
        )
        .threads(&[
            (11, 0x9f_1000, 0x7ff8_0000_1234, "Main"),
            (12, 0x9f_5008, 0x7ff8_0000_5678, ".NET Finalizer"),
        ])
        .protections(&[
            (0x1_0000, 0x1000, 0x04),
            (0x1_1000, 0x1000, 0x20),
            (0x9f_0000, 0x10_0000, 0x02),
        ])
        .range(0x1_0000, &[1; 0x1800])
        .range(0x1_1800, &[2; 0x800])
        .range(0x9f_1000, &[3; 0x100])
}

#[test]
fn everything_a_minidump_says() {
    for padded in [false, true] {
        let image = read(process(padded).bytes()).unwrap();
        assert_eq!(image.warnings, [""; 0]);
        assert_eq!(
            (image.os, image.arch, image.pid),
            (Os::Windows, Arch::X64, Some(4242))
        );
        let [exe, clr] = &image.modules[..] else {
            panic!("{:?}", image.modules)
        };
        assert_eq!(
            (exe.base, exe.size, exe.file_name()),
            (0x7ff7_0000_0000, 0x2_0000, "Cart.exe")
        );
        assert_eq!(clr.path.to_str(), Some(PATH));
        assert_eq!(clr.file_name(), "coreclr.dll");
        assert_eq!(clr.version, Some([8, 0, 1525, 16413]));
        assert_eq!(clr.build_id, [0x45, 0x23, 0x01, 0x66, 0, 0, 0x50, 0]);
        let threads: Vec<_> = image
            .threads
            .iter()
            .map(|t| (t.os_id, t.sp, t.ip, t.name.as_deref()))
            .collect();
        assert_eq!(
            threads,
            [
                (11, 0x9f_1000, 0x7ff8_0000_1234, Some("Main")),
                (12, 0x9f_5008, 0x7ff8_0000_5678, Some(".NET Finalizer"))
            ]
        );
        // A read across two ranges, which are also cut where the protection changes.
        assert_eq!(image.memory.array::<4>(0x1_17fe), Some([1, 1, 2, 2]));
        assert_eq!(image.memory.slice(0x1_0ffe, 4), Some(&[1; 4][..]));
        assert_eq!(image.memory.u8(0x1_2000), None);
        let regions: Vec<_> = image
            .memory
            .regions()
            .iter()
            .map(|r| (r.start, r.end, r.write, r.execute))
            .collect();
        assert_eq!(
            regions,
            [
                (0x1_0000, 0x1_1000, true, false),
                (0x1_1000, 0x1_1800, false, true),
                (0x1_1800, 0x1_2000, false, true),
                (0x9f_1000, 0x9f_1100, false, false),
            ]
        );
    }
}

#[test]
fn a_second_reader_agrees() {
    let bytes = process(false).bytes();
    let ours = read(bytes.clone()).unwrap();
    let theirs = Minidump::read(bytes).unwrap();
    let modules = theirs.get_stream::<MinidumpModuleList>().unwrap();
    let expected: Vec<_> = modules
        .by_addr()
        .map(|m| (m.base_address(), m.size(), m.code_file().into_owned()))
        .collect();
    let found: Vec<_> = ours
        .modules
        .iter()
        .map(|m| (m.base, m.size, m.path.to_str().unwrap().to_owned()))
        .collect();
    assert_eq!(found, expected);
    let threads = theirs.get_stream::<MinidumpThreadList>().unwrap();
    let ids: Vec<u32> = threads.threads.iter().map(|t| t.raw.thread_id).collect();
    assert_eq!(
        ours.threads.iter().map(|t| t.os_id).collect::<Vec<_>>(),
        ids
    );
    let memory = theirs.get_memory().unwrap();
    for address in [
        0x1_0000u64,
        0x1_17ff,
        0x1_1800,
        0x1_1fff,
        0x1_2000,
        0x9f_1000,
        0x9f_10ff,
        0x9f_1100,
    ] {
        let expected: Option<u8> = memory
            .memory_at_address(address)
            .and_then(|m| m.get_memory_at_address(address));
        assert_eq!(ours.memory.u8(address), expected, "{address:#x}");
    }
}

#[test]
fn a_list_of_small_ranges_is_read_too() {
    // Content of the range: the first bytes of the file itself.
    let mut list = 1u32.to_le_bytes().to_vec();
    list.extend(0x5000u64.to_le_bytes());
    list.extend(4u32.to_le_bytes());
    list.extend(0u32.to_le_bytes());
    let image = read(MinidumpWriter::default().system().stream(5, list).bytes()).unwrap();
    assert_eq!(image.memory.array(0x5000), Some(*b"MDMP"));
    assert_eq!(image.memory.u8(0x5004), None);
    assert_eq!(image.warnings.len(), 2, "{:?}", image.warnings);
}

#[test]
fn truncation_and_lies_are_told() {
    let bytes = process(false).bytes();
    let image = read(bytes[..bytes.len() - 0x200].to_vec()).unwrap();
    assert!(
        image.warnings[0].starts_with("The dump is truncated"),
        "{:?}",
        image.warnings
    );
    assert_eq!(image.memory.u8(0x9f_1000), None);
    let message = |bytes: Vec<u8>| read(bytes).err().unwrap().to_string();
    assert!(message(bytes[..20].to_vec()).contains("the minidump header"));
    assert!(message(bytes[..40].to_vec()).contains("the minidump directory"));
    let mut lie = bytes.clone();
    lie[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(message(lie).contains("4294967295 streams; the limit is 4096"));
    let no_memory = MinidumpWriter::default().system();
    assert!(message(no_memory.bytes()).contains("no memory ranges"));
    let no_system = MinidumpWriter::default().range(0x1000, &[1; 8]);
    assert!(message(no_system.bytes()).contains("no system information"));
    let list = [&u64::MAX.to_le_bytes()[..], &[0; 8]].concat();
    let many = MinidumpWriter::default().system().stream(9, list);
    assert!(message(many.bytes()).contains("memory ranges; the limit is 4000000"));
}

#[test]
fn overlapping_ranges_are_not_cut_at_every_page() {
    let pages: Vec<_> = (0..2000u64)
        .map(|i| (0x100_0000 + i * 0x1000, 0x1000, 0x04))
        .collect();
    let writer = MinidumpWriter::default().system().protections(&pages);
    let mut list = 3000u32.to_le_bytes().to_vec();
    for i in 0..3000u64 {
        list.extend((0x100_0000 + i).to_le_bytes());
        list.extend(0x10_0000u32.to_le_bytes());
        list.extend(0u32.to_le_bytes());
    }
    let image = read(writer.stream(5, list).bytes()).unwrap();
    // Without care: 3,000 ranges times two dozen pages each.
    assert!(image.memory.regions().len() < 6000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_never_panics(
        flips in proptest::collection::vec((0usize..100_000, any::<u8>()), 0..16),
        cut in 1usize..14_000,
    ) {
        let mut bytes = process(false).bytes();
        let len = bytes.len();
        for (at, value) in flips {
            // Everything but the payload of the memory ranges.
            bytes[at % (len - 0x2100)] = value;
        }
        bytes.truncate(cut);
        if let Ok(image) = read(bytes) {
            let regions = image.memory.regions();
            prop_assert!(regions.windows(2).all(|w| w[0].end <= w[1].start));
            let mut buf = [0; 64];
            for region in regions.iter().take(50) {
                prop_assert!(image.memory.read(region.start, &mut buf) > 0);
                prop_assert!(image.memory.read(region.end - 1, &mut buf) > 0);
            }
        }
    }
}
