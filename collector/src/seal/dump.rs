//! A dump, by the first method that works.

use super::{
    Forecast, Place, Request, Taken, begin, describe, log_begin, predicted, seal_error, sentence,
};
use crate::capture::{
    self, Cancel, CaptureError, CaptureMethod, Captured, Content, Job, Progress, Sink, estimate,
    priority,
};
use crate::config::Kind;
use crate::identity::Identity;
#[cfg(target_os = "linux")]
use crate::modules;
use crate::proc_maps;
#[cfg(not(windows))]
use leakhound_archive::bundle::CORE_FILE as DUMP_FILE;
use leakhound_archive::bundle::DumpSink;
#[cfg(windows)]
use leakhound_archive::bundle::MINIDUMP_FILE as DUMP_FILE;
use leakhound_archive::manifest::PredictionRecord;
use leakhound_archive::{BundleWriter, SealOptions, SealWriter, Sealed};
use std::io::{self, Write};
use std::path::PathBuf;
use tracing::warn;

/// Raw bytes between two looks at the free space of the disk.
const LOOK_EVERY: u64 = 64 << 20;

/// Takes the dump; a method that does not fit gives way to the next.
pub(super) fn take(
    place: Place<'_>,
    request: &Request,
    content: Content,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Taken, CaptureError> {
    let target = &request.target;
    let pid = target.pid;
    let kind = kind_of(content);
    let (mut method, mut warnings) = capture::choose(place.config.method, content, target)?;
    #[cfg_attr(windows, allow(unused_mut, reason = "only Linux saves modules"))]
    let (predicted, (writer, mut captured, sealed)) = loop {
        let attempt = cost(place, target, content, method).and_then(|predicted| {
            log_begin(request, kind, method.name(), &predicted);
            let written = write(place, request, content, method, cancel, progress)?;
            Ok((predicted, written))
        });
        let error = match attempt {
            Ok(written) => break written,
            Err(error) => error,
        };
        let Some((next, why)) = give_way(place, target, content, method, &error) else {
            return Err(error);
        };
        warn!(pid, service = %request.service, method = method.name(), %error, "A capture method gives way to the next");
        warnings.push(why);
        method = next;
    };
    // Dumps of Windows hold the metadata.
    #[cfg(target_os = "linux")]
    if place.config.modules
        && content != Content::Full
        && !method.keeps_metadata()
        && modules::are_needed(target)
    {
        let problems = modules::save(&writer, pid, &captured.maps);
        captured.warnings.extend(problems);
    }
    let mut manifest = describe(request, kind, method.name(), &captured);
    manifest.predicted = Some(predicted);
    manifest.warnings.splice(0..0, warnings);
    manifest.dump = Some(sealed.record(DUMP_FILE));
    Ok(Taken { writer, manifest })
}

/// What a dump would cost, and by which method.
pub(super) fn forecast(
    place: Place<'_>,
    target: &Identity,
    content: Content,
) -> Result<Forecast, CaptureError> {
    let (mut method, mut reasons) = capture::choose(place.config.method, content, target)?;
    loop {
        let error = match cost(place, target, content, method) {
            Ok(cost) => {
                return Ok(Forecast {
                    method: method.name(),
                    cost,
                    reasons,
                });
            }
            Err(error) => error,
        };
        let Some((next, why)) = give_way(place, target, content, method, &error) else {
            return Err(error);
        };
        reasons.push(why);
        method = next;
    }
}

/// The next method to try after an error, and a sentence about it.
fn give_way(
    place: Place<'_>,
    target: &Identity,
    content: Content,
    method: &dyn CaptureMethod,
    error: &CaptureError,
) -> Option<(&'static dyn CaptureMethod, String)> {
    if !capture::may_step_down(error) {
        return None;
    }
    let next = capture::next_after(method, place.config.method, content, target)?;
    let why = format!("{}; {} was used", sentence(error), next.name());
    Some((next, why))
}

const fn kind_of(content: Content) -> Kind {
    match content {
        Content::Heap => Kind::Heap,
        Content::Full => Kind::Full,
        Content::Structure => Kind::Structure,
    }
}

/// Refuses before the first byte what would fill the disk or hold the target for too long.
fn cost(
    place: Place<'_>,
    target: &Identity,
    content: Content,
    method: &dyn CaptureMethod,
) -> Result<PredictionRecord, CaptureError> {
    let pid = target.pid;
    let read = |what| move |source| CaptureError::Read { pid, what, source };
    let maps = proc_maps::of_process(pid).map_err(read("smaps"))?;
    let estimate = estimate::predict(&maps, content);
    let folder = place.archive.location();
    let room = estimate::room(folder, estimate.stored_bytes, place.config.reserve)
        .map_err(read("the free space for the dump"))?;
    if !room.fits {
        return Err(CaptureError::NoSpace {
            folder: folder.to_owned(),
            free_bytes: room.free_bytes,
            needed_bytes: estimate.stored_bytes,
            reserve_bytes: room.reserve_bytes,
        });
    }
    let cost = method.check_cost(target, &estimate, place.config)?;
    Ok(predicted(&estimate, cost))
}

type Written = (BundleWriter, Captured, Sealed);

fn write(
    place: Place<'_>,
    request: &Request,
    content: Content,
    method: &dyn CaptureMethod,
    cancel: &Cancel,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Written, CaptureError> {
    let pid = request.target.pid;
    let writer = begin(place, request)?;
    let options = SealOptions {
        level: place.config.level,
        threads: place.config.threads as usize,
        bytes_per_second: place.config.bandwidth.map(|b| b.0),
        ..SealOptions::default()
    };
    // Threads inherit their priority: those that compress while the target runs come after it.
    let open = || writer.dump(DUMP_FILE, &options);
    let seal = if method.holds_target() {
        open()
    } else {
        priority::with_low(open).unwrap_or_else(open)
    };
    let seal = seal.map_err(|e| seal_error(request, &e))?;
    let mut sink = Guarded {
        seal,
        folder: place.archive.location().to_owned(),
        place,
        since_look: 0,
    };
    let job = Job {
        target: &request.target,
        content,
        config: place.config,
        cancel,
    };
    let captured = method.capture(&job, &mut sink, progress)?;
    let sealed = sink.seal.finish();
    let sealed = sealed.map_err(|source| CaptureError::Write { pid, source })?;
    Ok((writer, captured, sealed))
}

/// A sink that keeps the disk's reserve.
struct Guarded<'a> {
    seal: SealWriter<DumpSink>,
    folder: PathBuf,
    place: Place<'a>,
    since_look: u64,
}

impl Guarded<'_> {
    fn look(&mut self, n: u64) -> io::Result<()> {
        self.since_look += n;
        if self.since_look < LOOK_EVERY {
            return Ok(());
        }
        self.since_look = 0;
        let room = estimate::room(&self.folder, 0, self.place.config.reserve)?;
        if room.fits {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "only {} bytes are free in {}, and capture.reserve keeps {}",
                room.free_bytes,
                self.folder.display(),
                room.reserve_bytes
            ),
        ))
    }
}

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.seal.write(bytes)?;
        self.look(n as u64)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.seal.flush()
    }
}

impl Sink for Guarded<'_> {
    fn zeros(&mut self, n: u64) -> io::Result<()> {
        self.seal.write_zeros(n)
    }
}
