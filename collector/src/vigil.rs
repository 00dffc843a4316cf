//! One process that is watched until one of its conditions holds: what a person waits with who has no agent.
//!
//! Samples, histories and triggers are those of the agent; only budgets are not asked.

use crate::config::{Span, TriggerConfig};
use crate::history::ServiceHistory;
use crate::identity::Identity;
use crate::peek::RuntimePeek;
use crate::sample::{Facts, Sampler};
use crate::siblings::Siblings;
use crate::target::{Past, Plan, Target};
use crate::trigger;
use leakhound_archive::manifest::TriggerRecord;
use leakhound_rules::{Diagnostic, Trigger};
use std::time::Instant;
use thiserror::Error;

/// Why a process cannot be watched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VigilError {
    /// A condition is wrong.
    #[error("{0}")]
    Condition(Diagnostic),
    /// It asks for what only a dump can tell.
    #[error("{0}")]
    NeverHolds(String),
    /// The process is gone or may not be read.
    #[error("process {pid} cannot be watched: {source}")]
    Process {
        /// Process id.
        pid: u32,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What one look saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// No condition holds yet.
    Quiet,
    /// This one does.
    Fired(Box<TriggerRecord>),
    /// The process ended.
    Gone,
}

/// Checks a condition before anything is waited for.
///
/// # Errors
/// See [`VigilError`].
pub fn check(condition: &str) -> Result<(), VigilError> {
    let trigger = Trigger::parse(condition).map_err(VigilError::Condition)?;
    match trigger::never_fires(&trigger).pop() {
        None => Ok(()),
        Some(why) => Err(VigilError::NeverHolds(why)),
    }
}

/// One process under watch.
pub struct Vigil {
    plan: Plan,
    target: Target,
    sampler: Sampler,
    long: ServiceHistory,
    shown: Vec<&'static str>,
}

impl Vigil {
    /// Begins to watch a process; any of the conditions ends the wait.
    ///
    /// # Errors
    /// See [`VigilError`].
    pub fn begin(
        identity: &Identity,
        conditions: &[TriggerConfig],
        every: Span,
    ) -> Result<Self, VigilError> {
        let triggers = trigger::arm(conditions).map_err(VigilError::Condition)?;
        let mut shown: Vec<&'static str> = Vec::new();
        for fact in triggers.iter().flat_map(|t| t.trigger.facts()) {
            if !shown.contains(&fact.name) {
                shown.push(fact.name);
            }
        }
        let plan = Plan::new(triggers, every.0);
        let mut sampler = Sampler::default();
        let name = identity.name.clone();
        let target = Target::open(
            identity.clone(),
            0,
            name,
            &plan,
            &mut sampler,
            Instant::now(),
        )
        .map_err(|source| VigilError::Process {
            pid: identity.pid,
            source,
        })?;
        Ok(Self {
            plan,
            target,
            sampler,
            long: ServiceHistory::default(),
            shown,
        })
    }

    /// When the next look is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.target.due
    }

    /// Takes a sample and checks the conditions.
    pub fn look(&mut self, now_ms: i64) -> Seen {
        self.sampler.begin();
        let is_there = self.target.sample(
            &self.plan,
            &mut self.sampler,
            Some(&RuntimePeek),
            &mut self.long,
            Instant::now(),
            now_ms,
        );
        if !is_there {
            return Seen::Gone;
        }
        // It has nobody to be compared with.
        let past = Past {
            now_ms,
            long: &self.long,
            siblings: &Siblings::default(),
        };
        let Some(fired) = self.target.check(&self.plan, past) else {
            return Seen::Quiet;
        };
        Seen::Fired(Box::new(TriggerRecord {
            name: fired.name.clone(),
            when: fired.when.clone(),
            by: "operator".to_owned(),
            evidence: fired.sentences(),
            samples: self.target.samples(&fired, now_ms),
        }))
    }

    /// The process as last sampled.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.target.facts
    }

    /// What the conditions ask about, as last sampled; `None` when it could not be read.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> + '_ {
        self.shown
            .iter()
            .map(|name| (*name, self.target.facts.get(name)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::process::Command;
    use std::time::Duration;

    fn when(text: &str) -> TriggerConfig {
        TriggerConfig {
            name: text.to_owned(),
            when: text.into(),
            pair: None,
        }
    }

    #[test]
    fn the_first_condition_that_holds_is_told_and_the_end_is_seen() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = crate::discover::one(child.id()).unwrap();
        let conditions = [when("threads > 100"), when("rss > 1 KB and threads >= 1")];
        let every = Span(Duration::from_millis(100));
        let mut vigil = Vigil::begin(&identity, &conditions, every).unwrap();
        match vigil.look(0) {
            Seen::Fired(record) => {
                assert_eq!(record.name, "rss > 1 KB and threads >= 1");
                assert!(record.evidence.iter().any(|e| e.starts_with("threads = 1")));
            }
            other => panic!("{other:?}"),
        }
        let shown: Vec<_> = vigil
            .shown()
            .map(|(name, value)| (name, value.is_some()))
            .collect();
        assert_eq!(shown, [("threads", true), ("rss", true)]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(vigil.look(1), Seen::Gone);
        assert!(matches!(
            check("heap.live > 1 GB"),
            Err(VigilError::NeverHolds(_))
        ));
        let wrong = Vigil::begin(&identity, &[when("rss > 5 s")], every).err();
        assert!(matches!(wrong, Some(VigilError::Condition(_))), "{wrong:?}");
    }
}
