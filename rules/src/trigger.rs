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
use crate::eval::{Clocks, Evaluation, Reads, compared};
use crate::expr::Op;
use crate::facts::Live;
use crate::finding::Evidence;
use crate::history::{History, Statistic};
use crate::reading::{Reader, Reading};
use crate::value::Truth;
use crate::vocabulary::{Counter, Fact, Scope, counter_named};

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
            fired: vec![0; self.checked.ladders],
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

    /// Notes that a capture began because it fired: the thresholds of `steps` that were passed do not fire again
    /// for this process. A value that jumped over several has passed them all; under a `for` it has passed the one
    /// that was held, and the next is held anew.
    pub fn mark_fired(&self, history: &dyn History, clocks: &mut Clocks) {
        let live = Live(history);
        self.checked.expr.visit(&mut |e| match &e.op {
            Op::Steps(ladder) => {
                let value = Evaluation::new(&live).value(&ladder.value);
                let left = ladder.steps.iter().skip(clocks.fired(ladder));
                let passed = left
                    .take(if ladder.held { 1 } else { usize::MAX })
                    .take_while(|step| {
                        let step = Evaluation::new(&live).value(step);
                        compared(ladder.operator, value, step).is_true()
                    })
                    .count();
                if let Some(fired) = clocks.fired.get_mut(ladder.slot) {
                    *fired += passed;
                }
            }
            Op::Held { inner, slot, .. } => {
                let mut has_steps = false;
                inner.visit(&mut |e| has_steps |= matches!(e.op, Op::Steps(_)));
                if has_steps && let Some(since) = clocks.since_ms.get_mut(*slot) {
                    *since = None;
                }
            }
            _ => {}
        });
    }

    /// Each of its comparisons as it stands now, in the order in which they were written. Clocks do not tick: call
    /// it after [`Self::check`] with the same moment.
    #[must_use]
    pub fn readings(&self, history: &dyn History, clocks: &Clocks, now_ms: u64) -> Vec<Reading> {
        let mut reader = Reader {
            facts: &Live(history),
            clocks,
            now_ms,
            found: Vec::new(),
        };
        reader.read(&self.checked.node, &self.checked.expr, None);
        reader.found
    }

    /// The facts it compares with those of other processes of the service, each once.
    #[must_use]
    pub fn sibling_facts(&self) -> Vec<&'static str> {
        let mut facts = Vec::new();
        self.checked.expr.visit(&mut |e| {
            if let Op::Siblings { fact, .. } = e.op
                && !facts.contains(&fact.name)
            {
                facts.push(fact.name);
            }
        });
        facts
    }

    /// The facts it names, each once.
    #[must_use]
    pub fn facts(&self) -> Vec<&'static Fact> {
        facts_named_in(&self.checked.expr)
    }

    /// The counters of the program that it names, each once.
    #[must_use]
    pub fn counters(&self) -> Vec<&'static Counter> {
        let facts = self.facts().into_iter();
        facts.filter_map(|fact| counter_named(fact.name)).collect()
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

#[cfg(test)]
mod tests;
