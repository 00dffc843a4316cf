//! The cases that a rule file carries: facts, and what the rule must say about them.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Fault, nearest};
use crate::document::{Source, Table, whole_number};
use crate::finding::Severity;
use crate::judge::judge_rule;
use crate::rule::Rule;
use crate::sheet::{FactSheet, Row, Value};
use crate::units::{Bytes, Quantity, format_bytes};
use crate::value::Truth;
use crate::vocabulary::{FACTS, Kind, LISTS, fact_named, list_named};

/// What a case expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// The rule fires, for one element at least.
    Fires,
    /// Every fact is there and the rule does not fire.
    Quiet,
    /// Facts are missing, so the rule says nothing.
    Unknown,
}

impl Expectation {
    const ALL: [(&'static str, Self); 3] = [
        ("fires", Self::Fires),
        ("quiet", Self::Quiet),
        ("unknown", Self::Unknown),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, e)| *e == self)
            .map_or("", |(name, _)| name)
    }
}

/// One case of a rule.
#[derive(Debug, Clone)]
pub struct RuleTest {
    /// What it shows.
    pub name: String,
    /// What the rule must say.
    pub expects: Expectation,
    /// How bad the first finding must be.
    pub severity: Option<Severity>,
    /// Whom the first finding must blame.
    pub culprit: Option<String>,
    /// What the first finding must account for.
    pub explained: Option<Bytes>,
    /// How sure the first finding must be.
    pub confidence: Option<i64>,
    /// The facts.
    pub sheet: FactSheet,
    /// Line of the case in its file.
    pub line: usize,
}

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// Id of the rule.
    pub rule: String,
    /// Name of the case.
    pub test: String,
    /// File and line of the case.
    pub place: String,
    /// What went wrong; `None` when it passed.
    pub failure: Option<String>,
}

/// Runs every case of the rules given.
#[must_use]
pub fn run_tests<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Vec<TestOutcome> {
    rules
        .into_iter()
        .flat_map(|rule| {
            rule.tests.iter().map(|test| TestOutcome {
                rule: rule.id.clone(),
                test: test.name.clone(),
                place: format!("{}:{}", rule.file, test.line),
                failure: test.failure(rule),
            })
        })
        .collect()
}

impl RuleTest {
    fn failure(&self, rule: &Rule) -> Option<String> {
        let judged = judge_rule(rule, &self.sheet);
        let got = match (judged.findings.first(), judged.truth) {
            (Some(_), _) => Expectation::Fires,
            (None, Truth::Unknown) => Expectation::Unknown,
            (None, _) => Expectation::Quiet,
        };
        if got != self.expects {
            let why = match got {
                Expectation::Unknown => format!(" for want of {}", judged.missing.join(", ")),
                Expectation::Fires => judged
                    .findings
                    .first()
                    .map(|f| format!(": {}", f.message))
                    .unwrap_or_default(),
                Expectation::Quiet => String::new(),
            };
            return Some(format!(
                "expected {}, got {}{why}",
                self.expects.name(),
                got.name()
            ));
        }
        let finding = judged.findings.first()?;
        let differs = |what: &str, expected: String, got: String| {
            (expected != got).then(|| format!("expected {what} {expected}, got {got}"))
        };
        None.or_else(|| {
            differs(
                "severity",
                self.severity?.to_string(),
                finding.severity.to_string(),
            )
        })
        .or_else(|| differs("culprit", self.culprit.clone()?, finding.culprit.clone()))
        .or_else(|| {
            differs(
                "explained bytes",
                self.explained?.to_string(),
                format_bytes(finding.explained_bytes as f64),
            )
        })
        .or_else(|| {
            differs(
                "confidence",
                self.confidence?.to_string(),
                finding.confidence.to_string(),
            )
        })
    }

    /// Takes the `[[test]]` tables of a rule file.
    ///
    /// # Errors
    /// When a case is malformed or names a fact that does not exist.
    pub(crate) fn read_all(table: &mut Table<'_>) -> Result<Vec<Self>, Diagnostic> {
        let source = table.source();
        table
            .tables("test")?
            .into_iter()
            .map(|(case, span)| Self::read(source, case, span))
            .collect()
    }

    fn read(
        source: Source<'_>,
        case: &DeTable<'_>,
        span: Range<usize>,
    ) -> Result<Self, Diagnostic> {
        let line = source.fault(span.clone(), "").line;
        let mut table = Table::new(source, case, span);
        let name = table.required("name", "say what the case shows")?;
        let expects = table.required(
            "expects",
            "write `expects = \"fires\"`, \"quiet\" or \"unknown\"",
        )?;
        let expectation = Expectation::ALL
            .iter()
            .find(|(name, _)| *name == expects.text)
            .map(|(_, e)| *e)
            .ok_or_else(|| {
                let fault = Fault::new(
                    expects.span.clone(),
                    format!("`{}` is no expectation", expects.text),
                )
                .help("one of fires, quiet, unknown")
                .did_you_mean(nearest(
                    &expects.text,
                    Expectation::ALL.map(|(name, _)| name),
                ));
                source.show(fault)
            })?;
        let severity = match table.text("severity")? {
            None => None,
            Some(text) => Some(Severity::named(&text.text).ok_or_else(|| {
                source.show(
                    Fault::new(text.span, "there is no such severity")
                        .help("one of info, warning, critical"),
                )
            })?),
        };
        let culprit = table.text("culprit")?.map(|c| c.text);
        let explained = match table.text("explained")? {
            None => None,
            Some(text) => Some(
                text.text
                    .parse()
                    .map_err(|e| source.fault(text.span, format!("{e}")))?,
            ),
        };
        let confidence = table.whole("confidence", 0..=100)?;
        let mut sheet = FactSheet::default();
        if let Some((facts, _)) = table.table("facts")? {
            read_facts(source, facts, "", &mut sheet)?;
        }
        if let Some((lists, _)) = table.table("lists")? {
            read_lists(source, lists, &mut sheet)?;
        }
        table.finish()?;
        Ok(Self {
            name: name.text,
            expects: expectation,
            severity,
            culprit,
            explained,
            confidence,
            sheet,
            line,
        })
    }
}

/// `"loh.free" = "600 MB"`, or the same as nested tables.
fn read_facts(
    source: Source<'_>,
    table: &DeTable<'_>,
    prefix: &str,
    sheet: &mut FactSheet,
) -> Result<(), Diagnostic> {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            read_facts(source, inner, &format!("{name}."), sheet)?;
            continue;
        }
        let fact = fact_named(&name).ok_or_else(|| {
            let fault = Fault::new(key.span(), format!("there is no fact called `{name}`"))
                .did_you_mean(nearest(&name, FACTS.iter().map(|f| f.name)));
            source.show(fault)
        })?;
        let value = cell(source, value.get_ref(), value.span(), fact.kind)?;
        sheet.facts.insert(name, value);
    }
    Ok(())
}

/// `statics = [{ field = "A.b", retained = "600 MB" }]`
fn read_lists(
    source: Source<'_>,
    table: &DeTable<'_>,
    sheet: &mut FactSheet,
) -> Result<(), Diagnostic> {
    for (key, value) in table {
        let list = list_named(key.get_ref()).ok_or_else(|| {
            let fault = Fault::new(
                key.span(),
                format!("there is no list called `{}`", key.get_ref()),
            )
            .did_you_mean(nearest(key.get_ref(), LISTS.iter().map(|l| l.name)));
            source.show(fault)
        })?;
        let fail = |span| source.fault(span, format!("`{}` needs a list of tables", list.name));
        let DeValue::Array(items) = value.get_ref() else {
            return Err(fail(value.span()));
        };
        let mut rows = Vec::new();
        for item in items {
            let DeValue::Table(cells) = item.get_ref() else {
                return Err(fail(item.span()));
            };
            let mut row = Row::new();
            for (key, value) in cells {
                let column = list
                    .columns
                    .iter()
                    .find(|(n, _, _)| n == key.get_ref())
                    .ok_or_else(|| {
                        let fault = Fault::new(
                            key.span(),
                            format!("`{}` has no column called `{}`", list.name, key.get_ref()),
                        )
                        .did_you_mean(nearest(
                            key.get_ref(),
                            list.columns.iter().map(|(n, _, _)| *n),
                        ));
                        source.show(fault)
                    })?;
                row.insert(
                    column.0.to_owned(),
                    cell(source, value.get_ref(), value.span(), column.1)?,
                );
            }
            rows.push(row);
        }
        sheet.lists.insert(list.name.to_owned(), rows);
    }
    Ok(())
}

fn cell(
    source: Source<'_>,
    value: &DeValue<'_>,
    span: Range<usize>,
    kind: Kind,
) -> Result<Value, Diagnostic> {
    let read = match (value, kind) {
        (DeValue::Boolean(v), Kind::Bool) => Some(Value::Bool(*v)),
        (DeValue::String(v), Kind::Text) => Some(Value::Text(v.clone().into_owned())),
        (DeValue::Array(items), Kind::Texts) => items
            .iter()
            .map(|i| i.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Value::Texts),
        (_, Kind::Bool | Kind::Text | Kind::Texts) => None,
        (DeValue::Integer(_), Kind::Count) => whole_number(value).map(Value::Int),
        (DeValue::String(v), _) => quantity(v, kind),
        _ => None,
    };
    read.ok_or_else(|| {
        let fault = Fault::new(span, format!("{} is expected", kind.noun())).help(format!(
            "write `{}`",
            if kind == Kind::Count {
                "10_000".to_owned()
            } else {
                format!("\"{}\"", kind.example())
            }
        ));
        source.show(fault)
    })
}

fn quantity(text: &str, kind: Kind) -> Option<Value> {
    let quantity = Quantity::parse(text).ok()?;
    let fits = quantity.kind == Some(kind) || (quantity.kind.is_none() && kind == Kind::Count);
    fits.then(|| match kind {
        Kind::Ratio => Value::Float(quantity.value),
        _ => Value::Int(quantity.value.round() as i64),
    })
}
