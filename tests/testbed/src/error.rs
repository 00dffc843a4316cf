//! What can go wrong while preparing or driving a real service.

use std::path::{Path, PathBuf};

/// Why the testbed could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A runtime or a compiler is not there and could not be brought.
    #[error("{what} could not be fetched: {why}; the live tests need it")]
    Fetch {
        /// What is missing, `.NET 8 (8.0.32)`.
        what: String,
        /// The reason, in one or two sentences.
        why: String,
    },
    /// The C# compiler refused a source.
    #[error("the C# target {target} does not compile:\n{diagnostics}")]
    Compile {
        /// Name of the target.
        target: String,
        /// What the compiler printed.
        diagnostics: String,
    },
    /// A program of the operating system's packages is not installed.
    #[error(
        "{program} is not installed and could not be; the Windows tests need it: apt-get install {package}"
    )]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// The Debian packages that bring it.
        package: &'static str,
    },
    /// A service did not start, died, or did not answer.
    #[error("the service {service} {problem}\n{output}")]
    Service {
        /// Name and runtime of the service.
        service: String,
        /// What happened.
        problem: String,
        /// The last lines that it printed.
        output: String,
    },
    /// A dump was asked for and none was written.
    #[error("{tool} wrote no dump of process {pid}: {why}")]
    Dump {
        /// `createdump`, `gcore` or `minidump`.
        tool: &'static str,
        /// Process id of the target.
        pid: u32,
        /// What the tool printed.
        why: String,
    },
    /// A file of the testbed does not say what it must.
    #[error("{path}: {why}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        why: String,
    },
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// A verb, `create`, `read`, …
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the file and the verb of an I/O error.
pub(crate) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing,
            path: path.to_owned(),
            source,
        })
    }
}
