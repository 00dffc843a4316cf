//! Memory of the whole machine.

use super::Facts;
use super::pressure::{Pressure, pressure};
use super::process::{number, read};
use std::fs::File;

/// `/proc/meminfo` and `/proc/pressure/memory`, read once a moment.
#[derive(Debug)]
pub struct Node {
    file: Option<File>,
    pressure_file: Option<File>,
    pressure: Pressure,
    total: Option<f64>,
    available: Option<f64>,
    buffer: Vec<u8>,
}

impl Node {
    pub(super) fn open() -> Self {
        let mut node = Self {
            file: File::open("/proc/meminfo").ok(),
            pressure_file: File::open("/proc/pressure/memory").ok(),
            pressure: Pressure::default(),
            total: None,
            available: None,
            buffer: vec![0; 4096],
        };
        node.refresh();
        node
    }

    pub(super) fn refresh(&mut self) {
        if let Some(file) = &self.pressure_file {
            self.pressure = pressure(file, &mut self.buffer);
        }
        let Some(n) = self.file.as_ref().and_then(|f| read(f, &mut self.buffer)) else {
            return;
        };
        // Both stand in the first three lines.
        for line in self.buffer[..n].split(|b| *b == b'\n').take(3) {
            let bytes = number(line).map(|kb| kb as f64 * 1024.0);
            if line.starts_with(b"MemTotal:") {
                self.total = bytes;
            } else if line.starts_with(b"MemAvailable:") {
                self.available = bytes;
            }
        }
    }

    pub(super) fn sample(&self, facts: &mut Facts) {
        facts.set_some("node.memory", self.total);
        facts.set_some("node.available", self.available);
        facts.set_some("node.memory_pressure", self.pressure.some);
    }
}
