//! The walk of a whole heap on all threads.
//!
//! Ranges are dealt out in jobs of about the same size. A range larger than a job is cut into parts. Only its first part begins
//! at a known object; for the others a thread looks for an address that seems to start an object, and walks on from there. When
//! all is done, the parts of each range are put together from its start: a part counts only if the walk before it ended exactly
//! where it began, for then it is, object by object, what a single walk would have seen. Otherwise it is thrown away and walked
//! again from the right place.

use crate::segments::{Generation, HeapRange};
use crate::walk::{Object, Position, RangeStats, Seen, Tools, Walk, Walker};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Jobs for each thread: the last ones to end leave the others idle for a part of a job.
const JOBS_PER_THREAD: u64 = 16;
/// Smallest job: below, looking for an object costs more than the balance gains.
const SMALLEST_JOB_BYTES: u64 = 4 << 20;

/// A part of a range; all of it, for most.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// Index of the range.
    range: usize,
    /// Addresses at which its objects begin.
    addresses: Range<u64>,
}

/// A part that was walked from an object that was only guessed.
struct Guess<A> {
    part: usize,
    from: Position,
    seen: Seen,
    accumulator: A,
}

/// What one thread did.
struct Work<A> {
    accumulator: A,
    /// Parts whose first object was known.
    sure: Vec<(usize, Seen)>,
    guesses: Vec<Guess<A>>,
}

/// Walks all ranges; `new` makes an accumulator for each piece of parallel work.
pub(crate) fn walk<A: Send>(
    walker: &Walker<'_>,
    ranges: &[HeapRange],
    new: impl Fn() -> A + Sync,
    visit: impl Fn(&mut A, Object) + Sync,
) -> Walk<A> {
    let job_bytes = job_bytes(ranges, rayon::current_num_threads());
    walk_in_jobs(walker, ranges, job_bytes, new, visit)
}

fn walk_in_jobs<A: Send>(
    walker: &Walker<'_>,
    ranges: &[HeapRange],
    job_bytes: u64,
    new: impl Fn() -> A + Sync,
    visit: impl Fn(&mut A, Object) + Sync,
) -> Walk<A> {
    let parts = cut(ranges, job_bytes);
    let jobs = deal(&parts, job_bytes);
    let next = AtomicUsize::new(0);
    let work = |_| {
        let mut tools = walker.tools();
        let mut work = Work {
            accumulator: new(),
            sure: Vec::new(),
            guesses: Vec::new(),
        };
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            for part in job.clone() {
                walk_one(
                    walker,
                    ranges,
                    &parts,
                    part,
                    &mut tools,
                    (&new, &visit),
                    &mut work,
                );
            }
        }
        work
    };
    let done: Vec<Work<A>> = (0..rayon::current_num_threads().min(jobs.len()))
        .into_par_iter()
        .with_max_len(1)
        .map(work)
        .collect();
    join(walker, ranges, &parts, done, (&new, &visit))
}

fn job_bytes(ranges: &[HeapRange], threads: usize) -> u64 {
    let all: u64 = ranges.iter().map(|r| r.end - r.start).sum();
    (all / (threads as u64 * JOBS_PER_THREAD)).max(SMALLEST_JOB_BYTES)
}

/// Cuts ranges that are larger than a job. Large objects are few: their ranges stay whole.
fn cut(ranges: &[HeapRange], job_bytes: u64) -> Vec<Part> {
    let mut parts = Vec::with_capacity(ranges.len());
    for (index, range) in ranges.iter().enumerate() {
        let mut start = range.start;
        while range.generation != Generation::Loh && range.end - start > job_bytes * 3 / 2 {
            parts.push(Part {
                range: index,
                addresses: start..start + job_bytes,
            });
            start += job_bytes;
        }
        parts.push(Part {
            range: index,
            addresses: start..range.end,
        });
    }
    parts
}

/// Neighbors that are walked one after the other by one thread: compressed frames seldom lie across two jobs.
fn deal(parts: &[Part], job_bytes: u64) -> Vec<Range<usize>> {
    let mut jobs = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, part) in parts.iter().enumerate() {
        bytes += part.addresses.end - part.addresses.start;
        if bytes >= job_bytes || index + 1 == parts.len() {
            jobs.push(first..index + 1);
            (first, bytes) = (index + 1, 0);
        }
    }
    jobs
}

fn walk_one<'a, A>(
    walker: &Walker<'a>,
    ranges: &[HeapRange],
    parts: &[Part],
    index: usize,
    tools: &mut Tools<'a>,
    (new, visit): (&impl Fn() -> A, &impl Fn(&mut A, Object)),
    work: &mut Work<A>,
) {
    let part = &parts[index];
    let (range, until) = (&ranges[part.range], part.addresses.end);
    let mut from = walker.start_of(range);
    if part.addresses.start == range.start {
        let sink = &mut work.accumulator;
        let seen = walker.walk_part(range, from, until, tools, |object| visit(sink, object));
        work.sure.push((index, seen));
        return;
    }
    let Some(at) = walker.guess_object(range, part.addresses.start, until, tools) else {
        return;
    };
    from.at = at;
    let mut accumulator = new();
    let seen = walker.walk_part(range, from, until, tools, |object| {
        visit(&mut accumulator, object);
    });
    work.guesses.push(Guess {
        part: index,
        from,
        seen,
        accumulator,
    });
}

/// Puts the parts of each range together.
fn join<A>(
    walker: &Walker<'_>,
    ranges: &[HeapRange],
    parts: &[Part],
    done: Vec<Work<A>>,
    (new, visit): (&impl Fn() -> A, &impl Fn(&mut A, Object)),
) -> Walk<A> {
    let mut joined = Walk {
        accumulators: Vec::new(),
        ranges: ranges.iter().map(|r| (*r, RangeStats::default())).collect(),
    };
    let mut sure: Vec<Option<Seen>> = parts.iter().map(|_| None).collect();
    let mut guesses: Vec<Option<Guess<A>>> = parts.iter().map(|_| None).collect();
    for work in done {
        joined.accumulators.push(work.accumulator);
        work.sure
            .into_iter()
            .for_each(|(part, seen)| sure[part] = Some(seen));
        for guess in work.guesses {
            let part = guess.part;
            guesses[part] = Some(guess);
        }
    }
    let mut tools = None;
    let mut again = None;
    let mut end = None;
    for (index, part) in parts.iter().enumerate() {
        let seen = match (sure[index].take(), guesses[index].take(), end) {
            (Some(seen), ..) => seen,
            (None, Some(guess), Some(end)) if guess.follows(end) => {
                let mut seen = guess.seen.clone();
                seen.end.search_bytes = end.search_bytes - guess.searched_bytes();
                joined.accumulators.push(guess.accumulator);
                seen
            }
            (None, _, end) => {
                let range = &ranges[part.range];
                let from = end.unwrap_or(walker.start_of(range));
                let tools = tools.get_or_insert_with(|| walker.tools());
                let sink = again.get_or_insert_with(new);
                walker.walk_part(range, from, part.addresses.end, tools, |object| {
                    visit(sink, object);
                })
            }
        };
        seen.damage.report(walker.log);
        joined.ranges[part.range].1.add(&seen.stats);
        let more = parts
            .get(index + 1)
            .is_some_and(|next| next.range == part.range);
        end = more.then_some(seen.end);
    }
    joined.accumulators.extend(again);
    joined
}

impl<A> Guess<A> {
    /// Bytes that were searched after damage.
    fn searched_bytes(&self) -> u64 {
        self.from.search_bytes - self.seen.end.search_bytes
    }

    /// A walk that stands at `end` would have gone on as this one did.
    fn follows(&self, end: Position) -> bool {
        // Had less been left than was searched, the walk would have given up on the way.
        let searched = self.searched_bytes();
        self.from.at == end.at && (searched == 0 || searched < end.search_bytes)
    }
}

#[cfg(test)]
mod tests;
