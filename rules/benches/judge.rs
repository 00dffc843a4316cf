//! How many archived sheets one core judges in a second. Budget: 2,000.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use leakhound_rules::vocabulary::{FACTS, Kind, LISTS};
use leakhound_rules::{FactSheet, Row, RuleSet, Value, judge};

/// Every fact known and every list full: what the walk of a large service writes.
fn full_sheet(rows: usize) -> FactSheet {
    let value = |kind: Kind, i: usize| match kind {
        Kind::Bool => Value::Bool(i.is_multiple_of(2)),
        Kind::Text => Value::Text(format!("Shop.Orders.Processing.Pipeline{i}<System.String>")),
        Kind::Texts => Value::Texts(vec![
            "static Shop.Cache.Quotes".to_owned(),
            "Dictionary<String, Quote>".to_owned(),
            "Quote".to_owned(),
        ]),
        Kind::Ratio => Value::Float(0.5),
        _ => Value::Int(300_000_000 / (i as i64 + 1)),
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
    let rules = RuleSet::shipped();
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(1));
    for rows in [20, 100] {
        let sheet = full_sheet(rows);
        let json = serde_json::to_vec(&sheet).unwrap_or_default();
        group.bench_function(format!("sheet with {rows} rows per list"), |b| {
            b.iter(|| judge(black_box(&sheet), &rules));
        });
        group.bench_function(
            format!("the same from its JSON ({} KB)", json.len() / 1000),
            |b| {
                b.iter(|| {
                    let sheet: FactSheet =
                        serde_json::from_slice(black_box(&json)).unwrap_or_default();
                    judge(&sheet, &rules)
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, judging);
criterion_main!(benches);
