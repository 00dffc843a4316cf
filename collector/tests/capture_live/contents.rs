//! What a core holds, and who opens it.

use super::target::{BLOCK_BYTES, METHODS, Target, capture, folder};
use leakhound_collector::capture::{Cancel, Content, Job};
use leakhound_collector::config::CaptureConfig;
use leakhound_collector::discover;
use leakhound_dump::MemoryExt;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_core_holds_the_bytes_the_threads_and_the_registers() {
    let mut target = Target::start(0);
    let folder = folder();
    let path = folder.path().join("core");
    let contents = [Content::Heap, Content::Full];
    for (method, content) in METHODS.iter().flat_map(|m| contents.map(|c| (*m, c))) {
        let captured = capture(method, target.pid(), content, &path).unwrap();
        target.assert_runs();
        assert!(captured.pause.unwrap() > Duration::ZERO);
        assert!(captured.warnings.is_empty(), "{:?}", captured.warnings);

        let image = leakhound_dump::open(leakhound_archive::open_readable(&path).unwrap()).unwrap();
        assert!(image.warnings.is_empty(), "{:?}", image.warnings);
        assert_eq!(image.pid, Some(target.pid()));
        assert_eq!(image.threads.len(), target.threads);
        for thread in &image.threads {
            assert_ne!((thread.ip, thread.sp), (0, 0), "thread {}", thread.os_id);
            assert!(
                thread
                    .name
                    .as_ref()
                    .is_some_and(|n| n.starts_with("python")),
                "{:?}",
                thread.name
            );
            let stack = image.memory.u64(thread.sp);
            assert!(
                stack.is_some(),
                "stack of thread {} is missing",
                thread.os_id
            );
        }
        for page in (0..BLOCK_BYTES).step_by(4096) {
            let expected = if page / 4096 % 3 == 0 { 0 } else { page + 8 };
            assert_eq!(
                image.memory.u64(target.block + page + 8),
                Some(expected),
                "page {page:#x}"
            );
        }
        let python = image
            .mapped_files
            .iter()
            .find(|f| f.path.to_string_lossy().contains("python"));
        let header = image.memory.u32(python.unwrap().start);
        assert_eq!(header, Some(u32::from_le_bytes(*b"\x7fELF")));
        assert!(!image.memory.regions().is_empty() && !image.modules.is_empty());
    }
}

#[test]
fn gdb_opens_the_core_and_sees_every_thread() {
    let target = Target::start(0);
    let folder = folder();
    let path = folder.path().join("core");
    for method in METHODS {
        capture(method, target.pid(), Content::Heap, &path).unwrap();
        assert_gdb_reads(&target, &path);
    }
}

fn assert_gdb_reads(target: &Target, path: &Path) {
    let exe = std::fs::read_link(format!("/proc/{}/exe", target.pid())).unwrap();
    let command = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-ex",
            "info threads",
            "-ex",
            "info registers rip",
        ])
        .args(["-ex", &format!("x/2gx {}", target.block + 4096)])
        .args(["-ex", "bt 3"])
        .arg(exe)
        .arg(path)
        .output();
    let Ok(output) = command else {
        panic!("gdb is not installed; this test needs it (apt-get install gdb)");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(text.matches("LWP").count() >= target.threads, "{text}");
    assert!(
        text.contains("0x0000000000001000\t0x0000000000001008"),
        "{text}"
    );
    assert!(text.contains("#0 ") && text.contains("rip "), "{text}");
    assert!(
        !text.contains("is not a core dump")
            && !text.contains("warning: Couldn't find general-purpose"),
        "{text}"
    );
}

#[test]
fn sealed_cores_open_too_and_are_standard_zstd() {
    let target = Target::start(4);
    let folder = folder();
    let path = folder.path().join("memory.core.zst");
    let who = discover::one(target.pid()).unwrap();
    let job = Job {
        target: &who,
        content: Content::Heap,
        config: &CaptureConfig::default(),
        cancel: &Cancel::default(),
    };
    for method in METHODS {
        let file = File::create(&path).unwrap();
        let options = leakhound_archive::SealOptions::default();
        let mut seal = leakhound_archive::SealWriter::new(file, &options).unwrap();
        method.capture(&job, &mut seal, &mut |_| {}).unwrap();
        let sealed = seal.finish().unwrap();
        assert!(sealed.stored_bytes < sealed.raw_bytes / 2);
        let image = leakhound_dump::open(Arc::clone(
            &leakhound_archive::open_readable(&path).unwrap(),
        ))
        .unwrap();
        assert_eq!(image.memory.u64(target.block + 4096), Some(4096));
    }
}
