//! `[capture]`: how dumps are taken, and what they may cost.

use super::error::Problems;
use super::value::{CountLimit, Reserve, Size, Span};
use serde::Deserialize;

/// How dumps are taken, and what they may cost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureConfig {
    /// `auto` (default), `snapshot`, `stop-and-stream` or `runtime`.
    pub method: MethodChoice,
    /// Disk space of the archive's volume that a capture must leave free: bytes or a share. Default `"2 GB"`.
    pub reserve: Reserve,
    /// Captures of all services together, such as `"20 per day"`; no limit when absent. Cool-downs and limits of services
    /// hold besides.
    pub limit: Option<CountLimit>,
    /// Captures at one time on this node, 1 to 16. Default 1.
    pub concurrent: u32,
    /// The longest time a target may stand still; a capture that would take longer is given up and the
    /// target goes on. Default `"60 s"`.
    pub max_pause: Span,
    /// The longest time a capture may take in all, the target running; then it is given up. Default `"30 min"`.
    pub max_time: Span,
    /// Where the disk has no room for a dump, take a lesser kind instead (full, heap, structure, facts) and say so; without
    /// it the capture is refused. Default true.
    pub step_down: bool,
    /// How long to wait for all threads to stop. Default `"2 s"`.
    pub stop_timeout: Span,
    /// How long to wait for a moment at which the garbage collector moves nothing; then the capture is taken anyway
    /// and marked. Default `"2 s"`.
    pub gc_wait: Span,
    /// How long the runtime may take to write its own dump. Default `"10 min"`.
    pub runtime_timeout: Span,
    /// Compression level of zstd, 1 to 19. Default 3. At 2 and 3, what packs as small at level 1 is packed at level 1, which is
    /// faster.
    pub level: i32,
    /// How long a capture waits for another one on the node to end. Default `"1 min"`.
    pub slot_wait: Span,
    /// Bytes per second at which packed bytes may go to the disk; unlimited when absent.
    pub bandwidth: Option<Size>,
    /// Threads that compress, 1 to 64. Default 2.
    pub threads: u32,
    /// Save the files of managed modules beside dumps that lack their metadata, once per build. Default true.
    pub modules: bool,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            method: MethodChoice::Auto,
            reserve: Reserve::Bytes(2_000_000_000),
            limit: None,
            concurrent: 1,
            max_pause: Span::seconds(60),
            max_time: Span::seconds(1800),
            step_down: true,
            stop_timeout: Span::seconds(2),
            gc_wait: Span::seconds(2),
            runtime_timeout: Span::seconds(600),
            level: 3,
            slot_wait: Span::seconds(60),
            bandwidth: None,
            threads: 2,
            modules: true,
        }
    }
}

impl CaptureConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        let mut range = |key: &str, value: i64, low: i64, high: i64| {
            if value < low || value > high {
                problems.push(
                    format!("capture.{key}"),
                    format!("{value} is out of range: {low} to {high}"),
                    None,
                    None,
                );
            }
        };
        range("concurrent", i64::from(self.concurrent), 1, 16);
        range("level", i64::from(self.level), 1, 19);
        range("threads", i64::from(self.threads), 1, 64);
    }
}

/// Which capture method to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MethodChoice {
    /// The first that works: snapshot, stop-and-stream, the runtime's own dump.
    #[default]
    Auto,
    /// Stop all threads for milliseconds, write from a copy-on-write snapshot.
    Snapshot,
    /// Stop all threads and write the core ourselves.
    StopAndStream,
    /// Ask the runtime over its diagnostics socket.
    Runtime,
}
