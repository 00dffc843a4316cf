//! File bytes or a live process to one process image.
//!
//! Opening proves little, reading is fallible, gaps are normal.
//! Invariant: only this crate knows file formats, and nothing here knows the CLR.

pub mod image;
pub mod memory;

pub use image::{Arch, MappedFile, Module, Os, ProcessImage, Thread};
pub use memory::{Memory, MemoryExt, Region};
