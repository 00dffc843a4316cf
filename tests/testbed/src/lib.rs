//! What the tests and the demo share: real .NET runtimes, a C# compiler, small services with one fault each, and
//! the means to start them, command them and dump them.
//!
//! Everything is fetched with the ordinary clients of the package registries (`pip`, `npm`), checked against a pinned
//! SHA-256 and by running it, and cached under `target/leakhound-testbed`. A test that needs a runtime fails with a
//! sentence when it cannot be had; it never passes silently.

pub mod compiler;
pub mod debian;
pub mod demo;
pub mod dumps;
mod error;
mod lock;
pub mod minidump;
mod packages;
pub mod place;
pub mod progress;
pub mod python;
mod root;
pub mod runtimes;
pub mod service;
pub mod single_file;
pub mod targets;
pub mod windows;
pub mod windows_program;
mod wine;

pub use error::Error;
pub use progress::Progress;
pub use runtimes::{DotnetRoot, Version};
pub use service::{Launch, Service};
pub use targets::{App, Expectation, Target};
pub use windows::WindowsRoot;
pub use windows_program::WindowsProgram;
