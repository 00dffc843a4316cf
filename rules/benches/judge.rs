//! How many archived sheets one core judges in a second. Budget: 2,000.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leakhound_rules::vocabulary::{FACTS, Kind, LISTS};
use leakhound_rules::{FactSheet, Known, Row, RuleSet, Value, assess, judge};

/// Every fact known and every list full: what the walk of a large service writes. With `scale` 1 it is well,
/// with a large one nearly every rule fires.
fn full_sheet(rows: usize, scale: i64) -> FactSheet {
    let value = |kind: Kind, i: usize| match kind {
        Kind::Bool => Value::Bool(i.is_multiple_of(2)),
        Kind::Text => Value::Text(format!("Shop.Orders.Processing.Pipeline{i}<System.String>")),
        Kind::Texts => Value::Texts(vec![
            "static Shop.Cache.Quotes".to_owned(),
            "Dictionary<String, Quote>".to_owned(),
            "Quote".to_owned(),
        ]),
        Kind::Ratio => Value::Float(0.99),
        _ => Value::Int(600 * scale / (i as i64 + 1)),
    };
    let mut sheet = FactSheet::default();
    for (i, fact) in FACTS.iter().enumerate() {
        sheet
            .facts
            .insert(fact.name.to_owned(), value(fact.kind, i));
    }
    for list in LISTS {
        let row = |i: usize| -> Row {
            list.columns
                .iter()
                .map(|(name, kind, _)| ((*name).to_owned(), value(*kind, i)))
                .collect()
        };
        sheet
            .lists
            .insert(list.name.to_owned(), (0..rows).map(row).collect());
    }
    sheet
}

fn judging(criterion: &mut Criterion) {
    let set = RuleSet::shipped();
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(1));
    for (name, rows, scale) in [("well", 50, 1), ("well", 200, 1), ("ill", 50, 1_000_000)] {
        let sheet = full_sheet(rows, scale);
        let json = serde_json::to_vec(&sheet).unwrap_or_default();
        let findings = judge(&sheet, &set).findings.len();
        let about = format!("{name}, {} KB, {findings} findings", json.len() / 1000);
        group.bench_function(format!("{about}: assess"), |b| {
            b.iter(|| assess(black_box(&sheet), &set, Known::default()));
        });
        group.bench_function(format!("{about}: judge, with a copy of the facts"), |b| {
            b.iter(|| judge(black_box(&sheet), &set));
        });
        group.bench_function(format!("{about}: assess, from its JSON"), |b| {
            b.iter(|| {
                let sheet: FactSheet = serde_json::from_slice(black_box(&json)).unwrap_or_default();
                assess(&sheet, &set, Known::default())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, judging);
criterion_main!(benches);
