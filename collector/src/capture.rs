//! Takes the memory of a process and hands its bytes to a sink.
//!
//! A capture method is one file and one line in [`METHODS`]. Whatever happens during a capture (an error, a
//! panic, the end of this program), the target runs on.

#[cfg(target_os = "linux")]
pub mod core_file;
#[cfg(target_os = "linux")]
pub(crate) mod core_writer;
mod error;
pub mod estimate;
#[cfg(any(target_os = "linux", windows))]
pub(crate) mod gc_gate;
pub mod headroom;
#[cfg(target_os = "linux")]
pub mod ipc;
#[cfg(target_os = "linux")]
pub(crate) mod managed_image;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "windows/node.rs")]
pub mod node;
#[cfg(target_os = "linux")]
pub mod plan;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "windows/priority.rs")]
pub mod priority;
#[cfg(target_os = "linux")]
pub(crate) mod ptrace;
#[cfg(any(target_os = "linux", windows))]
pub(crate) mod redact;
#[cfg(target_os = "linux")]
mod runtime;
#[cfg(any(target_os = "linux", windows))]
pub mod slot;
#[cfg(target_os = "linux")]
pub mod snapshot;
#[cfg(target_os = "linux")]
pub mod stop;
#[cfg(target_os = "linux")]
pub mod stream;
#[cfg(any(all(target_os = "linux", target_arch = "x86_64"), windows))]
pub(crate) mod walk;

pub use error::CaptureError;

use crate::config::{CaptureConfig, Kind, MethodChoice, Span};
use crate::identity::Identity;
use crate::proc_maps::Mapping;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a dump file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// All writable memory and module metadata.
    Heap,
    /// Every readable page.
    Full,
    /// As [`Self::Heap`], without the contents of strings and primitive arrays.
    Structure,
}

impl Content {
    /// The content of a kind, when that kind is a plain dump.
    #[must_use]
    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Heap => Some(Self::Heap),
            Kind::Full => Some(Self::Full),
            Kind::Structure => Some(Self::Structure),
            Kind::Facts => None,
        }
    }
}

/// Where the bytes of a dump go, in order.
pub trait Sink: Write {
    /// Adds `n` zero bytes.
    ///
    /// # Errors
    /// The medium failed.
    fn zeros(&mut self, n: u64) -> io::Result<()>;
}

impl<W: Write + Send + 'static> Sink for leakhound_archive::SealWriter<W> {
    fn zeros(&mut self, n: u64) -> io::Result<()> {
        self.write_zeros(n)
    }
}

/// How far a capture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The threads are being stopped, or the runtime is being asked.
    Stopping,
    /// Bytes are written while the target stands still.
    Writing,
    /// Bytes are written from a frozen copy; the target runs.
    Copying,
    /// The heap of a frozen copy is walked; the target runs.
    Walking,
    /// The target runs again; the rest is copied from files.
    Resumed,
    /// The bundle is being closed.
    Sealing,
}

/// A report of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Raw bytes written.
    pub done_bytes: u64,
    /// Raw bytes expected, 0 when unknown.
    pub total_bytes: u64,
}

/// Tells a capture to stop as soon as it can; the target is let go at once.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
    deadline: Option<(Instant, Span)>,
}

impl Cancel {
    /// Asks for the end.
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// The same, and the end comes by itself when `limit` has passed from now on, if it does not come sooner.
    #[must_use]
    pub fn within(&self, limit: Span) -> Self {
        let own = Instant::now().checked_add(limit.0).map(|at| (at, limit));
        Self {
            asked: Arc::clone(&self.asked),
            deadline: own
                .into_iter()
                .chain(self.deadline)
                .min_by_key(|(at, _)| *at),
        }
    }

    /// Whether somebody asked, or time is up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|(at, _)| Instant::now() >= at)
    }

    /// Whether the capture of process `pid` may go on.
    ///
    /// # Errors
    /// [`CaptureError::Cancelled`] or [`CaptureError::TookTooLong`].
    pub fn check(&self, pid: u32) -> Result<(), CaptureError> {
        if self.asked.load(Ordering::Relaxed) {
            return Err(CaptureError::Cancelled { pid });
        }
        match self.deadline {
            Some((at, limit)) if Instant::now() >= at => Err(CaptureError::TookTooLong {
                pid,
                limit_ms: limit.as_ms(),
            }),
            _ => Ok(()),
        }
    }
}

/// What to capture and how.
#[derive(Debug)]
pub struct Job<'a> {
    /// Whom.
    pub target: &'a Identity,
    /// What.
    pub content: Content,
    /// Limits and settings.
    pub config: &'a CaptureConfig,
    /// Ends it early.
    pub cancel: &'a Cancel,
}

/// What a capture found besides the bytes.
#[derive(Debug, Default)]
pub struct Captured {
    /// How long the target's threads stood still, when that is known.
    pub pause: Option<Duration>,
    /// Mappings at the moment of the capture.
    pub maps: Vec<Mapping>,
    /// What did not go as it should, one sentence each.
    pub warnings: Vec<String>,
    /// The garbage collector was moving objects; `None` when that could not be told.
    pub gc_in_progress: Option<bool>,
}

/// A way of taking a dump.
pub trait CaptureMethod: Sync {
    /// Its name in manifests and logs.
    fn name(&self) -> &'static str;

    /// Whether it can write this content.
    fn writes(&self, content: Content) -> bool;

    /// Its heap dumps hold the metadata of managed modules, whatever the runtime.
    fn keeps_metadata(&self) -> bool {
        true
    }

    /// The target stands still while the dump is written; otherwise it runs and comes first.
    fn holds_target(&self) -> bool {
        true
    }

    /// What it will cost this process, when that is acceptable.
    ///
    /// # Errors
    /// [`CaptureError::Refused`] or [`CaptureError::Unfit`], with the figures.
    fn check_cost(
        &self,
        target: &Identity,
        estimate: &estimate::Estimate,
        config: &CaptureConfig,
    ) -> Result<estimate::Cost, CaptureError>;

    /// Why it would not work on this process, as far as that can be told without touching it.
    ///
    /// # Errors
    /// A sentence.
    fn permitted(&self, target: &Identity) -> Result<(), String>;

    /// Takes the dump. On an error nothing of the target is stopped and `sink` holds rubbish.
    ///
    /// # Errors
    /// See [`CaptureError`].
    fn capture(
        &self,
        job: &Job<'_>,
        sink: &mut (dyn Sink + Send),
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Captured, CaptureError>;
}

/// What a frozen copy of a process consists of, for whoever walks its heap.
#[derive(Debug, Clone, Copy)]
pub struct FrozenCopy<'a> {
    /// Id of the copy, whose memory is that of the target at the moment of the capture. On a Windows without snapshots the
    /// target itself, while it stands still.
    pub copy: u32,
    /// A dump without memory: the target's threads with their registers, its files or modules.
    pub notes: &'a std::path::Path,
    /// The manifest as far as it is known.
    pub manifest: &'a std::path::Path,
}

/// Reads heaps. This crate never does; a walker is given to it by the program, and works in a process of its own.
pub trait Walker: std::fmt::Debug + Send + Sync {
    /// Walks the heap of a frozen copy and gives its fact sheet, as JSON. `progress` is told the share that is done.
    ///
    /// # Errors
    /// A sentence.
    fn walk(
        &self,
        copy: &FrozenCopy<'_>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Vec<u8>, String>;
}

/// Every method, the preferred one first.
#[cfg(target_os = "linux")]
pub static METHODS: &[(MethodChoice, &dyn CaptureMethod)] = &[
    (MethodChoice::Snapshot, &snapshot::Snapshot::NEW),
    (MethodChoice::StopAndStream, &stream::StopAndStream),
    (MethodChoice::Runtime, &runtime::RuntimeDump),
];
/// Every method, the preferred one first.
#[cfg(windows)]
pub static METHODS: &[(MethodChoice, &dyn CaptureMethod)] = &[
    (MethodChoice::Snapshot, &crate::windows::snapshot::Snapshot),
    (
        MethodChoice::StopAndStream,
        &crate::windows::suspend::StopAndStream,
    ),
];
/// Every method, the preferred one first.
#[cfg(not(any(target_os = "linux", windows)))]
pub static METHODS: &[(MethodChoice, &dyn CaptureMethod)] = &[];

/// Whether any method can serve a kind.
#[must_use]
pub fn is_available(kind: Kind) -> bool {
    match Content::of(kind) {
        Some(content) => METHODS.iter().any(|(_, m)| m.writes(content)),
        // On Linux only a copy is walked, which stands still for as long as a walk takes while the target runs.
        None => cfg!(any(
            all(target_os = "linux", target_arch = "x86_64"),
            windows
        )),
    }
}

/// The method to use for `target`, and why better ones were passed over.
///
/// # Errors
/// No method works; the error says why for each.
pub fn choose(
    choice: MethodChoice,
    content: Content,
    target: &Identity,
) -> Result<(&'static dyn CaptureMethod, Vec<String>), CaptureError> {
    never_capture(target)?;
    let mut reasons = Vec::new();
    for (name, method) in METHODS {
        if choice != MethodChoice::Auto && choice != *name {
            continue;
        }
        if !method.writes(content) {
            reasons.push(format!(
                "{} does not write this kind of dump",
                method.name()
            ));
            continue;
        }
        match method.permitted(target) {
            Ok(()) => return Ok((*method, reasons)),
            Err(why) => reasons.push(format!("{}: {why}", method.name())),
        }
    }
    Err(CaptureError::NoMethod {
        pid: target.pid,
        reasons: reasons.join("; "),
    })
}

/// The method to try after `method` did not work.
#[must_use]
pub fn next_after(
    method: &dyn CaptureMethod,
    choice: MethodChoice,
    content: Content,
    target: &Identity,
) -> Option<&'static dyn CaptureMethod> {
    let mut after = METHODS
        .iter()
        .skip_while(|(_, m)| m.name() != method.name())
        .skip(1);
    let (_, next) = after.find(|(_, m)| m.writes(content) && m.permitted(target).is_ok())?;
    (choice == MethodChoice::Auto).then_some(*next)
}

/// Whether another method may do what this error kept one from doing.
#[must_use]
pub fn may_step_down(error: &CaptureError) -> bool {
    match error {
        CaptureError::Unfit { .. } => true,
        #[cfg(target_os = "linux")]
        CaptureError::Stop(stop::StopError::Denied { .. } | stop::StopError::Traced { .. }) => true,
        _ => false,
    }
}

/// Processes that are never captured, whoever asks: init, this program, and the keepers of credentials.
///
/// # Errors
/// [`CaptureError::Refused`].
pub fn never_capture(target: &Identity) -> Result<(), CaptureError> {
    let refused = |reason: &str| {
        Err(CaptureError::Refused {
            pid: target.pid,
            reason: reason.to_owned(),
        })
    };
    if target.pid <= 1 {
        return refused("it is the init process; stopping it would stop the system");
    }
    if target.pid == std::process::id() {
        return refused("it is this program itself");
    }
    let credential_store = ["lsass", "lsass.exe", "LsaIso.exe"];
    if credential_store
        .iter()
        .any(|n| target.name.eq_ignore_ascii_case(n))
    {
        return refused("it holds the credentials of the machine");
    }
    Ok(())
}
