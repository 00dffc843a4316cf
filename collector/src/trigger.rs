//! When to capture: the triggers of a service against the samples of one of its processes.

use crate::config::{Located, Problems, TriggerConfig};
use leakhound_rules::vocabulary::Scope;
use leakhound_rules::{Clocks, Decision, Diagnostic, History, Origin, Trigger, Truth};

/// Adds what is wrong with a trigger's expression.
pub fn check(key: &str, when: &Located, problems: &mut Problems) {
    let (file, text) = (problems.file(), problems.text().to_owned());
    let origin = match &when.span {
        Some(span) => Origin::in_toml(&file, &text, span.start),
        None => Origin::alone("trigger", &when.text),
    };
    match Trigger::parse_in(&when.text, origin) {
        Ok(trigger) => {
            // A trigger that asks for what only a dump can tell would never fire.
            for fact in trigger.facts().iter().filter(|f| f.scope != Scope::Live) {
                let message = format!(
                    "`{}` can only be read from a dump, so this trigger would never fire; `leakhound rules facts` lists the live ones",
                    fact.name
                );
                problems.push(key, message, when.span.clone(), None);
            }
        }
        Err(diagnostic) => problems.push_diagnostic(key, diagnostic),
    }
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

/// A trigger that holds.
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
}

impl Watch {
    /// Clocks that have not started.
    #[must_use]
    pub fn new(triggers: &[Armed]) -> Self {
        Self {
            clocks: triggers.iter().map(|a| a.trigger.clocks()).collect(),
        }
    }

    /// Checks every trigger against a new sample; all clocks tick. The first that holds is given.
    pub fn check(
        &mut self,
        triggers: &[Armed],
        history: &dyn History,
        now_ms: u64,
    ) -> Option<Fired> {
        let mut first = None;
        for (index, (armed, clocks)) in triggers.iter().zip(&mut self.clocks).enumerate() {
            let decision = armed.trigger.check(history, clocks, now_ms);
            if decision.truth == Truth::True && first.is_none() {
                first = Some(Fired {
                    index,
                    name: armed.name.clone(),
                    when: armed.trigger.text().to_owned(),
                    decision,
                });
            }
        }
        first
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
