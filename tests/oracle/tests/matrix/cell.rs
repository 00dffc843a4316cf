//! One cell of the matrix: a program on a runtime with a collector, in one kind of dump.

use crate::compare;
use crate::difference::Verdict;
use crate::ours::Ours;
use leakhound_archive::Archive;
use leakhound_collector::capture::Cancel;
use leakhound_collector::config::{CaptureConfig, Kind, MethodChoice, Reserve};
use leakhound_collector::{discover, seal};
use leakhound_oracle::Testimony;
use leakhound_testbed::{DotnetRoot, Service, Version, dumps, runtimes, targets};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Percentage of its usual size that a program puts on the heap.
const PERCENT: &str = "4";
/// Heaps of the server collector; a number of its own keeps later runtimes from changing it.
const SERVER_HEAPS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collector {
    Workstation,
    Server,
}

impl Collector {
    pub fn name(self) -> &'static str {
        match self {
            Self::Workstation => "workstation",
            Self::Server => "server",
        }
    }
}

/// Who wrote the dump, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    FullCore,
    HeapCore,
    Gcore,
    Sealed,
}

impl Container {
    pub fn name(self) -> &'static str {
        match self {
            Self::FullCore => "createdump full",
            Self::HeapCore => "createdump heap",
            Self::Gcore => "gcore",
            Self::Sealed => "leakhound, sealed",
        }
    }
}

/// A dump, ready to be judged; the process it was taken of is gone when its last cell is.
pub struct Cell {
    pub version: Version,
    pub program: String,
    pub collector: Collector,
    pub container: Container,
    root: DotnetRoot,
    dump: PathBuf,
    folder: Arc<tempfile::TempDir>,
}

impl Cell {
    /// Starts a program and dumps it in several ways.
    pub fn all_of(
        version: Version,
        program: &str,
        collector: Collector,
        containers: &[Container],
    ) -> Vec<Self> {
        let root = runtimes::get(version).unwrap();
        let launch = targets::app(program)
            .unwrap()
            .on(&root)
            .env("SHOP_PERCENT", PERCENT);
        let launch = match collector {
            Collector::Workstation => launch,
            Collector::Server => launch.server_gc(SERVER_HEAPS),
        };
        let service = launch.start().unwrap();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let cells = containers.iter().map(|container| Self {
            version,
            program: program.to_owned(),
            collector,
            container: *container,
            root: root.clone(),
            dump: write(*container, &root, &service, folder.path()),
            folder: Arc::clone(&folder),
        });
        cells.collect()
    }

    /// What it is, in words.
    pub fn label(&self) -> String {
        format!(
            "{} on {} with {} GC in {}",
            self.program,
            self.version,
            self.collector.name(),
            self.container.name()
        )
    }

    /// Reads the dump with our reader, asks the library, and compares. The dump is deleted.
    pub fn judge(self) -> Verdict {
        let ours = Ours::read(&self.dump);
        assert_eq!(
            ours.runtime.info().server_gc,
            self.collector == Collector::Server,
            "{}",
            self.label()
        );
        let theirs = self.testimony(&ours.static_owners());
        let verdict = compare::all(&self, &ours, &theirs);
        drop(ours);
        std::fs::remove_file(&self.dump).unwrap();
        println!("{}: {}", self.label(), verdict.summary());
        verdict
    }

    /// The library runs in a process of its own.
    fn testimony(&self, tables: &[u64]) -> Testimony {
        let mut text = String::new();
        for table in tables {
            writeln!(text, "{table:x}").unwrap();
        }
        let questions = self.folder.path().join("tables");
        std::fs::write(&questions, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_leakhound-oracle"))
            .args([&self.dump, &self.root.dac(), &questions])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {}\n{}",
            self.label(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn write(container: Container, root: &DotnetRoot, service: &Service, folder: &Path) -> PathBuf {
    let pid = service.pid();
    match container {
        Container::FullCore | Container::HeapCore => {
            let (kind, name) = match container {
                Container::FullCore => (dumps::Kind::Full, "full.core"),
                _ => (dumps::Kind::Heap, "heap.core"),
            };
            let file = folder.join(name);
            // createdump gives up when a thread ends between being listed and being stopped.
            let write = || dumps::createdump(root, pid, kind, &file);
            write().or_else(|_| write()).or_else(|_| write()).unwrap();
            file
        }
        Container::Gcore => {
            let write = || dumps::gcore(pid, &folder.join("gdb.core"));
            write().or_else(|_| write()).or_else(|_| write()).unwrap()
        }
        Container::Sealed => capture(pid, folder),
    }
}

/// Our own snapshot, compressed into a bundle.
fn capture(pid: u32, folder: &Path) -> PathBuf {
    let archive = Archive::open_or_create(&folder.join("archive")).unwrap();
    let config = CaptureConfig {
        method: MethodChoice::Snapshot,
        reserve: Reserve::Bytes(1 << 20),
        ..CaptureConfig::default()
    };
    let place = seal::Place {
        archive: &archive,
        queue: None,
        config: &config,
        walker: None,
    };
    let target = discover::one(pid).unwrap();
    let cancel = Cancel::default();
    let (bundle, _) = seal::capture_once(
        place,
        &target,
        None,
        Kind::Heap,
        "oracle",
        &cancel,
        &mut |_| {},
    )
    .unwrap();
    bundle.dump_path().unwrap().unwrap()
}
