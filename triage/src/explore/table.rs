//! A view's answer: columns with a kind, rows of cells, totals.

use serde::{Deserialize, Serialize, Serializer};
use std::cmp::Ordering;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// Unknown, or not there.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number or bytes.
    Int(u64),
    /// A name or word.
    Text(String),
    /// An address; `0x7f0012345678` once it is written.
    #[serde(skip_deserializing, serialize_with = "hexadecimal")]
    Address(u64),
}

fn hexadecimal<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}

impl Cell {
    /// A name or word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The number in it.
    #[must_use]
    pub fn int(&self) -> Option<u64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Address(_))
    }

    /// Numbers before words, what is unknown last.
    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Address(_) => 0,
            Self::Bool(_) => 1,
            Self::Text(_) => 2,
            Self::Null => 3,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Address(a), Self::Address(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// What a column holds, and with it how a person reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// A long name: stands last in a table.
    Name,
    /// A short word.
    Word,
    /// How many.
    Count,
    /// How many bytes.
    Bytes,
    /// Where.
    Address,
    /// A number that is no amount, such as an id.
    Number,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its key in JSON, and its name for sorting.
    pub key: &'static str,
    /// Its heading in a table.
    pub title: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Its sum means something.
    pub adds_up: bool,
    /// Tables for people have it, JSON does not: a detail that the contract has no key for.
    pub text_only: bool,
}

impl Column {
    /// A column whose heading is its key.
    #[must_use]
    pub const fn new(key: &'static str, kind: ColumnKind) -> Self {
        Self {
            key,
            title: key,
            kind,
            adds_up: false,
            text_only: false,
        }
    }

    /// With a heading of its own.
    #[must_use]
    pub const fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    /// With a sum below it.
    #[must_use]
    pub const fn summed(self) -> Self {
        Self {
            adds_up: true,
            ..self
        }
    }

    /// For people only.
    #[must_use]
    pub const fn text_only(self) -> Self {
        Self {
            text_only: true,
            ..self
        }
    }
}

/// One row, a cell for each column.
pub type Row = Vec<Cell>;

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The rows that were asked for, in order.
    pub rows: Vec<Row>,
    /// How many there are in all, those left out included.
    pub row_count: u64,
    /// Sums over all rows, for columns that add up.
    pub totals: Row,
    /// What a reader should know: what is missing, approximate or left out. One sentence each.
    pub notes: Vec<String>,
}

impl Table {
    /// Sorts rows by a column (amounts fall, names rise; the other way round when `reverse`), sums them up unless the view has
    /// counted more than it lists, and keeps the first `limit`.
    pub fn finish(&mut self, columns: &[Column], sort: &str, reverse: bool, limit: usize) {
        if let Some(at) = columns.iter().position(|c| c.key == sort) {
            let falls = columns[at].adds_up && self.rows.iter().any(|row| row[at].is_number());
            self.rows.sort_by(|a, b| {
                let unknown = (a[at] == Cell::Null).cmp(&(b[at] == Cell::Null));
                let order = a[at].compare(&b[at]);
                let order = if falls != reverse {
                    order.reverse()
                } else {
                    order
                };
                unknown.then(order)
            });
        }
        if self.totals.is_empty() {
            self.row_count = self.rows.len() as u64;
            self.totals = self.sums(columns);
        }
        self.rows.truncate(limit);
    }

    fn sums(&self, columns: &[Column]) -> Row {
        (0..columns.len())
            .map(|at| {
                let values = || self.rows.iter().filter_map(|row| row[at].int());
                if columns[at].adds_up && values().next().is_some() {
                    Cell::Int(values().fold(0, u64::saturating_add))
                } else {
                    Cell::Null
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [
        Column::new("type", ColumnKind::Name),
        Column::new("bytes", ColumnKind::Bytes).summed(),
    ];

    fn table() -> Table {
        let row = |name: &str, bytes: Option<u64>| vec![Cell::text(name), bytes.into()];
        Table {
            rows: vec![
                row("b", Some(10)),
                row("c", None),
                row("a", Some(30)),
                row("d", Some(10)),
            ],
            ..Table::default()
        }
    }

    fn names(table: &Table) -> Vec<&Cell> {
        table.rows.iter().map(|r| &r[0]).collect()
    }

    #[test]
    fn numbers_fall_words_rise_and_the_unknown_stays_last() {
        let sorted = |key, reverse| {
            let mut table = table();
            table.finish(&COLUMNS, key, reverse, 10);
            let names: Vec<String> = names(&table).iter().map(|c| format!("{c:?}")).collect();
            names.concat().replace("Text(\"", "").replace("\")", "")
        };
        assert_eq!(sorted("bytes", false), "abdc");
        assert_eq!(sorted("bytes", true), "bdac");
        assert_eq!(sorted("type", false), "abcd");
        assert_eq!(sorted("type", true), "dcba");
    }

    #[test]
    fn totals_are_over_all_rows_also_over_those_left_out() {
        let mut table = table();
        table.finish(&COLUMNS, "bytes", false, 1);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.row_count, 4);
        assert_eq!(table.totals, [Cell::Null, Cell::Int(50)]);
    }

    #[test]
    fn cells_survive_the_wire() {
        let row = vec![
            Cell::Null,
            Cell::Bool(true),
            Cell::Int(u64::MAX),
            Cell::text("x"),
            Cell::Address(0x7f00_1234),
        ];
        let text = serde_json::to_string(&row).unwrap_or_default();
        assert_eq!(text, r#"[null,true,18446744073709551615,"x","0x7f001234"]"#);
        let back: Row = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(back[..4], row[..4]);
        assert_eq!(back[4], Cell::text("0x7f001234"));
    }
}
