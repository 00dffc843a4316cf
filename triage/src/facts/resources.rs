//! Live objects of types that stand for something scarce or expensive: connections, sockets, processes, compiled caches.

use super::rows::{int, row, text};
use super::survey::Survey;
use leakhound_clr::TypeId;
use leakhound_rules::FactSheet;
use std::collections::BTreeMap;

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
    let mut counts: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (object, id) in (0u32..).zip(survey.objects.type_ids()) {
        if kinds.get(*id as usize).copied().flatten().is_some() && survey.is_live(object) {
            let (count, bytes) = counts.entry(*id).or_default();
            *count += 1;
            *bytes += survey.objects.size(object);
        }
    }
    let mut rows: Vec<Counted> = counts
        .into_iter()
        .filter_map(|(id, (count, bytes))| {
            let kind = kinds.get(id as usize).copied().flatten()?;
            let name = runtime.type_info(TypeId(id))?.name.clone();
            Some((count, kind, name, bytes))
        })
        .collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
    let rows = rows.into_iter().map(|(count, kind, name, bytes)| {
        row([
            ("type", text(name)),
            ("kind", text(kind)),
            ("count", int(count)),
            ("bytes", int(bytes)),
        ])
    });
    let rows = rows.collect();
    sheet.lists.insert("resources".to_owned(), rows);
}

/// Count, kind, type and bytes.
type Counted = (u64, &'static str, String, u64);

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
