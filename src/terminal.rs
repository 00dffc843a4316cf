//! Progress on a terminal, silence in a pipe.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leakhound_triage::child::Progress;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Also into a file or pipe: a line for each stage.
    Always,
    /// Never.
    Never,
}

/// A progress line on standard error; invisible when that is not a terminal.
pub struct Line {
    bar: ProgressBar,
    /// Stages are written as lines of their own; the last one that was.
    stages: Option<Mutex<String>>,
}

impl Line {
    /// Starts a line that shows `what` is being worked on.
    pub fn start(what: &str) -> Self {
        Self::with(what, When::Auto)
    }

    /// The same, when it is asked for.
    pub fn with(what: &str, when: When) -> Self {
        let target = match when {
            When::Never => ProgressDrawTarget::hidden(),
            When::Auto | When::Always => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(1_000), target);
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix:.bold} {wide_bar} {percent:>3}% {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        let terminal = std::io::stderr().is_terminal();
        if terminal && when != When::Never {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        let stages = (when == When::Always && !terminal).then(Mutex::default);
        Self { bar, stages }
    }

    /// Starts a line that says what is being waited for, without a share; in a pipe it is said once.
    pub fn waiting(what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:.bold} {elapsed} {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            eprintln!("{what}");
        }
        Self { bar, stages: None }
    }

    /// Shows a sentence beside it.
    pub fn say(&self, sentence: &str) {
        self.bar.set_message(sentence.to_owned());
    }

    /// Shows a step.
    pub fn step(&self, progress: &Progress) {
        self.bar
            .set_position((progress.share.clamp(0.0, 1.0) * 1_000.0) as u64);
        self.bar.set_message(progress.stage.clone());
        if let Some(last) = &self.stages {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if *last != progress.stage {
                eprintln!("{:>3.0}% {}", progress.share * 100.0, progress.stage);
                last.clone_from(&progress.stage);
            }
        }
    }

    /// Lets something be printed where the line is.
    pub fn hidden(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the line.
    pub fn done(self) {
        self.bar.finish_and_clear();
    }
}
