//! When to capture: the triggers of a service against the samples of one of its processes.

use crate::config::{Located, Problems, TriggerConfig};
use leakhound_rules::{Clocks, Decision, Diagnostic, History, Origin, Reading, Trigger};

/// Adds what is wrong with a trigger's expression.
pub fn check(key: &str, when: &Located, problems: &mut Problems) {
    let (file, text) = (problems.file(), problems.text().to_owned());
    let origin = match &when.span {
        Some(span) => Origin::in_toml(&file, &text, span.start),
        None => Origin::alone("trigger", &when.text),
    };
    match Trigger::parse_in(&when.text, origin) {
        Ok(trigger) => {
            for message in never_fires(&trigger) {
                problems.push(key, message, when.span.clone(), None);
            }
        }
        Err(diagnostic) => problems.push_diagnostic(key, diagnostic),
    }
}

/// Why a trigger would never fire: it asks for what only a dump can tell.
#[must_use]
pub fn never_fires(trigger: &Trigger) -> Vec<String> {
    let facts = trigger.facts_never_live().into_iter();
    facts
        .map(|fact| {
            format!(
                "`{}` can only be read from a dump, so this trigger would never fire; `leakhound rules facts` lists the live ones",
                fact.name
            )
        })
        .collect()
}

/// A trigger of a service.
#[derive(Debug, Clone)]
pub struct Armed {
    /// Name as configured.
    pub name: String,
    /// The condition.
    pub trigger: Trigger,
}

/// All triggers of a service, parsed.
///
/// # Errors
/// An expression is wrong; the configuration was checked before, so this is a mistake of the caller.
pub fn arm(configs: &[TriggerConfig]) -> Result<Vec<Armed>, Diagnostic> {
    configs
        .iter()
        .map(|c| {
            Ok(Armed {
                name: c.name.clone(),
                trigger: Trigger::parse(&c.when.text)?,
            })
        })
        .collect()
}

/// The clocks of all triggers for one process.
#[derive(Debug, Default)]
pub struct Watch {
    clocks: Vec<Clocks>,
}

/// The first trigger that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// Index of the trigger.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its expression.
    pub when: String,
    /// What it read.
    pub decision: Decision,
    /// Clocks of all triggers that hold, by condition, as they are once a capture is taken.
    after: Vec<(String, Clocks)>,
}

impl Watch {
    /// Clocks that have not started.
    #[must_use]
    pub fn new(triggers: &[Armed]) -> Self {
        Self {
            clocks: triggers.iter().map(|a| a.trigger.clocks()).collect(),
        }
    }

    /// What each trigger says about a new sample; all clocks tick.
    pub fn decide(
        &mut self,
        triggers: &[Armed],
        history: &dyn History,
        now_ms: u64,
    ) -> Vec<Decision> {
        let all = triggers.iter().zip(&mut self.clocks);
        all.map(|(armed, clocks)| armed.trigger.check(history, clocks, now_ms))
            .collect()
    }

    /// Checks every trigger against a new sample, as [`Self::decide`]. The first that holds is given.
    pub fn check(
        &mut self,
        triggers: &[Armed],
        history: &dyn History,
        now_ms: u64,
    ) -> Option<Fired> {
        let mut first: Option<Fired> = None;
        let decisions = self.decide(triggers, history, now_ms);
        let all = triggers.iter().zip(&self.clocks).zip(decisions);
        for (index, ((armed, clocks), decision)) in all.enumerate() {
            if !decision.truth.is_true() {
                continue;
            }
            let fired = first.get_or_insert_with(|| Fired {
                index,
                name: armed.name.clone(),
                when: armed.trigger.text().to_owned(),
                decision,
                after: Vec::new(),
            });
            let mut after = clocks.clone();
            armed.trigger.mark_fired(history, &mut after);
            fired.after.push((armed.trigger.text().to_owned(), after));
        }
        first
    }

    /// Notes that a capture was taken because of `fired`: it serves every trigger that held, so the steps that any
    /// of them had reached do not fire again.
    pub fn captured(&mut self, triggers: &[Armed], fired: &Fired) {
        for (armed, clocks) in triggers.iter().zip(&mut self.clocks) {
            let mut held = fired.after.iter();
            if let Some((_, after)) = held.find(|(when, _)| when == armed.trigger.text()) {
                clocks.take_steps(after);
            }
        }
    }

    /// Notes that a capture would have begun because one trigger held.
    pub fn mark_fired(&mut self, triggers: &[Armed], index: usize, history: &dyn History) {
        if let (Some(armed), Some(clocks)) = (triggers.get(index), self.clocks.get_mut(index)) {
            armed.trigger.mark_fired(history, clocks);
        }
    }

    /// Takes over the clocks of an earlier configuration for every trigger that is still the same.
    pub fn inherit(&mut self, triggers: &[Armed], earlier: &Self, before: &[Armed]) {
        for (armed, clocks) in triggers.iter().zip(&mut self.clocks) {
            let mut same = before.iter().zip(&earlier.clocks);
            if let Some((_, kept)) = same.find(|(b, _)| b.trigger.text() == armed.trigger.text()) {
                clocks.clone_from(kept);
            }
        }
    }

    /// Each comparison of one trigger as it stands now, after [`Self::check`] at the same moment.
    #[must_use]
    pub fn readings(
        &self,
        triggers: &[Armed],
        index: usize,
        history: &dyn History,
        now_ms: u64,
    ) -> Vec<Reading> {
        match (triggers.get(index), self.clocks.get(index)) {
            (Some(armed), Some(clocks)) => armed.trigger.readings(history, clocks, now_ms),
            _ => Vec::new(),
        }
    }
}

impl Fired {
    /// The evidence as sentences, `private_bytes = 1.52 GB`.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let evidence = self.decision.evidence.iter();
        evidence
            .map(|e| format!("{} = {}", e.fact, e.text))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_rules::{Measured, Statistic};

    struct Bytes(f64);

    impl History for Bytes {
        fn now(&self, fact: &str) -> Option<f64> {
            (fact == "private_bytes").then_some(self.0)
        }
        fn measure(&self, _: &str, _: Statistic, _: u64) -> Option<Measured> {
            None
        }
    }

    fn armed(texts: &[&str]) -> Vec<Armed> {
        let configs: Vec<TriggerConfig> = texts
            .iter()
            .map(|when| TriggerConfig {
                name: (*when).to_owned(),
                when: (*when).into(),
                pair: None,
            })
            .collect();
        arm(&configs).unwrap()
    }

    #[test]
    fn a_step_waits_until_a_capture_begins_and_one_capture_serves_all_that_hold() {
        let triggers = armed(&[
            "private_bytes > 900 MB",
            "private_bytes > steps(1 GB, 2 GB)",
        ]);
        let mut watch = Watch::new(&triggers);
        let fired = |watch: &mut Watch, gb: f64| watch.check(&triggers, &Bytes(gb * 1e9), 0);
        // Held back by a cool-down, say: it fires again and again.
        for _ in 0..3 {
            let fired = fired(&mut watch, 1.5).unwrap();
            assert_eq!(
                (fired.index, fired.after.len()),
                (0, 2),
                "the first that holds is named"
            );
        }
        let held = fired(&mut watch, 1.5).unwrap();
        watch.captured(&triggers, &held);
        let after = fired(&mut watch, 1.5).unwrap();
        assert_eq!((after.index, after.after.len()), (0, 1));
    }

    #[test]
    fn a_new_configuration_keeps_the_clocks_of_triggers_that_stay() {
        let before = armed(&["private_bytes > steps(1 GB, 2 GB)"]);
        let mut watch = Watch::new(&before);
        let now = Bytes(1.5e9);
        let fired = watch.check(&before, &now, 0).unwrap();
        watch.captured(&before, &fired);
        let after = armed(&[
            "private_bytes > steps(1 GB, 3 GB)",
            "private_bytes > steps(1 GB, 2 GB)",
        ]);
        let mut renewed = Watch::new(&after);
        renewed.inherit(&after, &watch, &before);
        // The one that stayed has fired at 1 GB already; the other is new.
        let fired = renewed.check(&after, &now, 0).unwrap();
        assert_eq!(fired.after.len(), 1);
        assert_eq!(fired.index, 0);
    }
}
