//! The comparison, facet by facet.

use crate::accepted;
use crate::cell::Cell;
use crate::difference::{Facet, Verdict};
use crate::names::without_assemblies;
use crate::ours::Ours;
use leakhound_clr::Generation;
use leakhound_oracle::{Testimony, testimony};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Everything that both readers can tell.
pub fn all(cell: &Cell, ours: &Ours, theirs: &Testimony) -> Verdict {
    let mut verdict = Verdict::of(cell);
    for address in &theirs.broken {
        verdict.differ(
            Facet::Generations,
            "a part that does not parse to its end",
            "",
            format!("{address:#x}"),
        );
    }
    segments(&mut verdict, ours, theirs);
    generations(&mut verdict, ours, theirs);
    types(&mut verdict, ours, theirs);
    handles(&mut verdict, ours, theirs);
    finalization(&mut verdict, ours, theirs);
    statics(&mut verdict, ours, theirs);
    thread_statics(&mut verdict, ours, theirs);
    threads(&mut verdict, ours, theirs);
    let completeness = ours.runtime.completeness();
    if !completeness.is_whole() {
        let what = "our reader met problems in a whole dump";
        verdict.differ(Facet::Generations, what, format!("{completeness:?}"), "");
    }
    verdict
}

/// Two maps must be the same.
fn maps<K: Ord + Debug, V: PartialEq + Debug>(
    verdict: &mut Verdict,
    facet: Facet,
    ours: &BTreeMap<K, V>,
    theirs: &BTreeMap<K, V>,
) {
    verdict.count(facet, theirs.len());
    let keys: BTreeSet<&K> = ours.keys().chain(theirs.keys()).collect();
    for key in keys {
        let (a, b) = (ours.get(key), theirs.get(key));
        if a != b {
            let say =
                |value: Option<&V>| value.map_or(String::new(), |value| format!("{value:x?}"));
            verdict.differ(facet, format!("{key:x?}"), say(a), say(b));
        }
    }
}

fn segments(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let heaps = ours.runtime.heaps().iter();
    let a: BTreeMap<_, _> = heaps
        .flat_map(|heap| &heap.segments)
        .map(|s| {
            let bounds = [s.allocated_end, s.committed_end, s.reserved_end];
            ((s.heap as usize, s.start), bounds)
        })
        .collect();
    let b = theirs.segments.iter();
    let b = b
        .map(|s| ((s.heap, s.start), [s.end, s.committed, s.reserved]))
        .collect();
    maps(verdict, Facet::Segments, &a, &b);
}

/// What a generation holds: count and bytes of objects, count and bytes of free blocks.
type Holding = [u64; 4];

fn generations(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let mut b: BTreeMap<(usize, &str), Holding> = BTreeMap::new();
    for part in &theirs.parts {
        let sum = b.entry((part.heap, &part.generation)).or_default();
        let seen = [part.objects.0, part.objects.1, part.free.0, part.free.1];
        for (sum, seen) in sum.iter_mut().zip(seen) {
            *sum += seen;
        }
    }
    let a = ours.generations.iter();
    let a: BTreeMap<(usize, &str), Holding> = a
        .map(|((heap, generation), stats)| {
            let seen = [
                stats.object_count,
                stats.object_bytes,
                stats.free_count,
                stats.free_bytes,
            ];
            ((*heap, generation.name()), seen)
        })
        .collect();
    for ((heap, generation), stats) in &ours.generations {
        if stats.skipped_bytes > 0 {
            let what = format!("skipped in {} of heap {heap}", generation.name());
            verdict.differ(
                Facet::Generations,
                what,
                stats.skipped_bytes.to_string(),
                "0",
            );
        }
    }
    maps(verdict, Facet::Generations, &a, &b);
    // What is counted is objects, not generations.
    let objects: u64 = b.values().map(|seen| seen[0] + seen[2]).sum();
    let generations = b.len() as u64;
    verdict.count(
        Facet::Generations,
        usize::try_from(objects - generations.min(objects)).unwrap(),
    );
}

fn types(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let by_name = |tallies: &BTreeMap<Generation, (u64, u64)>| -> BTreeMap<String, (u64, u64)> {
        let named = tallies.iter();
        named
            .map(|(g, tally)| (g.name().to_owned(), *tally))
            .collect()
    };
    let a: BTreeMap<u64, _> = ours
        .types
        .iter()
        .map(|(table, t)| (*table, by_name(t)))
        .collect();
    // Free blocks are no objects to our walk: the comparison of generations has them.
    let real = || theirs.types.iter().filter(|entry| !entry.free);
    let b: BTreeMap<u64, _> = real()
        .map(|entry| (entry.method_table, entry.tallies.clone()))
        .collect();
    maps(verdict, Facet::Types, &a, &b);
    let a: BTreeMap<u64, String> = ours
        .types
        .keys()
        .map(|table| (*table, name(ours, *table)))
        .collect();
    let b: BTreeMap<u64, String> = real()
        .map(|entry| (entry.method_table, without_assemblies(&entry.name)))
        .collect();
    maps(verdict, Facet::Names, &a, &b);
}

fn name(ours: &Ours, table: u64) -> String {
    let id = ours.runtime.type_of_table(table);
    let info = id.and_then(|id| ours.runtime.type_info(id));
    info.map_or_else(String::new, |info| info.raw_name.clone())
}

fn handles(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let a: BTreeMap<u64, _> = ours
        .runtime
        .handles()
        .iter()
        .map(|h| (h.address, (h.kind as u32, h.target, h.secondary)))
        .collect();
    let b = theirs.handles.iter();
    let b = b
        .map(|h| (h.address, (h.kind, h.target, h.secondary)))
        .collect();
    maps(verdict, Facet::Handles, &a, &b);
}

fn finalization(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    // Generation of a registered object, or the ready list that it is in, by object.
    let mut b: BTreeMap<u64, &str> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for queue in &theirs.finalization {
        let generations = queue.parts.len() - 2;
        for (number, part) in queue.parts.iter().enumerate() {
            let place = match number.checked_sub(generations) {
                None => Generation::ALL[generations - 1 - number].name(),
                Some(0) => "ready, critical",
                Some(_) => "ready",
            };
            match part {
                Some(objects) => b.extend(objects.iter().map(|object| (*object, place))),
                None => {
                    unknown.insert(place);
                }
            }
        }
    }
    let queue = ours.runtime.finalization();
    let mut a: BTreeMap<u64, &str> = BTreeMap::new();
    a.extend(
        queue
            .registered
            .iter()
            .map(|(generation, object)| (*object, generation.name())),
    );
    a.extend(
        queue
            .ready_critical
            .iter()
            .map(|object| (*object, "ready, critical")),
    );
    a.extend(queue.ready.iter().map(|object| (*object, "ready")));
    a.retain(|_, place| {
        let told = !unknown.contains(*place);
        if !told {
            verdict.accept(&accepted::OLDEST_FINALIZERS);
        }
        told
    });
    maps(verdict, Facet::Finalization, &a, &b);
    if queue.thread.as_ref().map(|thread| thread.os_id) != Some(theirs.finalizer_os_id) {
        let (a, b) = (
            format!("{:?}", queue.thread),
            theirs.finalizer_os_id.to_string(),
        );
        verdict.differ(Facet::Finalization, "the finalizer thread", a, b);
    }
}

/// A field's own name as a part of the full name that our reader composes, unless a compiler made it.
fn is_named(full: &str, field: &str) -> bool {
    field.contains('<')
        || full
            .strip_suffix(field)
            .is_some_and(|class| class.ends_with('.'))
}

fn statics(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let mut slots: BTreeMap<u64, &testimony::Static> = BTreeMap::new();
    for field in &theirs.statics {
        slots.insert(field.slot, field);
    }
    verdict.count(Facet::Statics, slots.len());
    for field in &ours.statics {
        let Some(other) = slots.remove(&field.slot) else {
            if theirs.unanswered_statics.contains(&field.owner) {
                verdict.accept(&accepted::GENERIC_STATICS);
            } else {
                verdict.differ(
                    Facet::Statics,
                    &field.name,
                    format!("{:#x}", field.object),
                    "",
                );
            }
            continue;
        };
        let a = (field.object, field.boxed_struct);
        let b = (other.object, other.is_struct);
        if a != b || !is_named(&field.name, &other.field) {
            let b = format!("{b:x?} {}", other.field);
            verdict.differ(Facet::Statics, &field.name, format!("{a:x?}"), b);
        }
    }
    for (slot, field) in slots {
        let what = format!("{}.{} at {slot:#x}", name(ours, field.owner), field.field);
        verdict.differ(Facet::Statics, what, "", format!("{:#x}", field.object));
    }
}

fn thread_statics(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let mut slots: BTreeMap<u64, &testimony::ThreadStatic> = BTreeMap::new();
    for field in &theirs.thread_statics {
        slots.insert(field.slot, field);
    }
    verdict.count(Facet::ThreadStatics, slots.len());
    for field in &ours.thread_statics {
        let a = (field.object, field.managed_thread_id);
        let other = slots.remove(&field.slot);
        let b = other.map(|other| (other.object, other.thread));
        // Classes that the library cannot answer for exist up to 8 only, and all of them are generic.
        if b.is_none() && field.name.contains('<') && !theirs.unanswered_statics.is_empty() {
            verdict.accept(&accepted::GENERIC_STATICS);
        } else if b != Some(a) || !other.is_some_and(|other| is_named(&field.name, &other.field)) {
            verdict.differ(
                Facet::ThreadStatics,
                &field.name,
                format!("{a:x?}"),
                format!("{b:x?}"),
            );
        }
    }
    for (slot, field) in slots {
        let what = format!("{}.{} at {slot:#x}", name(ours, field.owner), field.field);
        verdict.differ(
            Facet::ThreadStatics,
            what,
            "",
            format!("{:#x}", field.object),
        );
    }
}

fn threads(verdict: &mut Verdict, ours: &Ours, theirs: &Testimony) {
    let a: BTreeMap<u64, _> = ours
        .runtime
        .threads()
        .iter()
        .map(|t| {
            (
                t.address,
                (
                    t.managed_id,
                    t.os_id,
                    t.state,
                    t.preemptive_disabled,
                    t.alloc_context,
                ),
            )
        })
        .collect();
    let b = theirs.threads.iter();
    let b = b
        .map(|t| {
            (
                t.address,
                (
                    t.managed_id,
                    t.os_id,
                    t.state,
                    t.preemptive_disabled,
                    t.alloc_context,
                ),
            )
        })
        .collect();
    maps(verdict, Facet::Threads, &a, &b);
}
