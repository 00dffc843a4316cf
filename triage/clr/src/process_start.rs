//! How the process was started: its arguments and the runtime's settings in its environment, from its memory.
//!
//! Only variables of the runtime are ever read out.

mod linux;
mod windows;

use leakhound_dump::{Os, ProcessImage};
use serde::Serialize;
use std::collections::BTreeMap;

/// Arguments and runtime settings of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProcessStart {
    /// The program and its arguments. They may hold secrets: mask them before they leave the machine.
    pub arguments: Vec<String>,
    /// Environment variables of the runtime (`DOTNET_…`, `COMPlus_…`, `CORECLR_…`), and no others.
    pub settings: BTreeMap<String, String>,
}

/// Names of variables that belong to the runtime.
const PREFIXES: [&str; 3] = ["DOTNET_", "COMPlus_", "CORECLR_"];

impl ProcessStart {
    /// Reads them; `None` when the dump does not tell where they lie (Linux: the auxiliary vector; Windows: the process environment
    /// block) or lacks that memory.
    #[must_use]
    pub fn read(image: &ProcessImage) -> Option<Self> {
        match image.os {
            Os::Linux => linux::read(image),
            Os::Windows => windows::read(image),
        }
    }

    fn new(arguments: Vec<String>, variables: impl Iterator<Item = String>) -> Self {
        let settings = variables
            .filter(|text| PREFIXES.iter().any(|p| text.starts_with(p)))
            .filter_map(|text| {
                let (name, value) = text.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            });
        Self {
            settings: settings.collect(),
            arguments,
        }
    }
}
