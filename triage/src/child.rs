//! The parser process: the parent asks for one walk, the child answers with one fact sheet and exits.
//!
//! The parent holds credentials and the network, the child holds the dump. They speak JSON lines: one request on the
//! child's standard input; progress, then one answer on its standard output. The answer is untrusted: its size is
//! bounded and its shape is checked. The child is killed when it takes too long, when the parent gives up, and (by the
//! kernel) when the parent dies.

use crate::sandbox;
use leakhound_rules::FactSheet;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Hidden subcommand under which the program runs as its own parser child.
pub const CHILD_ARGUMENT: &str = "__walk";

/// A sheet is at most 1 MB by contract; anything past this is not a sheet.
const ANSWER_LIMIT_BYTES: u64 = 16 << 20;
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

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Sandbox {
        layers: Vec<String>,
        missing: Vec<String>,
    },
    Progress(Progress),
    Sheet(Box<FactSheet>),
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
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("leakhound"));
    let mut command = Command::new(&program);
    command
        .arg(CHILD_ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let spawn_error = |source| WalkError::Spawn {
        program: program.clone(),
        source,
    };
    let mut child = command.spawn().map_err(spawn_error)?;
    let mut stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let guard = Guard::watch(child, request.time_limit_ms, cancel.clone());

    let body = serde_json::to_vec(request).unwrap_or_default();
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
        let mut lines = BufReader::new(pipe.take(ANSWER_LIMIT_BYTES));
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
                Ok(Line::Sheet(sheet)) => answer = Some(Ok(*sheet)),
                Ok(Line::Failed { reason }) => answer = Some(Err(WalkError::Unreadable(reason))),
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

/// Owns the child: kills it at the deadline, on cancel or when dropped, and always reaps it.
struct Guard {
    child: Arc<std::sync::Mutex<Child>>,
    done: Arc<AtomicBool>,
    late: Arc<AtomicBool>,
}

impl Guard {
    fn watch(child: Child, limit_ms: u64, cancel: Arc<AtomicBool>) -> Self {
        let child = Arc::new(std::sync::Mutex::new(child));
        let done = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicBool::new(false));
        let deadline = Instant::now() + Duration::from_millis(limit_ms);
        let (watched, finished, overdue) = (child.clone(), done.clone(), late.clone());
        std::thread::spawn(move || {
            while !finished.load(Ordering::Acquire) {
                if cancel.load(Ordering::Relaxed) {
                    kill(&watched);
                    return;
                }
                if Instant::now() >= deadline {
                    overdue.store(true, Ordering::Release);
                    kill(&watched);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { child, done, late }
    }

    /// Waits for the child and says how it ended and whether the deadline ended it.
    fn finish(self) -> (String, bool) {
        let status = loop {
            let polled = match self.child.lock() {
                Ok(mut child) => child.try_wait(),
                Err(_) => break "lost".to_owned(),
            };
            match polled {
                Ok(Some(status)) => break status.to_string(),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => break error.to_string(),
            }
        };
        self.done.store(true, Ordering::Release);
        (status, self.late.load(Ordering::Acquire))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Ok(mut child) = self.child.lock()
            && matches!(child.try_wait(), Ok(None))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn kill(child: &std::sync::Mutex<Child>) {
    if let Ok(mut child) = child.lock() {
        let _ = child.kill();
    }
}

/// The child's side: reads the request, confines itself, walks, answers. Returns the exit code.
#[must_use]
pub fn serve() -> u8 {
    let mut text = String::new();
    if std::io::stdin()
        .lock()
        .take(1 << 20)
        .read_to_string(&mut text)
        .is_err()
    {
        return 3;
    }
    let request: Request = match serde_json::from_str(&text) {
        Ok(request) => request,
        Err(error) => {
            say(&Line::Failed {
                reason: format!("the parser got a request that it does not understand: {error}"),
            });
            return 3;
        }
    };
    die_with_parent();
    let mut readable = vec![request.dump.clone()];
    readable.extend(request.manifest.clone());
    match &request.modules {
        Modules::None => {}
        Modules::Mapped => readable.push(PathBuf::from("/")),
        Modules::Folder(folder) => readable.push(folder.clone()),
    }
    let applied = sandbox::enter(&sandbox::Policy {
        memory_limit_bytes: request.memory_limit_bytes,
        readable,
    });
    say(&Line::Sandbox {
        layers: applied.layers,
        missing: applied.missing,
    });
    match crate::analyze::analyze(&request, &mut |step| say(&Line::Progress(step))) {
        Ok(sheet) => {
            say(&Line::Sheet(Box::new(sheet)));
            0
        }
        Err(error) => {
            say(&Line::Failed {
                reason: error.to_string(),
            });
            3
        }
    }
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

/// A parser whose parent died would read on for nobody.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: sets a flag of the calling process only.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}
