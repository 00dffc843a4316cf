//! Whether what triggers ask for can be read of the processes they are about: a fact that cannot be read never fires.

use super::{Check, Health, check};
use crate::config::ServiceConfig;
use crate::counters::Counters;
use crate::identity::Identity;
use crate::peek::{NO_RUNTIME, Peek, RuntimePeek};
use crate::sample::{self, Facts};
use crate::target::Plan;
use leakhound_rules::Trigger;
use leakhound_rules::vocabulary::counter_named;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const NAME: &str = "triggers";
/// The pace at which counters are asked for, and how long they may take: a counter that is not there is told from one that is
/// late after three and a half intervals.
const COUNTED_EVERY: Duration = Duration::from_secs(1);
const COUNTED_FOR: Duration = Duration::from_secs(5);
const COUNTED_LOOK: Duration = Duration::from_millis(100);
/// Facts that need more than one sample, so that one look says nothing about them.
const LATER: [&str; 3] = ["cpu", "cpu.machine", "time_to_limit"];

/// What the triggers of a service would miss on these processes of it.
pub(super) fn checks(service: &ServiceConfig, processes: &[&Identity]) -> Vec<Check> {
    let plan = Plan::of(service);
    let name = &service.name.text;
    let counted = counters(&plan, processes);
    let mut out: Vec<Check> = processes
        .iter()
        .zip(counted)
        .map(|(process, counted)| facts(name, &plan, process, counted))
        .collect();
    if let ([alone], false) = (processes, plan.siblings.is_empty()) {
        let sentence = format!(
            "Service `{name}`: process {} has no siblings on this node; triggers with siblings(…) do not fire.",
            alone.pid
        );
        out.push(check(
            NAME,
            Health::Warn,
            sentence,
            "Compare with average(…) where a service runs once on a node.",
        ));
    }
    out
}

/// Counters of the program that are unknown, and why.
type Uncounted = BTreeMap<&'static str, String>;

/// Listens to the counters of all processes at once, as long as it takes to tell what is missing from what is late.
fn counters(plan: &Plan, processes: &[&Identity]) -> Vec<Uncounted> {
    if plan.counters.is_empty() {
        return vec![Uncounted::new(); processes.len()];
    }
    let watch = |process: &&Identity| match process.dotnet {
        None => Err(NO_RUNTIME.to_owned()),
        Some(_) => Counters::watch(process, &plan.counters, COUNTED_EVERY),
    };
    let watched: Vec<_> = processes.iter().map(watch).collect();
    let read = |watched: &Result<Counters, String>| {
        let mut missing = Uncounted::new();
        match watched {
            Ok(counters) => counters.read(&mut Facts::default(), &mut missing, Instant::now()),
            Err(why) => {
                let all = plan.counters.iter().map(|c| (c.fact.name, why.clone()));
                missing.extend(all);
            }
        }
        missing
    };
    let deadline = Instant::now() + COUNTED_FOR;
    loop {
        let found: Vec<Uncounted> = watched.iter().map(read).collect();
        if found.iter().all(BTreeMap::is_empty)
            || watched.iter().all(Result::is_err)
            || Instant::now() >= deadline
        {
            return found;
        }
        std::thread::sleep(COUNTED_LOOK);
    }
}

fn facts(service: &str, plan: &Plan, process: &Identity, counted: Uncounted) -> Check {
    let pid = process.pid;
    let mut facts = match sample::once(process) {
        Ok(facts) => facts,
        Err(error) => {
            let sentence =
                format!("Service `{service}`: process {pid} cannot be sampled: {error}.");
            let advice = "Run the agent as root or as the service's user.";
            return check(NAME, Health::Fail, sentence, advice);
        }
    };
    let mut blind = None;
    if !plan.peeks.is_empty() {
        match RuntimePeek.open(process, &plan.peeks) {
            Ok(mut open) => {
                // What is torn at one moment is whole at the next.
                if !(0..3).any(|_| open.read(&mut facts)) {
                    blind = Some("its heap changed under every attempt".to_owned());
                }
            }
            Err(reason) => blind = Some(reason),
        }
    }
    let mut missing: Vec<&str> = Vec::new();
    let named = plan.triggers.iter().map(|t| &t.trigger);
    for fact in named.flat_map(Trigger::facts) {
        let is_known = facts.get(fact.name).is_some()
            || LATER.contains(&fact.name)
            || counter_named(fact.name).is_some_and(|_| !counted.contains_key(fact.name));
        if !is_known && !missing.contains(&fact.name) {
            missing.push(fact.name);
        }
    }
    if missing.is_empty() {
        let sentence =
            format!("Service `{service}`: all that its triggers name is read from process {pid}.");
        return check(NAME, Health::Ok, sentence, "");
    }
    let mut whys: Vec<String> = blind.into_iter().chain(counted.into_values()).collect();
    whys.sort();
    whys.dedup();
    let why = if whys.is_empty() {
        String::new()
    } else {
        format!(" ({})", whys.join("; "))
    };
    let sentence = format!(
        "Service `{service}`: {} cannot be read from process {pid}{why}; comparisons with it are unknown and do not fire.",
        missing.join(", ")
    );
    check(NAME, Health::Warn, sentence, advice(&missing))
}

fn advice(missing: &[&str]) -> &'static str {
    if missing.iter().any(|f| f.starts_with(crate::peek::PREFIX)) {
        "Live managed values need a .NET process and the right to read its memory: CAP_SYS_PTRACE, or the service's own user."
    } else if missing.iter().any(|f| counter_named(f).is_some()) {
        "Counters are sent over the diagnostics socket of a .NET process: it must be there and the agent must be allowed to write to it (as the service's user, or with CAP_DAC_OVERRIDE); provider and name are spelt as the program spells them."
    } else if missing.iter().any(|f| f.starts_with("limit")) {
        "The process has no memory limit, or its cgroup is not visible to the agent; compare with node.memory instead."
    } else if missing.iter().any(|f| f.contains("pressure")) {
        "Boot with psi=1 (Linux 4.20 or later)."
    } else {
        "Run the agent as root or as the service's user."
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::TriggerConfig;

    #[test]
    fn what_a_trigger_cannot_read_of_a_process_without_a_runtime_is_named() {
        let mut service = ServiceConfig::named("me");
        let mut trigger = |when: &str| {
            service.trigger.push(TriggerConfig {
                name: when.to_owned(),
                when: when.into(),
                pair: None,
            });
        };
        trigger("private_bytes > 1 GB or cpu > 50% or managed.gen2 > 1 GB");
        trigger("rss > 2 * siblings(rss)");
        let me = crate::discover::one(std::process::id()).unwrap();
        let found = checks(&service, &[&me]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].health, Health::Warn);
        assert!(
            found[0].sentence.contains("managed.gen2 cannot be read")
                && !found[0].sentence.contains("cpu"),
            "{found:?}"
        );
        assert!(found[1].sentence.contains("no siblings"), "{found:?}");
        // Two of them are siblings, and what is left can be read.
        service.trigger.remove(0);
        let found = checks(&service, &[&me, &me]);
        assert!(
            found.len() == 2 && found.iter().all(|c| c.health == Health::Ok),
            "{found:?}"
        );
    }
}
