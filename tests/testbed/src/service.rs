//! A running target: started, ready, commanded over its standard input, and always gone in the end.
//!
//! A target prints `READY {json}` when its fault is in place, answers each command with `DONE {json}` or
//! `FAILED reason`, and ends when its standard input closes: it cannot outlive a test, however the test dies.

use crate::error::{Error, Result};
use crate::runtimes::DotnetRoot;
use crate::targets::App;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for a target to put its fault in place, or to obey a command, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Time for other programs that are just being started to let go of an executable that was just written.
const BUSY: Duration = Duration::from_secs(10);
/// A process that has computed nothing for so long is at rest.
const REST: Duration = Duration::from_millis(700);
/// Lines of output kept for error messages.
const LOG_LINES: usize = 40;

/// How to start a target.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    label: String,
}

/// A running target; killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<Line>,
    log: Arc<Mutex<VecDeque<String>>>,
    label: String,
    report: Value,
    started_in: Duration,
}

#[derive(Debug)]
enum Line {
    Ready(Value),
    Done(Value),
    Failed(String),
}

impl App {
    /// Prepares to start this program on a runtime.
    #[must_use]
    pub fn on(&self, root: &DotnetRoot) -> Launch {
        self.launch(root.command(&self.dll), &root.version().to_string())
    }

    /// Prepares to start this program by `command` on what `system` names.
    pub(crate) fn launch(&self, command: Command, system: &str) -> Launch {
        let launch = Launch {
            command,
            label: format!("{} on {system}", self.name),
        };
        self.settings
            .iter()
            .fold(launch, |launch, (name, value)| launch.setting(name, value))
    }
}

impl Launch {
    /// Prepares to start a program that brings its own runtime, as `command` says.
    pub(crate) fn program(command: Command, label: String) -> Self {
        Self { command, label }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets a runtime setting such as `gcServer` or `GCHeapHardLimit`; numbers are hexadecimal, as the runtime reads
    /// them. 3.1 knows the prefix `COMPlus_` only, later runtimes prefer `DOTNET_`.
    #[must_use]
    pub fn setting(self, name: &str, value: &str) -> Self {
        self.env(&format!("COMPlus_{name}"), value)
            .env(&format!("DOTNET_{name}"), value)
    }

    /// Uses the server garbage collector with that many heaps.
    #[must_use]
    pub fn server_gc(self, heaps: u32) -> Self {
        self.setting("gcServer", "1")
            .setting("GCHeapCount", &format!("{heaps:x}"))
    }

    /// Starts it and waits until its fault is in place.
    pub fn start(mut self) -> Result<Service> {
        let label = self.label;
        let begun = Instant::now();
        let failed = |problem: String| Error::Service {
            service: label.clone(),
            problem,
            output: String::new(),
        };
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            spawn(&mut self.command).map_err(|error| failed(format!("does not start: {error}")))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, answers) = channel();
        if let Some(out) = child.stdout.take() {
            listen(out, Arc::clone(&log), Some(sender));
        }
        if let Some(err) = child.stderr.take() {
            listen(err, Arc::clone(&log), None);
        }
        let mut service = Service {
            stdin: child.stdin.take(),
            child,
            answers,
            log,
            label,
            report: Value::Null,
            started_in: Duration::ZERO,
        };
        service.report = service.await_answer("become ready")?;
        service.started_in = begun.elapsed();
        Ok(service)
    }
}

/// Starts a program that this process may have written just before. A thread that starts another program at the moment of
/// writing has the open file copied into its child, and until that child is the other program, the kernel calls the file
/// busy.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let deadline = Instant::now() + BUSY;
    loop {
        match command.spawn() {
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
}

impl Service {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has computed nothing for a while: a process that has just started still compiles and allocates in the
    /// background, and what is read of it while it runs does not fit together.
    pub fn settle(&self) -> Result<()> {
        let stat = format!("/proc/{}/stat", self.pid());
        let used = || -> Option<(u64, u64)> {
            let text = std::fs::read_to_string(&stat).ok()?;
            // proc(5): fields 14 and 15, utime and stime; the name before may hold anything but is closed by the last `)`.
            let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        };
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut since) = (used(), Instant::now());
        while since.elapsed() < REST {
            if Instant::now() > deadline {
                return Err(self.failed("does not come to rest".to_owned()));
            }
            std::thread::sleep(REST / 10);
            let now = used();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Process id as the target itself knows it: under wine not that of [`pid`](Self::pid).
    pub fn own_pid(&self) -> Result<u64> {
        self.number("/pid")
    }

    /// What the target said about itself when it was ready.
    #[must_use]
    pub fn report(&self) -> &Value {
        &self.report
    }

    /// A count from the report, by JSON pointer: `/handles/pinned`.
    pub fn number(&self, pointer: &str) -> Result<u64> {
        self.report
            .pointer(pointer)
            .and_then(Value::as_u64)
            .ok_or_else(|| self.failed(format!("reports no number {pointer}: {}", self.report)))
    }

    /// How long it took to become ready.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Sends a command (`grow 100`, `gc`, `report`) and returns the answer.
    pub fn send(&mut self, command: &str) -> Result<Value> {
        let sent = match &mut self.stdin {
            Some(stdin) => writeln!(stdin, "{command}").and_then(|()| stdin.flush()),
            None => return Err(self.failed("has been told to quit".to_owned())),
        };
        if let Err(error) = sent {
            return Err(self.failed(format!("does not listen to {command:?}: {error}")));
        }
        self.await_answer(command)
    }

    /// Asks for a fresh self-report and keeps it.
    pub fn refresh(&mut self) -> Result<&Value> {
        self.report = self.send("report")?;
        Ok(&self.report)
    }

    /// Ends the process the orderly way; dropping kills it.
    pub fn quit(mut self) -> Result<()> {
        self.stdin = None;
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
        Err(self.failed("did not end after its input was closed".to_owned()))
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines that it printed.
    #[must_use]
    pub fn output(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    fn await_answer(&mut self, what: &str) -> Result<Value> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(Line::Ready(value) | Line::Done(value)) => Ok(value),
            Ok(Line::Failed(why)) => Err(self.failed(format!("did not {what}: {why}"))),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.failed(format!("did not {what} within {} s", PATIENCE.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait();
                Err(self.failed(match status {
                    Ok(status) => format!("died before it could {what}: {status}"),
                    Err(error) => format!("died before it could {what}: {error}"),
                }))
            }
        }
    }

    fn failed(&self, problem: String) -> Error {
        Error::Service {
            service: self.label.clone(),
            problem,
            output: self.output(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads one stream to its end: protocol lines to `answers`, every other line to the log.
fn listen(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<VecDeque<String>>>,
    answers: Option<Sender<Line>>,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            match (&answers, parse(&line)) {
                (Some(answers), Some(answer)) => {
                    if answers.send(answer).is_err() {
                        break;
                    }
                }
                _ => {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == LOG_LINES {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            }
        }
    });
}

fn parse(line: &str) -> Option<Line> {
    let json = |text: &str| serde_json::from_str(text).ok();
    if let Some(text) = line.strip_prefix("READY ") {
        json(text).map(Line::Ready)
    } else if let Some(text) = line.strip_prefix("DONE ") {
        json(text).map(Line::Done)
    } else {
        line.strip_prefix("FAILED ")
            .map(|why| Line::Failed(why.to_owned()))
    }
}
