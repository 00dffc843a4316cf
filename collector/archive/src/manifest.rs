//! `capture.json`: who was captured, when, why, how, and what the process looked like at that moment.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the meaning of [`Manifest`]; moves when a field changes its meaning.
pub const MANIFEST_SCHEMA: u32 = 1;

/// Everything known about a capture besides the memory itself.
///
/// Every field but the identity may be missing: readers treat absence as "unknown".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`] of the writer.
    pub schema: u32,
    /// Program and version that wrote it, `leakhound 0.1.0`.
    pub tool: String,
    /// Name of the service as configured, or the process name.
    pub service: String,
    /// Host name of the node.
    pub node: String,
    /// Process id in the collector's pid namespace.
    pub pid: u32,
    /// Start of the process, RFC 3339 UTC.
    pub process_started: Option<jiff::Timestamp>,
    /// Moment of the capture, RFC 3339 UTC.
    pub captured_at: Option<jiff::Timestamp>,
    /// Path of the executable.
    pub executable: Option<String>,
    /// Command line with secret shapes replaced by `***`.
    pub command_line: Option<String>,
    /// `heap`, `full`, `structure` or `facts`.
    pub kind: String,
    /// `stop-and-stream`, `runtime-ipc`, `snapshot`, `adopted`.
    pub method: String,
    /// How long the target's threads stood still, in milliseconds.
    pub pause_ms: Option<f64>,
    /// From the trigger to the sealed bundle, in milliseconds.
    pub total_ms: Option<f64>,
    /// What it was expected to cost, told before the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<PredictionRecord>,
    /// What fired, or that a person asked.
    pub trigger: Option<TriggerRecord>,
    /// Its part in a pair of captures, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair: Option<PairRecord>,
    /// The dump file in the bundle, if any.
    pub dump: Option<DumpRecord>,
    /// Facts of the process at capture time under their vocabulary names (`private_bytes`, `rss`, `threads`, …).
    /// Units are those of the vocabulary: bytes, counts, ratios (0 to 1), milliseconds.
    pub process_facts: BTreeMap<String, f64>,
    /// The memory map (Linux: smaps) at capture time.
    pub memory_map: Vec<MapEntry>,
    /// `DOTNET_*`, `COMPlus_*` and `Fabric_*` variables of the target; nothing else of its environment.
    pub environment: BTreeMap<String, String>,
    /// What Service Fabric calls the process; absent where it does not run there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricRecord>,
    /// What Kubernetes calls the process; absent where it does not run there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesRecord>,
    /// The garbage collector was moving objects at that moment; absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gc_in_progress: Option<bool>,
    /// Anything that did not go as it should, one sentence each.
    pub warnings: Vec<String>,
}

/// What Service Fabric calls a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FabricRecord {
    /// Name of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `fabric:/Shop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// `ShopType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
    /// `CartPkg`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_package: Option<String>,
    /// `Code`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_package: Option<String>,
    /// `1.2.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_version: Option<String>,
    /// Replicas and instances that live in the process, by service and partition; a shared process has several.
    pub replicas: Vec<ReplicaRecord>,
}

/// A replica of a stateful service, or an instance of a stateless one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaRecord {
    /// `fabric:/Shop/Cart`.
    pub service: String,
    /// Id of the partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Id of the replica or the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `Primary`, `ActiveSecondary`, `IdleSecondary`; a stateless service has no roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// What Kubernetes calls a process, as far as the node tells without the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KubernetesRecord {
    /// `shop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `cart-7d9f8b6c5f-x2x4z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The Deployment, StatefulSet, DaemonSet or Job that made the pod, by the shape of the pod's name: `cart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// `main`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The pod's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The container runtime's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

/// A capture's part in a pair that was taken so that growth can be judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PairRecord {
    /// `first` or `second`.
    pub part: String,
    /// What lies between the two: `10 min`, `200 MB`.
    pub after: String,
    /// Of the second: the key of the first one's bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Of the second: the moment of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_at: Option<jiff::Timestamp>,
}

/// What a capture was expected to cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictionRecord {
    /// How long the target may stand still, in milliseconds.
    pub pause_ms: f64,
    /// Bytes that must be read from the process.
    pub memory_bytes: u64,
    /// Bytes that the sealed dump may need on disk.
    pub stored_bytes: u64,
    /// Bytes that may exist twice while a copy-on-write copy is read; absent without a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_bytes: Option<u64>,
}

/// The trigger that fired and the samples that made it fire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TriggerRecord {
    /// Name of the trigger, or `manual`.
    pub name: String,
    /// Its expression as written.
    pub when: String,
    /// Who asked: `trigger`, `operator`, `adopted`.
    pub by: String,
    /// Sentences of evidence, such as `private_bytes = 1.52 GB`.
    pub evidence: Vec<String>,
    /// Recent samples of the facts involved: milliseconds before the capture, name, value.
    pub samples: Vec<SamplePoint>,
}

/// One sampled value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplePoint {
    /// Age at the capture in milliseconds.
    pub age_ms: u64,
    /// Vocabulary name of the fact.
    pub fact: String,
    /// Value in the fact's unit.
    pub value: f64,
}

/// The compressed dump beside the manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DumpRecord {
    /// File name inside the bundle, `memory.core.zst`.
    pub file: String,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Bytes on disk.
    pub stored_bytes: u64,
    /// BLAKE3 of the file on disk, hex.
    pub blake3: String,
}

/// One mapping of the process, from `/proc/PID/smaps`. All sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// `rwxp` as the kernel prints it.
    pub perms: String,
    /// Offset in the file.
    pub offset: u64,
    /// File, `[heap]`, `[stack]`, `[anon:…]` or empty.
    pub path: String,
    /// Resident.
    pub rss: u64,
    /// Private and dirty.
    pub private_dirty: u64,
    /// Private and clean.
    pub private_clean: u64,
    /// Shared, clean or dirty.
    pub shared: u64,
    /// Anonymous (not backed by a file).
    pub anonymous: u64,
    /// Swapped out.
    pub swap: u64,
}
