//! Live objects of types that stand for something scarce or expensive: connections, sockets, processes, compiled caches.

use super::path::Paths;
use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_clr::TypeId;
use leakhound_rules::{FactSheet, Value};
use std::collections::BTreeMap;

/// Types that a sheet names.
const KEEP: usize = 60;

/// Type definitions that are counted, with what they stand for. Types that derive from them count as theirs.
const RESOURCES: &[(&str, &str)] = &[
    ("System.Data.Common.DbConnection", "connection"),
    ("System.Net.Sockets.Socket", "connection"),
    ("System.Net.Sockets.TcpClient", "connection"),
    ("System.Net.Http.HttpMessageInvoker", "http client"),
    ("System.Net.Http.HttpMessageHandler", "http handler"),
    ("System.Net.WebSockets.WebSocket", "connection"),
    ("System.IO.Pipes.PipeStream", "connection"),
    ("System.IO.FileStream", "file"),
    ("System.IO.FileSystemWatcher", "watcher"),
    ("System.Diagnostics.Process", "process"),
    (
        "System.Security.Cryptography.X509Certificates.X509Certificate",
        "certificate",
    ),
    ("System.Threading.WaitHandle", "wait handle"),
    ("System.Text.Json.JsonSerializerOptions", "cache"),
    ("System.Text.RegularExpressions.Regex", "cache"),
    ("System.Xml.Serialization.XmlSerializer", "cache"),
    ("System.Diagnostics.Metrics.Instrument", "instrument"),
    ("Microsoft.EntityFrameworkCore.DbContext", "db context"),
    (
        "Microsoft.Extensions.DependencyInjection.ServiceProvider",
        "container",
    ),
    ("System.Reflection.Emit.DynamicMethod", "dynamic method"),
];

/// Writes `resources`.
pub fn write(survey: &Survey<'_>, sheet: &mut FactSheet) {
    let runtime = survey.runtime;
    let kinds: Vec<Option<&'static str>> = (0u32..)
        .take(runtime.type_count())
        .map(|id| kind_of(survey, TypeId(id)))
        .collect();
    let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (object, id) in (0u32..).zip(survey.objects.type_ids()) {
        if kinds.get(*id as usize).copied().flatten().is_some() && survey.is_live(object) {
            found.entry(*id).or_default().push(object);
        }
    }
    let mut types: Vec<(u32, Vec<u32>)> = found.into_iter().collect();
    types.sort_by_key(|(id, objects)| {
        let table = runtime.table_of(TypeId(*id));
        (std::cmp::Reverse(objects.len()), table)
    });
    let mut paths = Paths::new(survey);
    let rows = types.into_iter().take(KEEP).filter_map(|(id, objects)| {
        let kind = kinds.get(id as usize).copied().flatten()?;
        let heaviest = objects
            .iter()
            .copied()
            .max_by_key(|object| (survey.retained(*object), std::cmp::Reverse(*object)));
        let path = heaviest.and_then(|object| paths.to(object));
        let bytes = objects
            .iter()
            .map(|object| survey.objects.size(*object))
            .sum();
        Some(row([
            ("type", text(runtime.type_info(TypeId(id))?.name.clone())),
            ("kind", text(kind)),
            ("count", int(objects.len() as u64)),
            ("bytes", int(bytes)),
            (
                "path",
                Value::Texts(path.map(|path| path.steps).unwrap_or_default()),
            ),
            ("retained", int(survey.retained_together(objects))),
        ]))
    });
    let rows = rows.collect();
    sheet.lists.insert("resources".to_owned(), rows);
}

fn kind_of(survey: &Survey<'_>, id: TypeId) -> Option<&'static str> {
    let info = survey.runtime.type_info(id)?;
    if info.array || info.string || info.value_type {
        return None;
    }
    survey.runtime.base_types(id).into_iter().find_map(|base| {
        let info = survey.runtime.type_info(base)?;
        let known = RESOURCES.iter().find(|(name, _)| info.raw_name == *name);
        known.map(|(_, kind)| *kind)
    })
}
