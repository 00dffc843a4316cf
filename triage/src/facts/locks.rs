//! Locks: which are held, by whom, and who waits.

use super::rows::{int, row, text};
use super::threads::label;
use leakhound_clr::Runtime;
use leakhound_rules::FactSheet;

/// Rows kept.
const KEEP: usize = 50;

/// Writes `locks.*` and `held_locks`.
pub fn write(runtime: &Runtime, sheet: &mut FactSheet) {
    let Some(blocks) = runtime.sync_blocks() else {
        sheet.unknown(
            "locks.held",
            "no table of sync blocks was found that proves itself",
        );
        return;
    };
    let mut locks = blocks.locks;
    let entering = |l: &leakhound_clr::MonitorLock| u64::from(l.entering);
    sheet.int("locks.blocks", blocks.used.into());
    sheet.int("locks.blocks_free", blocks.free.into());
    sheet.int("locks.held", locks.iter().filter(|l| l.held).count() as u64);
    sheet.int("locks.entering", locks.iter().map(entering).sum());
    sheet.int(
        "locks.waiting",
        locks.iter().map(|l| l.waiting.len() as u64).sum(),
    );
    locks.sort_by_key(|l| (std::cmp::Reverse((l.entering, l.waiting.len())), l.index));
    let rows = locks.iter().take(KEEP).map(|lock| {
        let info = runtime
            .type_of(lock.object)
            .and_then(|id| runtime.type_info(id));
        let owner = lock.owner.map(|id| label(runtime, id)).unwrap_or_default();
        row([
            (
                "type",
                text(info.map_or_else(|| "?".to_owned(), |i| i.name.clone())),
            ),
            ("owner", text(owner)),
            ("recursion", int(lock.recursion.into())),
            ("entering", int(lock.entering.into())),
            ("waiting", int(lock.waiting.len() as u64)),
        ])
    });
    sheet.lists.insert("held_locks".to_owned(), rows.collect());
}
