//! Modules and load contexts: what is loaded, what was made at run time, what should be gone.

use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::HashMap;

/// Rows kept per list.
const KEEP: usize = 200;

/// Bytes that objects of each module's types retain, each byte once for each module; modules by name and place of their image.
fn retained_by_module(survey: &Survey<'_>) -> HashMap<(String, u64), u64> {
    let mut numbers: HashMap<(String, u64), u32> = HashMap::new();
    let by_type: Vec<u32> = (0u32..)
        .take(survey.runtime.type_count())
        .map(|id| {
            let Some(module) = survey.runtime.module_of(TypeId(id)) else {
                return u32::MAX;
            };
            let next = numbers.len() as u32;
            *numbers
                .entry((module.name.clone(), module.image))
                .or_insert(next)
        })
        .collect();
    let of_object = |object| {
        let id = survey.objects.type_id(object);
        by_type.get(id.index()).copied().unwrap_or(u32::MAX)
    };
    let sums = survey
        .tree
        .retained_by_type(numbers.len() as u32, of_object);
    let bytes = |number: u32| sums.get(number as usize).map_or(0, |sum| sum.bytes);
    numbers
        .into_iter()
        .map(|(module, number)| (module, bytes(number)))
        .collect()
}

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
    let retained = retained_by_module(survey);
    let rows = modules.iter().take(KEEP).map(|module| {
        let key = (module.name.clone(), module.base);
        let mut columns = row([
            ("retained", int(retained.get(&key).copied().unwrap_or(0))),
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
            .and_then(|object| survey.root_of(object))
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
