//! Modules and load contexts: what is loaded, what was made at run time, what should be gone.

use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_clr::{ModuleInfo, TypeId};
use leakhound_rules::{FactSheet, Value};
use std::collections::{BTreeMap, HashMap};

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

/// Writes `modules.*`, `contexts.*`, `modules`, `dynamic_modules` and `load_contexts`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let mut modules = survey.runtime.modules();
    sheet.int("modules.count", modules.len() as u64);
    sheet.int(
        "modules.dynamic",
        modules.iter().filter(|m| m.dynamic).count() as u64,
    );
    write_dynamic(&modules, sheet);
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

/// Generated assemblies by name: whoever makes a thousand of them counts them up in their names.
fn write_dynamic(modules: &[ModuleInfo], sheet: &mut FactSheet) {
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for module in modules.iter().filter(|module| module.dynamic) {
        let name = module.assembly.as_deref().unwrap_or(&module.name);
        *by_name.entry(without_digits(name)).or_default() += 1;
    }
    let mut names: Vec<(String, u64)> = by_name.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rows = names
        .into_iter()
        .take(KEEP)
        .map(|(name, count)| row([("name", text(name)), ("count", int(count))]));
    sheet
        .lists
        .insert("dynamic_modules".to_owned(), rows.collect());
}

/// `Shop.Import.Mapper#` for `Shop.Import.Mapper417`.
fn without_digits(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            digit if digit.is_ascii_digit() && out.ends_with('#') => {}
            digit if digit.is_ascii_digit() => out.push('#'),
            other => out.push(other),
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_are_one_name() {
        assert_eq!(without_digits("Shop.Mapper417"), "Shop.Mapper#");
        assert_eq!(without_digits("a1b22-3"), "a#b#-#");
        assert_eq!(without_digits(""), "");
    }
}
