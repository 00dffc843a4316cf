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

/// True when standard output wants colour: a terminal, and nobody said no.
pub fn colour() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var("TERM").as_deref() != Ok("dumb")
}

/// Columns of the terminal, or 100 in a pipe.
pub fn width() -> usize {
    #[cfg(unix)]
    {
        let mut size = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the kernel fills `size`, which outlives the call.
        if unsafe { libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size) } == 0 && size.ws_col > 20 {
            return usize::from(size.ws_col);
        }
    }
    100
}
