//! The core reader on cores made by an independent writer, whole and damaged.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use leakhound_dump::elf::{
    FLAG_ZERO_TAILS, LEAKHOUND_OWNER, NT_LEAKHOUND_FLAGS, NT_LEAKHOUND_THREAD_NAMES,
};
use leakhound_dump::source::Bytes;
use leakhound_dump::{
    Arch, DumpError, FileSearch, Limits, MappedFile, MemoryExt, Options, ProcessImage, open,
    open_with,
};
use proptest::prelude::*;
use support::{CoreWriter, library_page};

fn read(bytes: Vec<u8>) -> Result<ProcessImage, DumpError> {
    open(Arc::new(Bytes::new(bytes)))
}

fn message(bytes: Vec<u8>) -> String {
    read(bytes).err().unwrap().to_string()
}

/// A small process: a library, a heap in two touching segments, a stack.
fn process() -> CoreWriter {
    CoreWriter::default()
        .process(77, "cart")
        .thread(77, 0x1000)
        .thread(78, 0x2000)
        .files(&[
            (0x7f00_0000, 0x7f00_1000, 0, "/usr/lib/libcoreclr.so"),
            (0x7f00_2000, 0x7f00_3000, 1, "/usr/lib/libcoreclr.so"),
            (0x7f10_0000, 0x7f10_1000, 0, "/srv/data.bin"),
        ])
        .note(
            "CORE",
            6,
            &[6u64.to_le_bytes(), 4096u64.to_le_bytes(), [0; 8], [0; 8]].concat(),
        )
        .load(0x7f00_0000, 5, &library_page(&[0xab; 20], "libcoreclr.so"))
        .load(0x10_0000, 6, &[1; 0x1000])
        .load(0x10_1000, 6, &[2; 0x1000])
        .load(0x7f10_0000, 4, &[3; 0x1000])
}

#[test]
fn everything_a_core_says() {
    for notes_last in [false, true] {
        let image = read(
            CoreWriter {
                notes_last,
                ..process()
            }
            .bytes(),
        )
        .unwrap();
        assert_eq!(image.warnings, [""; 0]);
        assert_eq!((image.arch, image.pid), (Arch::X64, Some(77)));
        assert_eq!(image.auxv.get(&6), Some(&4096));
        let threads: Vec<_> = image
            .threads
            .iter()
            .map(|t| (t.os_id, t.sp, t.ip, t.name.as_deref()))
            .collect();
        assert_eq!(
            threads,
            [
                (77, 0x1013, 0x1010, Some("cart")),
                (78, 0x2013, 0x2010, None)
            ]
        );
        assert_eq!(image.threads[0].registers.len(), 27);
        assert_eq!(
            image.mapped_files[1],
            MappedFile {
                start: 0x7f00_2000,
                end: 0x7f00_3000,
                offset: 4096,
                path: "/usr/lib/libcoreclr.so".into()
            }
        );
        let [library] = &image.modules[..] else {
            panic!("{:?}", image.modules)
        };
        assert_eq!(
            (library.base, library.file_name()),
            (0x7f00_0000, "libcoreclr.so")
        );
        // Includes zero-initialized data beyond the last file mapping.
        assert_eq!(library.size, 0x4000);
        assert_eq!(library.build_id, [0xab; 20]);
        assert_eq!(image.memory.u16(0x10_0fff), Some(0x0201));
        assert_eq!(image.memory.u8(0x10_2000), None);
        assert_eq!(image.memory.regions().len(), 4);
        assert!(image.memory.regions()[0].write && !image.memory.regions()[2].write);
        assert_eq!(image.memory.slice(0x10_0ffe, 4), Some(&[1, 1, 2, 2][..]));
    }
}

#[test]
fn more_segments_than_the_header_can_count() {
    let mut writer = process();
    writer.extended_count = true;
    for i in 0..70_000u64 {
        writer = writer.load(0x10_0000_0000 + i * 0x2000, 6, &i.to_le_bytes());
    }
    let image = read(writer.bytes()).unwrap();
    assert_eq!(image.memory.regions().len(), 70_004);
    assert_eq!(
        image.memory.u64(0x10_0000_0000 + 69_999 * 0x2000),
        Some(69_999)
    );
    assert_eq!(image.modules.len(), 1);
}

#[test]
fn what_was_not_dumped_is_absent_unless_the_writer_says_zero() {
    let writer = process().load(0x20_0000, 6, &[9; 16]).tail(0x1000);
    assert_eq!(read(writer.bytes()).unwrap().memory.u8(0x20_0010), None);
    let flags = FLAG_ZERO_TAILS.to_le_bytes();
    let ours = writer.note(LEAKHOUND_OWNER, NT_LEAKHOUND_FLAGS, &flags);
    let image = read(ours.bytes()).unwrap();
    assert_eq!(image.memory.array::<2>(0x20_000f), Some([9, 0]));
    assert_eq!(image.memory.u8(0x20_0fff), Some(0));
    assert_eq!(image.memory.u8(0x20_1000), None);
}

#[test]
fn our_own_cores_name_their_threads() {
    let mut names = Vec::new();
    for (id, name) in [(78u32, ".NET Finalizer"), (5, "nobody")] {
        names.extend_from_slice(&id.to_le_bytes());
        names.extend_from_slice(&(name.len() as u32).to_le_bytes());
        names.extend_from_slice(name.as_bytes());
        names.resize(names.len().next_multiple_of(4), 0);
    }
    let image = read(
        process()
            .note(LEAKHOUND_OWNER, NT_LEAKHOUND_THREAD_NAMES, &names)
            .bytes(),
    )
    .unwrap();
    assert_eq!(image.threads[1].name.as_deref(), Some(".NET Finalizer"));
}

#[test]
fn without_the_list_of_files_modules_are_found_by_their_headers() {
    let writer = CoreWriter::default()
        .thread(5, 0)
        .load(0x7f00_0000, 5, &library_page(&[7; 20], "libcoreclr.so"))
        .load(0x10_0000, 6, &[1; 64]);
    let image = read(writer.bytes()).unwrap();
    assert_eq!(image.pid, Some(5));
    assert_eq!(image.modules.len(), 1);
    assert_eq!(image.modules[0].file_name(), "libcoreclr.so");
    assert_eq!(image.modules[0].build_id, [7; 20]);
    assert!(
        image.warnings[0].contains("NT_FILE"),
        "{:?}",
        image.warnings
    );
}

#[test]
fn a_truncated_core_gives_what_is_there_and_says_what_is_not() {
    let bytes = process().bytes();
    let image = read(bytes[..bytes.len() - 0x1800].to_vec()).unwrap();
    assert_eq!(image.memory.u8(0x10_17ff), Some(2));
    assert_eq!(image.memory.u8(0x10_1800), None);
    assert_eq!(image.memory.u8(0x7f10_0000), None);
    assert_eq!(image.modules.len(), 1);
    let expected = format!(
        "The dump is truncated: the file has {} bytes, and 6144 bytes of memory in 2 segments are missing.",
        bytes.len() - 0x1800
    );
    assert_eq!(image.warnings, [expected]);
}

#[test]
fn a_core_of_gdb_that_lost_its_notes_still_has_memory() {
    let writer = CoreWriter {
        notes_last: true,
        ..process()
    };
    let bytes = writer.bytes();
    let image = read(bytes[..bytes.len() - writer.notes.len()].to_vec()).unwrap();
    assert!(image.threads.is_empty());
    assert_eq!(image.modules[0].file_name(), "libcoreclr.so");
    assert_eq!(image.warnings.len(), 3, "{:?}", image.warnings);
}

#[test]
fn unusable_files_are_refused_with_the_reason() {
    let whole = process().bytes();
    assert_eq!(
        message(whole[..40].to_vec()),
        "(memory): the file ends at 40 while the ELF header needs bytes 0..64. It was truncated; copy it again"
    );
    assert!(message(whole[..64].to_vec()).contains("the program headers"));
    let mut wrong = whole.clone();
    wrong[54] = 8;
    assert_eq!(
        message(wrong),
        "(memory): the program header size at offset 54: expected at least 56 bytes each, found 8 bytes each"
    );
    let arm32 = CoreWriter {
        machine: Some(40),
        ..process()
    };
    assert!(message(arm32.bytes()).contains("machine 40"));
    let empty = CoreWriter::default().thread(1, 0);
    assert!(message(empty.bytes()).contains("none with content in the file"));
}

#[test]
fn lying_counts_meet_named_limits() {
    let limits = Limits {
        threads: 1,
        ..Limits::default()
    };
    let options = Options {
        limits,
        ..Options::default()
    };
    let error = open_with(Arc::new(Bytes::new(process().bytes())), &options)
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("2 threads; the limit is 1"),
        "{error}"
    );
    let mut files = vec![0; 64];
    files[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = message(process().note("CORE", 0x4649_4c45, &files).bytes());
    assert!(
        error.contains("mapped files; the limit is 1000000"),
        "{error}"
    );
    let mut some = vec![0; 16];
    some[0] = 200;
    let image = read(process().note("CORE", 0x4649_4c45, &some).bytes()).unwrap();
    assert_eq!(
        image.warnings,
        ["The list of mapped files claims 200 entries; 0 could be read."]
    );
    let mut headers = process();
    headers.extended_count = true;
    let mut bytes = headers.bytes();
    let section = 64 + 56 * 5;
    bytes[section + 44..section + 48].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(message(bytes).contains("program headers; the limit is"));
}

#[test]
fn module_files_are_used_only_when_asked_for_and_only_when_they_match() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("usr/lib/libcoreclr.so");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = library_page(&[0xab; 20], "libcoreclr.so");
    file.extend([0x77; 0x800]);
    std::fs::write(&path, &file).unwrap();
    // The header page is there (with the build id), a second page of code is not.
    let mut writer = process().files(&[(0x7f00_1000, 0x7f00_2000, 0, "/usr/lib/libcoreclr.so")]);
    writer.loads[0].content.truncate(0x500);
    let open_under = |writer: &CoreWriter| {
        let options = Options {
            files: Some(FileSearch {
                sysroot: Some(root.path().to_owned()),
                folders: Vec::new(),
            }),
            ..Options::default()
        };
        open_with(Arc::new(Bytes::new(writer.bytes())), &options).unwrap()
    };
    assert_eq!(read(writer.bytes()).unwrap().memory.u8(0x7f00_0500), None);
    let image = open_under(&writer);
    assert_eq!(
        image.memory.bytes(0x7f00_04f0, 0xb10).unwrap(),
        file[0x4f0..0x1000]
    );
    assert_eq!(image.memory.files_used(), std::slice::from_ref(&path));
    // Writable parts are never taken from the file.
    assert_eq!(image.memory.u8(0x7f00_2000), None);
    // Another build of the library is refused, and the report says so.
    file[0x210] ^= 1;
    std::fs::write(&path, &file).unwrap();
    let image = open_under(&writer);
    assert_eq!(image.memory.u8(0x7f00_0500), None);
    assert!(image.memory.problems()[0].contains("its build id is another one"));
    // A hostile path does not climb out of the root.
    let hostile = CoreWriter::default()
        .files(&[(0x7f00_0000, 0x7f00_1000, 0, "/usr/lib/../lib/libcoreclr.so")])
        .load(0x7f00_0000, 5, &library_page(&[0xab; 20], "x")[..0x500]);
    assert_eq!(open_under(&hostile).memory.u8(0x7f00_0500), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens to the bytes: an image or an error, and reads that stay within the regions.
    #[test]
    fn damage_never_panics(
        flips in proptest::collection::vec((0usize..6000, any::<u8>()), 0..12),
        cut in 0usize..22_000,
        extended in any::<bool>(),
    ) {
        let mut bytes = CoreWriter { extended_count: extended, ..process() }.bytes();
        for (at, value) in flips {
            // Mostly headers and notes.
            if let Some(byte) = bytes.get_mut(at % 1800) {
                *byte = value;
            }
        }
        bytes.truncate(cut.max(1));
        if let Ok(image) = read(bytes) {
            exercise(&image);
        }
    }

    #[test]
    fn random_segments_read_as_the_definition_says(
        segments in proptest::collection::vec((0u64..400, 1usize..60), 1..12),
        from in 0u64..500,
        len in 1usize..200,
    ) {
        let mut writer = CoreWriter::default();
        for (i, &(start, size)) in segments.iter().enumerate() {
            writer = writer.load(start, 6, &vec![i as u8 + 1; size]);
        }
        let image = read(writer.bytes()).unwrap();
        // The definition: an address belongs to the segment that starts first, then to the longest.
        let owner = |address: u64| {
            let holding = |s: &&(usize, (u64, usize))| s.1.0 <= address && address < s.1.0 + s.1.1 as u64;
            let numbered: Vec<_> = segments.iter().copied().enumerate().collect();
            numbered.iter().filter(holding).min_by_key(|s| (s.1.0, std::cmp::Reverse(s.1.1))).map(|s| s.0)
        };
        let mut buf = vec![0; len];
        let n = image.memory.read(from, &mut buf);
        for (i, byte) in buf.iter().enumerate().take(n) {
            let owners: Vec<u64> = segments.iter().map(|s| s.0).collect();
            let found = usize::from(*byte) - 1;
            let expected = owner(from + i as u64).unwrap();
            prop_assert!(found == expected || segments[found] == segments[expected], "{owners:?}");
        }
        if n < len {
            prop_assert_eq!(owner(from + n as u64), None);
        }
        exercise(&image);
    }
}

/// Touches everything that an image offers.
fn exercise(image: &ProcessImage) {
    let regions = image.memory.regions();
    for pair in regions.windows(2) {
        assert!(pair[0].start < pair[0].end && pair[0].end <= pair[1].start);
    }
    let mut buf = [0; 64];
    for region in regions.iter().take(50) {
        assert!(image.memory.read(region.start, &mut buf) > 0);
        assert!(image.memory.read(region.end - 1, &mut buf) > 0);
        let _ = image.memory.slice(region.start, 8);
    }
    for address in [0, 1, u64::MAX, u64::MAX - 7, 1 << 63] {
        let _ = image.memory.read(address, &mut buf);
        let _ = image.memory.slice(address, 64);
    }
}
