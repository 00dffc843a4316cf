//! Counters of a running program, `counter("System.Runtime/threadpool-queue-length")`: facts whose names nobody can list.
//!
//! Each that an expression names becomes a [`Fact`] of its own, kept for as long as the program runs: facts are compared and
//! stored by names that live forever. There is one for each name however often it is read, and [`MAX_COUNTERS`] in all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Fact, Kind, Scope};

/// The word of the language.
pub const WORD: &str = "counter";
/// Longest `PROVIDER/NAME`.
pub const MAX_COUNTER_BYTES: usize = 256;
/// Different counters that one run of the program knows: configurations come and go, what they named stays.
pub const MAX_COUNTERS: usize = 4_096;
/// One that every runtime has, for advice.
pub const EXAMPLE: &str = "System.Runtime/threadpool-queue-length";

const SENTENCE: &str = "A counter of the program (EventCounter): the mean of the last interval, or the increase per second; without a unit, whatever the program says of one.";

/// A counter that some expression names.
#[derive(Debug)]
pub struct Counter {
    /// Its name is the whole expression, `counter("PROVIDER/NAME")`.
    pub fact: Fact,
    /// Name of the event source.
    pub provider: String,
    /// Name of the counter, which may hold slashes.
    pub name: String,
}

static KNOWN: Mutex<BTreeMap<&'static str, &'static Counter>> = Mutex::new(BTreeMap::new());

/// The counter at `PROVIDER/NAME`.
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn counter(path: &str) -> Result<&'static Counter, (String, String)> {
    let (provider, name) = split(path)?;
    let call = written(path);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(counter) = known.get(call.as_str()) {
        return Ok(counter);
    }
    if known.len() >= MAX_COUNTERS {
        return Err((
            format!(
                "more than {MAX_COUNTERS} different counters were named since this program started"
            ),
            "restart it".to_owned(),
        ));
    }
    let call: &'static str = call.leak();
    let counter: &'static Counter = Box::leak(Box::new(Counter {
        fact: Fact {
            name: call,
            kind: Kind::Number,
            scope: Scope::Live,
            sentence: SENTENCE,
        },
        provider: provider.to_owned(),
        name: name.to_owned(),
    }));
    known.insert(call, counter);
    Ok(counter)
}

/// The counter whose fact has this name, if an expression named it before.
#[must_use]
pub fn counter_named(fact: &str) -> Option<&'static Counter> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get(fact).copied()
}

/// As an expression names it.
fn written(path: &str) -> String {
    format!("{WORD}({})", crate::syntax::quoted(path))
}

fn split(path: &str) -> Result<(&str, &str), (String, String)> {
    let wrong = |what: String| Err((what, format!("write `{}`", written(EXAMPLE))));
    if path.len() > MAX_COUNTER_BYTES {
        return wrong(format!(
            "the name of a counter has at most {MAX_COUNTER_BYTES} bytes, and this has {}",
            path.len()
        ));
    }
    if let Some(control) = path.chars().find(|c| c.is_control()) {
        return wrong(format!(
            "`{}` cannot be part of a counter's name",
            control.escape_debug()
        ));
    }
    let Some((provider, name)) = path.split_once('/') else {
        return wrong(
            "a counter is named by its provider and its name, with a slash between".to_owned(),
        );
    };
    if provider.trim().is_empty() || name.trim().is_empty() {
        let part = if provider.trim().is_empty() {
            "provider before"
        } else {
            "counter after"
        };
        return wrong(format!("there is no {part} the slash"));
    }
    if provider.trim() != provider || name.trim() != name {
        return wrong("blanks around a provider or a name are part of neither".to_owned());
    }
    Ok((provider, name))
}

/// The row of the catalogue that stands for all of them.
pub(crate) const FAMILY: Fact = Fact {
    name: "counter(\"PROVIDER/NAME\")",
    kind: Kind::Number,
    scope: Scope::Live,
    sentence: "A counter of the program (EventCounter), in triggers only: the mean of the last interval, or the increase per second; without a unit.",
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_counter_is_made_once_and_found_by_its_fact() {
        let first = counter("Shop-Baskets/paid/share").unwrap();
        assert_eq!(
            (first.provider.as_str(), first.name.as_str()),
            ("Shop-Baskets", "paid/share")
        );
        assert_eq!(first.fact.name, "counter(\"Shop-Baskets/paid/share\")");
        assert!(std::ptr::eq(
            first,
            counter("Shop-Baskets/paid/share").unwrap()
        ));
        assert!(std::ptr::eq(first, counter_named(first.fact.name).unwrap()));
        assert!(counter_named("counter(\"Shop-Baskets/never-named\")").is_none());
    }

    #[test]
    fn names_that_cannot_be_meant_are_refused() {
        for (path, says) in [
            ("", "slash between"),
            ("threadpool-queue-length", "slash between"),
            ("/cpu-usage", "no provider"),
            ("System.Runtime/", "no counter"),
            ("  /  ", "no provider"),
            ("System.Runtime /cpu-usage", "blanks"),
            ("System.Runtime/cpu\u{7}usage", "\\u{7}"),
            (&format!("System.Runtime/{}", "x".repeat(300)), "256 bytes"),
        ] {
            let (what, help) = counter(path).unwrap_err();
            assert!(
                what.contains(says) && help.contains(EXAMPLE),
                "{path}: {what}"
            );
        }
    }
}
