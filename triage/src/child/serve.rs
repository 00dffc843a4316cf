//! The child's side: reads its job, confines itself, reads the dump, answers.

use super::{Ask, Job, Line, Modules, Progress, Request, WalkCopy};
use crate::explore::table::Row;
use crate::subject::{self, Subject};
use crate::{analyze, explore, sandbox};
use leakhound_dump::{DumpError, ProcessImage};
use std::io::{Read, Write};
use std::path::PathBuf;

/// Rows that go in one line of the answer.
const ROWS_A_LINE: usize = 1_000;

/// The child's side: reads the request, confines itself, walks, answers. Returns the exit code.
#[must_use]
pub fn serve() -> u8 {
    #[cfg(target_os = "linux")]
    super::program::take_name();
    super::allocator::give_back_large_blocks();
    let mut text = String::new();
    if std::io::stdin()
        .lock()
        .take(1 << 20)
        .read_to_string(&mut text)
        .is_err()
    {
        return 3;
    }
    let job: Job = match serde_json::from_str(&text) {
        Ok(job) => job,
        Err(error) => {
            say(&Line::Failed {
                reason: format!("the parser got a request that it does not understand: {error}"),
            });
            return 3;
        }
    };
    die_with_parent();
    // A process is opened while that is still allowed; from then on it is read through what is open.
    let live = match &job {
        Job::Walk(_) => None,
        Job::WalkCopy(walk) => Some(open_copy(walk)),
        Job::Ask(ask) => ask.process.map(open_live),
    };
    confine(job.request(), live.is_some());
    let mut at = |step| say(&Line::Progress(step));
    let sheet = |sheet| say(&Line::Sheet(Box::new(sheet)));
    let outcome = match (&job, live) {
        (Job::Ask(ask), live) => answer(ask, live),
        (Job::WalkCopy(WalkCopy { request, .. }), Some(image)) => image
            .map_err(|error| error.to_string())
            .and_then(|image| Subject::frozen(request, image).map_err(|error| error.to_string()))
            .map(|subject| sheet(analyze::analyze_subject(request, subject, &mut at))),
        (Job::Walk(request) | Job::WalkCopy(WalkCopy { request, .. }), _) => {
            analyze::analyze(request, &mut at)
                .map(sheet)
                .map_err(|error| error.to_string())
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(reason) => {
            say(&Line::Failed { reason });
            3
        }
    }
}

fn confine(request: &Request, live: bool) {
    let mut readable = subject::module_folders(request);
    readable.extend(request.manifest.clone());
    if !live {
        readable.push(request.dump.clone());
    }
    if request.modules == Modules::Mapped && !live {
        readable.push(PathBuf::from("/"));
    }
    let applied = sandbox::enter(&sandbox::Policy {
        memory_limit_bytes: request.memory_limit_bytes,
        readable,
    });
    say(&Line::Sandbox {
        layers: applied.layers,
        missing: applied.missing,
    });
}

fn answer(ask: &Ask, live: Option<Result<ProcessImage, DumpError>>) -> Result<(), String> {
    let mut at = |share: f64, stage: &str| {
        say(&Line::Progress(Progress {
            stage: stage.to_owned(),
            share,
        }));
    };
    at(0.0, "opening");
    let subject = match live {
        Some(image) => Subject::running(image.map_err(|error| error.to_string())?),
        None => Subject::open(&ask.request).map_err(|error| error.to_string())?,
    };
    let table = explore::explore(&subject, &ask.query, ask.request.strings, &mut at)
        .map_err(|error| error.to_string())?;
    let mut rows = table.rows.into_iter();
    loop {
        let piece: Vec<Row> = rows.by_ref().take(ROWS_A_LINE).collect();
        if piece.is_empty() {
            break;
        }
        say(&Line::Rows(piece));
    }
    say(&Line::Table {
        row_count: table.row_count,
        totals: table.totals,
        notes: table.notes,
    });
    Ok(())
}

fn say(line: &Line) {
    let Ok(mut bytes) = serde_json::to_vec(line) else {
        return;
    };
    bytes.push(b'\n');
    let mut out = std::io::stdout().lock();
    // A parent that is gone needs no answer.
    let _ = out.write_all(&bytes).and_then(|()| out.flush());
}

/// A parser whose parent died would read on for nobody. On Windows its job ends it.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets a flag of the calling process only.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

#[cfg(any(target_os = "linux", windows))]
fn open_live(pid: u32) -> Result<ProcessImage, DumpError> {
    let options = leakhound_dump::LiveOptions {
        hold: true,
        ..leakhound_dump::LiveOptions::default()
    };
    leakhound_dump::live_with(pid, &options)
}

#[cfg(any(target_os = "linux", windows))]
fn open_copy(walk: &WalkCopy) -> Result<ProcessImage, DumpError> {
    let path = &walk.request.dump;
    let notes =
        leakhound_archive::read_at::PlainFile::open(path).map_err(|source| DumpError::Read {
            origin: path.clone(),
            what: "the threads of the copy",
            offset: 0,
            error: source,
        })?;
    leakhound_dump::frozen(walk.copy, &notes)
}

#[cfg(not(any(target_os = "linux", windows)))]
fn open_copy(walk: &WalkCopy) -> Result<ProcessImage, DumpError> {
    Err(DumpError::NoProcess { pid: walk.copy })
}

#[cfg(not(any(target_os = "linux", windows)))]
fn open_live(pid: u32) -> Result<ProcessImage, DumpError> {
    Err(DumpError::NoProcess { pid })
}
