//! Events with many handlers: the field, and whose handlers they are. Beside the language's own events, the home-made ones: lists
//! and arrays of delegates or observers.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::known::Reader;
use crate::known::delegate::Handlers;
use crate::known::timer::is_framework;
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::{BTreeMap, HashSet};

/// Events that a sheet names.
const KEEP: usize = 30;
/// Fewer handlers are what events are for.
const FEWEST: u64 = 50;
/// Delegates that are looked at.
const DELEGATES: usize = 1 << 22;
/// Objects between a list of handlers and the application's own field that holds it.
const CLIMB: usize = 12;

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
        let retained = survey.retained(object);
        Some((handlers, event, object, retained, path.steps))
    });
    let mut events: Vec<_> = rows.collect();
    events.extend(home_made(survey, &reader, &delegates));
    events.sort_by_key(|(handlers, _, object, ..)| (std::cmp::Reverse(handlers.count), *object));
    let rows = events
        .into_iter()
        .take(KEEP)
        .map(|(handlers, event, object, retained, steps)| {
            let (target, of_target) = handlers.targets.first().cloned().unwrap_or_default();
            row([
                ("event", text(event)),
                ("type", text(survey.short_type_name(object))),
                ("handlers", int(handlers.count)),
                ("target_type", text(target)),
                ("of_target", int(of_target)),
                ("retained", int(retained)),
                ("path", Value::Texts(steps)),
            ])
        });
    let rows = rows.collect();
    sheet.lists.insert("event_handlers".to_owned(), rows);
}

/// An event: its handlers, its name, the object that holds them, what that keeps alive, and the path.
type Event = (Handlers, String, u32, u64, Vec<String>);

/// Arrays of handlers that a list or the application itself holds: what an event aggregator, a subject or a hub keeps. Queues of
/// delegates are work that waits, and functions that give an answer are no handlers.
fn home_made(survey: &Survey<'_>, reader: &Reader<'_>, delegates: &[bool]) -> Vec<Event> {
    let kinds = arrays_of_handlers(survey, delegates);
    let objects = &survey.objects;
    let mut paths = Paths::new(survey);
    // One field may lead to a list for each kind of message.
    let mut by_field: BTreeMap<String, Vec<(u32, Handlers)>> = BTreeMap::new();
    let arrays = (0u32..)
        .zip(objects.type_ids())
        .filter(|(_, id)| kinds.contains(id))
        .filter(|(object, _)| survey.is_live(*object));
    for (object, _) in arrays.take(DELEGATES) {
        let Some(handlers) = reader.handlers_in(objects.address(object)) else {
            continue;
        };
        if handlers.count < FEWEST {
            continue;
        }
        if let Some(field) = own_field(survey, &mut paths, object) {
            by_field.entry(field).or_default().push((object, handlers));
        }
    }
    let of_field = |(field, mut arrays): (String, Vec<(u32, Handlers)>)| {
        arrays.sort_by_key(|(object, handlers)| (std::cmp::Reverse(handlers.count), *object));
        let retained = survey.retained_together(arrays.iter().map(|(object, _)| *object));
        let count = arrays.iter().map(|(_, handlers)| handlers.count).sum();
        let (object, largest) = arrays.swap_remove(0);
        let steps = paths.to(object)?.steps;
        let handlers = Handlers { count, ..largest };
        Some((handlers, field, object, retained, steps))
    };
    by_field.into_iter().filter_map(of_field).collect()
}

/// The application's own field that leads to an array of handlers; `None` when what lies between is neither the field itself nor a
/// list.
fn own_field(survey: &Survey<'_>, paths: &mut Paths<'_, '_>, array: u32) -> Option<String> {
    let raw_name = |object: u32| {
        let id = survey.objects.type_id(object);
        survey
            .runtime
            .type_info(id)
            .map(|info| info.raw_name.clone())
    };
    let mut at = array;
    for step in 0..CLIMB {
        let parent = survey.owners.parent(at)?;
        let name = raw_name(parent)?;
        if !is_framework(&name) {
            let field = paths.field(parent, at)?;
            return Some(format!("{}.{field}", survey.type_name(parent)));
        }
        if step == 0 && !name.starts_with("System.Collections.Generic.List`1") {
            return None;
        }
        at = parent;
    }
    None
}

/// Types of arrays whose elements are delegates that answer nothing, or observers.
fn arrays_of_handlers(survey: &Survey<'_>, delegates: &[bool]) -> HashSet<u32> {
    const ANSWER: [&str; 4] = [
        "System.Func<",
        "System.Predicate<",
        "System.Comparison<",
        "System.Converter<",
    ];
    let runtime = survey.runtime;
    let name_of = |id: u32| {
        runtime
            .type_info(TypeId(id))
            .map(|info| (info.array, info.name.clone()))
    };
    let handlers: HashSet<String> = (0u32..)
        .zip(delegates)
        .filter(|(_, is_delegate)| **is_delegate)
        .filter_map(|(id, _)| Some(name_of(id)?.1))
        .filter(|name| !ANSWER.iter().any(|answer| name.starts_with(answer)))
        .chain(["System.Delegate", "System.MulticastDelegate"].map(str::to_owned))
        .collect();
    (0u32..)
        .take(runtime.type_count())
        .filter(|id| {
            let Some((true, name)) = name_of(*id) else {
                return false;
            };
            name.strip_suffix("[]").is_some_and(|element| {
                element.starts_with("System.IObserver<") || handlers.contains(element)
            })
        })
        .collect()
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
