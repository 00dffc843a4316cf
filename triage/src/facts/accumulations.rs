//! Where objects pile up: all ways from roots down, merged by type, and the places on them where few holders lead to many objects.
//!
//! What LeakCanary's heap growth detection looks at from dump to dump (a tree of shortest paths merged by class); here each sheet
//! keeps its largest places, so that growth needs no dump.

use super::rows::{int, row, text};
use super::survey::{Root, RootKind, Survey};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::HashMap;

/// Places that a sheet names.
pub(super) const KEEP: usize = 60;
/// Places with less are never anybody's problem.
const SMALLEST_BYTES: u64 = 64 << 10;
/// Objects pile up where there are at least this many, and this many times as many as their holders.
const FEWEST: u64 = 10;
const TIMES: u64 = 10;
/// Ways that are told apart; what comes after them counts for the way it branches off from.
const WAYS: usize = 1 << 20;
/// Steps from a root that are told apart: a deeper way is a chain of links.
const DEPTH: u16 = 40;
/// Steps of a path that are shown.
const STEPS: usize = 12;
/// Answers about children that are remembered without hashing; neighbours on the heap ask the same.
const RECENT: usize = 1 << 12;

const NONE: u32 = u32::MAX;

/// Writes `accumulations`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let ways = Ways::find(survey);
    let mut places = ways.places();
    places.retain(|(_, bytes)| *bytes >= SMALLEST_BYTES);
    places.sort_by_key(|(way, bytes)| (std::cmp::Reverse(*bytes), *way));
    places.truncate(KEEP);
    let rows = places.into_iter().map(|(way, bytes)| {
        let path = ways.spell(survey, way);
        let before = path.len().checked_sub(2).and_then(|at| path.get(at));
        row([
            ("type", text(name(survey, ways.all[way as usize].id).0)),
            ("holder", text(before.cloned().unwrap_or_default())),
            ("root", text(path.first().cloned().unwrap_or_default())),
            ("count", int(ways.all[way as usize].count)),
            ("bytes", int(bytes)),
            ("path", Value::Texts(path)),
        ])
    });
    let rows = rows.collect();
    sheet.lists.insert("accumulations".to_owned(), rows);
}

/// Objects of one type that the same types lead to from the same root.
struct Way {
    /// The way before its last step; [`NONE`] at a root.
    before: u32,
    /// Type of its last step; [`NONE`] at a root.
    id: u32,
    depth: u16,
    count: u64,
    bytes: u64,
}

struct Ways {
    all: Vec<Way>,
    /// Names of the first of `all`, which are roots.
    roots: Vec<String>,
    children: HashMap<(u32, u32), u32>,
    recent: Vec<(u32, u32, u32)>,
}

impl Ways {
    /// One visit for each object: `O(n)`, four bytes for each.
    fn find(survey: &Survey<'_>) -> Self {
        let mut ways = Self {
            all: Vec::new(),
            roots: Vec::new(),
            children: HashMap::new(),
            recent: vec![(NONE, NONE, NONE); RECENT],
        };
        let of_group = ways.open(&survey.roots);
        let types = survey.objects.type_ids();
        let mut way_of = vec![NONE; types.len()];
        let mut climbed = Vec::new();
        for object in (0u32..).take(types.len()) {
            let Some(group) = survey.owners.of(object).filter(|_| survey.is_live(object)) else {
                continue;
            };
            if way_of[object as usize] != NONE {
                continue;
            }
            climbed.push(object);
            let mut way = loop {
                let top = climbed[climbed.len() - 1];
                let Some(parent) = survey.owners.parent(top) else {
                    break of_group.get(&group.0).copied().unwrap_or(NONE);
                };
                match way_of[parent as usize] {
                    NONE => climbed.push(parent),
                    known => break known,
                }
            };
            while let Some(object) = climbed.pop() {
                if way == NONE {
                    climbed.clear();
                    break;
                }
                way = ways.step(way, types[object as usize]);
                let at = &mut ways.all[way as usize];
                at.count += 1;
                at.bytes += survey.objects.size(object);
                way_of[object as usize] = way;
            }
        }
        ways
    }

    /// A way for each root that a person would call the same.
    fn open(&mut self, roots: &[Root]) -> HashMap<u32, u32> {
        let mut by_name: HashMap<String, u32> = HashMap::new();
        let mut of_group = HashMap::new();
        for root in roots {
            let name = root_name(root);
            let way = *by_name.entry(name.clone()).or_insert_with(|| {
                self.roots.push(name);
                self.all.push(Way {
                    before: NONE,
                    id: NONE,
                    depth: 0,
                    count: 1,
                    bytes: 0,
                });
                u32::try_from(self.all.len() - 1).unwrap_or(NONE)
            });
            of_group.insert(root.group.0, way);
        }
        of_group
    }

    /// The way one step further.
    fn step(&mut self, way: u32, id: u32) -> u32 {
        let from = &self.all[way as usize];
        // A chain of equal links is one step, however long.
        if from.id == id || from.depth >= DEPTH {
            return way;
        }
        let slot = (way.wrapping_mul(0x9E37_79B1) ^ id.wrapping_mul(0x85EB_CA77)) as usize % RECENT;
        let (before, step, child) = self.recent[slot];
        if (before, step) == (way, id) {
            return child;
        }
        let depth = from.depth + 1;
        let child = match self.children.get(&(way, id)) {
            Some(child) => *child,
            None if self.all.len() >= WAYS => return way,
            None => {
                let child = u32::try_from(self.all.len()).unwrap_or(way);
                self.all.push(Way {
                    before: way,
                    id,
                    depth,
                    count: 0,
                    bytes: 0,
                });
                self.children.insert((way, id), child);
                child
            }
        };
        self.recent[slot] = (way, id, child);
        child
    }

    /// Ways at whose end objects pile up, with the bytes of all that hangs below them and below no other such place. What piles up
    /// inside of each of many objects belongs to those.
    fn places(&self) -> Vec<(u32, u64)> {
        // Ways before their continuations: that is the order in which they were met.
        let mut place_of = vec![NONE; self.all.len()];
        let mut bytes: HashMap<u32, u64> = HashMap::new();
        for (at, way) in (0u32..).zip(&self.all) {
            if way.before == NONE {
                continue;
            }
            let holders = self.all[way.before as usize].count;
            let around = place_of[way.before as usize];
            let piles = way.count >= FEWEST && way.count >= TIMES.saturating_mul(holders);
            let inside_of_each =
                around != NONE && holders.saturating_mul(TIMES) > self.all[around as usize].count;
            let place = if piles && !inside_of_each { at } else { around };
            place_of[at as usize] = place;
            if place != NONE {
                *bytes.entry(place).or_default() += way.bytes;
            }
        }
        bytes.into_iter().collect()
    }

    /// The root, then types.
    fn spell(&self, survey: &Survey<'_>, way: u32) -> Vec<String> {
        let mut steps = Vec::new();
        let mut at = way;
        while let Some(step) = self.all.get(at as usize) {
            steps.push(if step.before == NONE {
                self.roots.get(at as usize).cloned().unwrap_or_default()
            } else {
                name(survey, step.id).1
            });
            at = step.before;
        }
        steps.reverse();
        if steps.len() > STEPS {
            let tail = steps.split_off(steps.len() - STEPS / 2);
            steps.truncate(STEPS / 2);
            steps.push("…".to_owned());
            steps.extend(tail);
        }
        steps
    }
}

/// Full and short name of a type.
fn name(survey: &Survey<'_>, id: u32) -> (String, String) {
    let info = survey.runtime.type_info(TypeId(id));
    info.map_or_else(
        || ("?".to_owned(), "?".to_owned()),
        |info| (info.name.clone(), info.short_name.clone()),
    )
}

/// What a root is called in every process: threads by their names, not their numbers.
fn root_name(root: &Root) -> String {
    match root.kind {
        RootKind::Stack => match root.name.split_once(" (") {
            Some((_, name)) => format!("stack of a thread called {}", name.trim_end_matches(')')),
            None => "stack of a thread".to_owned(),
        },
        _ => root.title(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ways(steps: &[(u32, u64, u64)]) -> Ways {
        let mut all = vec![Way {
            before: NONE,
            id: NONE,
            depth: 0,
            count: 1,
            bytes: 0,
        }];
        all.extend((0u32..).zip(steps).map(|(id, (before, count, bytes))| Way {
            before: *before,
            id,
            depth: 1,
            count: *count,
            bytes: *bytes,
        }));
        Ways {
            all,
            roots: vec!["static A.b".to_owned()],
            children: HashMap::new(),
            recent: vec![(NONE, NONE, NONE); RECENT],
        }
    }

    fn places(ways: &Ways) -> Vec<(u32, u64)> {
        let mut places = ways.places();
        places.sort_unstable();
        places
    }

    #[test]
    fn a_cache_is_found_at_its_elements_and_what_they_hold_is_theirs() {
        // static → Dictionary → Entry[] → Order (1,000) → Line[] (1,000) → Line (20,000)
        let ways = ways(&[
            (0, 1, 80),
            (1, 1, 24_000),
            (2, 1_000, 64_000),
            (3, 1_000, 90_000),
            (4, 20_000, 800_000),
        ]);
        assert_eq!(places(&ways), [(3, 954_000)]);
    }

    #[test]
    fn a_container_that_holds_everything_does_not_hide_what_piles_up_in_one_of_its_services() {
        // static → container → services (40) → one cache → its array → Quote (9,000)
        let ways = ways(&[
            (0, 1, 80),
            (1, 40, 4_000),
            (2, 1, 48),
            (3, 1, 72_000),
            (4, 9_000, 900_000),
        ]);
        assert_eq!(places(&ways), [(2, 76_048), (5, 900_000)]);
    }

    #[test]
    fn links_are_one_step_and_ways_are_bounded_in_depth() {
        let mut ways = ways(&[]);
        let first = ways.step(0, 7);
        assert_eq!(ways.step(first, 7), first);
        let mut at = first;
        for i in 0..100 {
            at = ways.step(at, 8 + i % 2);
        }
        assert_eq!(ways.all[at as usize].depth, DEPTH);
        assert_eq!(ways.step(0, 7), first);
    }
}
