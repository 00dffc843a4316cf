//! A running process as a process image, without stopping it.
//!
//! Memory is read when asked for, with `process_vm_readv` and, where that is refused, `/proc/PID/mem`. What is read
//! may change under the reader: callers check what they read and try again. Opening reads the memory map, the thread
//! names and the headers of the modules; nothing that grows with the heap.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::elf::{AT_NULL, core, module};
use crate::error::DumpError;
use crate::fields::u64_at;
use crate::image::{Arch, Os, ProcessImage, Thread};
use crate::limits::{Limits, admit};
use crate::live_options::LiveOptions;
use crate::maps::MapLine;
use crate::memory::{Memory, Region};
use crate::module_files::{FileSearch, ModuleFiles};
use leakhound_archive::ReadAt;

/// Most that one system call is asked for.
const CHUNK_BYTES: usize = 1 << 20;

/// Opens the running process `pid`.
///
/// # Errors
/// [`DumpError::NoProcess`], [`DumpError::Denied`] with what to do about it, or [`DumpError::Process`].
pub fn live(pid: u32) -> Result<ProcessImage, DumpError> {
    live_with(pid, &LiveOptions::default())
}

/// Opens the running process `pid` as `options` say.
///
/// # Errors
/// As [`live`].
pub fn live_with(pid: u32, options: &LiveOptions) -> Result<ProcessImage, DumpError> {
    let proc_folder = PathBuf::from(format!("/proc/{pid}"));
    let limits = &options.limits;
    let lines = read_maps(pid, &proc_folder, limits)?;
    let regions: Vec<Region> = lines.iter().map(|l| l.region).filter(|r| r.read).collect();
    let memory = LiveMemory::new(pid, &proc_folder, regions);
    memory.check_access()?;
    if options.hold {
        memory.hold()?;
    }
    let arch = if cfg!(target_arch = "aarch64") {
        Arch::Arm64
    } else {
        Arch::X64
    };
    let mut image = ProcessImage::new(Os::Linux, arch, Arc::new(memory));
    image.pid = Some(pid);
    image.mapped_files = lines.iter().filter_map(MapLine::mapped_file).collect();
    admit(
        "mapped files",
        image.mapped_files.len() as u64,
        limits.mapped_files,
    )?;
    image.modules = module::modules(&*image.memory, &image.mapped_files, limits)?;
    if options.threads {
        image.threads = threads(pid, &proc_folder, limits)?;
    }
    if let Ok(bytes) = fs::read(proc_folder.join("auxv")) {
        for pair in bytes.chunks_exact(16) {
            if let (Some(key), Some(value)) = (u64_at(pair, 0), u64_at(pair, 8))
                && key != AT_NULL
            {
                image.auxv.insert(key, value);
            }
        }
    }
    // The process may live in another mount namespace (a container): its paths hold below its own root.
    let search = FileSearch {
        sysroot: Some(proc_folder.join("root")),
        folders: Vec::new(),
    };
    image.module_files = Some(Arc::new(ModuleFiles::new(search, limits)));
    Ok(image)
}

/// Opens a frozen copy of a process, made by `clone` and never run: its memory through `/proc/COPY/mem`, which is open
/// afterwards; the threads as `notes` has them, a core without memory, since a copy has but one.
///
/// # Errors
/// As [`live`], and what is wrong with the notes.
pub fn frozen(copy: u32, notes: &dyn ReadAt) -> Result<ProcessImage, DumpError> {
    let options = LiveOptions {
        threads: false,
        hold: true,
        ..LiveOptions::default()
    };
    let mut image = live_with(copy, &options)?;
    let notes = core::notes(notes, &options.limits)?;
    image.pid = notes.pid;
    image.threads = notes.threads;
    image.warnings.extend(notes.warnings);
    Ok(image)
}

/// The mappings of a process.
///
/// # Errors
/// As [`live`].
pub fn memory_map(pid: u32) -> Result<Vec<MapLine>, DumpError> {
    read_maps(
        pid,
        &PathBuf::from(format!("/proc/{pid}")),
        &Limits::default(),
    )
}

fn read_maps(pid: u32, proc_folder: &Path, limits: &Limits) -> Result<Vec<MapLine>, DumpError> {
    let text = fs::read(proc_folder.join("maps")).map_err(|e| failed(pid, "its memory map", e))?;
    let lines: Vec<MapLine> = text
        .split(|&b| b == b'\n')
        .take(usize::try_from(limits.map_lines).unwrap_or(usize::MAX))
        .filter_map(MapLine::parse)
        .collect();
    if lines.is_empty() {
        // Kernel threads and zombies have no memory.
        let error = io::Error::new(
            io::ErrorKind::NotFound,
            "it has no memory (a zombie or kernel thread)",
        );
        return Err(failed_because(pid, "its memory map", error));
    }
    Ok(lines)
}

/// Threads with names; stack and instruction pointer where the kernel shows them (of threads that wait in a call).
fn threads(pid: u32, proc_folder: &Path, limits: &Limits) -> Result<Vec<Thread>, DumpError> {
    let folder = proc_folder.join("task");
    let entries = fs::read_dir(&folder).map_err(|e| failed(pid, "its threads", e))?;
    let mut threads = Vec::new();
    for entry in entries.flatten() {
        let Some(os_id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        admit("threads", threads.len() as u64 + 1, limits.threads)?;
        // A thread that ends meanwhile has no name; it stays in the list, as it was there.
        let name = fs::read_to_string(entry.path().join("comm")).ok();
        let (sp, ip) = fs::read_to_string(entry.path().join("syscall"))
            .ok()
            .and_then(|text| stack_and_ip(&text))
            .unwrap_or((0, 0));
        threads.push(Thread {
            os_id,
            sp,
            ip,
            registers: Vec::new(),
            name: name.map(|n| n.trim_end().to_owned()),
        });
    }
    threads.sort_by_key(|t| (t.os_id != pid, t.os_id));
    Ok(threads)
}

/// `/proc/PID/task/TID/syscall`: number, six arguments, stack pointer, instruction pointer; or `running`.
fn stack_and_ip(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_ascii_whitespace().rev();
    let hex = |w: Option<&str>| u64::from_str_radix(w?.strip_prefix("0x")?, 16).ok();
    let ip = hex(words.next())?;
    let sp = hex(words.next())?;
    Some((sp, ip))
}

/// [`Memory`] of a running process. The list of regions is that of the moment of opening; reads go wherever asked.
pub struct LiveMemory {
    pid: u32,
    mem_path: PathBuf,
    mem_file: OnceLock<Option<File>>,
    regions: Vec<Region>,
    /// `process_vm_readv` is refused (a seccomp filter, an old kernel).
    use_file: AtomicBool,
    /// The process was seen to be gone: never read from a later process that got the same id.
    gone: AtomicBool,
}

impl LiveMemory {
    fn new(pid: u32, proc_folder: &Path, regions: Vec<Region>) -> Self {
        Self {
            pid,
            mem_path: proc_folder.join("mem"),
            mem_file: OnceLock::new(),
            regions,
            use_file: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        }
    }

    /// Reads one byte, so that a refusal is told at opening and not as "absent memory" later.
    fn check_access(&self) -> Result<(), DumpError> {
        let mut byte = [0];
        // The first region is the executable's headers; special regions ([vvar]) cannot be read at all.
        let mut last = None;
        for region in self.regions.iter().take(8) {
            match self.call(region.start, &mut byte) {
                Ok(1..) => return Ok(()),
                Ok(0) => {}
                Err(error) => last = Some(error),
            }
            if self.read_file(region.start, &mut byte) == 1 {
                self.use_file.store(true, Ordering::Relaxed);
                return Ok(());
            }
        }
        let error = last.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        Err(failed(self.pid, "its memory", error))
    }

    /// Reads only through `/proc/PID/mem` from now on, which is open afterwards.
    fn hold(&self) -> Result<(), DumpError> {
        let file = File::open(&self.mem_path).map_err(|e| failed(self.pid, "its memory", e))?;
        // Nobody read through the file before; if somebody did, it is the same file.
        let _ = self.mem_file.set(Some(file));
        self.use_file.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// One `process_vm_readv`.
    fn call(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        let (Ok(pid), Ok(remote_base)) =
            (libc::pid_t::try_from(self.pid), usize::try_from(address))
        else {
            return Ok(0);
        };
        let local = libc::iovec {
            iov_base: buf.as_mut_ptr().cast(),
            iov_len: buf.len(),
        };
        let remote = libc::iovec {
            iov_base: remote_base as *mut libc::c_void,
            iov_len: buf.len(),
        };
        // SAFETY: `local` describes `buf`, which is writable and lives through the call; `remote` is only an address
        // in the other process, which the kernel checks.
        let n =
            unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    fn read_file(&self, address: u64, buf: &mut [u8]) -> usize {
        let file = self
            .mem_file
            .get_or_init(|| File::open(&self.mem_path).ok());
        file.as_ref()
            .map_or(0, |f| f.read_at(buf, address).unwrap_or(0))
    }

    fn read_some(&self, address: u64, buf: &mut [u8]) -> usize {
        if self.use_file.load(Ordering::Relaxed) {
            return self.read_file(address, buf);
        }
        match self.call(address, buf) {
            Ok(n) => n,
            Err(error) => match error.raw_os_error() {
                Some(libc::ESRCH) => {
                    self.gone.store(true, Ordering::Relaxed);
                    0
                }
                Some(libc::EPERM | libc::ENOSYS) => self.read_file(address, buf),
                _ => 0,
            },
        }
    }
}

impl Memory for LiveMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() && !self.gone.load(Ordering::Relaxed) {
            let Some(at) = address.checked_add(done as u64) else {
                break;
            };
            let end = buf.len().min(done + CHUNK_BYTES);
            // The kernel copies whole pages and returns less before a hole; a second call there gives nothing.
            match self.read_some(at, &mut buf[done..end]) {
                0 => break,
                n => done += n,
            }
        }
        done
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn problems(&self) -> Vec<String> {
        if self.gone.load(Ordering::Relaxed) {
            return vec![format!("Process {} ended while it was read.", self.pid)];
        }
        Vec::new()
    }
}

/// Turns an I/O error into the sentence that helps.
fn failed(pid: u32, what: &'static str, error: io::Error) -> DumpError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) | (_, Some(libc::ESRCH)) => DumpError::NoProcess { pid },
        (io::ErrorKind::PermissionDenied, _) => DumpError::Denied {
            pid,
            what,
            advice: access_advice(pid),
        },
        _ => failed_because(pid, what, error),
    }
}

fn failed_because(pid: u32, what: &'static str, error: io::Error) -> DumpError {
    DumpError::Process { pid, what, error }
}

/// Why reading another process may be refused, most specific reason first.
fn access_advice(pid: u32) -> String {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let owner = |path: &str| {
        fs::metadata(path)
            .map(|m| std::os::unix::fs::MetadataExt::uid(&m))
            .ok()
    };
    let other_user = owner(&format!("/proc/{pid}")) != owner("/proc/self");
    match scope.trim() {
        "1" => "kernel.yama.ptrace_scope is 1: run as root or give CAP_SYS_PTRACE (systemd: AmbientCapabilities=CAP_SYS_PTRACE; containers: --cap-add SYS_PTRACE)".to_owned(),
        "2" => "kernel.yama.ptrace_scope is 2: CAP_SYS_PTRACE is needed, also for processes of the same user".to_owned(),
        "3" => "kernel.yama.ptrace_scope is 3: reading other processes is off until the next boot".to_owned(),
        _ if other_user => "It belongs to another user: run as root, as that user, or with CAP_SYS_PTRACE".to_owned(),
        _ => "CAP_SYS_PTRACE is missing, the process is not dumpable, or a security policy (seccomp, AppArmor, SELinux) forbids it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syscall_file_gives_stack_and_instruction_pointers() {
        let waiting = "230 0x0 0x0 0x7ffd0 0x0 0x0 0x0 0x7ffc12345678 0x7f00deadbeef\n";
        assert_eq!(
            stack_and_ip(waiting),
            Some((0x7ffc_1234_5678, 0x7f00_dead_beef))
        );
        assert_eq!(stack_and_ip("running\n"), None);
        assert_eq!(stack_and_ip(""), None);
    }

    #[test]
    fn the_memory_file_gives_the_same_bytes_as_the_system_call() {
        let held: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let memory = LiveMemory::new(std::process::id(), Path::new("/proc/self"), Vec::new());
        for use_file in [false, true] {
            memory.use_file.store(use_file, Ordering::Relaxed);
            let mut found = vec![0; held.len()];
            assert_eq!(memory.read(held.as_ptr() as u64, &mut found), held.len());
            assert_eq!(found, held);
            assert_eq!(memory.read(8, &mut found), 0);
        }
    }

    #[test]
    fn a_process_that_does_not_exist_is_named() {
        let error = live(u32::MAX - 1).err().map(|e| e.to_string());
        assert_eq!(
            error.as_deref(),
            Some("process 4294967294 does not exist (any more)")
        );
    }
}
