//! The live reader against a child process that holds known bytes, and a core of that child where gdb is installed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakhound_archive::read_at::PlainFile;
use leakhound_dump::{FileSearch, Memory, Options, ProcessImage, Thread, live, open, open_with};

const PAGE: usize = 4096;
/// More than one system call's worth.
const PATTERN_BYTES: usize = (1 << 20) + 3 * PAGE + 17;
const ROLE: &str = "LEAKHOUND_DUMP_TEST_ROLE";

fn pattern() -> Vec<u8> {
    (0..PATTERN_BYTES as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// Not a test of its own: what the child processes of the tests below do.
#[test]
fn helper() {
    match std::env::var(ROLE).as_deref() {
        Ok("hold") => hold(),
        Ok("intrude") => intrude(),
        _ => {}
    }
}

/// Holds a pattern, a mapping with a hole, and a named thread until its input ends.
fn hold() {
    let held = pattern();
    // SAFETY: an anonymous mapping of three pages, of which the middle one is unmapped again; nothing else uses it.
    let hole = unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            3 * PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        at.cast::<u8>().write_bytes(0x5a, 3 * PAGE);
        assert_eq!(libc::munmap(at.cast::<u8>().add(PAGE).cast(), PAGE), 0);
        at
    };
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    // A thread gives itself its name.
    let (named, is_named) = std::sync::mpsc::channel::<()>();
    let sleeper = std::thread::Builder::new()
        .name("bloodhound".to_owned())
        .spawn(move || {
            named.send(()).unwrap();
            stopped.recv()
        })
        .unwrap();
    is_named.recv().unwrap();
    println!("holding {} {}", held.as_ptr() as usize, hole as usize);
    std::io::stdout().flush().unwrap();
    std::io::stdin().lock().lines().count();
    drop(stop);
    sleeper.join().unwrap().unwrap_err();
    assert_eq!(held, pattern());
}

/// As somebody else, tries to read its parent.
fn intrude() {
    // SAFETY: changes only the identity of this short-lived process.
    unsafe {
        libc::setgid(65534);
        libc::setuid(65534);
    }
    let parent = std::os::unix::process::parent_id();
    println!("intruding {}", live(parent).err().unwrap());
}

struct Held {
    child: Child,
    pattern: u64,
    hole: u64,
}

impl Held {
    fn start() -> Self {
        let mut child = role("hold");
        let line = line_after(&mut child, "holding ");
        let mut numbers = line.split(' ').map(|n| n.parse().unwrap());
        Self {
            child,
            pattern: numbers.next().unwrap(),
            hole: numbers.next().unwrap(),
        }
    }

    fn check(&self, image: &ProcessImage) {
        let expected = pattern();
        let mut found = vec![0; PATTERN_BYTES];
        assert_eq!(image.memory.read(self.pattern, &mut found), PATTERN_BYTES);
        assert!(found == expected, "the bytes differ");
        let mut buf = [0; 2 * PAGE];
        assert_eq!(image.memory.read(self.hole + 16, &mut buf), PAGE - 16);
        assert!(buf[..PAGE - 16].iter().all(|&b| b == 0x5a));
        assert_eq!(image.memory.read(self.hole + PAGE as u64, &mut buf), 0);
        assert_eq!(
            image
                .memory
                .read(self.hole + 2 * PAGE as u64, &mut buf[..8]),
            8
        );
        assert_eq!(image.memory.read(u64::MAX - 3, &mut buf), 0);
        assert_eq!(image.pid, Some(self.child.id()));
        let regions = image.memory.regions();
        assert!(regions.windows(2).all(|w| w[0].end <= w[1].start));
        let held = regions
            .iter()
            .find(|r| r.start <= self.pattern && self.pattern < r.end)
            .unwrap();
        assert!(held.read && held.write && !held.execute);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait();
        if !std::thread::panicking() {
            assert!(status.unwrap().success(), "the child was disturbed");
        }
    }
}

fn role(role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper", "--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn line_after(child: &mut Child, mark: &str) -> String {
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once(mark).map(|(_, rest)| rest.to_owned()))
        .unwrap()
}

fn libc_module(image: &ProcessImage) -> &leakhound_dump::Module {
    image
        .modules
        .iter()
        .find(|m| m.file_name().starts_with("libc."))
        .unwrap()
}

#[test]
fn memory_threads_and_modules_of_a_running_process() {
    let held = Held::start();
    // The kernel tells where a thread stands only once it stands.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (image, sleeper) = loop {
        let image = live(held.child.id()).unwrap();
        let named = |t: &&Thread| t.name.as_deref() == Some("bloodhound");
        let sleeper = image.threads.iter().find(named).unwrap().clone();
        if sleeper.sp != 0 {
            break (image, sleeper);
        }
        assert!(Instant::now() < deadline, "it never sleeps");
        std::thread::sleep(Duration::from_millis(10));
    };
    held.check(&image);
    assert_eq!(image.threads[0].os_id, held.child.id());
    let stack = image
        .memory
        .regions()
        .iter()
        .find(|r| r.start <= sleeper.sp && sleeper.sp < r.end);
    assert!(stack.is_some_and(|r| r.write), "sp {:#x}", sleeper.sp);
    assert!(!libc_module(&image).build_id.is_empty());
    let exe = std::env::current_exe().unwrap();
    assert!(image.modules.iter().any(|m| m.path == exe));
    let file = image.module_file(libc_module(&image)).unwrap();
    assert_eq!(file.proof, leakhound_dump::Proof::BuildId);
    assert_eq!(image.auxv.get(&6), Some(&(PAGE as u64)), "AT_PAGESZ");
}

#[test]
fn a_process_that_ends_gives_nothing_and_says_so() {
    let held = Held::start();
    let image = live(held.child.id()).unwrap();
    let pattern = held.pattern;
    drop(held);
    let mut buf = [0; 8];
    assert_eq!(image.memory.read(pattern, &mut buf), 0);
    assert!(image.memory.problems()[0].contains("ended while it was read"));
}

#[test]
fn a_refusal_says_what_would_help() {
    let mut child = role("intrude");
    let said = line_after(&mut child, "intruding ");
    child.wait().unwrap();
    assert!(said.contains("permission denied"), "{said}");
    assert!(
        said.contains("CAP_SYS_PTRACE") || said.contains("ptrace_scope"),
        "{said}"
    );
}

#[test]
fn a_gdb_core_agrees_with_the_live_process() {
    if Command::new("gcore").output().is_err() {
        println!("SKIPPED: gcore is not installed (package gdb)");
        return;
    }
    let held = Held::start();
    let alive = live(held.child.id()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("core");
    let made = Command::new("gcore")
        .arg("-o")
        .arg(&prefix)
        .arg(held.child.id().to_string())
        .output()
        .unwrap();
    let path = folder.path().join(format!("core.{}", held.child.id()));
    assert!(path.exists(), "{}", String::from_utf8_lossy(&made.stderr));
    let core = open(Arc::new(PlainFile::open(&path).unwrap())).unwrap();
    held.check(&core);
    let ids = |image: &ProcessImage| {
        let mut ids: Vec<u32> = image.threads.iter().map(|t| t.os_id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&core), ids(&alive));
    let modules = |image: &ProcessImage| -> Vec<(u64, u64, std::path::PathBuf, Vec<u8>)> {
        let parts =
            |m: &leakhound_dump::Module| (m.base, m.size, m.path.clone(), m.build_id.clone());
        image.modules.iter().map(parts).collect()
    };
    assert_eq!(modules(&core), modules(&alive));
    assert_eq!(core.warnings, [""; 0]);
    clean_pages_come_from_files(&path, &core, &alive);
}

/// gdb leaves clean file pages out; with the overlay the code of libc reads as in the live process.
fn clean_pages_come_from_files(path: &Path, core: &ProcessImage, alive: &ProcessImage) {
    let options = Options {
        files: Some(FileSearch::this_machine()),
        ..Options::default()
    };
    let full = open_with(Arc::new(PlainFile::open(path).unwrap()), &options).unwrap();
    let libc = libc_module(alive);
    let (mut missing, mut compared) = (0, 0);
    for address in (libc.base..libc.base + libc.size).step_by(PAGE) {
        let page = |m: &Arc<dyn Memory>| {
            let mut buf = vec![0; PAGE];
            (m.read(address, &mut buf) == PAGE).then_some(buf)
        };
        let (bare, overlaid, live) = (page(&core.memory), page(&full.memory), page(&alive.memory));
        if bare.is_none() && live.is_some() {
            missing += 1;
            if let Some(overlaid) = overlaid {
                assert!(Some(overlaid) == live, "page {address:#x}");
                compared += 1;
            }
        }
    }
    assert!(
        missing > 0 && compared * 10 >= missing * 9,
        "{compared} of {missing}"
    );
    assert!(
        full.memory
            .files_used()
            .iter()
            .any(|f| f.file_name() == libc.path.file_name())
    );
}
