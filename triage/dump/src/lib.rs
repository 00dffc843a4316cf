//! File bytes or a live process to one process image.
//!
//! Opening proves little, reading is fallible, gaps are normal.
//! Invariant: only this crate knows file formats, and nothing here knows the CLR.

use std::sync::Arc;

use leakhound_archive::ReadAt;

pub mod detect;
pub mod elf;
pub mod error;
pub mod image;
pub mod limits;
pub mod memory;
mod segments;
pub mod source;
pub mod synthetic;

pub use detect::{Format, detect};
pub use error::DumpError;
pub use image::{Arch, MappedFile, Module, Os, ProcessImage, Thread};
pub use limits::Limits;
pub use memory::{Memory, MemoryExt, Region};
pub use synthetic::SyntheticMemory;

/// Opens a dump with the default [`Limits`] and without looking at any other file.
///
/// # Errors
/// The file is not a dump, or nothing useful can be read from it; see [`DumpError`].
pub fn open(source: Arc<dyn ReadAt>) -> Result<ProcessImage, DumpError> {
    open_with(source, &Limits::default())
}

/// Opens a dump with other [`Limits`].
///
/// # Errors
/// As [`open`].
pub fn open_with(source: Arc<dyn ReadAt>, limits: &Limits) -> Result<ProcessImage, DumpError> {
    match detect(&*source)? {
        Format::ElfCore => elf::core::open(source, limits),
        Format::Minidump => Err(DumpError::NotADump {
            origin: source.origin().to_owned(),
            found: "this is a Windows minidump, which this version cannot read".to_owned(),
            advice: "Use a Linux core, or a later version",
        }),
    }
}
