//! Exit codes, and the one error type of the command line.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// What the exit code says. Documented in `--help` and relied on by scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Healthy, not a leak, or simply done.
    Ok,
    /// Findings of warning or above, or a check that failed.
    Findings,
    /// Usage or configuration.
    Usage,
    /// The input could not be read.
    Input,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Findings => 1,
            Exit::Usage => 2,
            Exit::Input => 3,
        })
    }
}

/// A failure with the exit code it means.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// The user asked for something that cannot be, or the configuration is wrong.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Usage,
            error: error.into(),
        }
    }

    /// A file, a process or an archive could not be read.
    pub fn input(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Input,
            error: error.into(),
        }
    }

    /// What was wrong with `path`, which the reason may name already.
    pub fn of_file(path: &Path, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        let named = path
            .file_name()
            .is_some_and(|name| reason.contains(&*name.to_string_lossy()));
        Self::input(if named {
            anyhow::anyhow!(reason)
        } else {
            anyhow::anyhow!("{}: {reason}", path.display())
        })
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Many errors name their source in their own sentence already: what was said is not said again.
        let mut said = String::new();
        for cause in self.error.chain() {
            let cause = cause.to_string();
            if said.contains(&cause) {
                continue;
            }
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&cause);
        }
        f.write_str(&said)
    }
}

/// Adds an exit code to errors on their way out.
pub trait OrExit<T> {
    /// Usage or configuration.
    fn or_usage(self) -> Result<T, Failure>;
    /// Input.
    fn or_input(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_usage(self) -> Result<T, Failure> {
        self.map_err(Failure::usage)
    }
    fn or_input(self) -> Result<T, Failure> {
        self.map_err(Failure::input)
    }
}
