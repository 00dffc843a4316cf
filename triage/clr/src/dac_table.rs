//! `g_dacTable`: the addresses of the runtime's variables, by position.
//!
//! Nothing needs the table's symbol: `g_gcDacGlobals` points at [`GcVars`], the table has an entry for that variable, and
//! every other entry is named by its distance from it (debug/ee/dactable.cpp, inc/dacvars.h; reference/clr-reader.md §1.4).
//! Entries are absolute addresses since .NET 7 and 32-bit offsets from the image before.

use crate::gc_vars::{GcVars, scan_words};
use leakhound_dump::{Memory, MemoryExt};
use std::ops::Range;

/// The table, anchored at the entry of `g_gcDacGlobals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DacTable {
    anchor: u64,
    base: u64,
    wide: bool,
}

impl DacTable {
    /// Distance of the finalizer thread, in every version.
    pub const FINALIZER_THREAD: i32 = -3;
    /// Distance of the application domain, in every version.
    pub const APP_DOMAIN: i32 = 1;

    /// Finds the anchor in the runtime's data.
    pub fn find(
        memory: &dyn Memory,
        data: &[Range<u64>],
        image: &Range<u64>,
        vars: &GcVars,
    ) -> Option<Self> {
        let mut variables = Vec::new();
        for range in data {
            scan_words(memory, range.clone(), |at, word| {
                if word[..8] == vars.address.to_le_bytes() && variables.len() < 16 {
                    variables.push(at);
                }
                None::<()>
            });
        }
        for variable in variables {
            for range in data {
                let found = scan_words(memory, range.clone(), |at, word| {
                    if word[..8] == variable.to_le_bytes() {
                        let table = Self {
                            anchor: at,
                            base: image.start,
                            wide: true,
                        };
                        return table.plausible(memory, image).then_some(table);
                    }
                    let rva = u32::try_from(variable.wrapping_sub(image.start))
                        .ok()?
                        .to_le_bytes();
                    let half = if word[..4] == rva {
                        0
                    } else if word[4..8] == rva {
                        4
                    } else {
                        return None;
                    };
                    let table = Self {
                        anchor: at + half,
                        base: image.start,
                        wide: false,
                    };
                    table.plausible(memory, image).then_some(table)
                });
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Address of the variable at a distance from `g_gcDacGlobals`.
    pub fn variable(&self, memory: &dyn Memory, distance: i32) -> Option<u64> {
        let step = if self.wide { 8 } else { 4 };
        let at = self.anchor.checked_add_signed(i64::from(distance) * step)?;
        let address = if self.wide {
            memory.u64(at)?
        } else {
            self.base.checked_add(u64::from(memory.u32(at)?))?
        };
        (address != 0 && address != self.base).then_some(address)
    }

    /// Value of the pointer variable at a distance from `g_gcDacGlobals`.
    pub fn pointer(&self, memory: &dyn Memory, distance: i32) -> Option<u64> {
        memory.u64(self.variable(memory, distance)?)
    }

    /// The kind of heap lies right before, the application domain right behind, in all versions.
    fn plausible(&self, memory: &dyn Memory, image: &Range<u64>) -> bool {
        let kind = self.variable(memory, -1).and_then(|at| memory.u32(at));
        let around = [-3, -2, -1, 1, 2].iter().all(|d| {
            self.variable(memory, *d)
                .is_some_and(|at| image.contains(&at))
        });
        around && matches!(kind, Some(0..=2))
    }
}
