//! Everything that needs whole archives, real files or real processes, as one program that links once.
#![allow(clippy::unwrap_used)]

mod archive;
#[cfg(target_os = "linux")]
mod crash;
mod open;
mod support;
