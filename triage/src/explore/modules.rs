//! `modules`: loaded assemblies and native libraries.

use super::table::{Cell, Column, ColumnKind, Table};
use super::{ExploreError, Query, Scene, View};
use leakhound_clr::NoRuntime;
use std::collections::HashSet;

pub(super) const VIEW: View = View {
    name: "modules",
    about: "loaded assemblies and native libraries: version, MVID, where they lie",
    argument: None,
    columns: &[
        Column::new("name", ColumnKind::Name),
        Column::new("path", ColumnKind::Name),
        Column::new("kind", ColumnKind::Word),
        Column::new("version", ColumnKind::Word),
        Column::new("mvid", ColumnKind::Word).titled("MVID or build id"),
        Column::new("base", ColumnKind::Address),
        Column::new("bytes", ColumnKind::Bytes).summed(),
        Column::new("metadata", ColumnKind::Word),
    ],
    sort: "name",
    share: None,
    read,
};

fn read(scene: &mut Scene<'_>, _query: &Query) -> Result<Table, ExploreError> {
    let mut table = Table::default();
    let mut managed = Vec::new();
    match scene.runtime(false) {
        Ok(runtime) => managed = runtime.modules(),
        // Native modules are told without a runtime too.
        Err(error @ NoRuntime::NotDotNet { .. }) => table.notes.push(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    let mut bases = HashSet::new();
    let mut paths = HashSet::new();
    for module in managed {
        bases.insert(module.base);
        paths.extend(module.path.clone());
        table.rows.push(vec![
            module.name.into(),
            module.path.into(),
            if module.dynamic { "dynamic" } else { "managed" }.into(),
            module.version.map(version).into(),
            module.mvid.into(),
            if module.base == 0 {
                Cell::Null
            } else {
                Cell::Address(module.base)
            },
            module.image_bytes.into(),
            if module.has_metadata {
                "yes"
            } else {
                "missing"
            }
            .into(),
        ]);
    }
    for module in &scene.subject.image.modules {
        let path = module.path.display().to_string();
        // The runtime may have mapped an assembly twice: flat and loaded.
        if bases.contains(&module.base) || paths.contains(&path) {
            continue;
        }
        let id: String = module.build_id.iter().map(|b| format!("{b:02x}")).collect();
        table.rows.push(vec![
            module.file_name().into(),
            path.into(),
            "native".into(),
            module.version.map(version).into(),
            Some(id).filter(|id| !id.is_empty()).into(),
            Cell::Address(module.base),
            module.size.into(),
            Cell::Null,
        ]);
    }
    Ok(table)
}

fn version(v: [u16; 4]) -> String {
    format!("{}.{}.{}.{}", v[0], v[1], v[2], v[3])
}
