//! Killed processes and full disks, with real processes, a real `kill -9` and a real small file system.

use crate::support::{at, child, hidden, noise, part, seal};
use leakhound_archive::bundle::DIAGNOSIS_FILE;
use leakhound_archive::{Archive, ArchiveError, Filter, Manifest, Queue, State};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn quiet(_: u64, _: u64) {}

fn folder_of_child() -> PathBuf {
    std::env::var_os("LEAKHOUND_TEST_FOLDER").unwrap().into()
}

/// What a collector does all day: seal, enqueue, claim, finish; says so on standard output after each promise.
fn seal_and_work_forever(folder: &Path) -> ! {
    let archive = Archive::open(folder).unwrap();
    let queue = Queue::open(State::open(folder).unwrap()).unwrap();
    let raw = noise(700_000, std::process::id().into());
    let mut out = std::io::stdout();
    let start = jiff::Timestamp::now();
    loop {
        let bundle = seal(&archive, "fabric:/Shop/Cart", start, &raw).unwrap();
        writeln!(out, "\nsealed {}", bundle.id().key()).unwrap();
        queue.enqueue(&bundle.id().key(), start).unwrap();
        writeln!(out, "\nenqueued {}", bundle.id().key()).unwrap();
        let claim = queue
            .claim("w", jiff::SignedDuration::from_secs(60), start)
            .unwrap()
            .unwrap();
        archive
            .put_file(
                &archive.bundle(&claim.bundle).unwrap(),
                DIAGNOSIS_FILE,
                b"{}",
            )
            .unwrap();
        queue.finish(&claim, start).unwrap();
        writeln!(out, "\nfinished {}", claim.bundle).unwrap();
    }
}

#[test]
fn kill_9_at_any_moment_loses_nothing_promised() {
    if part().is_some() {
        seal_and_work_forever(&folder_of_child());
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open_or_create(folder.path()).unwrap();
    let mut promised = Vec::new();
    let mut n_swept = 0;
    for round in 0..24u64 {
        let mut worker = child(
            "crash::kill_9_at_any_moment_loses_nothing_promised",
            "collector",
        )
        .env("LEAKHOUND_TEST_FOLDER", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
        // Let it get going, then strike at a different moment of its cycle each time.
        let first = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|l| l.starts_with("sealed "));
        promised.extend(first);
        std::thread::sleep(Duration::from_micros(round * 1700));
        worker.kill().unwrap();
        worker.wait().unwrap();
        promised.extend(
            lines
                .map_while(Result::ok)
                .filter(|l| l.contains("ed fabric")),
        );

        let swept = archive.sweep().unwrap();
        assert_eq!(
            (swept.n_in_use, swept.problems),
            (0, vec![]),
            "a dead process holds no lock"
        );
        n_swept += swept.removed.len();
        assert_eq!(hidden(&archive), Vec::<String>::new());
        let queue = Queue::open(State::open(folder.path()).unwrap()).unwrap();
        for promise in &promised {
            let (what, key) = promise.split_once(' ').unwrap();
            match what {
                "sealed" => drop(archive.bundle(key).unwrap()),
                "enqueued" => assert!(queue.job(key).unwrap().is_some(), "{promise}"),
                "finished" => {
                    assert_eq!(
                        queue.job(key).unwrap().unwrap().state,
                        leakhound_archive::queue::JobState::Done
                    );
                    assert!(
                        archive.bundle(key).unwrap().has(DIAGNOSIS_FILE),
                        "{promise}"
                    );
                }
                other => panic!("unknown promise {other}"),
            }
        }
        // Whatever the kill left running is claimed again once its lease is over.
        let later = jiff::Timestamp::now() + Duration::from_secs(100);
        while let Some(claim) = queue
            .claim("next", jiff::SignedDuration::from_secs(60), later)
            .unwrap()
        {
            queue.finish(&claim, later).unwrap();
        }
    }
    let bundles = archive.list(&Filter::default()).unwrap().bundles;
    assert!(bundles.len() >= 24, "{} bundles", bundles.len());
    for bundle in &bundles {
        let verified = archive.verify(bundle, &quiet).unwrap();
        assert!(
            verified.is_whole(),
            "{}: {:?}",
            bundle.id(),
            verified.problems
        );
    }
    assert!(
        n_swept > 0,
        "no kill met a bundle half written: the moments must be changed"
    );
}

#[test]
fn a_living_writer_is_not_swept_by_another_process() {
    if part().is_some() {
        let archive = Archive::open(&folder_of_child()).unwrap();
        let writer = archive.begin("cart", at(0), "n", 1).unwrap();
        writer.put("notes.txt", b"half").unwrap();
        println!("\nbegun");
        std::io::stdin().read_exact(&mut [0]).unwrap();
        writer.seal(Manifest::default()).unwrap();
        std::process::exit(PLAYED);
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::open_or_create(folder.path()).unwrap();
    let mut writer = child(
        "crash::a_living_writer_is_not_swept_by_another_process",
        "writer",
    )
    .env("LEAKHOUND_TEST_FOLDER", folder.path())
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    assert!(lines.any(|l| l == "begun"));
    let swept = archive.sweep().unwrap();
    assert_eq!((swept.removed.len(), swept.n_in_use), (0, 1));
    writer.stdin.take().unwrap().write_all(b"!").unwrap();
    assert_eq!(writer.wait().unwrap().code(), Some(PLAYED));
    assert_eq!(archive.list(&Filter::default()).unwrap().bundles.len(), 1);
}

/// The scene on a disk of a few MB: a good bundle, one that does not fit, a document that does not fit, a small one that does.
fn fill_the_disk(folder: &Path, is_full: fn(&ArchiveError) -> bool) {
    let archive = Archive::open_or_create(&folder.join("archive")).unwrap();
    let queue = Queue::open(State::open(archive.location()).unwrap()).unwrap();
    let good = seal(&archive, "cart", at(0), &noise(500_000, 1)).unwrap();
    archive
        .put_file(&good, DIAGNOSIS_FILE, br#"{"first":true}"#)
        .unwrap();
    queue.enqueue(&good.id().key(), at(0)).unwrap();

    let error = seal(&archive, "cart", at(1), &noise(16 << 20, 2)).unwrap_err();
    assert!(is_full(&error), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("cannot seal") && text.contains("memory.core.zst"),
        "{text}"
    );
    assert!(text.contains("free some space"), "{text}");
    assert_eq!(
        hidden(&archive),
        Vec::<String>::new(),
        "the partial bundle is gone"
    );
    assert_eq!(archive.sweep().unwrap().removed.len(), 0);

    let error = archive
        .put_file(&good, DIAGNOSIS_FILE, &noise(8 << 20, 3))
        .unwrap_err();
    assert!(is_full(&error), "{error}");
    let diagnosis: serde_json::Value = good.read_json(DIAGNOSIS_FILE).unwrap();
    assert_eq!(diagnosis["first"], true, "the old document is intact");
    assert_eq!(hidden(&archive), Vec::<String>::new());

    let small = seal(&archive, "cart", at(2), &noise(10_000, 4)).unwrap();
    for bundle in [&good, &small] {
        let verified = archive.verify(bundle, &quiet).unwrap();
        assert!(verified.is_whole(), "{:?}", verified.problems);
    }
    assert_eq!(
        archive.list(&Filter::default()).unwrap().bundles,
        [good, small]
    );
    assert_eq!(queue.counts().unwrap().waiting, 1);
}

fn disk_full(error: &ArchiveError) -> bool {
    error.is_disk_full() && error.to_string().contains("the disk is full")
}

/// Exit code of a child that played its part to the end; a child that ran no test at all ends with 0.
const PLAYED: i32 = 42;
/// Exit code of a child that may not mount.
const CANNOT_MOUNT: i32 = 77;

#[test]
fn a_full_file_system_is_a_clear_error_and_loses_nothing() {
    let this = "crash::a_full_file_system_is_a_clear_error_and_loses_nothing";
    if part().is_some() {
        let folder = folder_of_child();
        if !mount_small_file_system(&folder) {
            std::process::exit(CANNOT_MOUNT);
        }
        fill_the_disk(&folder, disk_full);
        std::process::exit(PLAYED);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = child(this, "tmpfs");
    command.env("LEAKHOUND_TEST_FOLDER", folder.path());
    let status = in_own_mount_namespace(command).status();
    let code = status.map_or(CANNOT_MOUNT, |s| s.code().unwrap_or(-1));
    // Where mounting is not allowed at all, the file size limit below stands in for the full disk.
    assert!(
        code == PLAYED || code == CANNOT_MOUNT,
        "the child failed with {code}"
    );
    if code == CANNOT_MOUNT {
        eprintln!("mounting is not allowed here: only the file size limit is tested");
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the mount was the child's own"
    );
}

#[test]
fn the_largest_file_size_is_a_clear_error_and_loses_nothing() {
    if part().is_some() {
        fill_the_disk(&folder_of_child(), ArchiveError::is_disk_full);
        std::process::exit(PLAYED);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = child(
        "crash::the_largest_file_size_is_a_clear_error_and_loses_nothing",
        "limit",
    );
    command.env("LEAKHOUND_TEST_FOLDER", folder.path());
    // SAFETY: both calls are allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: 5 << 20,
                rlim_max: 5 << 20,
            };
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    assert_eq!(command.status().unwrap().code(), Some(PLAYED));
}

/// Makes the child's mounts its own: as root directly, else inside a user namespace.
fn in_own_mount_namespace(mut command: Command) -> Command {
    // SAFETY: getuid has no preconditions.
    let map = format!("0 {} 1", unsafe { libc::getuid() });
    // SAFETY: system calls only, besides one write of a string that was made before the fork.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWNS) == 0 {
                return Ok(());
            }
            if libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUSER) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            std::fs::write("/proc/self/uid_map", &map)
        });
    }
    command
}

fn mount_small_file_system(at: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let at = std::ffi::CString::new(at.as_os_str().as_bytes()).unwrap();
    // SAFETY: all strings end in NUL.
    unsafe {
        let none = c"none".as_ptr();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        libc::mount(
            none,
            c"/".as_ptr(),
            std::ptr::null(),
            private,
            std::ptr::null(),
        ) == 0
            && libc::mount(
                c"tmpfs".as_ptr(),
                at.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=6m".as_ptr().cast(),
            ) == 0
    }
}
