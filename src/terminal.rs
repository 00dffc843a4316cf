//! Progress on a terminal, silence in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leakhound_triage::child::Progress;
use std::io::IsTerminal;
use std::time::Duration;

/// A progress line on standard error; invisible when that is not a terminal.
pub struct Line {
    bar: ProgressBar,
}

impl Line {
    /// Starts a line that shows `what` is being worked on.
    pub fn start(what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix:.bold} {wide_bar} {percent:>3}% {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { bar }
    }

    /// Shows a step.
    pub fn step(&self, progress: &Progress) {
        self.bar
            .set_position((progress.share.clamp(0.0, 1.0) * 1_000.0) as u64);
        self.bar.set_message(progress.stage.clone());
    }

    /// Removes the line.
    pub fn done(self) {
        self.bar.finish_and_clear();
    }
}
