//! Sheets for tests, with facts as a person writes them.
#![allow(clippy::unwrap_used)]

use leakhound_rules::units::Quantity;
use leakhound_rules::vocabulary::{Kind, fact_named, list_named};
use leakhound_rules::{Diagnosis, FactSheet, Row, RuleSet, Value, judge};

/// Facts as a person writes them: `loh.free = 600 MB`.
pub fn with(sheet: &mut FactSheet, facts: &[(&str, &str)]) {
    for (name, text) in facts {
        let fact = fact_named(name).unwrap_or_else(|| panic!("{name}"));
        sheet
            .facts
            .insert((*name).to_owned(), value(text, fact.kind));
    }
}

pub fn value(text: &str, kind: Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(text == "true"),
        Kind::Text => Value::Text(text.to_owned()),
        Kind::Texts => Value::Texts(text.split(" > ").map(str::to_owned).collect()),
        Kind::Ratio => Value::Float(Quantity::parse(text).unwrap().value),
        _ => Value::Int(Quantity::parse(text).unwrap().value as i64),
    }
}

pub fn row(list: &str, cells: &[(&str, &str)]) -> Row {
    let list = list_named(list).unwrap();
    cells
        .iter()
        .map(|(name, text)| {
            let kind = list.columns.iter().find(|(n, _, _)| n == name).unwrap().1;
            ((*name).to_owned(), value(text, kind))
        })
        .collect()
}

pub fn rows(sheet: &mut FactSheet, list: &str, all: &[&[(&str, &str)]]) {
    let rows = all.iter().map(|cells| row(list, cells)).collect();
    sheet.lists.insert(list.to_owned(), rows);
}

/// Collections, handlers, timers and the like of a service that is well.
fn what_lives(sheet: &mut FactSheet) {
    rows(
        sheet,
        "collections",
        &[&[
            (
                "type",
                "System.Collections.Generic.Dictionary<String, Object>",
            ),
            ("count", "4_000"),
            ("elements", "60_000"),
            ("capacity", "95_000"),
            ("empty", "300"),
            ("wasted", "1 MB"),
        ]],
    );
    rows(
        sheet,
        "queues",
        &[&[
            ("queue", "Shop.Orders.Inbox.pending"),
            ("type", "ConcurrentQueue<Order>"),
            ("elements", "140"),
            ("retained", "80 KB"),
        ]],
    );
    rows(sheet, "event_handlers", &[]);
    rows(sheet, "held_locks", &[]);
    rows(sheet, "mapped_files", &[]);
    with(
        sheet,
        &[("sockets.open", "240"), ("sockets.close_wait", "3")],
    );
    let lines: [(&str, &str); 5] = [
        ("type", "Shop.Cart.Line"),
        ("holder", "Line[]"),
        ("root", "stack of a thread"),
        ("count", "900"),
        ("bytes", "90 KB"),
    ];
    rows(sheet, "accumulations", &[&lines]);
    let pool: [(&str, &str); 5] = [
        ("type", "System.Buffers.SharedArrayPool<Byte>"),
        ("count", "1"),
        ("elements", "40"),
        ("largest", "40"),
        ("retained", "2 MB"),
    ];
    rows(sheet, "shapes", &[&pool]);
    rows(sheet, "exceptions", &[]);
    let timers: [(&str, &str); 4] = [
        ("calls", "System.Threading.CancellationTokenSource"),
        ("count", "60"),
        ("bytes", "5 KB"),
        ("retained", "20 KB"),
    ];
    rows(sheet, "timers", &[&timers]);
    let registrations: [(&str, &str); 4] = [
        ("registered_by", "System.Net.Sockets.SocketAsyncEventArgs"),
        ("count", "41"),
        ("bytes", "3 KB"),
        ("retained", "9 KB"),
    ];
    rows(sheet, "registrations", &[&registrations]);
    let calls: [(&str, &str); 4] = [
        ("method", "Shop.Cart.AddAsync (async)"),
        ("count", "25"),
        ("bytes", "4 KB"),
        ("retained", "60 KB"),
    ];
    rows(sheet, "async_calls", &[&calls]);
    let sockets: [(&str, &str); 4] = [
        ("type", "System.Net.Sockets.Socket"),
        ("kind", "connection"),
        ("count", "30"),
        ("bytes", "6 KB"),
    ];
    rows(sheet, "resources", &[&sockets]);
    let buffers: [(&str, &str); 3] = [
        ("type", "System.Byte[]"),
        ("count", "12"),
        ("bytes", "10 MB"),
    ];
    rows(sheet, "large_arrays", &[&buffers]);
    let finalizable: [(&str, &str); 3] = [
        ("type", "Microsoft.Win32.SafeHandles.SafeSocketHandle"),
        ("count", "30"),
        ("bytes", "2 KB"),
    ];
    rows(sheet, "finalizable", &[&finalizable]);
}

/// A service that is well: 400 MB committed, 120 MB of live objects.
pub fn healthy() -> FactSheet {
    let mut sheet = FactSheet::default();
    sheet.runtime.name = ".NET".to_owned();
    sheet.runtime.version = "8.0.32".to_owned();
    sheet.completeness.heap = Some(1.0);
    sheet.completeness.names = Some(1.0);
    sheet.completeness.references = Some(1.0);
    sheet.completeness.during_gc = Some(false);
    with(
        &mut sheet,
        &[
            ("threads", "34"),
            ("threads.dead", "3"),
            ("rss", "420 MB"),
            ("rss.shared", "2 MB"),
            ("gc.server", "false"),
            ("modules.dynamic", "2"),
            ("contexts.count", "1"),
            ("contexts.collectible", "0"),
            ("contexts.unloading", "0"),
            ("limit", "2 GB"),
            ("limit_used", "420 MB"),
            ("limit_share", "21%"),
            ("limit_file", "20 MB"),
            ("memory.commit", "400 MB"),
            ("memory.images", "20 MB"),
            ("memory.stacks", "51 MB"),
            ("memory.gc", "250 MB"),
            ("memory.gc_live", "120 MB"),
            ("memory.gc_garbage", "60 MB"),
            ("memory.gc_free", "10 MB"),
            ("memory.gc_empty", "60 MB"),
            ("memory.runtime", "40 MB"),
            ("memory.native", "25 MB"),
            ("memory.mapped_files", "4 MB"),
            ("memory.unattributed", "10 MB"),
            ("heap.committed", "250 MB"),
            ("heap.used", "180 MB"),
            ("heap.free", "10 MB"),
            ("heap.empty", "60 MB"),
            ("heap.live", "120 MB"),
            ("heap.garbage", "60 MB"),
            ("loh.committed", "20 MB"),
            ("loh.free", "2 MB"),
            ("loh.largest_free", "1 MB"),
            ("poh.committed", "1 MB"),
            ("poh.used", "100 KB"),
            ("soh.committed", "220 MB"),
            ("soh.free", "8 MB"),
            ("gen2.committed", "180 MB"),
            ("gen2.free", "7 MB"),
            ("soh.pinned_free", "200 KB"),
            ("gc.in_progress", "false"),
            ("finalizer.registered", "2_400"),
            ("finalizer.ready", "12"),
            ("finalizer.ready_bytes", "1 KB"),
            ("finalizer.ready_retained", "20 KB"),
            ("finalizer.thread_busy", "false"),
            ("handles.total", "900"),
            ("handles.strong", "120"),
            ("handles.pinned", "25"),
            ("handles.pinned_bytes", "200 KB"),
            ("handles.async_pinned", "0"),
            ("handles.weak", "300"),
            ("handles.weak_dead", "40"),
            ("handles.dependent", "90"),
            ("strings.count", "300_000"),
            ("strings.bytes", "22 MB"),
            ("strings.duplicate_bytes", "9 MB"),
            ("threads.managed", "28"),
            ("threads.stack_bytes", "4 MB"),
            ("threadpool.queued", "3"),
            ("cancellation.largest_source", "41"),
        ],
    );
    what_lives(&mut sheet);
    rows(
        &mut sheet,
        "types",
        &[&[
            ("type", "System.String"),
            ("count", "300_000"),
            ("bytes", "22 MB"),
            ("live_bytes", "18 MB"),
        ]],
    );
    rows(
        &mut sheet,
        "statics",
        &[&[
            ("field", "Shop.Program.host"),
            ("type", "Host"),
            ("thread_static", "false"),
            ("owned", "11 MB"),
            ("retained", "11 MB"),
        ]],
    );
    rows(
        &mut sheet,
        "pinned",
        &[&[
            ("type", "System.Object[]"),
            ("generation", "poh"),
            ("count", "8"),
            ("bytes", "200 KB"),
            ("free_nearby", "0 B"),
        ]],
    );
    rows(&mut sheet, "handle_targets", &[]);
    rows(&mut sheet, "ready", &[]);
    rows(&mut sheet, "duplicate_strings", &[]);
    rows(
        &mut sheet,
        "thread_names",
        &[&[("name", ".NET TP Worker"), ("count", "14")]],
    );
    rows(
        &mut sheet,
        "native_regions",
        &[&[
            ("kind", "malloc arenas"),
            ("count", "4"),
            ("bytes", "20 MB"),
        ]],
    );
    sheet
}

pub fn leaking_static() -> FactSheet {
    let mut sheet = healthy();
    with(
        &mut sheet,
        &[
            ("memory.commit", "1.38 GB"),
            ("memory.gc", "1.2 GB"),
            ("heap.committed", "1.2 GB"),
            ("heap.used", "1.05 GB"),
            ("heap.live", "990 MB"),
            ("heap.garbage", "60 MB"),
            ("soh.committed", "1.1 GB"),
        ],
    );
    rows(
        &mut sheet,
        "statics",
        &[
            &[
                ("field", "Shop.Pricing.QuoteCache.Quotes"),
                ("type", "Dictionary<String, Quote>"),
                ("thread_static", "false"),
                ("owned", "870 MB"),
                ("retained", "870 MB"),
                ("elements", "412_310"),
                (
                    "path",
                    "static Shop.Pricing.QuoteCache.Quotes > Dictionary<String, Quote> > Quote[]",
                ),
            ],
            &[
                ("field", "Shop.Program.host"),
                ("type", "Host"),
                ("thread_static", "false"),
                ("owned", "11 MB"),
                ("retained", "11 MB"),
            ],
        ],
    );
    sheet
}

pub fn first(sheet: &FactSheet) -> (Diagnosis, String) {
    let diagnosis = judge(sheet, &RuleSet::shipped());
    let ranked: Vec<String> = diagnosis.findings.iter().map(|f| f.rule.clone()).collect();
    (diagnosis, ranked.join(" "))
}
