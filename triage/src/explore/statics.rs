//! `statics`: static fields and what they hold.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View, type_name};

pub(super) const VIEW: View = View {
    name: "statics",
    about: "static and thread-static fields, and the object in each",
    argument: None,
    columns: &[
        Column::new("field", ColumnKind::Name),
        Column::new("address", ColumnKind::Address).titled("object"),
        Column::new("type", ColumnKind::Name),
        Column::new("thread", ColumnKind::Number).text_only(),
    ],
    sort: "field",
    share: None,
    read,
};

fn read(scene: &mut Scene<'_>, query: &Query) -> Result<Table, ExploreError> {
    scene.runtime(false)?;
    scene.say(0.3, "reading static fields");
    let runtime = scene.runtime(false)?;
    let mut table = Table::default();
    let mut empty = 0u64;
    for field in runtime.statics() {
        if field.object == 0 {
            empty += 1;
            if !query.all {
                continue;
            }
        }
        let held = (field.object != 0).then_some(field.object);
        table.rows.push(vec![
            field.name.into(),
            held.map_or(Cell::Null, Cell::Address),
            held.map(|object| name_of(runtime, object)).into(),
            Cell::Null,
        ]);
    }
    for field in runtime.thread_statics() {
        table.rows.push(vec![
            field.name.into(),
            Cell::Address(field.object),
            name_of(runtime, field.object).into(),
            field.managed_thread_id.into(),
        ]);
    }
    if empty > 0 && !query.all {
        let fields = if empty == 1 { "field is" } else { "fields are" };
        let listed = if empty == 1 { "it" } else { "them" };
        table.notes.push(format!(
            "{empty} static {fields} null; --all lists {listed}."
        ));
    }
    Ok(table)
}

fn name_of(runtime: &leakhound_clr::Runtime, object: u64) -> String {
    runtime.type_of(object).map_or_else(
        || "unreadable object".to_owned(),
        |id| type_name(runtime, id),
    )
}
