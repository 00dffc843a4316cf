//! The runtime's own dump, asked for over the diagnostics socket: the way out where ptrace is denied.
//!
//! createdump writes an uncompressed file into a private folder that its user can write; it is opened,
//! unlinked at once, checked, and copied compressed. A "success" of the runtime is never believed: see
//! `reply that lies` below.

use super::estimate::{Cost, Estimate};
use super::ipc::{self, DumpType, IpcError};
use super::{CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, Step};
use crate::config::CaptureConfig;
use crate::discover::identity;
use crate::identity::Identity;
use crate::proc_maps;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CHUNK: usize = 1 << 20;
/// Bytes per second that createdump writes while the process stands still; 1 to 2 s per gigabyte were measured.
const WRITTEN_PER_S: f64 = 500e6;

/// The method.
#[derive(Debug)]
pub struct RuntimeDump;

impl CaptureMethod for RuntimeDump {
    fn name(&self) -> &'static str {
        "runtime-ipc"
    }

    /// The runtime knows no dump without contents.
    fn writes(&self, content: Content) -> bool {
        content != Content::Structure
    }

    /// createdump of 3.1 and 5 leaves it out.
    fn keeps_metadata(&self) -> bool {
        false
    }

    fn check_cost(
        &self,
        target: &Identity,
        estimate: &Estimate,
        config: &CaptureConfig,
    ) -> Result<Cost, CaptureError> {
        let cost = Cost {
            pause: Duration::from_secs_f64(estimate.memory_bytes as f64 / WRITTEN_PER_S),
            copy_bytes: None,
        };
        cost.within(target, estimate, config.max_pause)
    }

    fn permitted(&self, target: &Identity) -> Result<(), String> {
        let Some(dotnet) = &target.dotnet else {
            return Err("not a .NET process".to_owned());
        };
        if dotnet.socket.is_none() {
            return Err(
                "no diagnostics socket (DOTNET_EnableDiagnostics=0, or TMPDIR points elsewhere)"
                    .to_owned(),
            );
        }
        if dotnet.single_file {
            // .NET 8 single-file hosts answer success, write nothing and leave a forked copy of the service
            // behind, holding its socket · seen with 8.0.30 · we do not ask · dotnet/diagnostics#733.
            return Err(
                "single-file services leave a forked copy behind when they are asked".to_owned(),
            );
        }
        Ok(())
    }

    fn capture(
        &self,
        job: &Job<'_>,
        sink: &mut (dyn Sink + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError> {
        let pid = job.target.pid;
        let socket = job.target.dotnet.as_ref().and_then(|d| d.socket.clone());
        let Some(socket) = socket else {
            let reason = "it has no diagnostics socket".to_owned();
            return Err(CaptureError::Runtime { pid, reason });
        };
        let spool = Spool::create(job.target).map_err(|source| CaptureError::Read {
            pid,
            what: "the folder for the runtime's dump",
            source,
        })?;
        progress(Progress {
            step: Step::Stopping,
            done_bytes: 0,
            total_bytes: 0,
        });
        let maps = proc_maps::of_process(pid).unwrap_or_default();
        let children_before = children(pid);
        let kind = match job.content {
            Content::Heap | Content::Structure => DumpType::WithHeap,
            Content::Full => DumpType::Full,
        };
        let asked = Instant::now();
        let answer = unless_cancelled(job, &children_before, || {
            ipc::write_dump(
                &socket,
                &spool.path_inside,
                kind,
                job.config.runtime_timeout.0,
            )
        });
        let pause = asked.elapsed();
        job.cancel.check(pid)?;
        let mut warnings = Vec::new();
        match answer {
            Ok(()) => {}
            Err(IpcError::Io(_)) if !identity::is_alive(pid) => {
                let when = "while its runtime wrote the dump";
                return Err(CaptureError::Exited { pid, when });
            }
            Err(e) => {
                let reason = e.to_string();
                return Err(CaptureError::Runtime { pid, reason });
            }
        }
        let left: Vec<u32> = still_there(&children_before, pid);
        if !left.is_empty() {
            warnings.push(format!("the runtime left child processes behind: {left:?}"));
        }
        // Reply that lies: success, and no file or a torn one.
        let mut file = spool.open_dump(pid)?;
        let total_bytes = file.metadata().map_or(0, |m| m.len());
        let mut report = |done_bytes| {
            progress(Progress {
                step: Step::Resumed,
                done_bytes,
                total_bytes,
            });
        };
        copy(job, &mut file, sink, &mut report)?;
        Ok(Captured {
            pause: Some(pause),
            maps,
            warnings,
            ..Captured::default()
        })
    }
}

/// Waits for the runtime; when the capture is given up meanwhile, ends the `createdump` that it started: the kernel then
/// lets go of all that this holds, and the runtime answers.
fn unless_cancelled<T>(job: &Job<'_>, before: &BTreeSet<u32>, ask: impl FnOnce() -> T) -> T {
    const LOOK: Duration = Duration::from_millis(20);
    let pid = job.target.pid;
    let answered = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !answered.load(Ordering::Relaxed) {
                let started = children(pid);
                let new = started
                    .difference(before)
                    .filter(|_| job.cancel.is_cancelled());
                for child in new.filter(|child| is_createdump(**child)) {
                    // SAFETY: no memory is passed. Between the look and the signal the id cannot be given to another
                    // process but by its parent, which waits for it.
                    unsafe { libc::kill(child.cast_signed(), libc::SIGKILL) };
                }
                std::thread::sleep(LOOK);
            }
        });
        let answer = ask();
        answered.store(true, Ordering::Relaxed);
        answer
    })
}

fn is_createdump(pid: u32) -> bool {
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.trim_end() == "createdump"
}

fn copy(
    job: &Job<'_>,
    file: &mut File,
    sink: &mut (dyn Sink + Send),
    report: &mut dyn FnMut(u64),
) -> Result<(), CaptureError> {
    let pid = job.target.pid;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        job.cancel.check(pid)?;
        let n = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                let what = "the runtime's dump file";
                return Err(CaptureError::Read { pid, what, source });
            }
        };
        let written = sink.write_all(&buffer[..n]);
        written.map_err(|source| CaptureError::Write { pid, source })?;
        done += n as u64;
        report(done);
    }
}

/// A private folder in the target's own folder for temporary files; removed with all that is in it.
struct Spool {
    folder: PathBuf,
    dump: PathBuf,
    path_inside: String,
}

impl Spool {
    fn create(target: &Identity) -> io::Result<Self> {
        let temporary = target
            .env("TMPDIR")
            .filter(|t| t.starts_with('/'))
            .unwrap_or("/tmp");
        let name = format!(
            "leakhound-{}-{}",
            std::process::id(),
            jiff::Timestamp::now().as_nanosecond()
        );
        let inside = format!("{}/{name}", temporary.trim_end_matches('/'));
        let folder = PathBuf::from(format!("/proc/{}/root{inside}", target.pid));
        // Fails when the name exists, as a link or otherwise: nobody can put a folder in our way.
        DirBuilder::new().mode(0o700).create(&folder)?;
        let spool = Self {
            dump: folder.join("core"),
            path_inside: format!("{inside}/core"),
            folder,
        };
        // SAFETY: asks for our own id.
        let me = unsafe { libc::geteuid() };
        if me != target.uid {
            std::os::unix::fs::lchown(&spool.folder, Some(target.uid), Some(target.gid))?;
        }
        Ok(spool)
    }

    /// Opens and unlinks the dump, and checks that it is one.
    fn open_dump(&self, pid: u32) -> Result<File, CaptureError> {
        let lie = |reason: String| CaptureError::Runtime { pid, reason };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.dump)
            .map_err(|e| lie(format!("it answered success, but there is no dump ({e})")))?;
        let _ = fs::remove_file(&self.dump);
        let meta = file.metadata().map_err(|e| lie(e.to_string()))?;
        let mut magic = [0; 4];
        let read = file.read_exact(&mut magic);
        if !meta.is_file() || read.is_err() || magic != *b"\x7fELF" {
            return Err(lie(format!(
                "it answered success, but its file of {} bytes is no ELF core",
                meta.len()
            )));
        }
        let rewound = io::Seek::rewind(&mut file);
        rewound.map_err(|e| lie(e.to_string()))?;
        Ok(file)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn children(pid: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    tasks
        .filter_map(|t| fs::read_to_string(t.ok()?.path().join("children")).ok())
        .flat_map(|text| {
            let ids: Vec<u32> = text
                .split_ascii_whitespace()
                .filter_map(|c| c.parse().ok())
                .collect();
            ids
        })
        .collect()
}

/// New children that do not go away by themselves within a moment (createdump itself does).
fn still_there(before: &BTreeSet<u32>, pid: u32) -> Vec<u32> {
    let mut left: Vec<u32> = Vec::new();
    for _ in 0..10 {
        left = children(pid)
            .difference(before)
            .copied()
            .filter(|c| identity::is_alive(*c))
            .collect();
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    left
}
