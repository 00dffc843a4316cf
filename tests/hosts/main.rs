//! The agent where it lives: under a service manager, out of a package, in a cluster, and as the guide says.
#![cfg(target_os = "linux")]

mod agent;
mod container;
mod counters;
mod debian;
mod guide;
mod kubernetes;
mod manager;
mod windows;
