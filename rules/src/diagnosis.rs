//! The diagnosis of one capture. Its JSON is the contract of `leakhound triage --format json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::sheet::{Completeness, FactSheet, Row, RuntimeFacts, Subject, Value};

/// Version of the meaning of [`Diagnosis`]; new optional fields keep it.
pub const DIAGNOSIS_SCHEMA: u32 = 1;

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A cause was found.
    Leak,
    /// No cause was found, but the limit is close.
    Pressure,
    /// The memory is held for a reason and comes back by itself.
    NotALeak,
    /// Nothing stands out.
    Healthy,
    /// The capture could not be read well enough.
    Unreliable,
}

impl Verdict {
    /// As it stands in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Pressure => "pressure",
            Self::NotALeak => "not-a-leak",
            Self::Healthy => "healthy",
            Self::Unreliable => "unreliable",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Where the committed memory went. Null means that it could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryAccount {
    /// The total.
    pub commit: Option<u64>,
    /// Executables and libraries.
    pub images: Option<u64>,
    /// Thread stacks.
    pub stacks: Option<u64>,
    /// The garbage-collected heap: live, garbage, free and empty together.
    pub gc: Option<u64>,
    /// Objects that are reachable.
    pub gc_live: Option<u64>,
    /// Objects that are dead and wait for a collection.
    pub gc_garbage: Option<u64>,
    /// Holes between objects.
    pub gc_free: Option<u64>,
    /// Committed and holding no objects.
    pub gc_empty: Option<u64>,
    /// The runtime itself: loader heaps, JIT code, GC bookkeeping.
    pub runtime: Option<u64>,
    /// Native heaps.
    pub native: Option<u64>,
    /// Mapped data files.
    pub mapped_files: Option<u64>,
    /// What none of the above explains.
    pub unattributed: Option<u64>,
}

impl MemoryAccount {
    /// The account that a sheet carries.
    #[must_use]
    pub fn of(sheet: &FactSheet) -> Self {
        let bytes = |name: &str| sheet.get_int(name).and_then(|v| u64::try_from(v).ok());
        Self {
            commit: bytes("memory.commit"),
            images: bytes("memory.images"),
            stacks: bytes("memory.stacks"),
            gc: bytes("memory.gc"),
            gc_live: bytes("memory.gc_live"),
            gc_garbage: bytes("memory.gc_garbage"),
            gc_free: bytes("memory.gc_free"),
            gc_empty: bytes("memory.gc_empty"),
            runtime: bytes("memory.runtime"),
            native: bytes("memory.native"),
            mapped_files: bytes("memory.mapped_files"),
            unattributed: bytes("memory.unattributed"),
        }
    }

    /// The entries that add up to the commit, in the order of a report: name, label, bytes.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, &'static str, Option<u64>); 10] {
        [
            ("gc_live", "GC heap, live objects", self.gc_live),
            ("gc_garbage", "GC heap, garbage", self.gc_garbage),
            ("gc_free", "GC heap, holes", self.gc_free),
            ("gc_empty", "GC heap, committed and empty", self.gc_empty),
            ("runtime", "Runtime, loader and JIT heaps", self.runtime),
            ("native", "Native heaps", self.native),
            ("stacks", "Thread stacks", self.stacks),
            ("images", "Images", self.images),
            ("mapped_files", "Mapped files", self.mapped_files),
            ("unattributed", "Unattributed", self.unattributed),
        ]
    }
}

/// A scalar or a list, as the sheet had it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FactValue {
    /// A list fact: its rows.
    List(Vec<Row>),
    /// A scalar fact.
    Scalar(Value),
}

/// A rule that could not be judged, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NotJudged {
    /// Id of the rule.
    pub rule: String,
    /// The facts that were missing, with the reason where it is known.
    pub missing: Vec<String>,
}

/// The diagnosis of one capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// [`DIAGNOSIS_SCHEMA`] of the writer.
    pub schema: u32,
    /// The answer in one word.
    pub verdict: Verdict,
    /// The answer in one sentence.
    pub headline: String,
    /// Whose capture it is.
    #[serde(default)]
    pub subject: Subject,
    /// Which runtime.
    pub runtime: RuntimeFacts,
    /// How much could be read.
    pub completeness: Completeness,
    /// What was found, by rank.
    pub findings: Vec<Finding>,
    /// Where the committed memory went.
    pub memory: MemoryAccount,
    /// Everything the sheet knew: scalar facts and lists by name.
    pub facts: BTreeMap<String, FactValue>,
    /// Rules that could not be judged for want of facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_judged: Vec<NotJudged>,
}

impl Diagnosis {
    /// The finding to read first.
    #[must_use]
    pub fn first(&self) -> Option<&Finding> {
        self.findings.first()
    }

    /// Exit code of the command: 0 healthy or not a leak, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Healthy | Verdict::NotALeak => 0,
            Verdict::Leak | Verdict::Pressure | Verdict::Unreliable => 1,
        }
    }
}
