//! Hand-made diagnoses to lay out: a leaking service, a healthy one, a torn dump, and one whose names are hostile.

use std::collections::BTreeMap;

use leakhound_rules::Category;
use leakhound_rules::diagnosis::{Diagnosis, FactValue, MemoryAccount, NotJudged, Verdict};
use leakhound_rules::finding::{Absorbed, Evidence, Finding, Role, Severity};
use leakhound_rules::sheet::{Completeness, FactSheet, Row, RuntimeFacts, Subject, Value};
use leakhound_rules::vocabulary::{self, Kind};

const MB: i64 = 1_000_000;
const KB: i64 = 1000;

/// A diagnosis and the sheet it was made from.
pub struct Sample {
    pub diagnosis: Diagnosis,
    pub sheet: FactSheet,
}

fn subject() -> Subject {
    Subject {
        service: "fabric:/Shop/Cart".to_owned(),
        node: "node-3".to_owned(),
        pid: 4711,
        version: None,
        process_started: Some("2026-11-19T22:58:41Z".to_owned()),
        captured_at: Some("2026-11-22T03:14:07Z".to_owned()),
        captured_at_ms: Some(1_795_317_247_000),
        baseline_at_ms: None,
        source: "/var/lib/leakhound/fabric~Shop~Cart/20261122T031407Z-node-3-4711/memory.core.zst"
            .to_owned(),
    }
}

fn runtime() -> RuntimeFacts {
    RuntimeFacts {
        name: ".NET".to_owned(),
        version: "8.0.22".to_owned(),
        os: "linux".to_owned(),
        arch: "x64".to_owned(),
        gc: "server".to_owned(),
        heap_layout: "regions".to_owned(),
        single_file: false,
    }
}

/// Evidence for a fact of the vocabulary.
fn evidence(fact: &str, value: Value, text: &str) -> Evidence {
    let (unit, meaning) = match vocabulary::fact_named(fact) {
        Some(known) => (known.kind, known.sentence.to_owned()),
        None => (Kind::Bytes, String::new()),
    };
    let unit = match unit {
        Kind::Bytes => "bytes",
        Kind::Ratio => "ratio",
        Kind::Duration => "ms",
        Kind::BytesPerHour => "bytes/h",
        Kind::CountPerHour => "count/h",
        Kind::Bool => "bool",
        Kind::Text | Kind::Texts => "text",
        Kind::Count => "count",
        Kind::Number => "number",
    };
    Evidence {
        fact: fact.to_owned(),
        value,
        unit: unit.to_owned(),
        text: text.to_owned(),
        meaning,
    }
}

fn row(columns: &[(&str, Value)]) -> Row {
    columns
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn sheet() -> FactSheet {
    let mut sheet = FactSheet {
        schema: 1,
        tool: "leakhound 0.1.0".to_owned(),
        subject: subject(),
        runtime: runtime(),
        completeness: Completeness {
            heap: Some(1.0),
            names: Some(1.0),
            references: Some(0.99993),
            during_gc: Some(false),
            problems: Vec::new(),
        },
        ..FactSheet::default()
    };
    let bytes = [
        ("memory.images", 98 * MB),
        ("memory.stacks", 6 * MB),
        ("memory.gc", 1398 * MB),
        ("memory.gc_live", 1102 * MB),
        ("memory.gc_garbage", 84 * MB),
        ("memory.gc_free", 163 * MB),
        ("memory.gc_empty", 49 * MB),
        ("memory.runtime", 61 * MB),
        ("memory.native", 74 * MB),
        ("memory.mapped_files", 3 * MB + 220 * KB),
        ("memory.unattributed", 8 * MB + 780 * KB),
        ("memory.commit", 1649 * MB),
        ("private_bytes", 1571 * MB),
        ("limit", 2048 * MB),
        ("limit_used", 1660 * MB),
        ("gen0.committed", 48 * MB),
        ("gen0.used", 31 * MB),
        ("gen0.free", 210 * KB),
        ("gen0.largest_free", 64 * KB),
        ("gen0.garbage", 24 * MB),
        ("gen1.committed", 22 * MB),
        ("gen1.used", 19 * MB),
        ("gen1.free", 900 * KB),
        ("gen1.largest_free", 310 * KB),
        ("gen1.garbage", 8 * MB),
        ("gen2.committed", 1034 * MB),
        ("gen2.used", 1001 * MB),
        ("gen2.free", 14 * MB),
        ("gen2.largest_free", 2 * MB),
        ("gen2.garbage", 51 * MB),
        ("loh.committed", 289 * MB),
        ("loh.used", 133 * MB),
        ("loh.free", 148 * MB),
        ("loh.largest_free", 3 * MB + 510 * KB),
        ("loh.garbage", MB),
        ("poh.committed", 5 * MB),
        ("poh.used", 2 * MB),
        ("poh.free", 0),
        ("poh.largest_free", 0),
        ("poh.garbage", 0),
    ];
    for (name, value) in bytes {
        sheet.int(name, value.unsigned_abs());
    }
    let counts = [
        ("gc.heaps", 4),
        ("gen0.objects", 181_204),
        ("gen1.objects", 60_112),
        ("gen2.objects", 12_904_551),
        ("loh.objects", 1_311),
        ("poh.objects", 26),
        ("heap.objects", 13_147_204),
        ("finalizer.ready", 18_420),
        ("finalizer.registered", 21_007),
        ("handles.pinned", 41),
        ("threads", 74),
    ];
    for (name, value) in counts {
        sheet.int(name, value);
    }
    sheet.float("limit_share", 0.8105);
    sheet.bool("gc.server", true);
    sheet.int("uptime", 188_126_000);
    sheet.unknown("time_to_limit", "fewer than two samples were kept");
    sheet.unknown("growth.threads", "no earlier capture has a thread count");
    sheet.lists = lists();
    sheet
}

fn lists() -> BTreeMap<String, Vec<Row>> {
    let types = [
        ("System.String", 4_812_330, 402 * MB, 396 * MB),
        ("Shop.Pricing.Order", 2_104_411, 289 * MB, 289 * MB),
        (
            "System.Collections.Generic.Dictionary<System.String, Shop.Pricing.Order>.Entry[]",
            1_204,
            171 * MB,
            169 * MB,
        ),
        ("System.Decimal[]", 2_104_411, 118 * MB, 118 * MB),
        ("System.Byte[]", 9_114, 96 * MB, 61 * MB),
        (
            "System.Threading.Tasks.Task<Shop.Pricing.Quote>",
            410_233,
            38 * MB,
            31 * MB,
        ),
        (
            "System.Collections.Generic.List<System.ValueTuple<System.Int32, System.String>>",
            220_010,
            21 * MB,
            17 * MB,
        ),
        (
            "Microsoft.Extensions.Caching.Memory.CacheEntry",
            30_104,
            9 * MB,
            9 * MB,
        ),
    ];
    let types = types
        .into_iter()
        .map(|(name, count, bytes, live)| {
            row(&[
                ("type", text(name)),
                ("count", Value::Int(count)),
                ("bytes", Value::Int(bytes)),
                ("live_bytes", Value::Int(live)),
            ])
        })
        .collect();
    let statics = [
        (
            "Shop.Pricing.QuoteCache.Quotes",
            "System.Collections.Generic.Dictionary<System.String, Shop.Pricing.Order>",
            1044 * MB,
            2_104_411,
        ),
        (
            "Shop.Web.Startup.Services",
            "Microsoft.Extensions.DependencyInjection.ServiceProvider",
            21 * MB,
            0,
        ),
        (
            "System.Diagnostics.Tracing.EventSource.s_currentPid",
            "System.Object",
            400 * KB,
            0,
        ),
    ];
    let statics = statics
        .into_iter()
        .map(|(field, kind, owned, elements)| {
            row(&[
                ("field", text(field)),
                ("type", text(kind)),
                ("owned", Value::Int(owned)),
                ("retained", Value::Int(owned)),
                ("elements", Value::Int(elements)),
            ])
        })
        .collect();
    let ready = vec![row(&[
        ("type", text("System.IO.FileStream")),
        ("count", Value::Int(17_902)),
        ("bytes", Value::Int(3 * MB)),
    ])];
    let copies = [
        ("EUR", 1_204_100, 36 * MB),
        ("application/json; charset=utf-8", 80_112, 6 * MB),
    ];
    let copies = copies
        .into_iter()
        .map(|(value, count, wasted)| {
            row(&[
                ("value", text(value)),
                ("count", Value::Int(count)),
                ("wasted", Value::Int(wasted)),
            ])
        })
        .collect();
    let threads = vec![
        row(&[("name", text(".NET TP Worker")), ("count", Value::Int(48))]),
        row(&[("name", text("Cart")), ("count", Value::Int(12))]),
    ];
    [
        ("types", types),
        ("statics", statics),
        ("ready", ready),
        ("duplicate_strings", copies),
        ("thread_names", threads),
    ]
    .into_iter()
    .map(|(name, rows): (&str, Vec<Row>)| (name.to_owned(), rows))
    .collect()
}

fn finding(rank: u32, rule: &str, category: Category, severity: Severity, bytes: u64) -> Finding {
    Finding {
        rank,
        rule: rule.to_owned(),
        category,
        severity,
        confidence: 80,
        title: category.sentence().trim_end_matches('.').to_owned(),
        message: String::new(),
        culprit: String::new(),
        explained_bytes: bytes,
        // Four digits, so that the number survives being written and read.
        share_of_commit: Some((bytes as f64 / (1649 * MB) as f64 * 1e4).round() / 1e4),
        evidence: Vec::new(),
        path: Vec::new(),
        advice: Vec::new(),
        verify: Vec::new(),
        fingerprint: format!("{rule}-5f2c9a1b"),
        role: Role::Cause,
        why_here: String::new(),
        absorbed: Vec::new(),
        unknown: Vec::new(),
    }
}

fn findings() -> Vec<Finding> {
    let mut quotes = finding(
        1,
        "static-root-growth",
        Category::StaticRootGrowth,
        Severity::Critical,
        1_044_000_000,
    );
    quotes.confidence = 95;
    quotes.culprit = "Shop.Pricing.QuoteCache.Quotes".to_owned();
    quotes.message = "Shop.Pricing.QuoteCache.Quotes keeps 1.04 GB alive; it grew by 412 MB in 6 h 2 min, in each of 3 captures."
        .to_owned();
    quotes.path = strings(&[
        "static Shop.Pricing.QuoteCache.Quotes",
        "Dictionary<String, Order>",
        "Dictionary<String, Order>.Entry[]",
        "Shop.Pricing.Order × 2,104,411",
    ]);
    quotes.advice = strings(&[
        "Bound the dictionary: evict by age or count, or use a MemoryCache with a SizeLimit.",
        "Look at every place that adds to Shop.Pricing.QuoteCache.Quotes: nothing removes what is added.",
        "Until that is deployed, a restart buys about 16 h.",
    ]);
    quotes.verify = strings(&[
        "sos: !dumpheap -stat -type Shop.Pricing.Order",
        "sos: !gcroot ADDRESS of one of them ends in Shop.Pricing.QuoteCache",
        "windbg: !name2ee Shop.dll Shop.Pricing.QuoteCache",
    ]);
    quotes.evidence = vec![
        evidence("growing_statics.owned", Value::Int(1044 * MB), "1.04 GB"),
        evidence("growing_statics.delta", Value::Int(412 * MB), "412 MB"),
        evidence("growth.captures", Value::Int(3), "3"),
        evidence("growth.span", Value::Int(21_720_000), "6 h 2 min"),
        evidence("memory.commit", Value::Int(1649 * MB), "1.65 GB"),
    ];
    quotes.why_here = "It accounts for 63% of the commit and grows.".to_owned();
    quotes.absorbed = vec![Absorbed {
        rule: "retained-growth".to_owned(),
        title: "Live managed memory grows".to_owned(),
        message: "Live managed memory grew by 430 MB between the captures.".to_owned(),
        explained_bytes: 430_000_000,
    }];

    let mut holes = finding(
        2,
        "loh-fragmentation",
        Category::LohFragmentation,
        Severity::Warning,
        148_000_000,
    );
    holes.confidence = 90;
    holes.message = "LOH is 289 MB; 148 MB of it is holes, the largest 3.51 MB.".to_owned();
    holes.advice =
        strings(&["Rent large buffers from ArrayPool<T>.Shared instead of allocating them."]);
    holes.verify = strings(&[
        "sos: !eeheap -gc",
        "sos: !dumpheap -type Free -min 85000 -stat",
    ]);
    holes.evidence = vec![
        evidence("loh.free", Value::Int(148 * MB), "148 MB"),
        evidence("loh.committed", Value::Int(289 * MB), "289 MB"),
    ];

    let mut backlog = finding(
        3,
        "finalizer-backlog",
        Category::FinalizerBacklog,
        Severity::Warning,
        12_000_000,
    );
    backlog.culprit = "System.IO.FileStream".to_owned();
    backlog.message = "18,420 objects wait for the finalizer; System.IO.FileStream leads. They were never disposed.".to_owned();
    backlog.advice = strings(&["Dispose System.IO.FileStream: using, or await using."]);
    backlog.verify = strings(&["sos: !finalizequeue"]);
    backlog.evidence = vec![evidence("finalizer.ready", Value::Int(18_420), "18,420")];
    backlog.unknown =
        strings(&["finalizer.thread_busy: the stack of the finalizer thread was not read"]);

    let mut copies = finding(
        4,
        "string-duplication",
        Category::StringDuplication,
        Severity::Info,
        42_000_000,
    );
    copies.culprit = "EUR".to_owned();
    copies.message = "‘EUR’ ×1,204,100 wastes 36 MB.".to_owned();
    let mut limit = finding(5, "near-limit", Category::NearLimit, Severity::Info, 0);
    limit.message = "81% of the limit is used.".to_owned();
    limit.role = Role::Symptom;
    vec![quotes, holes, backlog, copies, limit]
}

fn diagnosis(
    sheet: &FactSheet,
    verdict: Verdict,
    headline: &str,
    findings: Vec<Finding>,
) -> Diagnosis {
    let scalars = sheet
        .facts
        .iter()
        .map(|(name, value)| (name.to_string(), FactValue::Scalar(value.clone())));
    let lists = sheet
        .lists
        .iter()
        .map(|(name, rows)| (name.clone(), FactValue::List(rows.clone())));
    Diagnosis {
        schema: 1,
        verdict,
        headline: headline.to_owned(),
        subject: sheet.subject.clone(),
        runtime: sheet.runtime.clone(),
        completeness: sheet.completeness.clone(),
        findings,
        memory: MemoryAccount::of(sheet),
        facts: scalars.chain(lists).collect(),
        not_judged: Vec::new(),
    }
}

/// A static dictionary that grows, with company.
pub fn leak() -> Sample {
    let sheet = sheet();
    let headline = "Shop.Pricing.QuoteCache.Quotes keeps 1.04 GB alive, 63% of the process, and grew in each of 3 captures";
    let mut diagnosis = diagnosis(&sheet, Verdict::Leak, headline, findings());
    diagnosis.not_judged = vec![NotJudged {
        rule: "thread-leak".to_owned(),
        missing: strings(&["growth.threads: no earlier capture has a thread count"]),
    }];
    Sample { diagnosis, sheet }
}

/// Nothing stands out.
pub fn healthy() -> Sample {
    let sheet = sheet();
    let diagnosis = diagnosis(
        &sheet,
        Verdict::Healthy,
        "Nothing stands out in 1.65 GB",
        Vec::new(),
    );
    Sample { diagnosis, sheet }
}

/// A dump that is cut off: little could be read, and nothing about memory.
pub fn torn() -> Sample {
    let sheet = FactSheet {
        schema: 1,
        subject: Subject {
            pid: 9,
            source: "core.9".to_owned(),
            ..Subject::default()
        },
        completeness: Completeness {
            heap: Some(0.4131),
            during_gc: Some(true),
            problems: strings(&[
                "core.9 ends at 512 MB; its headers promise 1.65 GB",
                "no memory map",
            ]),
            ..Completeness::default()
        },
        ..FactSheet::default()
    };
    let mut finding = finding(
        1,
        "dump-unreliable",
        Category::DumpUnreliable,
        Severity::Critical,
        0,
    );
    finding.message = "41% of the heap could be read.".to_owned();
    finding.role = Role::Integrity;
    finding.share_of_commit = None;
    let diagnosis = diagnosis(
        &sheet,
        Verdict::Unreliable,
        "The dump is cut off: 41% of the heap could be read",
        vec![finding],
    );
    Sample { diagnosis, sheet }
}

/// Markup that a browser, a ticket system or a terminal would obey if it got through.
pub const HOSTILE: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "`code` | cell | **bold** [link](javascript:alert(1)) {{ 7*7 }} {% raw %}",
    "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31mred",
    "\u{202e}txt.exe\u{2066}",
    "two\nlines\r\n# heading",
    "javascript:alert(1)",
];

/// Every text that can come from a dump is hostile.
pub fn hostile() -> Sample {
    let mut sample = leak();
    let all = HOSTILE.join(" ");
    let long = format!("Deep<{}>", "Generic<".repeat(1_280));
    let sheet = &mut sample.sheet;
    sheet.subject.service.clone_from(&all);
    sheet.subject.node = HOSTILE[0].to_owned();
    sheet.subject.source.clone_from(&all);
    sheet.subject.captured_at = Some(all.clone());
    sheet.runtime.version = HOSTILE[1].to_owned();
    sheet.tool.clone_from(&all);
    sheet.facts.insert(all.clone(), text(&all));
    sheet.unknown.insert(all.clone(), all.clone());
    for (i, hostile) in HOSTILE.iter().enumerate() {
        for list in [
            "types",
            "statics",
            "ready",
            "duplicate_strings",
            "thread_names",
        ] {
            let rows = sheet.lists.entry(list.to_owned()).or_default();
            for column in ["type", "field", "value", "name"] {
                let name = if i == 0 { &long } else { *hostile };
                rows.insert(
                    0,
                    row(&[
                        (column, text(name)),
                        ("bytes", Value::Int(200 * MB)),
                        ("live_bytes", Value::Int(200 * MB)),
                        ("count", Value::Int(7)),
                    ]),
                );
            }
        }
    }
    let diagnosis = &mut sample.diagnosis;
    diagnosis.headline.clone_from(&all);
    diagnosis.runtime.version = HOSTILE[1].to_owned();
    diagnosis.completeness.problems = strings(&HOSTILE);
    diagnosis.not_judged = vec![NotJudged {
        rule: all.clone(),
        missing: strings(&HOSTILE),
    }];
    for finding in &mut diagnosis.findings {
        finding.title.clone_from(&all);
        finding.message.clone_from(&all);
        finding.culprit.clone_from(&long);
        finding.why_here.clone_from(&all);
        finding.fingerprint.clone_from(&all);
        finding.rule.clone_from(&all);
        finding.path = strings(&HOSTILE);
        finding.advice = strings(&HOSTILE);
        finding.verify = strings(&HOSTILE);
        finding.unknown = strings(&HOSTILE);
        for proof in &mut finding.evidence {
            proof.fact.clone_from(&all);
            proof.text.clone_from(&all);
            proof.meaning.clone_from(&all);
        }
    }
    sample
}

/// A service with a hundred thousand of everything: what a report must not grow with.
pub fn huge() -> Sample {
    let mut sample = leak();
    let many = 100_000;
    for rows in sample.sheet.lists.values_mut() {
        let first = rows[0].clone();
        rows.resize(many, first);
    }
    let finding = sample.diagnosis.findings[0].clone();
    sample.diagnosis.findings.resize(1000, finding);
    for finding in &mut sample.diagnosis.findings {
        finding.path = vec!["Node".to_owned(); 1000];
        finding.advice = vec!["Do something.".to_owned(); 100];
        finding.evidence = finding
            .evidence
            .first()
            .map_or_else(Vec::new, |proof| vec![proof.clone(); 100]);
    }
    sample.diagnosis.completeness.problems = vec!["A region could not be read.".to_owned(); many];
    for i in 0..2000 {
        sample
            .sheet
            .unknown
            .insert(format!("unknown.{i}"), "no reason".to_owned());
        sample
            .sheet
            .facts
            .insert(format!("fact.{i}"), Value::Int(i));
    }
    sample
}
