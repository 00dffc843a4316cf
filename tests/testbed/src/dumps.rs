//! Reference dumps of a running target, by the tools that others use: the runtime's createdump and gdb's gcore.

use crate::debian;
use crate::error::{Error, Result};
use crate::packages::last_words;
use crate::runtimes::DotnetRoot;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Managed heap and what debuggers need to read it.
    Heap,
    /// All memory.
    Full,
}

/// An ELF core by the runtime's own dump writer, which stops the target meanwhile.
pub fn createdump(root: &DotnetRoot, pid: u32, kind: Kind, file: &Path) -> Result<()> {
    let mut command = Command::new(root.createdump());
    command
        .arg(match kind {
            Kind::Heap => "--withheap",
            Kind::Full => "--full",
        })
        .arg("-f")
        .arg(file)
        .arg(pid.to_string());
    write("createdump", command, pid, file)
}

/// An ELF core by gdb, at `PREFIX.PID`; fails with a sentence where gdb is not installed and cannot be.
pub fn gcore(pid: u32, prefix: &Path) -> Result<PathBuf> {
    let file = PathBuf::from(format!("{}.{pid}", prefix.display()));
    if Command::new("gcore").output().is_err() {
        debian::install("gdb");
    }
    let mut command = Command::new("gcore");
    command.arg("-o").arg(prefix).arg(pid.to_string());
    write("gcore", command, pid, &file)?;
    Ok(file)
}

/// A tool's word is not taken for it: the file must be there and be an ELF core.
fn write(tool: &'static str, mut command: Command, pid: u32, file: &Path) -> Result<()> {
    let failed = |why: String| Error::Dump { tool, pid, why };
    let output: Output = command
        .output()
        .map_err(|error| failed(format!("it does not start: {error}")))?;
    let mut magic = [0; 4];
    let head = std::fs::File::open(file)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    match head {
        Ok(()) if magic == *b"\x7fELF" && output.status.success() => Ok(()),
        _ => Err(failed(last_words(&output))),
    }
}
