//! A snapshot from the look at the target to the end of its copy: prepares, has the copy made, has it written or walked.

use super::freeze::{self, Frozen, Order};
use super::gadgets;
use super::inject::Ground;
use super::reap;
use super::{NAME, Stage};
use crate::capture::core_file::{self, ProcessNotes};
use crate::capture::core_writer::{LivePages, Writer, process_notes, same_process};
use crate::capture::plan;
use crate::capture::priority;
use crate::capture::redact::Redactor;
use crate::capture::{CaptureError, Captured, Content, Job, Progress, Sink, Step};
use crate::discover::identity;
use crate::proc_maps::{self, Mapping};
use std::fs::{self, File};
use std::io;
use std::sync::mpsc;

/// A frozen copy and what was known before it was made.
pub(super) struct Copied<'a> {
    pub frozen: &'a Frozen,
    /// Notes of the target, its `auxv` included.
    pub notes: ProcessNotes,
    /// Mappings of the target: those of the copy with the sizes that the target told, and those that it does not hand on.
    maps: Vec<Mapping>,
    /// Mappings of the copy, with the sizes of the copy.
    own_maps: Vec<Mapping>,
    /// What the target does not hand on to copies.
    withheld: Vec<&'a Mapping>,
}

impl Copied<'_> {
    /// What the capture found besides the bytes.
    pub fn captured(&self, more_warnings: impl IntoIterator<Item = String>) -> Captured {
        let mut warnings = self.frozen.warnings.clone();
        warnings.extend(more_warnings);
        warnings.extend(left_out(&self.withheld));
        Captured {
            pause: Some(self.frozen.pause),
            maps: self.maps.clone(),
            warnings,
            gc_in_progress: self.frozen.gc_in_progress,
        }
    }

    /// Threads, files and `auxv` as the notes of a core.
    pub fn core_notes(&self) -> Vec<u8> {
        let threads: Vec<_> = self.frozen.threads.iter().collect();
        core_file::notes(&self.notes, &threads, &self.own_maps)
    }
}

/// Writes the copy as a core.
pub(super) fn capture(
    job: &Job<'_>,
    sink: &mut (dyn Sink + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
    observe: fn(Stage),
) -> Result<Captured, CaptureError> {
    let (mut captured, late) = with_copy(job, progress, observe, |copied, progress| {
        write(job, copied, sink, progress, observe)
    })?;
    captured.warnings.extend(late);
    Ok(captured)
}

/// Has a copy of the target made, gives it to `work` in a thread of low priority, and ends it. Also says what went wrong
/// at its end.
pub(super) fn with_copy<T: Send>(
    job: &Job<'_>,
    progress: &mut (dyn FnMut(Progress) + Send),
    observe: fn(Stage),
    work: impl FnOnce(&Copied<'_>, &mut (dyn FnMut(Progress) + Send)) -> Result<T, CaptureError> + Send,
) -> Result<(T, Vec<String>), CaptureError> {
    let pid = job.target.pid;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let unfit = |reason: &str| CaptureError::Unfit {
        pid,
        method: NAME,
        reason: reason.to_owned(),
    };
    same_process(job.target, "before it was stopped")?;
    let before = (
        fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default(),
        fs::read_link(format!("/proc/{pid}/exe")).ok(),
    );
    let notes = process_notes(job.target);
    progress(Progress {
        step: Step::Stopping,
        done_bytes: 0,
        total_bytes: 0,
    });
    let maps = proc_maps::of_process(pid).map_err(read("smaps"))?;
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(read("memory"))?;
    let gadgets = gadgets::find(&maps, &memory)
        .ok_or_else(|| unfit("its C library has none of the code that is looked for"))?;
    let ground = Ground {
        pid,
        memory: &memory,
        maps: &maps,
        gadgets,
        filtered: reap::is_filtered(pid),
        observe: &observe,
    };
    let order = Order {
        job,
        ground,
        before,
    };
    let (ready, is_ready) = mpsc::sync_channel(1);
    let (finish, finished) = mpsc::channel();
    let panicked = || CaptureError::Read {
        pid,
        what: "memory",
        source: io::Error::other("a capture thread panicked; the target was let go"),
    };
    std::thread::scope(|scope| {
        let holder = std::thread::Builder::new()
            .name("snapshot".to_owned())
            .spawn_scoped(scope, || {
                // Owned by this thread: its end, however it comes, is seen by the other.
                let (ready, finished) = (ready, finished);
                freeze::hold(&order, &ready, &finished)
            })
            .map_err(read("a thread to stop it with"))?;
        // The sender is dropped when this thread panics, too: nothing is held for ever.
        let outcome = match is_ready.recv() {
            Ok(Ok(frozen)) => {
                let finish: mpsc::Sender<()> = finish;
                let done = priority::with_low(|| {
                    let copied = look(pid, &frozen, &maps, notes)?;
                    work(&copied, progress)
                });
                drop(finish);
                done.unwrap_or_else(|| Err(panicked()))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(panicked()),
        };
        let late = holder.join().map_err(|_| panicked())?;
        outcome.map(|done| (done, late))
    })
}

/// What erases contents from the memory of a copy.
fn redactor(copy: u32, maps: &[Mapping]) -> Result<Redactor, String> {
    let image = leakhound_dump::live(copy).map_err(|e| e.to_string())?;
    let anonymous = maps.iter().filter(|m| !m.is_file());
    let anonymous = anonymous.map(|m| m.entry.start..m.entry.end);
    Redactor::new(&image, anonymous.collect())
}

/// The copy was not killed meanwhile.
pub(super) fn still_there(pid: u32, copy: u32) -> Result<(), CaptureError> {
    if identity::is_alive(copy) {
        return Ok(());
    }
    Err(CaptureError::SnapshotLost { pid })
}

fn look<'a>(
    pid: u32,
    frozen: &'a Frozen,
    before: &'a [Mapping],
    notes: ProcessNotes,
) -> Result<Copied<'a>, CaptureError> {
    let copy = frozen.copy;
    // A copy that was killed meanwhile has no mappings, which is not an answer.
    let maps = proc_maps::of_process(copy);
    still_there(pid, copy)?;
    let own_maps = maps.map_err(|source| CaptureError::Read {
        pid,
        what: "smaps of its copy",
        source,
    })?;
    let withheld = withheld(before, &own_maps);
    let mut maps = with_sizes(own_maps.clone(), before);
    maps.extend(withheld.iter().map(|m| (*m).clone()));
    maps.sort_by_key(|m| m.entry.start);
    Ok(Copied {
        frozen,
        notes: ProcessNotes {
            auxv: frozen.auxv.clone(),
            ..notes
        },
        maps,
        own_maps,
        withheld,
    })
}

fn write(
    job: &Job<'_>,
    copied: &Copied<'_>,
    sink: &mut (dyn Sink + Send),
    progress: &mut (dyn FnMut(Progress) + Send),
    observe: fn(Stage),
) -> Result<Captured, CaptureError> {
    let pid = job.target.pid;
    let copy = copied.frozen.copy;
    let maps = &copied.own_maps;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let gone = || still_there(pid, copy);
    let mut pages = LivePages::of_copy(copy, pid).map_err(read("pagemap of its copy"))?;
    let single_file = job.target.dotnet.as_ref().is_some_and(|d| d.single_file);
    let executable = fs::read_link(format!("/proc/{copy}/exe")).ok();
    let bundle = executable
        .as_ref()
        .filter(|_| single_file)
        .and_then(|e| e.to_str());
    let plan = plan::plan(maps, job.content, bundle, &mut pages);
    let layout = core_file::layout(&plan, &copied.core_notes()).map_err(read("its layout"))?;
    let memory = File::open(format!("/proc/{copy}/mem")).map_err(read("memory of its copy"))?;

    let mut writer = Writer::new(job, sink, progress, layout.total_bytes);
    if job.content == Content::Structure {
        let redactor = redactor(copy, maps);
        writer.redact(redactor.map_err(|reason| CaptureError::Refused { pid, reason })?);
    }
    writer.put(&layout.head)?;
    writer.step(Step::Copying);
    observe(Stage::Writing);
    for index in &layout.order {
        let segment = &plan.segments[*index];
        for piece in &segment.pieces {
            if segment.is_deferred() {
                writer.copy_file(piece, &plan, maps, &pages)?;
            } else {
                writer.copy_memory(piece, &memory, &|| Ok(()), &gone)?;
            }
        }
    }
    let written = writer.warnings();
    Ok(copied.captured(plan.warnings.into_iter().chain(written)))
}

/// A copy has page tables for private memory only, and shares all of it: what is resident, private and dirty is told by
/// the target itself, a moment before.
fn with_sizes(mut maps: Vec<Mapping>, before: &[Mapping]) -> Vec<Mapping> {
    for mapping in &mut maps {
        let at = before.partition_point(|m| m.entry.start < mapping.entry.start);
        let same = before
            .get(at)
            .filter(|m| m.entry.start == mapping.entry.start && m.entry.path == mapping.entry.path);
        let entry = &mut mapping.entry;
        if let Some(same) = same.map(|m| &m.entry).filter(|e| e.end == entry.end) {
            *entry = same.clone();
        } else {
            // Born or changed since: what a copy shares with its original is private to the two of them.
            entry.private_dirty += entry.shared.min(entry.anonymous);
            entry.shared -= entry.shared.min(entry.anonymous);
        }
    }
    maps
}

/// Memory that the process does not hand on to children (`MADV_DONTFORK`), such as each view of a mapped file that .NET makes.
/// What lies where the copy has something was let go since.
fn withheld<'a>(before: &'a [Mapping], copied: &[Mapping]) -> Vec<&'a Mapping> {
    let is_free = |m: &Mapping| {
        let next = copied.partition_point(|c| c.entry.end <= m.entry.start);
        copied
            .get(next)
            .is_none_or(|c| m.entry.end <= c.entry.start)
    };
    let kept_back = before.iter().filter(|m| m.dont_copy);
    kept_back.filter(|m| is_free(m)).collect()
}

/// What the dump lacks for that.
fn left_out(withheld: &[&Mapping]) -> Option<String> {
    let bytes: u64 = withheld.iter().map(|m| m.entry.rss).sum();
    (bytes > 0)
        .then(|| format!("{bytes} bytes that the process marked with MADV_DONTFORK were left out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, dont_copy: bool) -> Mapping {
        let mut mapping = Mapping {
            dont_copy,
            ..Mapping::default()
        };
        (mapping.entry.start, mapping.entry.end) = (start, end);
        mapping.entry.rss = end - start;
        mapping
    }

    #[test]
    fn what_is_not_handed_on_is_told_unless_something_else_lies_there_now() {
        let before = [
            mapping(0x1000, 0x2000, false),
            mapping(0x2000, 0x4000, true),
            mapping(0x6000, 0x7000, true),
            mapping(0x9000, 0xA000, true),
        ];
        let copied = [
            mapping(0x1000, 0x2000, false),
            mapping(0x6800, 0x8000, false),
        ];
        let starts = |of: &[&Mapping]| of.iter().map(|m| m.entry.start).collect::<Vec<_>>();
        let withheld = withheld(&before, &copied);
        assert_eq!(starts(&withheld), [0x2000, 0x9000]);
        let warning = left_out(&withheld).unwrap_or_default();
        assert!(warning.starts_with("12288 bytes"), "{warning}");
        assert_eq!(left_out(&[]), None);
    }
}
