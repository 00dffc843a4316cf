//! The other processes of a service on this node: the yardstick of `siblings(x)` in triggers.
//!
//! A table for one moment, made after every process was sampled and before any trigger is checked. The median, so
//! that one other process that leaks too, or that has just started, does not move the yardstick.

use crate::sample::Facts;
use std::collections::BTreeMap;

/// The values of one fact: of which process, and how much.
type Values = Vec<(u32, f64)>;

/// What the processes of each service say at one moment.
#[derive(Debug, Default)]
pub struct Siblings {
    services: BTreeMap<String, BTreeMap<&'static str, Values>>,
}

impl Siblings {
    /// Adds what a process says about the facts that some trigger of its service compares.
    pub fn add(&mut self, service: &str, pid: u32, wanted: &[&'static str], facts: &Facts) {
        if wanted.is_empty() {
            return;
        }
        // Looked up first: a name is only copied for the first process of a service.
        if !self.services.contains_key(service) {
            self.services.insert(service.to_owned(), BTreeMap::new());
        }
        let Some(values) = self.services.get_mut(service) else {
            return;
        };
        for name in wanted {
            if let Some(value) = facts.get(name) {
                values.entry(name).or_default().push((pid, value));
            }
        }
    }

    /// The siblings of one process.
    #[must_use]
    pub fn of(&self, service: &str, pid: u32) -> Others<'_> {
        Others {
            values: self.services.get(service),
            pid,
        }
    }
}

/// The siblings of one process; without any by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Others<'a> {
    values: Option<&'a BTreeMap<&'static str, Values>>,
    pid: u32,
}

impl Others<'_> {
    /// The median of a fact over them; `None` when no sibling could be read.
    #[must_use]
    pub fn median(&self, fact: &str) -> Option<f64> {
        let all = self.values?.get(fact)?;
        let others = all.iter().filter(|(pid, _)| *pid != self.pid);
        let mut values: Vec<f64> = others.map(|(_, value)| *value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        if values.len() % 2 == 1 {
            return Some(upper);
        }
        Some(values[values.len() / 2 - 1].midpoint(upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_compared_with_the_others_of_its_service_only() {
        let mut siblings = Siblings::default();
        let facts = |value: f64| {
            let mut facts = Facts::default();
            facts.set("rss", value);
            facts
        };
        for (service, pid, value) in [
            ("cart", 1, 100.0),
            ("cart", 2, 110.0),
            ("cart", 3, 900.0),
            ("cart", 4, 130.0),
            ("orders", 5, 7.0),
        ] {
            siblings.add(service, pid, &["rss", "threads"], &facts(value));
        }
        siblings.add("cart", 6, &[], &facts(1e9));
        let median = |service, pid| siblings.of(service, pid).median("rss");
        assert_eq!(median("cart", 3), Some(110.0));
        assert_eq!(median("cart", 1), Some(130.0));
        // Of a process that was not sampled, all are siblings: 100, 110, 130, 900.
        assert_eq!(median("cart", 9), Some(120.0));
        assert_eq!(median("orders", 5), None);
        assert_eq!(median("nobody", 1), None);
        assert_eq!(siblings.of("cart", 1).median("threads"), None);
        assert_eq!(Others::default().median("rss"), None);
    }
}
