//! Writes the pieces of a plan: from the memory of a process that stands still, and from its mapped files.

use super::core_file::ProcessNotes;
use super::managed_image;
use super::plan::{PAGE, PageStates, Piece, Plan, Source};
use super::redact::Redactor;
use super::{CaptureError, Job, Progress, Sink, Step};
use crate::discover::identity;
use crate::identity::Identity;
use crate::proc_maps::Mapping;
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

/// The process is still the one that was asked for.
pub(super) fn same_process(target: &Identity, when: &'static str) -> Result<(), CaptureError> {
    let pid = target.pid;
    match identity::start_ticks(pid) {
        Ok(ticks) if target.start_ticks == 0 || ticks == target.start_ticks => Ok(()),
        _ => Err(CaptureError::Exited { pid, when }),
    }
}

pub(super) fn process_notes(target: &Identity) -> ProcessNotes {
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

/// Writes pieces and keeps the promises of the job: cancel, progress, and whatever `check` adds.
pub(super) struct Writer<'a, 'j> {
    job: &'a Job<'j>,
    sink: &'a mut (dyn Sink + Send),
    progress: &'a mut (dyn FnMut(Progress) + Send),
    done: u64,
    total: u64,
    unreadable: u64,
    changed: u64,
    buffer: Vec<u8>,
    redactor: Option<Redactor>,
}

impl<'a, 'j> Writer<'a, 'j> {
    pub(super) fn new(
        job: &'a Job<'j>,
        sink: &'a mut (dyn Sink + Send),
        progress: &'a mut (dyn FnMut(Progress) + Send),
        total: u64,
    ) -> Self {
        Self {
            job,
            sink,
            progress,
            done: 0,
            total,
            unreadable: 0,
            changed: 0,
            buffer: vec![0; CHUNK],
            redactor: None,
        }
    }

    /// Erases contents from all that comes from memory from now on.
    pub(super) fn redact(&mut self, redactor: Redactor) {
        self.redactor = Some(redactor);
    }

    /// Sentences about what could not be copied.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.unreadable > 0 {
            warnings.push(format!(
                "{} bytes could not be read from the process and are zeros in the dump",
                self.unreadable
            ));
        }
        if self.changed > 0 {
            warnings.push(format!(
                "{} bytes of mapped files were gone when they were copied and are zeros in the dump",
                self.changed
            ));
        }
        warnings
    }

    fn pid(&self) -> u32 {
        self.job.target.pid
    }

    pub(super) fn step(&mut self, step: Step) {
        (self.progress)(Progress {
            step,
            done_bytes: self.done,
            total_bytes: self.total,
        });
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
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

    fn check_cancel(&self) -> Result<(), CaptureError> {
        self.job.cancel.check(self.pid())
    }

    /// Copies from memory. `check` is asked before each chunk, `gone` when nothing can be read at a place.
    pub(super) fn copy_memory(
        &mut self,
        piece: &Piece,
        memory: &File,
        check: &dyn Fn() -> Result<(), CaptureError>,
        gone: &dyn Fn() -> Result<(), CaptureError>,
    ) -> Result<(), CaptureError> {
        self.check_cancel()?;
        check()?;
        if piece.source == Source::Zeros {
            return self.put_zeros(piece.end - piece.start);
        }
        let mut at = piece.start;
        while at < piece.end {
            let want = CHUNK.min((piece.end - at) as usize);
            let got = memory.read_at(&mut self.buffer[..want], at).unwrap_or(0);
            if got > 0 {
                if let Some(redactor) = &mut self.redactor {
                    redactor.redact(at, &mut self.buffer[..got]);
                }
                self.put_buffer(got)?;
                at += got as u64;
                self.check_cancel()?;
                check()?;
            } else {
                // Either one page cannot be read (a device, a file cut short), or the process is dead.
                gone()?;
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

    /// Copies what lies unchanged in a file.
    pub(super) fn copy_file(
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
            self.check_cancel()?;
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
pub(super) struct LivePages {
    pid: u32,
    pagemap: File,
    /// Whom to ask about shared memory, when `pid` is a copy that never touched it.
    original: Option<File>,
    files: BTreeMap<((u32, u32), u64), Option<File>>,
}

impl LivePages {
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            pid,
            pagemap: File::open(format!("/proc/{pid}/pagemap"))?,
            original: None,
            files: BTreeMap::new(),
        })
    }

    /// Of a copy made by `fork`, which has page tables for private memory only.
    pub(super) fn of_copy(copy: u32, original: u32) -> io::Result<Self> {
        let mut this = Self::open(copy)?;
        this.original = File::open(format!("/proc/{original}/pagemap")).ok();
        Ok(this)
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

/// One word per page, fewer when the kernel stops answering.
fn page_states(pagemap: &File, range: &Range<u64>) -> Vec<u64> {
    let pages = ((range.end - range.start).div_ceil(PAGE)) as usize;
    let mut bytes = vec![0; pages * 8];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = range.start / PAGE * 8 + filled as u64;
        match pagemap.read_at(&mut bytes[filled..], at) {
            Ok(0) | Err(_) => break,
            Ok(n) => filled += n,
        }
    }
    let words = bytes[..filled].as_chunks::<8>().0;
    words.iter().map(|w| u64::from_ne_bytes(*w)).collect()
}

impl PageStates for LivePages {
    fn states(&mut self, range: Range<u64>) -> Vec<u64> {
        page_states(&self.pagemap, &range)
    }

    fn shared_states(&mut self, range: Range<u64>) -> Vec<u64> {
        page_states(self.original.as_ref().unwrap_or(&self.pagemap), &range)
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
