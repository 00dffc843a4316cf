//! Reading a part of a sheet: lists that nobody asks for are stepped over, which is many times as fast as keeping them.

use super::cells::Called;
use super::{FactSheet, Row, Value};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// Reads a sheet with those of its lists that are `wanted`, by name.
///
/// # Errors
/// It is no sheet.
pub fn read_part<'de, D: Deserializer<'de>>(
    deserializer: D,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<FactSheet, D::Error> {
    deserializer.deserialize_map(SheetVisitor(wanted))
}

struct SheetVisitor<'w>(&'w dyn Fn(&str) -> bool);

impl<'de> Visitor<'de> for SheetVisitor<'_> {
    type Value = FactSheet;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fact sheet")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<FactSheet, A::Error> {
        // Taken apart and put together again, so that a new field is not forgotten here.
        let FactSheet {
            mut schema,
            mut tool,
            mut vocabulary,
            mut subject,
            mut runtime,
            mut completeness,
            mut facts,
            mut lists,
            mut unknown,
        } = FactSheet::default();
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "schema" => schema = fields.next_value()?,
                "tool" => tool = fields.next_value()?,
                "vocabulary" => vocabulary = fields.next_value()?,
                "subject" => subject = fields.next_value()?,
                "runtime" => runtime = fields.next_value()?,
                "completeness" => completeness = fields.next_value()?,
                "facts" => facts = fields.next_value_seed(Called::facts())?,
                "lists" => lists = fields.next_value_seed(Lists(self.0))?,
                "unknown" => unknown = fields.next_value()?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(FactSheet {
            schema,
            tool,
            vocabulary,
            subject,
            runtime,
            completeness,
            facts,
            lists,
            unknown,
        })
    }
}

/// The whole sheet.
impl<'de> Deserialize<'de> for FactSheet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_part(deserializer, &|_| true)
    }
}

/// The lists of a sheet that are wanted.
struct Lists<'w>(&'w dyn Fn(&str) -> bool);

impl<'de> DeserializeSeed<'de> for Lists<'_> {
    type Value = BTreeMap<String, Vec<Row>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Lists<'_> {
    type Value = BTreeMap<String, Vec<Row>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lists by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut lists: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(name) = lists.next_key::<String>()? {
            if (self.0)(&name) {
                let rows = lists.next_value_seed(Rows(Called::columns_of(&name)))?;
                kept.insert(name, rows);
            } else {
                lists.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kept)
    }
}

/// The rows of one list.
struct Rows(Called);

impl<'de> DeserializeSeed<'de> for Rows {
    type Value = Vec<Row>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Row>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows {
    type Value = Vec<Row>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut read: A) -> Result<Vec<Row>, A::Error> {
        let mut rows = Vec::new();
        while let Some(row) = read.next_element_seed(self.0)? {
            rows.push(row);
        }
        Ok(rows)
    }
}

/// The reader of every value; by hand, since a derived one of an untagged enum copies each before it looks at it, and a sheet
/// is nothing but values.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, a list of texts, true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        Ok(Value::Texts(texts))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn part(json: &str, wanted: &dyn Fn(&str) -> bool) -> FactSheet {
        read_part(&mut serde_json::Deserializer::from_str(json), wanted).unwrap()
    }

    #[test]
    fn a_part_is_the_whole_without_the_lists_that_nobody_wants() {
        let row = |n: i64| Row::from([("type".to_owned(), Value::Text(format!("T{n}")))]);
        let mut sheet = FactSheet {
            schema: super::super::SHEET_SCHEMA,
            tool: "leakhound 1".to_owned(),
            vocabulary: "abc".to_owned(),
            ..FactSheet::default()
        };
        sheet.subject.service = "Shop".to_owned();
        sheet.runtime.name = ".NET".to_owned();
        sheet.completeness.heap = Some(1.0);
        sheet.int("heap.live", 7);
        sheet.unknown("loh.free", "it could not be read");
        sheet.lists.insert("types".to_owned(), vec![row(1), row(2)]);
        sheet.lists.insert("modules".to_owned(), vec![row(3)]);
        let json = serde_json::to_string(&sheet).unwrap();
        assert_eq!(part(&json, &|_| true), sheet);
        assert_eq!(serde_json::from_str::<FactSheet>(&json).unwrap(), sheet);
        let few = part(&json, &|name| name == "types");
        assert!(sheet.lists.remove("modules").is_some());
        assert_eq!(few, sheet);
    }

    #[test]
    fn what_is_no_sheet_is_refused_also_in_what_is_stepped_over() {
        for json in [
            "[]",
            "7",
            r#"{"lists":{"modules":[{"#,
            r#"{"lists":[]}"#,
            r#"{"schema":"two"}"#,
        ] {
            let mut reader = serde_json::Deserializer::from_str(json);
            assert!(read_part(&mut reader, &|_| false).is_err(), "{json}");
        }
    }
}
