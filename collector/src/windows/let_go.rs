//! The process that lets a target go when we cannot.
//!
//! Windows does not resume a suspended process when the one that suspended it dies. So before a target is stopped, this same
//! program is started a second time and told which process it is; it waits on its standard input, and if that ends without the
//! word, it resumes the target.
//!
//! It cannot know how far we came, and somebody else may have stopped threads of the target too (a debugger). So it notes at its
//! start how often each thread was stopped, and at the end lets those go that were stopped more often since, once.

use super::{suspend, thread};
use crate::discover::identity;
use crate::identity::Identity;
use std::io::{self, BufRead, BufReader, Write};
use std::os::windows::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

/// Hidden subcommand under which the program runs for this.
pub const ARGUMENT: &str = "__let-go";
const READY: &str = "ready";
const DONE: &[u8] = b"done\n";

/// The waiting process.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
    words: ChildStdin,
}

impl Guardian {
    /// Starts it; when this returns it knows the target.
    pub fn start(target: &Identity) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(target.pid.to_string())
            .arg(target.start_ticks.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .creation_flags(CREATE_NO_WINDOW)
            .spawn()?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match child.stdin.take() {
            Some(words) if line.trim_end() == READY => Ok(Self { child, words }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::other("it did not answer"))
            }
        }
    }

    /// The target runs again: nothing is left to do.
    pub fn end(mut self) {
        let told = self.words.write_all(DONE).and_then(|()| self.words.flush());
        if told.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The other side: waits, and resumes the target unless it hears that this is done. Returns the exit code.
#[must_use]
pub fn serve(mut arguments: impl Iterator<Item = String>) -> u8 {
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
    let (Some(pid), Some(start)) = (number(arguments.next()), number(arguments.next())) else {
        return 2;
    };
    let Ok(pid) = u32::try_from(pid) else {
        return 2;
    };
    // Opened now: later the id may belong to another process.
    let Ok(target) = suspend::open(pid) else {
        return 3;
    };
    if identity::start_ticks(pid).ok() != Some(start) {
        return 3;
    }
    let Ok(before) = thread::stops_of(pid) else {
        return 3;
    };
    let mut out = io::stdout();
    if writeln!(out, "{READY}").and_then(|()| out.flush()).is_err() {
        return 3;
    }
    let mut line = Vec::new();
    let heard = io::stdin().lock().read_until(b'\n', &mut line);
    if heard.is_ok() && line == DONE {
        return 0;
    }
    if target.has_ended() {
        return 0;
    }
    u8::from(thread::resume_since(pid, &before).is_err())
}
