//! Discover, sample, trigger, budget, capture, seal.
//!
//! Invariant: this crate never walks a heap; the process beside production stays small.
//! Invariant: whatever happens to this program, no target is left stopped.

pub mod capture;
pub mod config;
#[cfg(target_os = "linux")]
pub mod discover;
pub mod identity;
pub mod mask;
pub mod proc_maps;
pub mod trigger;

pub use config::{Config, ConfigError, ServiceConfig};
