//! Captures of real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod contents;
mod ends;
mod target;
