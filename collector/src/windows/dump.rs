//! From a process, or its clone, to the bytes of a minidump.

use super::pages::{self, choose};
use super::{minidump, times};
use crate::capture::redact::Redactor;
use crate::capture::{CaptureError, Content, Job, Progress, Sink, Step};
use crate::identity::Identity;
use leakhound_archive::mapped::InMemory;
use leakhound_dump::live::{self, Process};
use leakhound_dump::page_range::PageRange;
use leakhound_dump::{DumpError, Limits};
use std::io;
use std::ops::Range;
use std::path::Path;
use windows_sys::Win32::System::ProcessStatus::GetMappedFileNameW;

/// Read and handed on at a time.
const CHUNK_BYTES: usize = 1 << 20;
const PAGE_BYTES: usize = 4096;

/// What is written, or walked.
pub(crate) struct Source<'a> {
    /// Id of the process whose memory it is: of the process itself, or of its clone.
    pub copy: u32,
    /// The process or its clone.
    pub memory: &'a Process,
    /// The process itself: a clone is not asked for modules and files.
    pub live: &'a Process,
    /// Its address space.
    pub map: &'a [PageRange],
    /// A minidump of it without the memory.
    pub described: &'a [u8],
    /// What is said of it while it is written.
    pub step: Step,
    /// Ends the capture when the target has waited for too long, or is gone.
    pub check: &'a dyn Fn() -> Result<(), CaptureError>,
}

/// Writes the dump; returns what did not go as it should, one sentence each.
pub(crate) fn write(
    job: &Job<'_>,
    source: &Source<'_>,
    sink: &mut (dyn Sink + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<String>, CaptureError> {
    let pid = job.target.pid;
    let failed = move |error| CaptureError::Write { pid, source: error };
    let runtimes = runtimes(source.live, job.target);
    let process = pages::Process {
        memory: source.memory,
        is_file: &|at| is_file(source.live, at),
        runtimes: &runtimes,
    };
    let kept = choose(source.map, job.content, &process);
    let head = source.head(pid, &kept)?;
    let mut redactor = match job.content {
        Content::Structure => Some(redactor(pid, source, &head)?),
        Content::Heap | Content::Full => None,
    };
    let memory_bytes: u64 = kept.iter().map(|range| range.end - range.start).sum();
    let total_bytes = head.len() as u64 + memory_bytes;
    sink.write_all(&head).map_err(failed)?;
    let mut done_bytes = head.len() as u64;
    let mut missing_bytes = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    for range in &kept {
        let mut at = range.start;
        while at < range.end {
            job.cancel.check(pid)?;
            (source.check)()?;
            let want = usize::try_from(range.end - at).map_or(CHUNK_BYTES, |n| n.min(CHUNK_BYTES));
            let got = read(source.memory, at, &mut chunk[..want]);
            missing_bytes += (want - got) as u64;
            if let Some(redactor) = &mut redactor {
                redactor.redact(at, &mut chunk[..want]);
            }
            put(sink, &chunk[..want]).map_err(failed)?;
            at += want as u64;
            done_bytes += want as u64;
            progress(Progress {
                step: source.step,
                done_bytes,
                total_bytes,
            });
        }
    }
    let mut warnings = Vec::new();
    if missing_bytes > 0 {
        warnings.push(format!(
            "{missing_bytes} bytes of memory could not be read; they are zeros in the dump"
        ));
    }
    Ok(warnings)
}

impl Source<'_> {
    /// Everything of a minidump before the memory, of which it has these ranges.
    pub fn head(&self, pid: u32, kept: &[Range<u64>]) -> Result<Vec<u8>, CaptureError> {
        minidump::head(self.described, self.map, kept).map_err(|reason| CaptureError::Read {
            pid,
            what: "the system's description (MiniDumpWriteDump)",
            source: io::Error::other(reason),
        })
    }
}

/// What erases contents from the memory. `head` says what the process consists of.
fn redactor(pid: u32, source: &Source<'_>, head: &[u8]) -> Result<Redactor, CaptureError> {
    let refused = |reason: String| CaptureError::Refused { pid, reason };
    let process = source.memory.try_clone();
    let process = process.map_err(|error| refused(error.to_string()))?;
    let notes = InMemory::new(head.to_vec(), "the system's description");
    let image = live::still(process, &notes).map_err(|error| refused(error.to_string()))?;
    let anonymous = pages::anonymous(source.map, &|at| is_file(source.live, at));
    let redactor = Redactor::new(&image, anonymous).map_err(refused)?;
    // Looking took time.
    (source.check)()?;
    Ok(redactor)
}

/// Fills `chunk`, with zeros where nothing can be read, and returns how many bytes were.
fn read(memory: &Process, address: u64, chunk: &mut [u8]) -> usize {
    let (mut at, mut found) = (0, 0);
    while at < chunk.len() {
        let got = memory.read(address + at as u64, &mut chunk[at..]);
        found += got;
        at += got;
        if at < chunk.len() {
            let page = at + (PAGE_BYTES - (address as usize + at) % PAGE_BYTES);
            let end = page.min(chunk.len());
            chunk[at..end].fill(0);
            at = end;
        }
    }
    found
}

/// Whole pages of zeros are told, not written: most of a fresh heap is.
fn put(sink: &mut (dyn Sink + Send), bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
        let mut pages = rest.chunks(PAGE_BYTES);
        let zeros: usize = pages
            .by_ref()
            .take_while(|page| is_zero(page))
            .map(<[u8]>::len)
            .sum();
        sink.zeros(zeros as u64)?;
        rest = &rest[zeros..];
        let filled: usize = rest
            .chunks(PAGE_BYTES)
            .take_while(|page| !is_zero(page))
            .map(<[u8]>::len)
            .sum();
        sink.write_all(&rest[..filled])?;
        rest = &rest[filled..];
    }
    Ok(())
}

/// The address space, for the dump.
pub(crate) fn map(pid: u32, process: &Process) -> Result<Vec<PageRange>, CaptureError> {
    let ranges = process.ranges(&Limits::default());
    ranges.map_err(|error| unreadable(pid, "its address map", &error))
}

/// Bases of the images that carry the runtime: coreclr.dll, or an executable that has it within.
fn runtimes(process: &Process, target: &Identity) -> Vec<u64> {
    let Some(dotnet) = &target.dotnet else {
        return Vec::new();
    };
    let wanted = dotnet
        .coreclr
        .as_deref()
        .or(target.executable.as_deref().filter(|_| dotnet.single_file));
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_ascii_lowercase());
    let wanted = wanted.and_then(name);
    let modules = process.module_paths(&Limits::default()).unwrap_or_default();
    modules
        .into_iter()
        .filter(|(_, path)| wanted.is_some() && name(path) == wanted)
        .map(|(base, _)| base)
        .collect()
}

/// Whether a mapped range is a view of a file, and not of the page file.
fn is_file(process: &Process, address: u64) -> bool {
    let mut name = [0_u16; 16];
    // SAFETY: `name` is writable for its length; the address is only a number to the call.
    let units = unsafe {
        GetMappedFileNameW(
            process.raw(),
            address as *const std::ffi::c_void,
            name.as_mut_ptr(),
            name.len() as u32,
        )
    };
    units > 0
}

/// The process is the one that was asked for.
pub(crate) fn same_process(
    target: &Identity,
    process: &Process,
    when: &'static str,
) -> Result<(), CaptureError> {
    let pid = target.pid;
    let same = times::of(process.raw()).is_ok_and(|times| times.created == target.start_ticks);
    if same && !process.has_ended() {
        return Ok(());
    }
    Err(CaptureError::Exited { pid, when })
}

/// An error of the reader of processes as one of captures.
pub(crate) fn unreadable(pid: u32, what: &'static str, error: &DumpError) -> CaptureError {
    match error {
        DumpError::NoProcess { .. } => CaptureError::Exited {
            pid,
            when: "before the capture",
        },
        other => CaptureError::Read {
            pid,
            what,
            source: io::Error::other(other.to_string()),
        },
    }
}
