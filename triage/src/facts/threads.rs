//! Threads: how many live, how many are dead, what they are called and what the application runs on them.

use super::rows::{int, row, text};
use super::survey::{Survey, stack_words};
use leakhound_clr::{ManagedThread, Runtime};
use leakhound_dump::ProcessImage;
use leakhound_rules::{FactSheet, Row, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rows kept.
const KEEP: usize = 50;
/// Characters of a thread's name that are kept.
const NAME_CHARACTERS: usize = 80;

/// Writes `threads.*`, `managed_threads` and `thread_names`.
pub fn write(image: &ProcessImage, survey: &Survey<'_>, sheet: &mut FactSheet) {
    let threads = survey.runtime.threads();
    let alive = threads.iter().filter(|t| t.is_alive());
    sheet.int("threads.managed", alive.clone().count() as u64);
    sheet.int(
        "threads.dead",
        threads.iter().filter(|t| t.is_dead()).count() as u64,
    );
    sheet.int(
        "threads.background",
        alive.clone().filter(|t| t.is_background()).count() as u64,
    );
    sheet.int(
        "threads.workers",
        alive.clone().filter(|t| t.is_worker()).count() as u64,
    );
    sheet.int(
        "threads.unstarted",
        threads.iter().filter(|t| t.is_unstarted()).count() as u64,
    );
    let allocated = alive.clone().map(|t| t.allocated_bytes).sum();
    if allocated > 0 {
        sheet.int("threads.allocated", allocated);
    } else {
        sheet.unknown("threads.allocated", "no thread says what it has allocated");
    }
    let rows = alive.take(KEEP).map(|thread| one(image, survey, thread));
    sheet
        .lists
        .insert("managed_threads".to_owned(), rows.collect());
    if sheet.get_int("threads").is_none() && !image.threads.is_empty() {
        sheet.int("threads", image.threads.len() as u64);
    }

    let names = managed_names(survey);
    let runs = what_runs(image, survey);
    let mut groups: BTreeMap<(String, String), u64> = BTreeMap::new();
    for thread in &image.threads {
        let managed = threads
            .iter()
            .find(|t| t.os_id == thread.os_id && t.is_alive());
        let name = managed
            .and_then(|t| names.get(&t.managed_id))
            .or(thread.name.as_ref())
            .map(|n| without_digits(n))
            .unwrap_or_default();
        let runs = runs.get(&thread.os_id).cloned().unwrap_or_default();
        *groups.entry((name, runs)).or_default() += 1;
    }
    let mut groups: Vec<((String, String), u64)> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rows = groups.into_iter().take(KEEP).map(|((name, runs), count)| {
        row([
            ("name", text(name)),
            ("runs", text(runs)),
            ("count", int(count)),
        ])
    });
    sheet
        .lists
        .insert("thread_names".to_owned(), rows.collect());
}

/// A managed thread for a reader: its managed id and its name.
#[must_use]
pub fn label(runtime: &Runtime, managed_id: u32) -> String {
    let mut threads = runtime.threads().iter();
    let name = threads
        .find(|t| t.managed_id == managed_id && !t.is_dead())
        .and_then(|t| runtime.thread_name(t));
    match name {
        Some(name) => {
            let name: String = name.chars().take(NAME_CHARACTERS).collect();
            format!("thread {managed_id} ({name})")
        }
        None => format!("thread {managed_id}"),
    }
}

fn one(image: &ProcessImage, survey: &Survey<'_>, thread: &ManagedThread) -> Row {
    let runtime = survey.runtime;
    let os = image.threads.iter().find(|t| t.os_id == thread.os_id);
    let name = runtime
        .thread_name(thread)
        .or_else(|| os.and_then(|t| t.name.clone()))
        .unwrap_or_default();
    let frames = runtime.frames(thread);
    let calls = frames.into_iter().find_map(|f| f.method);
    let system_call = runtime.system_call(thread).and_then(|c| c.name);
    let mut stacks = survey.roots.iter();
    let stack = stacks.find(|root| root.thread == Some(thread.os_id));
    row([
        ("id", int(thread.managed_id.into())),
        ("os_id", int(thread.os_id.into())),
        (
            "name",
            text(name.chars().take(NAME_CHARACTERS).collect::<String>()),
        ),
        ("background", Value::Bool(thread.is_background())),
        ("worker", Value::Bool(thread.is_worker())),
        (
            "retained",
            int(stack.map_or(0, |root| survey.retained_by(root))),
        ),
        ("calls", text(calls.unwrap_or_default())),
        ("system_call", text(system_call.unwrap_or_default())),
    ])
}

/// Names by managed id, from the live `System.Threading.Thread` objects (`_name`, `_managedThreadId`: the names of these
/// fields are the same from 3.1 to 10).
fn managed_names(survey: &Survey<'_>) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    let ids: HashSet<u32> = (0u32..)
        .take(survey.runtime.type_count())
        .filter(|id| {
            let info = survey.runtime.type_info(leakhound_clr::TypeId(*id));
            info.is_some_and(|info| info.name == "System.Threading.Thread")
        })
        .collect();
    if ids.is_empty() {
        return names;
    }
    for (object, id) in (0u32..).zip(survey.objects.type_ids()) {
        if !ids.contains(id) || !survey.is_live(object) {
            continue;
        }
        let id = leakhound_clr::TypeId(*id);
        let address = survey.objects.address(object);
        let (Some(name), Some(number)) = (
            survey.runtime.instance_field(id, "_name"),
            survey.runtime.instance_field(id, "_managedThreadId"),
        ) else {
            return names;
        };
        let Some(managed) = survey.runtime.read_i32(address, &number) else {
            continue;
        };
        let name = survey
            .runtime
            .read_reference(address, &name)
            .filter(|text| *text != 0)
            .and_then(|text| survey.runtime.string_text(text, NAME_CHARACTERS));
        if let (Some(name), Ok(managed)) = (name, u32::try_from(managed)) {
            names.insert(managed, name);
        }
    }
    names
}

/// For each OS thread the type of the application's own that most other stacks hold too: what a pile of threads runs.
fn what_runs(image: &ProcessImage, survey: &Survey<'_>) -> HashMap<u32, String> {
    let mut on_stack: Vec<(u32, HashSet<u32>)> = Vec::new();
    let mut popular: HashMap<u32, u64> = HashMap::new();
    let mut foreign: HashMap<u32, bool> = HashMap::new();
    for thread in &image.threads {
        let mut types = HashSet::new();
        for word in stack_words(image, thread) {
            if let Some(object) = survey.objects.index_of(word) {
                let id = survey.objects.type_id(object);
                let own = *foreign
                    .entry(id.0)
                    .or_insert_with(|| is_of_application(survey, id));
                if own {
                    types.insert(id.0);
                }
            }
        }
        for id in &types {
            *popular.entry(*id).or_default() += 1;
        }
        on_stack.push((thread.os_id, types));
    }
    on_stack
        .into_iter()
        .filter_map(|(os_id, types)| {
            let best = types
                .into_iter()
                .max_by_key(|id| (popular.get(id).copied(), std::cmp::Reverse(*id)))?;
            let info = survey.runtime.type_info(leakhound_clr::TypeId(best))?;
            Some((os_id, info.name.clone()))
        })
        .collect()
}

/// By its name.
#[must_use]
pub fn is_of_framework(type_name: &str) -> bool {
    ["System.", "Microsoft.", "Interop", "Internal."]
        .iter()
        .any(|prefix| type_name.starts_with(prefix))
}

fn is_of_application(survey: &Survey<'_>, id: leakhound_clr::TypeId) -> bool {
    survey.runtime.type_info(id).is_some_and(|info| {
        !info.array && !info.string && !is_of_framework(&info.name) && info.name != "?"
    })
}

/// `Worker 17` and `Worker 18` are one name.
fn without_digits(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars().take(NAME_CHARACTERS) {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn digits_are_erased_from_names() {
        assert_eq!(super::without_digits("Poller 17"), "Poller #");
        assert_eq!(super::without_digits(".NET TP Worker"), ".NET TP Worker");
    }
}
