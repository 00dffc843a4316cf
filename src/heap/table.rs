//! Tables of the explorer as JSON for programs and as text for people.

use comfy_table::{CellAlignment, ContentArrangement};
use leakhound_rules::units::{format_bytes, format_count, format_ratio};
use leakhound_triage::explore::View;
use leakhound_triage::explore::table::{Cell, Column, ColumnKind, Table};
use leakhound_triage::report::Style;

/// An array of objects, one a line, keys in the order of the columns.
pub fn json(view: &View, table: &Table) -> String {
    let mut out = String::from("[");
    for (i, row) in table.rows.iter().enumerate() {
        out.push_str(if i == 0 { "\n  {" } else { ",\n  {" });
        let cells = view.columns.iter().zip(row).filter(|(c, _)| !c.text_only);
        for (j, (column, cell)) in cells.enumerate() {
            if j > 0 {
                out.push_str(", ");
            }
            // Cells are numbers, words and null: they always serialize.
            let value = serde_json::to_string(cell).unwrap_or_else(|_| "null".to_owned());
            out.push_str(&format!("\"{}\": {value}", column.key));
        }
        out.push('}');
    }
    out.push_str(if table.rows.is_empty() {
        "]\n"
    } else {
        "\n]\n"
    });
    out
}

/// A table: amounts first and to the right, names last; a total below, what was left out, and what one should know.
pub fn text(view: &View, table: &Table, style: &Style) -> String {
    let layout = Layout::of(view, table);
    let mut grid = comfy_table::Table::new();
    grid.load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(layout.header());
    for row in &table.rows {
        grid.add_row(layout.row(row, style));
    }
    let sums = table.totals.iter().any(|total| *total != Cell::Null);
    if sums && table.row_count > 1 {
        grid.add_row(layout.totals(table));
    }
    for (at, slot) in layout.slots.iter().enumerate() {
        let alignment = if slot.to_the_right() {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        };
        if let Some(column) = grid.column_mut(at) {
            column.set_cell_alignment(alignment);
        }
    }
    let mut lines: Vec<String> = grid
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    if sums && table.row_count > 1 {
        let width = lines
            .iter()
            .map(|l| l.chars().count())
            .max()
            .unwrap_or(0)
            .min(style.width);
        let rule = if style.unicode { "─" } else { "-" };
        lines.insert(
            lines.len() - 1,
            format!(" {}", rule.repeat(width.saturating_sub(1))),
        );
    }
    let mut out = lines.join("\n");
    out.push('\n');
    let hidden = table.row_count.saturating_sub(table.rows.len() as u64);
    if hidden > 0 {
        let more = if style.unicode { "…" } else { "..." };
        let hidden = format_count(hidden as f64);
        out.push_str(&format!(
            " {more} and {hidden} more (--limit 0 shows all)\n"
        ));
    }
    if table.row_count == 0 {
        out = " nothing\n".to_owned();
    }
    if !table.notes.is_empty() {
        out.push('\n');
    }
    for note in &table.notes {
        let dot = if style.unicode { "·" } else { "-" };
        out.push_str(&format!(" {dot} {note}\n"));
    }
    out
}

/// A column of the printed table.
enum Slot {
    Column(usize, Column),
    /// Share of the whole of a column.
    Share(usize),
}

impl Slot {
    fn to_the_right(&self) -> bool {
        match self {
            Self::Column(_, column) => matches!(
                column.kind,
                ColumnKind::Count | ColumnKind::Bytes | ColumnKind::Number | ColumnKind::Address
            ),
            Self::Share(_) => true,
        }
    }
}

struct Layout {
    slots: Vec<Slot>,
    share_of: Option<u64>,
}

impl Layout {
    /// Names go last: they have no end, and then nothing has to line up behind them.
    fn of(view: &View, table: &Table) -> Self {
        let numbered = || view.columns.iter().copied().enumerate();
        let names = numbered().filter(|(_, c)| c.kind == ColumnKind::Name);
        let others = numbered().filter(|(_, c)| c.kind != ColumnKind::Name);
        let mut slots = Vec::new();
        let mut share_of = None;
        for (at, column) in others {
            slots.push(Slot::Column(at, column));
            let total = table.totals.get(at).and_then(Cell::int).filter(|n| *n > 0);
            if view.share == Some(column.key) && total.is_some() {
                slots.push(Slot::Share(at));
                share_of = total;
            }
        }
        slots.extend(names.map(|(at, column)| Slot::Column(at, column)));
        Self { slots, share_of }
    }

    fn header(&self) -> Vec<&'static str> {
        let title = |slot: &Slot| match slot {
            Slot::Column(_, column) => column.title,
            Slot::Share(_) => "share",
        };
        self.slots.iter().map(title).collect()
    }

    fn row(&self, row: &[Cell], style: &Style) -> Vec<String> {
        let empty = if style.unicode { "–" } else { "-" };
        self.slots
            .iter()
            .map(|slot| match slot {
                Slot::Column(at, column) => match row.get(*at) {
                    Some(Cell::Null) | None => empty.to_owned(),
                    Some(cell) => written(cell, column.kind),
                },
                Slot::Share(at) => self.share(row.get(*at)),
            })
            .collect()
    }

    fn share(&self, cell: Option<&Cell>) -> String {
        match (cell.and_then(Cell::int), self.share_of) {
            (Some(part), Some(whole)) => format_ratio(part as f64 / whole as f64),
            _ => String::new(),
        }
    }

    fn totals(&self, table: &Table) -> Vec<String> {
        let last = self.slots.len().saturating_sub(1);
        let summary = format!("in all {}", format_count(table.row_count as f64));
        let total = |(i, slot): (usize, &Slot)| match slot {
            Slot::Column(at, column) => match table.totals.get(*at) {
                Some(cell @ Cell::Int(_)) => written(cell, column.kind),
                _ if i == last && column.kind == ColumnKind::Name => summary.clone(),
                _ => String::new(),
            },
            Slot::Share(_) => "100%".to_owned(),
        };
        self.slots.iter().enumerate().map(total).collect()
    }
}

fn written(cell: &Cell, kind: ColumnKind) -> String {
    match (cell, kind) {
        (Cell::Int(n), ColumnKind::Bytes) => format_bytes(*n as f64),
        (Cell::Int(n), ColumnKind::Count) => format_count(*n as f64),
        (Cell::Int(n), _) => n.to_string(),
        (Cell::Address(n), _) => format!("{n:#x}"),
        (Cell::Bool(yes), _) => if *yes { "yes" } else { "no" }.to_owned(),
        // A name from a dump must not move the cursor.
        (Cell::Text(text), _) => text
            .chars()
            .map(|c| if c.is_control() { '·' } else { c })
            .collect(),
        (Cell::Null, _) => String::new(),
    }
}
