//! Discover, sample, trigger, budget, capture, seal.
//!
//! [`config`] says what to watch, [`discover`] finds it, [`sample`] measures it, [`history`] remembers,
//! [`trigger`] decides, [`budget`] restrains, [`capture`] takes the memory, [`seal`] puts it into the archive;
//! [`Collector`] runs it all, and [`adopt`] takes in what others captured.
//!
//! Invariant: this crate never walks a heap; the process beside production stays small.
//! Invariant: whatever happens to this program, no target is left stopped.

#[cfg(target_os = "linux")]
pub mod adopt;
pub mod budget;
pub mod capture;
#[cfg(target_os = "linux")]
pub mod collector;
pub mod config;
#[cfg(target_os = "linux")]
pub mod discover;
#[cfg(target_os = "linux")]
pub mod doctor;
#[cfg(target_os = "linux")]
pub mod dry_run;
#[cfg(target_os = "linux")]
pub mod history;
pub mod identity;
pub mod mask;
#[cfg(target_os = "linux")]
pub mod modules;
pub mod pair;
#[cfg(target_os = "linux")]
pub mod peek;
pub mod proc_maps;
#[cfg(target_os = "linux")]
pub mod sample;
#[cfg(target_os = "linux")]
pub mod seal;
#[cfg(target_os = "linux")]
pub mod siblings;
#[cfg(target_os = "linux")]
mod target;
pub mod trigger;
#[cfg(target_os = "linux")]
pub mod vigil;
#[cfg(target_os = "linux")]
mod watcher;

#[cfg(target_os = "linux")]
pub use collector::{Collector, CollectorError, Event};
pub use config::{Config, ConfigError, ServiceConfig};
