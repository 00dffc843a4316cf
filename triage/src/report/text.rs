//! The report for a terminal, read by whoever is on call: the answer first, then where the memory went, then what to do.

mod ink;
mod wrap;

use std::fmt::Write;

use super::style::Style;
use super::view::{Card, Cut, Family, Holding, View};
use ink::{Color, Ink};
use wrap::wrap;

/// Findings shown in full; the rest get a line each.
const FULL_MAX: usize = 3;
/// Findings that get a line.
const LINES_MAX: usize = 12;
/// Evidence shown for one finding.
const EVIDENCE_MAX: usize = 6;
/// Advice shown for one finding.
const ADVICE_MAX: usize = 4;
/// Rows of the tables at the end.
const ROWS_MAX: usize = 5;
/// Smaller than this share of the table's first row is not worth a line.
const SHARE_MIN: f64 = 0.01;
/// Sentences about what could not be read.
const PROBLEMS_MAX: usize = 4;
/// Names of rules that could not be judged.
const RULES_MAX: usize = 6;

/// Lays the report out as text.
#[must_use]
pub fn render(view: &View, style: &Style) -> String {
    let mut page = Page {
        out: String::with_capacity(8 * 1024),
        ink: Ink::new(style),
        width: style.width,
    };
    page.head(view);
    page.account(view);
    page.findings(view);
    for family in view.heap.families.iter().filter(|family| family.growth) {
        page.holdings(family);
    }
    page.holdings(&view.heap.types);
    page.holdings(&view.heap.statics);
    page.reading(view);
    page.foot(view);
    page.out
}

struct Page {
    out: String,
    ink: Ink,
    width: usize,
}

impl Page {
    /// A line, without the blanks at its end.
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn blank(&mut self) {
        self.out.push('\n');
    }

    /// Wrapped text under `first`, the following lines under its end.
    fn paragraph(
        &mut self,
        first: &str,
        first_width: usize,
        text: &str,
        paint: impl Fn(&Ink, &str) -> String,
    ) {
        let indent = " ".repeat(first_width);
        for (i, line) in wrap(text, self.width.saturating_sub(first_width))
            .iter()
            .enumerate()
        {
            let start = if i == 0 { first } else { &indent };
            let painted = paint(&self.ink, line);
            self.line(&format!("{start}{painted}"));
        }
    }

    fn section(&mut self, title: &str, aside: &str) {
        self.blank();
        let fits = title.chars().count() + 2 + aside.chars().count() <= self.width;
        let start = self.ink.paint(Color::Bold, title);
        if fits {
            let aside = self.ink.paint(Color::Dim, aside);
            self.line(&format!("{start}  {aside}"));
        } else {
            self.line(&start);
            self.paragraph("  ", 2, aside, |ink, line| ink.paint(Color::Dim, line));
        }
    }

    fn head(&mut self, view: &View) {
        let badge = self
            .ink
            .badge(verdict_color(view.verdict), view.verdict_text);
        let badge_width = view.verdict_text.chars().count() + 4;
        self.paragraph(
            &format!("{badge}  "),
            badge_width,
            &view.headline,
            |ink, line| ink.paint(Color::Bold, line),
        );
        self.blank();
        let dot = self.ink.pick(" · ", " - ");
        let times = [
            view.captured.as_ref().map(|at| format!("captured {at}")),
            view.uptime.as_ref().map(|up| format!("up {up}")),
        ];
        let who = [Some(view.service.clone()), Some(view.place.clone())];
        let what = [Some(view.runtime.clone()), Some(view.gc.clone())];
        for parts in [who.as_slice(), times.as_slice(), what.as_slice()] {
            let parts: Vec<&str> = parts
                .iter()
                .flatten()
                .map(String::as_str)
                .filter(|p| !p.is_empty())
                .collect();
            if !parts.is_empty() {
                self.line(&format!("  {}", parts.join(dot)));
            }
        }
        if let Some(growth) = &view.growth {
            self.paragraph("  ", 2, growth, |_, line| line.to_owned());
        }
        for alert in &view.reading.alerts {
            let mark = self.ink.paint(Color::Warning, "! ");
            self.paragraph(&format!("  {mark}"), 4, alert, |ink, line| {
                ink.paint(Color::Warning, line)
            });
        }
    }

    fn account(&mut self, view: &View) {
        let account = &view.account;
        let aside = if account.entries.is_empty() {
            String::new()
        } else {
            format!("{} committed", account.total_text)
        };
        self.section("WHERE THE MEMORY WENT", &aside);
        let label_width = account
            .entries
            .iter()
            .map(|e| e.label.len())
            .max()
            .unwrap_or(0);
        let bar_max = self.width.saturating_sub(label_width + 24).min(40);
        let largest = account.entries.iter().map(|e| e.share).fold(0.0, f64::max);
        for entry in &account.entries {
            let bar = self.ink.bar(
                if largest > 0.0 {
                    entry.share / largest
                } else {
                    0.0
                },
                bar_max,
            );
            let bar = self.ink.paint(account_color(entry.name), &bar);
            let label = entry.label;
            let numbers = format!("{:>9}  {:>6}", entry.text, entry.share_text);
            let row = format!("  {label:<label_width$}  {numbers}  ");
            let row = if entry.bytes == 0 {
                self.ink.paint(Color::Dim, &row)
            } else {
                row
            };
            self.line(&format!("{row}{bar}"));
        }
        if !account.entries.is_empty() {
            let rule = self.ink.pick("─", "-").repeat(label_width + 19);
            let rule = self.ink.paint(Color::Dim, &rule);
            self.line(&format!("  {rule}"));
            let whole = if account.total > 0 { "100%" } else { "" };
            self.line(&format!(
                "  {:<label_width$}  {:>9}  {whole:>6}",
                "Total", account.total_text
            ));
        }
        if let Some(note) = &account.note {
            self.paragraph("  ", 2, note, |ink, line| ink.paint(Color::Dim, line));
        }
    }

    fn findings(&mut self, view: &View) {
        let findings = &view.findings;
        if findings.shown.is_empty() {
            self.section("FINDINGS", "none");
            self.paragraph("  ", 2, view.verdict_meaning, |_, line| line.to_owned());
            return;
        }
        let count = findings.shown.len() + findings.more;
        self.section("FINDINGS", &format!("{count}, the most important first"));
        for card in findings.shown.iter().take(FULL_MAX) {
            self.blank();
            self.card(card, &view.headline);
        }
        let rest: Vec<&Card> = findings
            .shown
            .iter()
            .skip(FULL_MAX)
            .take(LINES_MAX)
            .collect();
        if !rest.is_empty() {
            self.blank();
        }
        for card in &rest {
            self.short(card);
        }
        self.more(count - findings.shown.len().min(FULL_MAX + rest.len()), 5);
    }

    /// `1  CRITICAL  Title                 1.02 GB  68%`
    fn title(&mut self, card: &Card) {
        let severity = self.ink.paint(
            severity_color(card.level),
            &format!("{:<8}", card.severity.to_uppercase()),
        );
        let size = match (card.bytes.is_empty(), card.share_text.is_empty()) {
            (true, _) => String::new(),
            (false, true) => card.bytes.clone(),
            (false, false) => format!("{}  {}", card.bytes, card.share_text),
        };
        let left = 5 + 8 + 2;
        let room = self.width.saturating_sub(left + size.chars().count() + 2);
        let mut lines = wrap(&card.title, room.max(20)).into_iter();
        let first = lines.next().unwrap_or_default();
        let gap = " ".repeat(room.saturating_sub(first.chars().count()) + 2);
        let first = self.ink.paint(Color::Bold, &first);
        let size = self.ink.paint(Color::Bold, &size);
        self.line(&format!(
            " {:>2}  {severity}  {first}{gap}{size}",
            card.rank
        ));
        for line in lines {
            let line = self.ink.paint(Color::Bold, &line);
            self.line(&format!("{}{line}", " ".repeat(left)));
        }
    }

    /// `said` stands at the top of the page and is not said again.
    fn card(&mut self, card: &Card, said: &str) {
        self.title(card);
        if !card.culprit.is_empty() {
            self.paragraph("     ", 5, &card.culprit, |ink, line| {
                ink.paint(Color::Name, line)
            });
        }
        if !card.message.is_empty() && card.message != said {
            self.paragraph("     ", 5, &card.message, |_, line| line.to_owned());
        }
        if !card.path.is_empty() {
            self.label("Kept alive by");
            let arrow = self.ink.pick("→ ", "> ");
            for (i, step) in card.path.iter().enumerate() {
                let start = if i == 0 { "  " } else { arrow };
                self.paragraph(&format!("       {start}"), 9, step, |ink, line| {
                    ink.paint(Color::Name, line)
                });
            }
        }
        if !card.advice.shown.is_empty() {
            self.label("Do");
            let dot = self.ink.pick("•", "*");
            for advice in card.advice.shown.iter().take(ADVICE_MAX) {
                self.paragraph(&format!("       {dot} "), 9, advice, |_, line| {
                    line.to_owned()
                });
            }
            self.more(hidden(&card.advice, ADVICE_MAX), 9);
        }
        self.evidence(card);
        if !card.verify.shown.is_empty() {
            self.label("Check by hand");
            let width = card
                .verify
                .shown
                .iter()
                .map(|check| check.tool.len())
                .max()
                .unwrap_or(0);
            for check in &card.verify.shown {
                let tool = self
                    .ink
                    .paint(Color::Dim, &format!("{:<width$}", check.tool));
                let gap = if width > 0 { "  " } else { "" };
                let indent = 7 + width + gap.len();
                self.paragraph(
                    &format!("       {tool}{gap}"),
                    indent,
                    &check.command,
                    |_, line| line.to_owned(),
                );
            }
            self.more(card.verify.more, 7);
        }
        if !card.absorbed.shown.is_empty() {
            self.label("This also explains");
            let dot = self.ink.pick("•", "*");
            for symptom in card.absorbed.shown.iter().take(ADVICE_MAX) {
                self.paragraph(&format!("       {dot} "), 9, symptom, |_, line| {
                    line.to_owned()
                });
            }
            self.more(hidden(&card.absorbed, ADVICE_MAX), 9);
        }
        let doubt = match card.unknown.shown.len() + card.unknown.more {
            0 => String::new(),
            1 => "; one fact it asked for is unknown".to_owned(),
            n => format!("; {n} facts it asked for are unknown"),
        };
        let small = format!("rule {}, confidence {}%{doubt}", card.rule, card.confidence);
        self.paragraph("     ", 5, &small, |ink, line| ink.paint(Color::Dim, line));
    }

    fn label(&mut self, text: &str) {
        let text = self.ink.paint(Color::Label, text);
        self.line(&format!("     {text}"));
    }

    fn evidence(&mut self, card: &Card) {
        if card.evidence.shown.is_empty() {
            return;
        }
        self.label("Evidence");
        let shown = &card.evidence.shown[..card.evidence.shown.len().min(EVIDENCE_MAX)];
        let widest = |width: fn(&super::view::Proof) -> usize, max: usize| {
            shown
                .iter()
                .map(width)
                .filter(|width| *width <= max)
                .max()
                .unwrap_or(0)
        };
        let fact_width = widest(|proof| proof.fact.chars().count(), 32);
        let text_width = widest(|proof| proof.text.chars().count(), 14);
        for proof in shown {
            let start = format!(
                "       {:<fact_width$}  {:>text_width$}",
                proof.fact, proof.text
            );
            let indent = 7 + fact_width + 2 + text_width + 2;
            if proof.meaning.is_empty()
                || start.chars().count() + 2 > indent
                || indent + 24 > self.width
            {
                self.line(&start);
            } else {
                self.paragraph(
                    &format!("{start}  "),
                    indent,
                    &proof.meaning,
                    |ink, line| ink.paint(Color::Dim, line),
                );
            }
        }
        self.more(hidden(&card.evidence, EVIDENCE_MAX), 7);
    }

    /// A finding on one line, the culprit below.
    fn short(&mut self, card: &Card) {
        self.title(card);
        let text = if card.culprit.is_empty() {
            &card.message
        } else {
            &card.culprit
        };
        if !text.is_empty() {
            self.paragraph(&" ".repeat(15), 15, text, |ink, line| {
                ink.paint(Color::Dim, line)
            });
        }
    }

    /// `… and 12 more`.
    fn more(&mut self, more: usize, indent: usize) {
        if more > 0 {
            let dots = self.ink.pick("…", "...");
            let text = self
                .ink
                .paint(Color::Dim, &format!("{dots} and {more} more"));
            self.line(&format!("{}{text}", " ".repeat(indent)));
        }
    }

    /// The largest lines of a table: bytes, count, name. Names come last, so that any name leaves the columns alone.
    fn holdings(&mut self, family: &Family) {
        let rows = &family.rows;
        if rows.shown.is_empty() {
            return;
        }
        self.section(&family.title.to_uppercase(), "");
        let worth_a_line = |row: &&Holding| row.share >= SHARE_MIN;
        let n_shown = rows
            .shown
            .iter()
            .take(ROWS_MAX)
            .take_while(worth_a_line)
            .count();
        let shown = &rows.shown[..n_shown];
        let count_width = shown.iter().map(|row| row.count.len()).max().unwrap_or(0);
        for row in shown {
            let start = format!("  {:>9}  {:>count_width$}  ", row.text, row.count);
            let mut name = row.name.clone();
            if !row.detail.is_empty() {
                let _ = write!(name, " ({})", row.detail);
            }
            self.paragraph(&start, start.chars().count(), &name, |_, line| {
                line.to_owned()
            });
        }
        self.more(hidden(rows, n_shown), 2);
    }

    fn reading(&mut self, view: &View) {
        let reading = &view.reading;
        let quiet = reading.problems.shown.is_empty() && reading.not_judged.shown.is_empty();
        if quiet && reading.summary.is_empty() {
            return;
        }
        self.section("HOW WELL IT COULD BE READ", &reading.summary);
        let dot = self.ink.pick("•", "*");
        for problem in reading.problems.shown.iter().take(PROBLEMS_MAX) {
            self.paragraph(&format!("  {dot} "), 4, problem, |_, line| line.to_owned());
        }
        self.more(hidden(&reading.problems, PROBLEMS_MAX), 4);
        let not_judged = reading.not_judged.shown.len() + reading.not_judged.more;
        if not_judged > 0 {
            let names: Vec<&str> = reading
                .not_judged
                .shown
                .iter()
                .take(RULES_MAX)
                .map(|(rule, _)| rule.as_str())
                .collect();
            let rest = match not_judged - names.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let rules = if not_judged == 1 {
                "rule was"
            } else {
                "rules were"
            };
            let names = names.join(", ");
            let text = format!("{not_judged} {rules} not judged for want of facts: {names}{rest}");
            self.paragraph(&format!("  {dot} "), 4, &text, |ink, line| {
                ink.paint(Color::Dim, line)
            });
        }
    }

    fn foot(&mut self, view: &View) {
        self.blank();
        let text = if view.source.is_empty() {
            view.tool.clone()
        } else {
            format!("{}, from {}", view.tool, view.source)
        };
        self.paragraph("", 0, &text, |ink, line| ink.paint(Color::Dim, line));
    }
}

/// How many a list keeps back when only `limit` are shown.
fn hidden<T>(list: &Cut<T>, limit: usize) -> usize {
    list.shown.len().saturating_sub(limit) + list.more
}

fn verdict_color(verdict: &str) -> Color {
    match verdict {
        "leak" => Color::Critical,
        "pressure" | "unreliable" => Color::Warning,
        "healthy" => Color::Good,
        _ => Color::Info,
    }
}

fn severity_color(level: u8) -> Color {
    match level {
        2 => Color::Critical,
        1 => Color::Warning,
        _ => Color::Info,
    }
}

fn account_color(entry: &str) -> Color {
    match entry {
        "gc_live" | "gc" => Color::Info,
        "gc_garbage" | "gc_free" | "gc_empty" => Color::Warning,
        "native" => Color::Critical,
        "unattributed" => Color::Dim,
        _ => Color::Good,
    }
}
