//! Values by name, as a sheet holds them by the thousand: one sorted run of memory, and names that are the vocabulary's own.
//!
//! A row has a dozen columns that every other row of its list has too. As a map of owned names it would cost an allocation for each
//! name and a tree for each row, and reading an archive again is nothing but reading rows.

use super::Value;
use crate::vocabulary::{FACTS, LISTS, List};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Index;
use std::sync::LazyLock;

/// A name: the vocabulary's, or one that this program does not know.
pub type Name = Cow<'static, str>;

/// Cells that a row has at most, nearly always.
const ROW: usize = 16;

/// Values by name, in the order of their names.
#[derive(Clone, Default, PartialEq)]
pub struct Cells(Vec<(Name, Value)>);

impl Cells {
    /// Without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.as_ref().cmp(name))
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        // Few names are as long as another: to look at each of a row is faster than to halve.
        if self.0.len() <= ROW {
            let found = self.0.iter().find(|(own, _)| own.as_ref() == name);
            return found.map(|(_, value)| value);
        }
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// The value of that name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.place(name).ok().map(|place| &mut self.0[place].1)
    }

    /// Whether there is a value of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets a value; gives the one before it.
    pub fn insert(&mut self, name: impl Into<Name>, value: Value) -> Option<Value> {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (name, value));
                None
            }
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.place(name).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Keeps those for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Value)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Names in order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.iter().map(|(name, _)| name)
    }

    /// Sorts what was added at the end. Of two of one name the later stays, as in a map.
    fn sort(&mut self) {
        let in_order = self.0.is_sorted_by(|(a, _), (b, _)| a < b);
        if !in_order {
            self.0.reverse();
            self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
            self.0.dedup_by(|later, first| later.0 == first.0);
        }
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Index<&str> for Cells {
    type Output = Value;

    /// # Panics
    /// There is no value of that name.
    fn index(&self, name: &str) -> &Value {
        match self.get(name) {
            Some(value) => value,
            None => panic!("no value is called `{name}`"),
        }
    }
}

impl<N: Into<Name>> Extend<(N, Value)> for Cells {
    fn extend<I: IntoIterator<Item = (N, Value)>>(&mut self, more: I) {
        let more = more.into_iter().map(|(name, value)| (name.into(), value));
        self.0.extend(more);
        self.sort();
    }
}

impl<N: Into<Name>> FromIterator<(N, Value)> for Cells {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(cells: I) -> Self {
        let mut own = Self::new();
        own.extend(cells);
        own
    }
}

impl<N: Into<Name>, const COUNT: usize> From<[(N, Value); COUNT]> for Cells {
    fn from(cells: [(N, Value); COUNT]) -> Self {
        cells.into_iter().collect()
    }
}

impl IntoIterator for Cells {
    type Item = (Name, Value);
    type IntoIter = std::vec::IntoIter<(Name, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'c> IntoIterator for &'c Cells {
    type Item = &'c (Name, Value);
    type IntoIter = std::slice::Iter<'c, (Name, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Called(&NAMES.all).deserialize(deserializer)
    }
}

/// Names of the vocabulary, each group in order.
struct Names {
    all: Vec<&'static str>,
    facts: Vec<&'static str>,
    columns: BTreeMap<&'static str, Vec<&'static str>>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let in_order = |names: &mut dyn Iterator<Item = &'static str>| -> Vec<&'static str> {
        names.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let columns = |list: &'static List| list.columns.iter().map(|(name, ..)| *name);
    let facts = || FACTS.iter().map(|fact| fact.name);
    Names {
        all: in_order(&mut facts().chain(LISTS.iter().flat_map(columns))),
        facts: in_order(&mut facts()),
        columns: LISTS
            .iter()
            .map(|list| (list.name, in_order(&mut columns(list))))
            .collect(),
    }
});

/// Reads cells that are called by these names, which are in order as the cells most likely are, or by others.
#[derive(Clone, Copy)]
pub(super) struct Called(&'static [&'static str]);

impl Called {
    /// Scalar facts.
    pub(super) fn facts() -> Self {
        Self(&NAMES.facts)
    }

    /// Rows of a list.
    pub(super) fn columns_of(list: &str) -> Self {
        Self(NAMES.columns.get(list).unwrap_or(&NAMES.all))
    }
}

impl<'de> DeserializeSeed<'de> for Called {
    type Value = Cells;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cells, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Called {
    type Value = Cells;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut cells: A) -> Result<Cells, A::Error> {
        let mut own = Cells(Vec::with_capacity(self.0.len().min(ROW)));
        let mut next = 0;
        let names = self.0;
        while let Some(name) = cells.next_key_seed(ReadName {
            names,
            next: &mut next,
        })? {
            own.0.push((name, cells.next_value()?));
        }
        own.sort();
        Ok(own)
    }
}

/// Reads one name; most likely it is the `next` one.
struct ReadName<'n> {
    names: &'static [&'static str],
    next: &'n mut usize,
}

impl<'de> DeserializeSeed<'de> for ReadName<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ReadName<'_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        let expected = self.names.get(*self.next).is_some_and(|own| *own == name);
        let place = if expected {
            *self.next
        } else {
            match self.names.binary_search(&name) {
                Ok(place) => place,
                Err(_) => return Ok(Cow::Owned(name.to_owned())),
            }
        };
        *self.next = place + 1;
        Ok(Cow::Borrowed(self.names[place]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str, called: Called) -> Cells {
        let mut json = serde_json::Deserializer::from_str(json);
        called.deserialize(&mut json).unwrap()
    }

    fn is_borrowed(cells: &Cells) -> Vec<bool> {
        let names = cells.0.iter();
        names
            .map(|(name, _)| matches!(name, Cow::Borrowed(_)))
            .collect()
    }

    #[test]
    fn names_of_the_vocabulary_are_not_copied_and_others_are_kept() {
        let json = r#"{"bytes":7,"count":1,"from_the_future":true,"type":"A"}"#;
        let row = read(json, Called::columns_of("types"));
        assert_eq!(is_borrowed(&row), [true, true, false, true]);
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        assert_eq!(
            read(json, Called::columns_of("a list from the future")),
            row
        );
        assert_eq!(serde_json::from_str::<Cells>(json).unwrap(), row);
        let facts = read(r#"{"heap.live":7,"new":1,"threads":3}"#, Called::facts());
        assert_eq!(is_borrowed(&facts), [true, false, true]);
        assert_eq!(facts["threads"], Value::Int(3));
    }

    #[test]
    fn what_is_not_values_by_name_is_refused() {
        for json in [
            "7",
            "[]",
            r#"{"a":{}}"#,
            r#"{"a":null}"#,
            r#"{"a":[1]}"#,
            r#"{"a""#,
        ] {
            assert!(serde_json::from_str::<Cells>(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn cells_are_a_map(steps in prop::collection::vec((0u8..4, "[a-e]{1,2}", 0i64..9), 0..40)) {
            let mut cells = Cells::new();
            let mut map = BTreeMap::new();
            let mut written = String::new();
            for (what, name, value) in steps {
                let value = Value::Int(value);
                match what {
                    0 => prop_assert_eq!(cells.remove(&name), map.remove(&name)),
                    1 => {
                        cells.extend([(name.clone(), value.clone())]);
                        map.extend([(name, value)]);
                    }
                    2 => {
                        cells.retain(|own, _| *own != *name);
                        map.retain(|own, _| *own != name);
                    }
                    _ => {
                        let before = cells.insert(name.clone(), value.clone());
                        prop_assert_eq!(before, map.insert(name.clone(), value));
                        cells.get_mut(&name).into_iter().for_each(|value| *value = Value::Bool(true));
                        map.get_mut(&name).into_iter().for_each(|value| *value = Value::Bool(true));
                        let comma = if written.is_empty() { "" } else { "," };
                        written.push_str(&format!("{comma}\"{name}\":true"));
                    }
                }
                prop_assert_eq!(cells.len(), map.len());
                prop_assert_eq!(cells.is_empty(), map.is_empty());
                prop_assert!(cells.iter().map(|(name, value)| (name.as_ref(), value)).eq(map.iter().map(|(name, value)| (name.as_str(), value))));
                for name in ["a", "bb", "c"] {
                    prop_assert_eq!(cells.get(name), map.get(name));
                    prop_assert_eq!(cells.contains_key(name), map.contains_key(name));
                }
            }
            // Names in no order, some of them twice.
            let json = format!("{{{written}}}");
            let cells: Cells = serde_json::from_str(&json).unwrap();
            let map: BTreeMap<String, Value> = serde_json::from_str(&json).unwrap();
            prop_assert!(cells.iter().map(|(name, value)| (name.as_ref(), value)).eq(map.iter().map(|(name, value)| (name.as_str(), value))));
        }
    }
}
