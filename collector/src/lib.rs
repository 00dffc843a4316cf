//! Discover, sample, trigger, budget, capture, seal.
//!
//! [`config`] says what to watch, [`discover`] finds it, [`sample`] measures it, [`history`] remembers,
//! [`trigger`] decides, [`budget`] restrains, [`capture`] takes the memory, [`seal`] puts it into the archive;
//! [`Collector`] runs it all, and [`adopt`] takes in what others captured.
//!
//! Invariant: this crate never walks a heap; the process beside production stays small.
//! Invariant: whatever happens to this program, no target is left stopped.

#[cfg(any(target_os = "linux", windows))]
pub mod adopt;
pub mod budget;
pub mod capture;
#[cfg(any(target_os = "linux", windows))]
pub mod collector;
pub mod config;
pub mod counters;
#[cfg(any(target_os = "linux", windows))]
pub mod discover;
#[cfg(any(target_os = "linux", windows))]
pub mod doctor;
#[cfg(any(target_os = "linux", windows))]
pub mod dry_run;
pub mod fabric;
#[cfg(any(target_os = "linux", windows))]
pub mod heartbeat;
#[cfg(any(target_os = "linux", windows))]
pub mod history;
pub mod identity;
pub mod mask;
#[cfg(target_os = "linux")]
pub mod modules;
pub mod pair;
#[cfg(any(target_os = "linux", windows))]
pub mod peek;
pub mod proc_maps;
pub mod rights;
#[cfg(any(target_os = "linux", windows))]
pub mod sample;
#[cfg(any(target_os = "linux", windows))]
pub mod seal;
#[cfg(any(target_os = "linux", windows))]
pub mod siblings;
pub mod spare;
#[cfg(any(target_os = "linux", windows))]
mod target;
pub mod trigger;
#[cfg(any(target_os = "linux", windows))]
pub mod vigil;
#[cfg(any(target_os = "linux", windows))]
mod watcher;
#[cfg(any(windows, test))]
pub mod windows;

#[cfg(any(target_os = "linux", windows))]
pub use collector::{Collector, CollectorError, Event};
pub use config::{Config, ConfigError, ServiceConfig};
