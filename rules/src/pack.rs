//! Sets of rules: the shipped ones, and users' own laid over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::diagnostic::{Diagnostic, Fault, nearest};
use crate::document::Source;
use crate::rule::{Overrides, Rule};

macro_rules! packs {
    ($( $file:literal )+) => {
        /// The shipped rule files, in the order of the catalogue: name and text.
        pub const SHIPPED: &[(&str, &str)] = &[
            $( ($file, include_str!(concat!("../packs/", $file))), )+
        ];
    };
}

packs! {
    "capture/dump-unreliable.toml"
    "capture/capture-during-gc.toml"
    "pressure/near-limit.toml"
    "pressure/garbage-waiting.toml"
    "pressure/committed-free.toml"
    "pressure/page-cache.toml"
    "pressure/out-of-memory-seen.toml"
    "retention/static-root-growth.toml"
    "retention/static-root.toml"
    "retention/thread-static.toml"
    "retention/place-growth.toml"
    "retention/retained-growth.toml"
    "retention/accumulation.toml"
    "retention/memory-cache-unbounded.toml"
    "retention/db-context-tracking.toml"
    "retention/string-duplication.toml"
    "retention/timer-leak.toml"
    "retention/cancellation-registrations.toml"
    "retention/exceptions-kept.toml"
    "retention/async-backlog.toml"
    "retention/event-handler-leak.toml"
    "retention/queue-backlog.toml"
    "retention/threadpool-backlog.toml"
    "retention/collection-waste.toml"
    "retention/large-buffers.toml"
    "retention/connection-leak.toml"
    "retention/undisposed-resources.toml"
    "retention/files-open.toml"
    "retention/wait-handles.toml"
    "retention/file-watchers.toml"
    "retention/meters-per-call.toml"
    "retention/caches-per-call.toml"
    "retention/dynamic-assemblies.toml"
    "retention/load-context-leak.toml"
    "gc/finalizer-backlog.toml"
    "gc/finalizer-blocked.toml"
    "gc/loh-fragmentation.toml"
    "gc/heap-fragmentation.toml"
    "gc/poh-growth.toml"
    "gc/gc-settings.toml"
    "gc/induced-collections.toml"
    "gc/array-pool-idle.toml"
    "handles/pinned-handles.toml"
    "handles/async-pinned-handles.toml"
    "handles/strong-handle-leak.toml"
    "handles/weak-handle-leak.toml"
    "handles/dependent-handles.toml"
    "native/thread-leak.toml"
    "native/lock-waiters.toml"
    "native/dead-threads.toml"
    "native/native-growth.toml"
    "native/shared-memory.toml"
    "native/code-heaps.toml"
    "native/native-fragmentation.toml"
    "native/sockets-half-closed.toml"
    "native/views-mapped.toml"
}

/// An ordered set of rules with unique ids.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
}

static SHIPPED_SET: LazyLock<RuleSet> = LazyLock::new(|| {
    RuleSet::parse(SHIPPED.iter().copied())
        .expect("the shipped rules load: `shipped_rules_pass_their_own_tests` loads the same text")
});

impl RuleSet {
    /// The rules of this program.
    #[must_use]
    pub fn shipped() -> Self {
        SHIPPED_SET.clone()
    }

    /// A set of rule files: name and text.
    ///
    /// # Errors
    /// Everything that is wrong: one error per file at most, and names of rules that do not exist.
    pub fn parse<'f>(
        files: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self { rules: Vec::new() }.overlay(files)
    }

    /// Lays rule files over this set: a rule with the id of one that is there takes its place.
    ///
    /// # Errors
    /// Everything that is wrong: one error per file at most, and names of rules that do not exist.
    pub fn overlay<'f>(
        mut self,
        files: impl IntoIterator<Item = (&'f str, &'f str)>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let mut new: BTreeMap<String, String> = BTreeMap::new();
        for (file, text) in files {
            match Rule::parse(file, text) {
                Err(error) => errors.push(error),
                Ok(rule) => match new.insert(rule.id.clone(), file.to_owned()) {
                    Some(before) => errors.push(twice(&rule, &before)),
                    None => self.place(rule),
                },
            }
        }
        if errors.is_empty() {
            errors = self.dangling();
        }
        if errors.is_empty() {
            Ok(self)
        } else {
            Err(errors)
        }
    }

    /// The same rules with other values for parameters, by rule id: the settings of one service.
    ///
    /// # Errors
    /// When a rule or a parameter does not exist, or a value has another unit.
    pub fn with_params(
        &self,
        overrides: &BTreeMap<String, Overrides>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut set = self.clone();
        let mut errors = Vec::new();
        for (id, values) in overrides {
            let Some(rule) = self.get(id) else {
                let near = nearest(id, self.rules.iter().map(|r| r.id.as_str()));
                let fault = Fault::new(0..id.len(), format!("there is no rule called `{id}`"))
                    .did_you_mean(near);
                errors.push(Diagnostic::new("parameters", id, fault));
                continue;
            };
            match Rule::parse_with(&rule.file, &rule.text, values) {
                Ok(rule) => set.place(rule),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(set)
        } else {
            Err(errors)
        }
    }

    /// Whether some rule may ask for a list: its name stands in the text of one.
    #[must_use]
    pub fn may_ask_for(&self, list: &str) -> bool {
        self.rules.iter().any(|rule| rule.text.contains(list))
    }

    /// The same rules without some of them.
    #[must_use]
    pub fn without(&self, ids: &BTreeSet<String>) -> Self {
        let rules = self
            .rules
            .iter()
            .filter(|r| !ids.contains(&r.id))
            .cloned()
            .collect();
        Self { rules }
    }

    /// The rules in order.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(Arc::as_ref)
    }

    /// The rule called `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Rule> {
        self.rules().find(|r| r.id == id)
    }

    fn place(&mut self, rule: Rule) {
        match self.rules.iter_mut().find(|r| r.id == rule.id) {
            Some(slot) => *slot = Arc::new(rule),
            None => self.rules.push(Arc::new(rule)),
        }
    }

    /// Names of rules that are not in the set.
    fn dangling(&self) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        for rule in self.rules() {
            for name in rule
                .references
                .iter()
                .filter(|n| self.get(&n.text).is_none())
            {
                let near = nearest(&name.text, self.rules().map(|r| r.id.as_str()));
                let fault = Fault::new(
                    name.span.clone(),
                    format!("there is no rule called `{}`", name.text),
                )
                .help("`leakhound rules list` lists every rule")
                .did_you_mean(near);
                errors.push(Diagnostic::new(&rule.file, &rule.text, fault));
            }
        }
        errors
    }
}

fn twice(rule: &Rule, before: &str) -> Diagnostic {
    let at = rule.text.find(&rule.id).unwrap_or(0);
    let source = Source {
        file: &rule.file,
        text: &rule.text,
    };
    let fault = Fault::new(
        at..at + rule.id.len(),
        format!("the rule `{}` is also in {before}", rule.id),
    );
    source.show(fault.help("give one of them another id"))
}
