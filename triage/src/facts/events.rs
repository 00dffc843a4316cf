//! Events with many handlers: the field, and whose handlers they are.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::known::Reader;
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};

/// Events that a sheet names.
const KEEP: usize = 30;
/// Fewer handlers are what events are for.
const FEWEST: u64 = 50;
/// Delegates that are looked at.
const DELEGATES: usize = 1 << 22;

/// Writes `event_handlers`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let delegates = delegate_types(survey);
    let reader = Reader::new(survey.runtime);
    let objects = &survey.objects;
    let mut found = Vec::new();
    let candidates = (0u32..)
        .zip(objects.type_ids())
        .filter(|(_, id)| delegates.get(**id as usize).copied().unwrap_or(false))
        .filter(|(object, _)| survey.is_live(*object));
    for (object, id) in candidates.take(DELEGATES) {
        let view = reader.view_as(objects.address(object), TypeId(*id));
        if let Some(handlers) = view.handlers().filter(|handlers| handlers.count >= FEWEST) {
            found.push((object, handlers));
        }
    }
    found.sort_by_key(|(object, handlers)| (std::cmp::Reverse(handlers.count), *object));
    found.truncate(KEEP);
    let mut paths = Paths::new(survey);
    let rows = found.into_iter().filter_map(|(object, handlers)| {
        let path = paths.to(object)?;
        let event = if path.holder.is_empty() {
            survey.short_type_name(object)
        } else {
            path.holder.clone()
        };
        let (target, of_target) = handlers.targets.first().cloned().unwrap_or_default();
        Some(row([
            ("event", text(event)),
            ("type", text(survey.short_type_name(object))),
            ("handlers", int(handlers.count)),
            ("target_type", text(target)),
            ("of_target", int(of_target)),
            ("retained", int(survey.retained(object))),
            ("path", Value::Texts(path.steps)),
        ]))
    });
    let rows = rows.collect();
    sheet.lists.insert("event_handlers".to_owned(), rows);
}

/// By type: whether it derives from `MulticastDelegate`.
fn delegate_types(survey: &Survey<'_>) -> Vec<bool> {
    let runtime = survey.runtime;
    let is_delegate = |id: TypeId| {
        let base = runtime
            .base_type(id)
            .and_then(|base| runtime.type_info(base));
        base.is_some_and(|base| base.raw_name == "System.MulticastDelegate")
    };
    (0u32..)
        .take(runtime.type_count())
        .map(|id| is_delegate(TypeId(id)))
        .collect()
}
