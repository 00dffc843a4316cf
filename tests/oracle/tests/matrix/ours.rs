//! What our reader says of a dump.

use leakhound_clr::{Generation, Options, RangeStats, Runtime, StaticField, ThreadStaticField};
use leakhound_dump::FileSearch;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub struct Ours {
    pub runtime: Runtime,
    /// Count and bytes by method table and generation.
    pub types: BTreeMap<u64, BTreeMap<Generation, (u64, u64)>>,
    /// By heap and generation.
    pub generations: BTreeMap<(usize, Generation), RangeStats>,
    pub statics: Vec<StaticField>,
    pub thread_statics: Vec<ThreadStaticField>,
}

impl Ours {
    pub fn read(dump: &Path) -> Self {
        // As the witness has it: module files stand in for the pages that a dump leaves out.
        let options = leakhound_dump::Options {
            files: Some(FileSearch::this_machine()),
            ..Default::default()
        };
        let source = leakhound_archive::open_readable(dump).unwrap();
        let image = leakhound_dump::open_with(source, &options).unwrap();
        let runtime = Runtime::open(&image, &Options::default()).unwrap();
        let walk = runtime.walk(BTreeMap::<_, (u64, u64)>::new, |tally, object| {
            let entry = tally
                .entry((object.type_id, object.generation))
                .or_default();
            entry.0 += 1;
            entry.1 += object.size;
        });
        let mut types: BTreeMap<u64, BTreeMap<Generation, (u64, u64)>> = BTreeMap::new();
        for ((id, generation), tally) in walk.accumulators.into_iter().flatten() {
            let table = runtime.type_info(id).unwrap().method_table;
            let entry = types
                .entry(table)
                .or_default()
                .entry(generation)
                .or_default();
            entry.0 += tally.0;
            entry.1 += tally.1;
        }
        let mut generations: BTreeMap<_, RangeStats> = BTreeMap::new();
        for (range, stats) in &walk.ranges {
            let place = (range.heap as usize, range.generation);
            generations.entry(place).or_default().add(stats);
        }
        let statics = runtime.statics();
        let thread_statics = runtime.thread_statics();
        Self {
            runtime,
            types,
            generations,
            statics,
            thread_statics,
        }
    }

    /// Classes that have static fields to our reader.
    pub fn static_owners(&self) -> Vec<u64> {
        let owners: BTreeSet<u64> = self.statics.iter().map(|field| field.owner).collect();
        owners.into_iter().collect()
    }
}
