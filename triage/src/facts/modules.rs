//! Modules and load contexts: what is loaded, what was made at run time, what should be gone.

use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_rules::{FactSheet, Value};

/// Rows kept per list.
const KEEP: usize = 200;

/// Writes `modules.*`, `contexts.*`, `modules` and `load_contexts`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let mut modules = survey.runtime.modules();
    sheet.int("modules.count", modules.len() as u64);
    sheet.int(
        "modules.dynamic",
        modules.iter().filter(|m| m.dynamic).count() as u64,
    );
    // Those with a name first: thousands of emitted ones say nothing one by one.
    modules.sort_by(|a, b| (a.dynamic, &a.name).cmp(&(b.dynamic, &b.name)));
    let rows = modules.iter().take(KEEP).map(|module| {
        let mut columns = row([
            ("name", text(module.name.as_str())),
            ("bytes", int(module.image_bytes)),
            ("dynamic", Value::Bool(module.dynamic)),
        ]);
        let version = module.version.map(|v| v.map(|n| n.to_string()).join("."));
        for (name, value) in [
            ("version", version),
            ("mvid", module.mvid.clone()),
            ("path", module.path.clone()),
        ] {
            columns.extend(value.map(|value| (name.to_owned(), text(value))));
        }
        columns
    });
    sheet.lists.insert("modules".to_owned(), rows.collect());
    write_contexts(survey, sheet);
}

fn write_contexts(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let Some(mut contexts) = survey.runtime.load_contexts() else {
        sheet.unknown(
            "contexts.count",
            "the list of load contexts could not be read",
        );
        return;
    };
    let count = |pick: fn(&leakhound_clr::LoadContext) -> bool| {
        contexts.iter().filter(|c| pick(c)).count() as u64
    };
    sheet.int("contexts.count", contexts.len() as u64);
    sheet.int("contexts.collectible", count(|c| c.collectible));
    sheet.int("contexts.unloading", count(|c| c.unloading));
    contexts.sort_by_key(|c| std::cmp::Reverse((c.unloading, c.collectible, c.modules.len())));
    let rows = contexts.into_iter().take(KEEP).map(|context| {
        let held_by = survey
            .objects
            .index_of(context.object)
            .and_then(|object| survey.owners.of(object))
            .and_then(|group| survey.roots.iter().find(|r| r.group == group))
            .map(|root| root.name.clone());
        row([
            ("name", text(context.name.unwrap_or_default())),
            ("type", text(context.type_name)),
            ("collectible", Value::Bool(context.collectible)),
            ("unloading", Value::Bool(context.unloading)),
            ("assemblies", int(context.modules.len() as u64)),
            ("held_by", text(held_by.unwrap_or_default())),
        ])
    });
    sheet
        .lists
        .insert("load_contexts".to_owned(), rows.collect());
}
