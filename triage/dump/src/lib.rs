//! File bytes or a live process to one process image.
//!
//! Opening proves little, reading is fallible, gaps are normal.
//! Invariant: only this crate knows file formats, and nothing here knows the CLR.
//!
//! # Reading
//!
//! [`open`] takes an ELF core or a Windows minidump, raw or through a compressed [`ReadAt`]; [`live()`] takes a running
//! process. All give a [`ProcessImage`] with the same [`Memory`]: a read stitches adjacent regions and ends at a hole,
//! and what is not in the dump is absent, never zero. [`Memory::slice`] borrows where the file is mapped.
//! Opening costs the headers and lists (about 40 bytes held per region), no memory of the process.
//!
//! # Adding a format
//!
//! One file with `open(source, limits)`, its magic in [`detect`](mod@detect), one line in [`open_with`], a writer of
//! its own under `tests/support`, a fuzz target.

use std::sync::Arc;

use leakhound_archive::ReadAt;

pub mod detect;
pub mod elf;
pub mod error;
mod fields;
pub mod image;
#[cfg(any(windows, test))]
mod kept;
pub mod limits;
#[cfg(any(target_os = "linux", windows))]
#[cfg_attr(windows, path = "live/windows/mod.rs")]
pub mod live;
mod live_options;
pub mod maps;
pub mod memory;
pub mod minidump;
pub mod module_files;
pub mod overlay;
pub mod page_range;
pub mod pe;
pub mod peb;
mod relocated;
mod segments;
pub mod source;
pub mod synthetic;

pub use detect::{Format, detect};
pub use error::DumpError;
pub use image::{AddressKind, AddressRange, Arch, MappedFile, Module, Os, ProcessImage, Thread};
pub use limits::Limits;
#[cfg(any(target_os = "linux", windows))]
pub use live::{frozen, live, live_with};
pub use live_options::LiveOptions;
pub use memory::{Memory, MemoryExt, Region};
pub use module_files::{FileSearch, ModuleFile, ModuleFiles, Proof};
pub use overlay::FileOverlay;
pub use synthetic::SyntheticMemory;

/// How to open a dump.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Caps on what the dump claims.
    pub limits: Limits,
    /// Take pages that the dump lacks from module files found here. Off by default: then only the dump speaks.
    pub files: Option<FileSearch>,
}

/// Opens a dump with the default [`Limits`] and without looking at any other file.
///
/// # Errors
/// The file is not a dump, or nothing useful can be read from it; see [`DumpError`].
pub fn open(source: Arc<dyn ReadAt>) -> Result<ProcessImage, DumpError> {
    open_with(source, &Options::default())
}

/// Opens a dump as `options` say.
///
/// # Errors
/// As [`open`].
pub fn open_with(source: Arc<dyn ReadAt>, options: &Options) -> Result<ProcessImage, DumpError> {
    let mut image = match detect(&*source)? {
        Format::ElfCore => elf::core::open(source, &options.limits)?,
        Format::Minidump => minidump::open(source, &options.limits)?,
    };
    if let Some(search) = &options.files {
        let files = Arc::new(ModuleFiles::new(search.clone(), &options.limits));
        FileOverlay::apply(&mut image, &files);
        image.module_files = Some(files);
    }
    Ok(image)
}
