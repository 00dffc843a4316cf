//! The runtime's own debugging library (DAC) as a witness: what it says about a core, for tests to compare with.
//!
//! `sos` speaks its interface, `data_target` lends it the core's memory, `heap` and `fields` walk with its answers
//! alone, [`testimony`] is everything in one document.
//!
//! Invariant: nothing here uses `leakhound-clr`. What both sides share is the dump's container (`leakhound-dump`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod com;
mod data_target;
mod fields;
mod heap;
mod metadata;
mod sos;
pub mod testimony;

pub use testimony::Testimony;

use anyhow::Result;
use leakhound_dump::FileSearch;
use std::path::Path;

/// Gives the core to the library and asks it everything.
///
/// `tables` are method tables whose static fields are asked for besides those of all loaded classes: the library lists the
/// classes that a module defines, but not the instances of generic ones.
pub fn witness(core: &Path, library: &Path, tables: &[u64]) -> Result<Testimony> {
    // Heap dumps leave the pages of module files out, which the library wants for names: the files themselves stand in.
    let options = leakhound_dump::Options {
        files: Some(FileSearch::this_machine()),
        ..Default::default()
    };
    let image = leakhound_dump::open_with(leakhound_archive::open_readable(core)?, &options)?;
    let dac = sos::Dac::load(library, &image)?;
    testimony::take(&dac, &image, tables)
}
