//! HTTP connections by the host that they lead to.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use crate::child::Strings;
use crate::known::{self, Reader, http};
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Hosts that a sheet names.
const KEEP: usize = 50;

#[derive(Default)]
struct Tally {
    pools: u64,
    connections: u64,
    largest: Option<(u64, u32)>,
}

/// Writes `http_pools`.
pub fn write(survey: &Survey<'_>, strings: Strings, sheet: &mut FactSheet) {
    let runtime = survey.runtime;
    let pool = (0u32..).take(runtime.type_count()).find(|id| {
        runtime
            .type_info(TypeId(*id))
            .is_some_and(|info| info.raw_name == http::POOL)
    });
    let reader = Reader::new(runtime);
    let mut hosts: BTreeMap<String, Tally> = BTreeMap::new();
    let objects = (0u32..).zip(survey.objects.type_ids());
    let pools = objects.filter(|(object, id)| Some(**id) == pool && survey.is_live(*object));
    for (object, id) in pools {
        let view = reader.view_as(survey.objects.address(object), TypeId(*id));
        let reading = known::shape_of(http::POOL).and_then(|shape| (shape.read)(&view));
        let (Some((name, port)), Some(reading)) = (view.http_host(), reading) else {
            continue;
        };
        let host = match strings {
            Strings::Scrubbed => format!("{name}:{port}"),
            Strings::Hashed => {
                let mut hasher = DefaultHasher::new();
                name.hash(&mut hasher);
                format!("host #{:08x}, port {port}", hasher.finish() >> 32)
            }
        };
        let tally = hosts.entry(host).or_default();
        tally.pools += 1;
        tally.connections += reading.count;
        tally.largest = tally.largest.max(Some((reading.count, object)));
    }
    let mut hosts: Vec<(String, Tally)> = hosts.into_iter().collect();
    hosts.sort_by_key(|(_, tally)| std::cmp::Reverse((tally.connections, tally.pools)));
    let mut paths = Paths::new(survey);
    let rows = hosts.into_iter().take(KEEP).map(|(host, tally)| {
        let path = tally.largest.and_then(|(_, object)| paths.to(object));
        row([
            ("host", text(host)),
            ("connections", int(tally.connections)),
            ("pools", int(tally.pools)),
            (
                "path",
                Value::Texts(path.map(|path| path.steps).unwrap_or_default()),
            ),
        ])
    });
    let rows = rows.collect();
    sheet.lists.insert("http_pools".to_owned(), rows);
}
