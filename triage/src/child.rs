//! The parser process: the parent asks for one walk or one view of the heap, the child answers with one fact sheet or one
//! table and exits.
//!
//! The parent holds credentials and the network, the child holds the dump. They speak JSON lines: one request on the
//! child's standard input; progress, then one answer on its standard output. The answer is untrusted: its size is
//! bounded and its shape is checked. The child is killed when it takes too long, when the parent gives up, and (by the
//! kernel) when the parent dies.

mod allocator;
mod guard;
#[cfg(windows)]
mod job;
mod program;
mod serve;

use crate::explore::table::{Cell, Row, Table};
use crate::explore::{Query, ROWS_MAX, View};
pub use allocator::give_back_large_blocks;
use guard::Guard;
use leakhound_rules::FactSheet;
use serde::{Deserialize, Serialize};
pub use serve::serve;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;

/// Hidden subcommand under which the program runs as its own parser child.
pub const CHILD_ARGUMENT: &str = "__walk";

/// A sheet is at most 1 MB by contract; anything past this is not a sheet.
const ANSWER_LIMIT_BYTES: u64 = 16 << 20;
/// A table of [`ROWS_MAX`] rows with long names.
const TABLE_LIMIT_BYTES: u64 = 256 << 20;
/// What the child may write to standard error before the rest is dropped.
const STDERR_LIMIT_BYTES: u64 = 64 << 10;

/// What to read and how much the child may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The dump: raw, zstd or sealed.
    pub dump: PathBuf,
    /// `capture.json`, when there is one.
    pub manifest: Option<PathBuf>,
    /// Service name when there is no manifest.
    pub service: Option<String>,
    /// Where module files may come from when the dump lacks their pages.
    pub modules: Modules,
    /// Whether contents of strings may appear in the sheet.
    pub strings: Strings,
    /// Private memory the child may hold, bytes.
    pub memory_limit_bytes: u64,
    /// Wall time the walk may take, milliseconds.
    pub time_limit_ms: u64,
}

/// Where module files may come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Modules {
    /// Only the dump itself.
    None,
    /// The paths that the dump names, when the files there are the same build.
    Mapped,
    /// A folder that holds the module files.
    Folder(PathBuf),
}

/// Whether contents of strings may appear in the sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strings {
    /// Length and hash only.
    Hashed,
    /// Shortened, with secret shapes scrubbed.
    Scrubbed,
}

/// A step of a walk, for people who wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub stage: String,
    /// Share done of the whole walk, 0 to 1.
    pub share: f64,
}

/// A question to a dump or a running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// What to read and how much the child may use.
    pub request: Request,
    /// Read this running process instead; the name of the dump is then only for messages.
    pub process: Option<u32>,
    /// The question.
    pub query: Query,
}

/// A walk of a process that was never dumped: of its frozen copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkCopy {
    /// What the child may use; the "dump" is a core that holds only the threads.
    pub request: Request,
    /// Id of the frozen copy, whose memory is read.
    pub copy: u32,
}

/// What a child is started for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Job {
    Walk(Request),
    WalkCopy(WalkCopy),
    Ask(Ask),
}

impl Job {
    fn request(&self) -> &Request {
        match self {
            Self::Walk(request) => request,
            Self::WalkCopy(walk) => &walk.request,
            Self::Ask(ask) => &ask.request,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Sandbox {
        layers: Vec<String>,
        missing: Vec<String>,
    },
    Progress(Progress),
    Sheet(Box<FactSheet>),
    Rows(Vec<Row>),
    Table {
        row_count: u64,
        totals: Row,
        notes: Vec<String>,
    },
    Failed {
        reason: String,
    },
}

/// Why there is no sheet.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The dump is not readable as one; the reason is a sentence for the user.
    #[error("{0}")]
    Unreadable(String),
    /// The child died of the memory limit.
    #[error(
        "the parser needed more than its memory limit of {limit_bytes} bytes for {dump}; raise `memory` in [triage] or --memory"
    )]
    OutOfMemory {
        /// The limit in force.
        limit_bytes: u64,
        /// The dump.
        dump: PathBuf,
    },
    /// The child took too long and was killed.
    #[error(
        "the parser did not finish {dump} within {limit_ms} ms and was stopped; raise `time` in [triage] or --time"
    )]
    TimedOut {
        /// The limit in force.
        limit_ms: u64,
        /// The dump.
        dump: PathBuf,
    },
    /// The caller gave up.
    #[error("stopped before the walk was done")]
    Cancelled,
    /// The child died or answered nonsense.
    #[error("the parser of {dump} ended without an answer ({how}): {stderr}")]
    Died {
        /// The dump.
        dump: PathBuf,
        /// Exit status or signal.
        how: String,
        /// The end of what it said.
        stderr: String,
    },
    /// The child could not be started.
    #[error("cannot start the parser {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs one walk in a child process and returns its sheet. Blocks.
///
/// # Errors
/// See [`WalkError`]; whatever the dump does, the caller lives.
pub fn walk(
    request: &Request,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FactSheet, WalkError> {
    run_walk(&Job::Walk(request.clone()), cancel, progress)
}

/// As [`walk`], of a frozen copy. Blocks; the copy is the caller's to end.
///
/// # Errors
/// See [`WalkError`].
pub fn walk_copy(
    walk: &WalkCopy,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FactSheet, WalkError> {
    run_walk(&Job::WalkCopy(walk.clone()), cancel, progress)
}

fn run_walk(
    job: &Job,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<FactSheet, WalkError> {
    let mut sheet = None;
    run(job, ANSWER_LIMIT_BYTES, cancel, progress, &mut |line| {
        if let Line::Sheet(answer) = line {
            sheet = Some(*answer);
        }
        sheet.is_some()
    })?;
    sheet.ok_or_else(|| nothing(job.request()))
}

/// Asks one question in a child process and returns the table. Blocks.
///
/// # Errors
/// See [`WalkError`].
pub fn ask(
    ask: &Ask,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Table, WalkError> {
    let columns = View::named(&ask.query.view).map_or(0, |view| view.columns.len());
    let mut table = Table::default();
    let mut whole = false;
    let job = Job::Ask(ask.clone());
    run(&job, TABLE_LIMIT_BYTES, cancel, progress, &mut |line| {
        match line {
            // A row of another width is none of this view's.
            Line::Rows(rows) => {
                let room = ROWS_MAX.saturating_sub(table.rows.len());
                let fitting = rows.into_iter().filter(|row| row.len() == columns);
                table.rows.extend(fitting.take(room));
            }
            Line::Table {
                row_count,
                mut totals,
                notes,
            } => {
                totals.resize(columns, Cell::Null);
                (table.row_count, table.totals, table.notes) = (row_count, totals, notes);
                whole = true;
            }
            _ => {}
        }
        whole
    })?;
    if whole {
        Ok(table)
    } else {
        Err(nothing(&ask.request))
    }
}

fn nothing(request: &Request) -> WalkError {
    WalkError::Died {
        dump: request.dump.clone(),
        how: "its answer was incomplete".to_owned(),
        stderr: "it said nothing".to_owned(),
    }
}

/// Runs one job in a child process. `take` gets every line of the answer and says whether it is complete.
fn run(
    job: &Job,
    limit_bytes: u64,
    cancel: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(&Progress),
    take: &mut dyn FnMut(Line) -> bool,
) -> Result<(), WalkError> {
    let request = job.request();
    let (program, mut command) = program::again();
    command
        .arg(CHILD_ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let spawn_error = |source| WalkError::Spawn {
        program: program.clone(),
        source,
    };
    #[cfg(windows)]
    job::without_window(&mut command);
    let mut child = command.spawn().map_err(spawn_error)?;
    // Before the request is written, which the child waits for: it reads nothing outside of its job.
    #[cfg(windows)]
    let _job = job::Job::confine(&child, request.memory_limit_bytes);
    let mut stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let guard = Guard::watch(child, request.time_limit_ms, cancel.clone());

    let body = serde_json::to_vec(job).unwrap_or_default();
    if let Some(mut pipe) = stdin.take() {
        // A child that died already is reported by its exit status below.
        let _ = pipe.write_all(&body);
    }
    let stderr_reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(pipe) = stderr {
            let _ = pipe.take(STDERR_LIMIT_BYTES).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });

    let mut answer = None;
    if let Some(pipe) = stdout {
        let mut lines = BufReader::new(pipe.take(limit_bytes));
        let mut line = Vec::new();
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            match serde_json::from_slice::<Line>(&line) {
                Ok(Line::Progress(step)) => progress(&step),
                Ok(Line::Sandbox { layers, missing }) => {
                    tracing::debug!(?layers, ?missing, "Parser child is confined");
                }
                Ok(Line::Failed { reason }) => answer = Some(Err(WalkError::Unreadable(reason))),
                Ok(line) => {
                    if take(line) {
                        answer = Some(Ok(()));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "Parser child sent a line that is not of the protocol");
                }
            }
        }
    }
    let (status, timed_out) = guard.finish();
    let stderr = stderr_reader.join().unwrap_or_default();
    if let Some(answer) = answer {
        return answer;
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(WalkError::Cancelled);
    }
    if timed_out {
        return Err(WalkError::TimedOut {
            limit_ms: request.time_limit_ms,
            dump: request.dump.clone(),
        });
    }
    if stderr.contains("memory allocation of") {
        return Err(WalkError::OutOfMemory {
            limit_bytes: request.memory_limit_bytes,
            dump: request.dump.clone(),
        });
    }
    Err(WalkError::Died {
        dump: request.dump.clone(),
        how: status,
        stderr: stderr
            .lines()
            .last()
            .unwrap_or("it said nothing")
            .to_owned(),
    })
}
