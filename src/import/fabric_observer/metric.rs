//! What AppObserver measures, and what Leakhound says for it.

/// The metric is the same number in both.
pub struct Metric {
    /// Key in lower case.
    pub key: &'static str,
    /// Name of the trigger.
    pub name: &'static str,
    /// What Leakhound compares.
    pub meaning: Meaning,
}

/// How a threshold is written.
pub enum Meaning {
    /// `FACT > N`.
    Count(&'static str),
    /// `FACT > N%`.
    Percent(&'static str),
    /// `FACT > N MiB`.
    Megabytes(&'static str),
    /// The working set, private or whole as the settings say, in MiB.
    WorkingSet,
    /// The working set in percent of the node's memory.
    WorkingSetShare,
    /// There is no such fact; why.
    None(&'static str),
}

const fn metric(key: &'static str, name: &'static str, meaning: Meaning) -> Metric {
    Metric { key, name, meaning }
}

const PORTS: &str =
    "Leakhound counts no ports; a leak of connections shows in a diagnosis, and in `fds`";
const COMMIT: &str = "Leakhound does not know the node's commit limit; write `private_bytes > …`";

/// Every threshold of AppObserver.
#[rustfmt::skip] // a table
pub const METRICS: &[Metric] = &[
    metric("cpuwarninglimitpercent", "processor, warning", Meaning::Percent("cpu.machine")),
    metric("cpuerrorlimitpercent", "processor, error", Meaning::Percent("cpu.machine")),
    metric("memorywarninglimitmb", "working set, warning", Meaning::WorkingSet),
    metric("memoryerrorlimitmb", "working set, error", Meaning::WorkingSet),
    metric("memorywarninglimitpercent", "share of the node's memory, warning", Meaning::WorkingSetShare),
    metric("memoryerrorlimitpercent", "share of the node's memory, error", Meaning::WorkingSetShare),
    metric("warningprivatebytesmb", "private bytes, warning", Meaning::Megabytes("private_bytes")),
    metric("errorprivatebytesmb", "private bytes, error", Meaning::Megabytes("private_bytes")),
    metric("warningprivatebytespercent", "", Meaning::None(COMMIT)),
    metric("errorprivatebytespercent", "", Meaning::None(COMMIT)),
    metric("warningrgmemorylimitpercent", "share of the memory limit, warning", Meaning::Percent("limit_share")),
    metric("warningopenfilehandles", "handles, warning", Meaning::Count("fds")),
    metric("erroropenfilehandles", "handles, error", Meaning::Count("fds")),
    metric("warninghandlecount", "handles, warning", Meaning::Count("fds")),
    metric("errorhandlecount", "handles, error", Meaning::Count("fds")),
    metric("warningthreadcount", "threads, warning", Meaning::Count("threads")),
    metric("errorthreadcount", "threads, error", Meaning::Count("threads")),
    metric("networkwarningactiveports", "", Meaning::None(PORTS)),
    metric("networkerroractiveports", "", Meaning::None(PORTS)),
    metric("networkwarningephemeralports", "", Meaning::None(PORTS)),
    metric("networkerrorephemeralports", "", Meaning::None(PORTS)),
    metric("networkwarningephemeralportspercent", "", Meaning::None(PORTS)),
    metric("networkerrorephemeralportspercent", "", Meaning::None(PORTS)),
    metric("warningkvslvidspercent", "", Meaning::None("Leakhound does not watch the logical ids of the key-value store")),
];
