//! A trigger: the condition under which a running process is captured.
//!
//! ```
//! use leakhound_rules::{History, Measured, Statistic, Trigger, Truth};
//!
//! struct Steady(f64);
//! impl History for Steady {
//!     fn now(&self, fact: &str) -> Option<f64> {
//!         (fact == "private_bytes").then_some(self.0)
//!     }
//!     fn measure(&self, _: &str, _: Statistic, _: u64) -> Option<Measured> {
//!         None
//!     }
//! }
//!
//! let trigger = Trigger::parse("private_bytes > 1.5 GB for 30 s")?;
//! let mut clocks = trigger.clocks();
//! assert_eq!(trigger.check(&Steady(2e9), &mut clocks, 0).truth, Truth::False);
//! assert_eq!(trigger.check(&Steady(2e9), &mut clocks, 30_000).truth, Truth::True);
//! # Ok::<(), leakhound_rules::Diagnostic>(())
//! ```

use crate::check::{Checked, Environment, condition, facts_named_in};
use crate::diagnostic::{Diagnostic, Origin};
use crate::eval::{Clocks, Evaluation, Reads};
use crate::expr::Op;
use crate::facts::Live;
use crate::finding::Evidence;
use crate::history::{History, Statistic};
use crate::value::Truth;
use crate::vocabulary::{Fact, Scope};

/// A checked trigger condition.
#[derive(Debug, Clone)]
pub struct Trigger {
    text: String,
    checked: Checked,
}

/// What a trigger says about one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether to capture; unknown is not yes.
    pub truth: Truth,
    /// Every fact that the trigger read, with its value: the samples that fired it.
    pub evidence: Vec<Evidence>,
    /// Facts that could not be read or have too little history.
    pub missing: Vec<String>,
}

/// A window that a trigger asks about, so that a history knows what to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowNeed {
    /// The fact.
    pub fact: &'static str,
    /// The statistic.
    pub statistic: Statistic,
    /// How far back.
    pub window_ms: u64,
}

impl Trigger {
    /// Parses and checks a trigger that stands alone.
    ///
    /// # Errors
    /// With a caret under what is wrong, and a suggestion.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        Self::parse_in(text, Origin::alone("trigger", text))
    }

    /// Parses and checks a trigger that stands in a file: errors show that file.
    ///
    /// # Errors
    /// With file, line and caret under what is wrong, and a suggestion.
    pub fn parse_in(text: &str, origin: Origin<'_>) -> Result<Self, Diagnostic> {
        let environment = Environment {
            trigger: true,
            ..Environment::default()
        };
        let checked = condition(text, environment).map_err(|fault| origin.diagnostic(fault))?;
        Ok(Self {
            text: text.to_owned(),
            checked,
        })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Fresh clocks for its `for`; one set per process watched, and a new one when the process restarts.
    #[must_use]
    pub fn clocks(&self) -> Clocks {
        Clocks {
            since_ms: vec![None; self.checked.clocks],
        }
    }

    /// Whether it fires now. Call it once per sample, in time order, with the same clocks.
    ///
    /// `X for 30 s` is true when X was true at every call for 30 s; a call at which X was false or
    /// unknown starts it over.
    pub fn check(&self, history: &dyn History, clocks: &mut Clocks, now_ms: u64) -> Decision {
        let live = Live(history);
        let truth = Evaluation::new(&live)
            .timed(clocks, now_ms)
            .truth(&self.checked.expr);
        let mut decision = Decision {
            truth,
            evidence: Vec::new(),
            missing: Vec::new(),
        };
        if truth != Truth::False {
            let mut reads = Reads::default();
            // The clocks have ticked already: a second pass with a copy of them only reads.
            let mut copy = clocks.clone();
            Evaluation::new(&live)
                .timed(&mut copy, now_ms)
                .recording(&mut reads)
                .truth(&self.checked.expr);
            decision.evidence = reads.evidence;
            decision.missing = reads.missing;
        }
        decision
    }

    /// The facts it names, each once.
    #[must_use]
    pub fn facts(&self) -> Vec<&'static Fact> {
        facts_named_in(&self.checked.expr)
    }

    /// Facts it names that no running process can tell, only a dump: until one of them is known,
    /// what they decide stays unknown. Worth a warning when a configuration is loaded.
    #[must_use]
    pub fn facts_never_live(&self) -> Vec<&'static Fact> {
        let mut facts = self.facts();
        facts.retain(|f| f.scope != Scope::Live);
        facts
    }

    /// The windows it asks about.
    #[must_use]
    pub fn windows(&self) -> Vec<WindowNeed> {
        let mut windows = Vec::new();
        self.checked.expr.visit(&mut |e| {
            if let Op::Window {
                fact,
                statistic,
                window_ms,
                ..
            } = &e.op
            {
                windows.push(WindowNeed {
                    fact: fact.name,
                    statistic: *statistic,
                    window_ms: *window_ms,
                });
            }
        });
        windows
    }
}
