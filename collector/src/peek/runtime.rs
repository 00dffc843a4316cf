//! Live managed values through the reader of runtimes.

use super::{Peek, PeekProcess};
use crate::identity::Identity;
use crate::sample::Facts;
use leakhound_clr::{Generation, HandleKind, Peeker};

/// Reads every .NET process that `leakhound-clr` knows.
#[derive(Debug, Default)]
pub struct RuntimePeek;

impl Peek for RuntimePeek {
    fn open(&self, target: &Identity) -> Result<Box<dyn PeekProcess>, String> {
        let image = leakhound_dump::live(target.pid).map_err(|e| e.to_string())?;
        let peeker = Peeker::open(&image).map_err(|e| e.to_string())?;
        Ok(Box::new(Open(peeker)))
    }
}

struct Open(Peeker);

impl PeekProcess for Open {
    fn read(&mut self, facts: &mut Facts) {
        // A heap that changed under every attempt gives nothing this time: unknown, not zero.
        let Some(peek) = self.0.peek() else {
            return;
        };
        for (name, generation) in [
            ("managed.gen0", Generation::Gen0),
            ("managed.gen1", Generation::Gen1),
            ("managed.gen2", Generation::Gen2),
            ("managed.loh", Generation::Loh),
            ("managed.poh", Generation::Poh),
        ] {
            facts.set(name, peek.bytes(generation) as f64);
        }
        facts.set("managed.committed", peek.committed_bytes as f64);
        let ready = peek.finalizer_ready.map(|n| n as f64);
        facts.set_some("managed.finalizer_ready", ready);
        if let Some(handles) = &peek.handles {
            let pinned = handles.get(&HandleKind::Pinned).copied().unwrap_or(0);
            facts.set("managed.handles", handles.values().sum::<u64>() as f64);
            facts.set("managed.handles.pinned", pinned as f64);
        }
    }
}
