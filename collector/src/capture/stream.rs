//! Stop-and-stream: all threads are stopped, an ELF core is written from `/proc/PID/mem`, the process goes on.
//!
//! No page is written twice and no byte reaches the disk uncompressed. What is unchanged in files on disk is
//! copied after the process runs again.

use super::core_file::{self, ProcessNotes};
use super::managed_image;
use super::plan::{self, PAGE, PageStates, Piece, Plan, Source};
use super::stop::{StopError, Stopped};
use super::{CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, Step};
use crate::discover::identity;
use crate::identity::Identity;
use crate::proc_maps::{self, Mapping};
use leakhound_archive::ReadAt;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

/// Bytes read from the process at a time.
const CHUNK: usize = 1 << 20;
/// Mapped files held open at a time; the common limit of open files is 1024.
const MAX_FILES: usize = 256;

/// The method.
#[derive(Debug)]
pub struct StopAndStream;

impl CaptureMethod for StopAndStream {
    fn name(&self) -> &'static str {
        "stop-and-stream"
    }

    fn writes(&self, _: Content) -> bool {
        true
    }

    fn permitted(&self, target: &Identity) -> Result<(), String> {
        // The kernel checks the same right (PTRACE_MODE_ATTACH) when this file is opened.
        match File::open(format!("/proc/{}/mem", target.pid)) {
            Ok(_) => Ok(()),
            Err(e) => Err(format!(
                "ptrace of process {} is not permitted ({e}); run as root or as its user with CAP_SYS_PTRACE",
                target.pid
            )),
        }
    }

    fn capture(
        &self,
        job: &Job<'_>,
        sink: &mut (dyn Sink + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError> {
        let pid = job.target.pid;
        // ptrace is a matter between two threads: this one lives for this capture only, and its end alone
        // makes the kernel let the target go.
        let outcome = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("capture".to_owned())
                .spawn_scoped(scope, || run(job, sink, progress))
                .map(|thread| thread.join())
        });
        match outcome {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CaptureError::Read {
                pid,
                what: "memory",
                source: io::Error::other("the capture thread panicked; the target was let go"),
            }),
            Err(source) => Err(CaptureError::Stop(StopError::Io { pid, source })),
        }
    }
}

fn run(
    job: &Job<'_>,
    sink: &mut (dyn Sink + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Captured, CaptureError> {
    let pid = job.target.pid;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let auxv_before = fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default();
    let notes = process_notes(job.target);
    same_process(job.target, "before it was stopped")?;

    progress(Progress {
        step: Step::Stopping,
        done_bytes: 0,
        total_bytes: 0,
    });
    let stopped = Stopped::stop(pid, job.config.stop_timeout.0)?;
    same_process(job.target, "while it was being stopped")?;
    let auxv = fs::read(format!("/proc/{pid}/auxv")).map_err(read("auxv"))?;
    // AT_RANDOM and the load addresses change with every exec.
    if auxv != auxv_before || fs::read_link(format!("/proc/{pid}/exe")).ok() != executable {
        return Err(CaptureError::Replaced { pid });
    }
    let maps = proc_maps::of_process(pid).map_err(read("smaps"))?;
    let mut pages = LivePages::open(pid).map_err(read("pagemap"))?;
    let single_file = job.target.dotnet.as_ref().is_some_and(|d| d.single_file);
    let bundle = executable
        .as_ref()
        .filter(|_| single_file)
        .and_then(|e| e.to_str());
    let plan = plan::plan(&maps, job.content, bundle, &mut pages);
    let notes = ProcessNotes { auxv, ..notes };
    let notes = core_file::notes(&notes, &stopped.threads(), &maps);
    let layout = core_file::layout(&plan, &notes).map_err(read("its layout"))?;

    let memory = File::open(format!("/proc/{pid}/mem")).map_err(read("memory"))?;
    let mut writer = Writer {
        job,
        sink,
        progress,
        done: 0,
        total: layout.total_bytes,
        unreadable: 0,
        changed: 0,
        buffer: vec![0; CHUNK],
    };
    writer.put(&layout.head)?;
    writer.step(Step::Writing);
    let deferred = |i: &usize| plan.segments[*i].is_deferred();
    for index in layout.order.iter().filter(|i| !deferred(i)) {
        for piece in &plan.segments[*index].pieces {
            writer.copy_memory(piece, &memory, &stopped)?;
        }
    }
    let pause = stopped.resume();
    writer.step(Step::Resumed);
    for index in layout.order.iter().filter(|i| deferred(i)) {
        for piece in &plan.segments[*index].pieces {
            writer.copy_file(piece, &plan, &maps, &pages)?;
        }
    }
    let (unreadable, changed) = (writer.unreadable, writer.changed);
    let mut warnings = plan.warnings;
    if unreadable > 0 {
        warnings.push(format!(
            "{unreadable} bytes could not be read from the process and are zeros in the dump"
        ));
    }
    if changed > 0 {
        warnings.push(format!(
            "{changed} bytes of mapped files were gone when they were copied and are zeros in the dump"
        ));
    }
    Ok(Captured {
        pause: Some(pause),
        maps,
        warnings,
    })
}

/// The process is still the one that was asked for.
fn same_process(target: &Identity, when: &'static str) -> Result<(), CaptureError> {
    let pid = target.pid;
    match identity::start_ticks(pid) {
        Ok(ticks) if target.start_ticks == 0 || ticks == target.start_ticks => Ok(()),
        _ => Err(CaptureError::Exited { pid, when }),
    }
}

fn process_notes(target: &Identity) -> ProcessNotes {
    let stat = fs::read_to_string(format!("/proc/{}/stat", target.pid)).unwrap_or_default();
    let fields: Vec<u32> = stat
        .rsplit_once(") ")
        .map(|(_, rest)| {
            rest.split(' ')
                .skip(1)
                .take(3)
                .map(|f| f.parse().unwrap_or(0))
        })
        .map(Iterator::collect)
        .unwrap_or_default();
    let field = |n: usize| fields.get(n).copied().unwrap_or(0);
    ProcessNotes {
        pid: target.pid,
        ppid: field(0),
        pgrp: field(1),
        sid: field(2),
        uid: target.uid,
        gid: target.gid,
        name: target.comm.clone(),
        arguments: target.command_line(),
        auxv: Vec::new(),
    }
}

/// Writes pieces and keeps the promises of the job: cancel, longest pause, progress.
struct Writer<'a, 'j> {
    job: &'a Job<'j>,
    sink: &'a mut (dyn Sink + Send),
    progress: &'a mut (dyn FnMut(Progress) + Send),
    done: u64,
    total: u64,
    unreadable: u64,
    changed: u64,
    buffer: Vec<u8>,
}

impl Writer<'_, '_> {
    fn pid(&self) -> u32 {
        self.job.target.pid
    }

    fn step(&mut self, step: Step) {
        (self.progress)(Progress {
            step,
            done_bytes: self.done,
            total_bytes: self.total,
        });
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let pid = self.pid();
        self.done += bytes.len() as u64;
        let written = self.sink.write_all(bytes);
        written.map_err(|source| CaptureError::Write { pid, source })
    }

    fn put_zeros(&mut self, n: u64) -> Result<(), CaptureError> {
        let pid = self.pid();
        self.done += n;
        let written = self.sink.zeros(n);
        written.map_err(|source| CaptureError::Write { pid, source })
    }

    /// Writes the filled part of the buffer.
    fn put_buffer(&mut self, n: usize) -> Result<(), CaptureError> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.put(&buffer[..n]);
        self.buffer = buffer;
        result
    }

    fn check(&self, stopped: &Stopped) -> Result<(), CaptureError> {
        let pid = self.pid();
        if self.job.cancel.is_cancelled() {
            return Err(CaptureError::Cancelled { pid });
        }
        let (paused, limit) = (stopped.elapsed(), self.job.config.max_pause);
        if paused > limit.0 {
            return Err(CaptureError::PauseExceeded {
                pid,
                paused_ms: u64::try_from(paused.as_millis()).unwrap_or(u64::MAX),
                limit_ms: limit.as_ms(),
            });
        }
        Ok(())
    }

    fn copy_memory(
        &mut self,
        piece: &Piece,
        memory: &File,
        stopped: &Stopped,
    ) -> Result<(), CaptureError> {
        self.check(stopped)?;
        if piece.source == Source::Zeros {
            return self.put_zeros(piece.end - piece.start);
        }
        let mut at = piece.start;
        while at < piece.end {
            let want = CHUNK.min((piece.end - at) as usize);
            let got = memory.read_at(&mut self.buffer[..want], at).unwrap_or(0);
            if got > 0 {
                self.put_buffer(got)?;
                at += got as u64;
                self.check(stopped)?;
            } else {
                // Either one page cannot be read (a device, a file cut short), or the process is dead.
                same_process(self.job.target, "during the capture")?;
                if !identity::is_alive(self.pid()) {
                    return Err(CaptureError::Exited {
                        pid: self.pid(),
                        when: "during the capture",
                    });
                }
                let page = (PAGE - at % PAGE).min(piece.end - at);
                self.put_zeros(page)?;
                self.unreadable += page;
                at += page;
            }
            if want == CHUNK {
                self.step(Step::Writing);
            }
        }
        Ok(())
    }

    fn copy_file(
        &mut self,
        piece: &Piece,
        plan: &Plan,
        maps: &[Mapping],
        pages: &LivePages,
    ) -> Result<(), CaptureError> {
        let Source::File { file, offset } = piece.source else {
            return self.put_zeros(piece.end - piece.start);
        };
        let mapping = plan.files.get(file).and_then(|m| maps.get(*m));
        let source = mapping.and_then(|m| pages.file(m));
        let (mut at, size) = (0, piece.end - piece.start);
        while at < size {
            if self.job.cancel.is_cancelled() {
                return Err(CaptureError::Cancelled { pid: self.pid() });
            }
            let want = CHUNK.min((size - at) as usize);
            let got = source.map_or(0, |f| {
                f.read_at(&mut self.buffer[..want], offset + at)
                    .unwrap_or(0)
            });
            if got == 0 {
                // The last page of a mapping reaches past the end of its file: zeros there are right.
                let end_of_file = source
                    .and_then(|f| f.metadata().ok())
                    .map_or(0, |m| m.len());
                if offset + at < end_of_file || end_of_file.next_multiple_of(PAGE) < offset + size {
                    self.changed += size - at;
                }
                return self.put_zeros(size - at);
            }
            self.put_buffer(got)?;
            at += got as u64;
            if want == CHUNK {
                self.step(Step::Resumed);
            }
        }
        Ok(())
    }
}

/// A file that is open already.
struct Opened(File);

impl ReadAt for Opened {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |m| m.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // Headers are far smaller than what one read gives.
        FileExt::read_at(&self.0, buf, offset)
    }

    fn origin(&self) -> &std::path::Path {
        std::path::Path::new("mapped file")
    }
}

/// Page states and mapped files of a live process.
struct LivePages {
    pid: u32,
    pagemap: File,
    files: BTreeMap<((u32, u32), u64), Option<File>>,
}

impl LivePages {
    fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            pid,
            pagemap: File::open(format!("/proc/{pid}/pagemap"))?,
            files: BTreeMap::new(),
        })
    }

    fn file(&self, mapping: &Mapping) -> Option<&File> {
        self.files.get(&(mapping.device, mapping.inode))?.as_ref()
    }

    /// Opens the file that is really mapped: through the kernel's own link, else by path when the inode
    /// is the same.
    fn open_mapped(&self, mapping: &Mapping) -> Option<File> {
        let e = &mapping.entry;
        let exact = format!("/proc/{}/map_files/{:x}-{:x}", self.pid, e.start, e.end);
        let by_path = || {
            let file = File::open(format!("/proc/{}/root{}", self.pid, e.path)).ok()?;
            let meta = file.metadata().ok()?;
            let device = (libc::major(meta.dev()), libc::minor(meta.dev()));
            (meta.is_file() && meta.ino() == mapping.inode && device == mapping.device)
                .then_some(file)
        };
        File::open(exact).ok().or_else(by_path)
    }
}

impl PageStates for LivePages {
    fn states(&mut self, range: Range<u64>) -> Vec<u64> {
        let pages = ((range.end - range.start).div_ceil(PAGE)) as usize;
        let mut bytes = vec![0; pages * 8];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = range.start / PAGE * 8 + filled as u64;
            match self.pagemap.read_at(&mut bytes[filled..], at) {
                Ok(0) | Err(_) => break,
                Ok(n) => filled += n,
            }
        }
        let words = bytes[..filled].as_chunks::<8>().0;
        words.iter().map(|w| u64::from_ne_bytes(*w)).collect()
    }

    fn has_file(&mut self, mapping: &Mapping) -> bool {
        let key = (mapping.device, mapping.inode);
        if !self.files.contains_key(&key) {
            if self.files.len() >= MAX_FILES {
                return false;
            }
            let file = self.open_mapped(mapping);
            self.files.insert(key, file);
        }
        self.file(mapping).is_some()
    }

    fn needed(&mut self, mapping: &Mapping) -> Option<Vec<Range<u64>>> {
        let file = self.file(mapping)?.try_clone().ok()?;
        managed_image::needed(&Opened(file))
    }
}
