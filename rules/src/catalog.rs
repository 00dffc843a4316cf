//! What `leakhound rules` prints: facts, rules, one rule explained, and whether rule files are good.

use std::fmt::Write;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::pack::RuleSet;
use crate::rule::Rule;
use crate::rule_test::{TestOutcome, run_tests};
use crate::units::format_exact;
use crate::vocabulary::{FACTS, Kind, LISTS, counter};

/// A row of `leakhound rules facts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactRow {
    /// Name; `list.column` for a column.
    pub name: String,
    /// `bytes`, `count`, …, or `list`.
    pub kind: &'static str,
    /// As it stands in evidence: `bytes`, `ms`, …; empty for a list.
    pub unit: &'static str,
    /// `live`, `sheet` or `growth`.
    pub scope: &'static str,
    /// What it means.
    pub sentence: &'static str,
}

/// Every fact, one row for all counters, every list, and every column of every list.
#[must_use]
pub fn facts() -> Vec<FactRow> {
    let scalars = FACTS.iter().chain([&counter::FAMILY]).map(|fact| FactRow {
        name: fact.name.to_owned(),
        kind: kind_name(fact.kind),
        unit: fact.kind.unit(),
        scope: fact.scope.name(),
        sentence: fact.sentence,
    });
    let lists = LISTS.iter().flat_map(|list| {
        let head = FactRow {
            name: list.name.to_owned(),
            kind: "list",
            unit: "",
            scope: list.scope.name(),
            sentence: list.sentence,
        };
        let columns = list.columns.iter().map(|(name, kind, sentence)| FactRow {
            name: format!("{}.{name}", list.name),
            kind: kind_name(*kind),
            unit: kind.unit(),
            scope: list.scope.name(),
            sentence,
        });
        std::iter::once(head).chain(columns)
    });
    scalars.chain(lists).collect()
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bytes => "bytes",
        Kind::Count => "count",
        Kind::Ratio => "ratio",
        Kind::Duration => "duration",
        Kind::BytesPerHour => "bytes per hour",
        Kind::CountPerHour => "count per hour",
        Kind::Number => "number",
        Kind::Bool => "yes or no",
        Kind::Text => "text",
        Kind::Texts => "texts",
    }
}

/// A row of `leakhound rules list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// Unique name.
    pub id: String,
    /// Category.
    pub category: &'static str,
    /// Part in the story.
    pub role: &'static str,
    /// What it finds.
    pub title: String,
    /// Cases it carries.
    pub tests: usize,
    /// Its file.
    pub file: String,
}

/// Every rule of a set, in order.
#[must_use]
pub fn rules(set: &RuleSet) -> Vec<RuleRow> {
    set.rules()
        .map(|rule| RuleRow {
            id: rule.id.clone(),
            category: rule.category.name(),
            role: rule.role.name(),
            title: rule.title.clone(),
            tests: rule.tests.len(),
            file: rule.file.clone(),
        })
        .collect()
}

/// A rule in words: what it finds, when, and what it may be tuned by.
#[must_use]
pub fn explain(rule: &Rule) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("{}: {}", rule.id, rule.title));
    line(format!(
        "  category    {} ({})",
        rule.category,
        rule.category.sentence()
    ));
    line(format!("  role        {}", rule.role.name()));
    if let Some(list) = rule.for_each {
        line(format!("  for each    {} ({})", list.name, list.sentence));
    }
    line(format!(
        "  severity    {}, confidence {}%",
        rule.severity, rule.confidence
    ));
    for (key, text) in rule.written() {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line(format!("  {key:<11} {text}"));
    }
    for (name, value) in &rule.params {
        line(format!("  parameter   {name} = {}", format_exact(*value)));
    }
    if !rule.suppresses.is_empty() {
        line(format!("  absorbs     {}", rule.suppresses.join(", ")));
    }
    for link in &rule.docs {
        line(format!("  read more   {link}"));
    }
    out
}

/// The catalogue of a set as a Markdown page; `packs/README.md` is this page of the shipped rules.
#[must_use]
pub fn page(set: &RuleSet) -> String {
    let mut out = String::from(
        "# Rules\n\nOne file per rule; `leakhound rules explain ID` prints one in full. This page is generated.\n",
    );
    let mut folder = "";
    for rule in set.rules() {
        let here = rule.file.split('/').next().unwrap_or("");
        if here != folder {
            folder = here;
            out.push_str(&format!(
                "\n## {folder}\n\n| rule | finds | part | fires when |\n|---|---|---|---|\n"
            ));
        }
        let when = rule.written().iter().find(|(key, _)| *key == "when");
        let when: Vec<&str> =
            when.map_or_else(Vec::new, |(_, text)| text.split_whitespace().collect());
        let each = rule
            .for_each
            .map_or_else(String::new, |list| format!("for each of `{}`: ", list.name));
        out.push_str(&format!(
            "| [{id}]({file}) | {title} | {role} | {each}`{when}` |\n",
            id = rule.id,
            file = rule.file,
            title = rule.title,
            role = rule.role.name(),
            when = when.join(" ").replace('|', "\\|"),
        ));
    }
    out
}

/// The catalogue of facts as a Markdown page; `packs/FACTS.md` is this page.
#[must_use]
pub fn facts_page() -> String {
    let mut out = String::from(
        "# Facts\n\nWhat a rule or a trigger may ask; `leakhound rules facts` prints the same. This page is generated. *live* facts are read from \
         the running process and are in the sheet of a capture too, *sheet* facts come from the dump, *growth* facts from two captures or \
         more.\n\n| fact | type | from | meaning |\n|---|---|---|---|\n",
    );
    for row in facts() {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            row.name,
            row.kind,
            row.scope,
            row.sentence.replace('|', "\\|")
        );
    }
    out
}

/// How a set of rule files fared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What is wrong with the files.
    pub errors: Vec<Diagnostic>,
    /// How the cases of the files went; empty when a file could not be read.
    pub tests: Vec<TestOutcome>,
    /// Rules without a case that fires, or without one that stays quiet.
    pub untested: Vec<String>,
}

impl CheckReport {
    /// Nothing is wrong: the files load and every case passes.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.errors.is_empty() && self.tests.iter().all(|t| t.failure.is_none())
    }
}

impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}\n")?;
        }
        let mut out = String::new();
        for test in &self.tests {
            if let Some(failure) = &test.failure {
                writeln!(
                    out,
                    "{}: {}: {}: {failure}",
                    test.place, test.rule, test.test
                )?;
            }
        }
        for rule in &self.untested {
            writeln!(
                out,
                "{rule}: carries no case that fires or none that stays quiet"
            )?;
        }
        f.write_str(&out)?;
        let failed = self.tests.iter().filter(|t| t.failure.is_some()).count();
        write!(
            f,
            "{} errors, {} cases, {failed} failed",
            self.errors.len(),
            self.tests.len()
        )
    }
}

/// Checks rule files over `base` (usually the shipped rules) and runs their cases.
#[must_use]
pub fn check<'f>(
    base: &RuleSet,
    files: impl IntoIterator<Item = (&'f str, &'f str)>,
) -> CheckReport {
    let files: Vec<_> = files.into_iter().collect();
    match base.clone().overlay(files.iter().copied()) {
        Err(errors) => CheckReport {
            errors,
            ..CheckReport::default()
        },
        Ok(set) => {
            let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
            test_rules(set.rules().filter(|r| names.contains(&r.file.as_str())))
        }
    }
}

/// Runs the cases of rules.
#[must_use]
pub fn test_rules<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> CheckReport {
    use crate::rule_test::Expectation::{Fires, Quiet};
    let rules: Vec<&Rule> = rules.into_iter().collect();
    let untested = rules
        .iter()
        .filter(|r| {
            ![Fires, Quiet]
                .iter()
                .all(|e| r.tests.iter().any(|t| t.expects == *e))
        })
        .map(|r| r.id.clone())
        .collect();
    CheckReport {
        errors: Vec::new(),
        tests: run_tests(rules),
        untested,
    }
}
