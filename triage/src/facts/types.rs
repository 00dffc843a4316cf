//! Objects and bytes by type, dead and alive, with what they retain; what is live, what only finalizers hold and what is garbage
//! by generation.

use super::rows::{int, row, text};
use super::survey::{Reach, Survey};
use leakhound_clr::{Generation, TypeId};
use leakhound_rules::FactSheet;
use rayon::prelude::*;

/// Types that a sheet names; the rest is in the totals.
pub(super) const KEEP: usize = 300;
/// Objects per piece of parallel work.
const PIECE: u32 = 1 << 17;

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    bytes: u64,
    live_bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Sums {
    types: Vec<Tally>,
    live: [u64; 6],
    finalizing: [u64; 6],
    dead: [u64; 6],
}

impl Sums {
    fn add(mut self, other: Self) -> Self {
        if self.types.len() < other.types.len() {
            return other.add(self);
        }
        for (mine, theirs) in self.types.iter_mut().zip(other.types) {
            mine.count += theirs.count;
            mine.bytes += theirs.bytes;
            mine.live_bytes += theirs.live_bytes;
        }
        for i in 0..6 {
            self.live[i] += other.live[i];
            self.finalizing[i] += other.finalizing[i];
            self.dead[i] += other.dead[i];
        }
        self
    }
}

/// Bytes of the whole heap by who reaches them.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    /// A root.
    pub live_bytes: u64,
    /// Only the queues of the finalizer.
    pub finalizing_bytes: u64,
    /// Nobody.
    pub garbage_bytes: u64,
}

/// Writes `types`, `heap.types`, and of the heap and of each generation `*.live`, `*.finalizing` and `*.garbage`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) -> Liveness {
    let objects = &survey.objects;
    let sums = objects
        .pieces(PIECE)
        .into_par_iter()
        .fold(Sums::default, |mut sums, piece| {
            let generation = objects.generation(piece.start) as usize;
            for object in piece {
                let id = objects.type_ids()[object as usize] as usize;
                if sums.types.len() <= id {
                    sums.types.resize(id + 1, Tally::default());
                }
                let bytes = objects.size(object);
                let tally = &mut sums.types[id];
                tally.count += 1;
                tally.bytes += bytes;
                match survey.reach(object) {
                    Reach::Live => {
                        tally.live_bytes += bytes;
                        sums.live[generation] += bytes;
                    }
                    Reach::Finalizer => sums.finalizing[generation] += bytes,
                    Reach::Garbage => sums.dead[generation] += bytes,
                }
            }
            sums
        })
        .reduce(Sums::default, Sums::add);

    let retained = survey
        .tree
        .retained_by_type(sums.types.len() as u32, |object| {
            objects.type_ids()[object as usize]
        });
    let mut order: Vec<(u32, Tally)> = (0u32..)
        .zip(&sums.types)
        .filter(|(_, t)| t.count > 0)
        .map(|(id, t)| (id, *t))
        .collect();
    sheet.int("heap.types", order.len() as u64);
    order.sort_unstable_by_key(|(id, t)| {
        (
            std::cmp::Reverse(t.bytes),
            survey.runtime.table_of(TypeId(*id)),
        )
    });
    let mut named = 0usize;
    let mut rows = Vec::new();
    for (id, tally) in order.iter().take(KEEP) {
        let name = survey
            .runtime
            .type_info(TypeId(*id))
            .map_or_else(|| "?".to_owned(), |info| info.name.clone());
        named += usize::from(!name.contains('?') && !name.contains("!0x"));
        rows.push(row([
            ("type", text(name)),
            ("count", int(tally.count)),
            ("bytes", int(tally.bytes)),
            ("live_bytes", int(tally.live_bytes)),
            (
                "retained",
                int(retained.get(*id as usize).map_or(0, |sum| sum.bytes)),
            ),
        ]));
    }
    if !rows.is_empty() {
        sheet.completeness.names = Some(named as f64 / rows.len() as f64);
    }
    sheet.lists.insert("types".to_owned(), rows);

    for generation in Generation::ALL {
        let at = generation as usize;
        let name = generation.name();
        sheet.int(&format!("{name}.live"), sums.live[at]);
        // Frozen objects are never collected.
        if generation != Generation::Frozen {
            sheet.int(&format!("{name}.finalizing"), sums.finalizing[at]);
            sheet.int(&format!("{name}.garbage"), sums.dead[at]);
        }
    }
    let liveness = Liveness {
        live_bytes: sums.live.iter().sum(),
        finalizing_bytes: sums.finalizing.iter().sum(),
        garbage_bytes: sums.dead.iter().sum(),
    };
    sheet.int("heap.live", liveness.live_bytes);
    sheet.int("heap.finalizing", liveness.finalizing_bytes);
    sheet.int("heap.garbage", liveness.garbage_bytes);
    liveness
}
