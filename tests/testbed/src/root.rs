//! Turns a self-contained publish folder into a DOTNET_ROOT that can run any program.
//!
//! A self-contained program carries the whole shared framework beside itself; its deps.json lists which files belong
//! to the framework. They are moved to `shared/NAME/VERSION`, the host resolver to `host/fxr/VERSION`, and the list is
//! written again as the framework's own deps.json. The `dotnet` of .NET Core 3.1 drives every later resolver.

use crate::error::{Error, IoContext, Result};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The framework that every program needs.
pub(crate) const CORE: &str = "Microsoft.NETCore.App";

/// What the files of a root are called on a system.
pub(crate) struct System {
    /// The program that runs others.
    pub muxer: &'static str,
    resolver: &'static str,
    rid: &'static str,
    /// Files of the core framework that its own list omits.
    unlisted: &'static [&'static str],
}

/// Linux x64.
pub(crate) const LINUX: System = System {
    muxer: "dotnet",
    resolver: "libhostfxr.so",
    rid: "linux-x64",
    unlisted: &[
        "createdump",
        "libmscordaccore.so",
        "libmscordbi.so",
        "libhostpolicy.so",
    ],
};

/// Windows x64.
pub(crate) const WINDOWS: System = System {
    muxer: "dotnet.exe",
    resolver: "hostfxr.dll",
    rid: "win-x64",
    unlisted: &["hostpolicy.dll"],
};

/// One framework as the publish folder describes it.
struct Framework {
    name: String,
    version: String,
    managed: Map<String, Value>,
    native: Map<String, Value>,
}

/// Writes the root into `into` from the publish folder `from`, with a copy of `muxer`.
///
/// `replaced` names assemblies per framework that the publish took from newer packages, so that the framework's list
/// lacks them though the files are there.
pub(crate) fn build(
    system: &System,
    from: &Path,
    muxer: &Path,
    into: &Path,
    replaced: &[(&str, &[&str])],
) -> Result<()> {
    let frameworks = read_frameworks(from)?;
    std::fs::create_dir_all(into).doing("create", into)?;
    copy(muxer, &into.join(system.muxer), true)?;
    let core_version = frameworks
        .iter()
        .find(|framework| framework.name == CORE)
        .map(|framework| framework.version.clone())
        .ok_or_else(|| content(from, format!("it carries no {CORE}")))?;
    for mut framework in frameworks {
        let folder = into
            .join("shared")
            .join(&framework.name)
            .join(&framework.version);
        std::fs::create_dir_all(&folder).doing("create", &folder)?;
        for (name, files) in replaced {
            if *name == framework.name {
                for file in *files {
                    framework.managed.insert(
                        (*file).to_owned(),
                        json!({ "assemblyVersion": "9.0.0.0", "fileVersion": "9.0.0.0" }),
                    );
                }
            }
        }
        place_files(system, from, &folder, &mut framework)?;
        write_lists(system, &folder, &framework, &core_version)?;
        if framework.name == CORE {
            let resolver = into.join("host").join("fxr").join(&framework.version);
            std::fs::create_dir_all(&resolver).doing("create", &resolver)?;
            copy(
                &from.join(system.resolver),
                &resolver.join(system.resolver),
                false,
            )?;
        }
    }
    Ok(())
}

fn read_frameworks(from: &Path) -> Result<Vec<Framework>> {
    let config_path = find(from, ".runtimeconfig.json")?;
    let config = read_json(&config_path)?;
    let deps_path = find(from, ".deps.json")?;
    let deps = read_json(&deps_path)?;
    let included = config["runtimeOptions"]["includedFrameworks"]
        .as_array()
        .ok_or_else(|| {
            content(
                &config_path,
                "no includedFrameworks: not a self-contained program".to_owned(),
            )
        })?;
    let mut frameworks = Vec::new();
    for entry in included {
        let (Some(name), Some(version)) = (entry["name"].as_str(), entry["version"].as_str())
        else {
            return Err(content(
                &config_path,
                "a framework without name or version".to_owned(),
            ));
        };
        // Keys look like runtimepack.Microsoft.NETCore.App.Runtime.linux-x64/8.0.32
        let prefix = format!("runtimepack.{name}.Runtime.");
        let pack = deps["targets"]
            .as_object()
            .into_iter()
            .flat_map(|targets| targets.values())
            .filter_map(Value::as_object)
            .flatten()
            .find(|(key, _)| key.starts_with(&prefix))
            .map(|(_, pack)| pack)
            .ok_or_else(|| content(&deps_path, format!("no entry starts with {prefix}")))?;
        let list = |kind: &str| pack[kind].as_object().cloned().unwrap_or_default();
        frameworks.push(Framework {
            name: name.to_owned(),
            version: version.to_owned(),
            managed: list("runtime"),
            native: list("native"),
        });
    }
    Ok(frameworks)
}

/// Copies what the list names, keeps in the list what was there.
fn place_files(
    system: &System,
    from: &Path,
    folder: &Path,
    framework: &mut Framework,
) -> Result<()> {
    for list in [&mut framework.managed, &mut framework.native] {
        let mut placed = Map::new();
        for (path, meta) in std::mem::take(list) {
            let Some(file) = Path::new(&path).file_name() else {
                continue;
            };
            let source = from.join(file);
            if source.is_file() {
                copy(&source, &folder.join(file), false)?;
                placed.insert(file.to_string_lossy().into_owned(), meta);
            }
        }
        *list = placed;
    }
    if framework.name == CORE {
        for file in system.unlisted {
            let source = from.join(file);
            if source.is_file() {
                copy(&source, &folder.join(file), true)?;
            }
        }
    }
    Ok(())
}

fn write_lists(
    system: &System,
    folder: &Path,
    framework: &Framework,
    core_version: &str,
) -> Result<()> {
    let Framework {
        name,
        version,
        managed,
        native,
    } = framework;
    let short: String = version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let target = format!(".NETCoreApp,Version=v{short}");
    let rid = system.rid;
    let library = format!("{name}.Runtime.{rid}/{version}");
    let with_rid = format!("{target}/{rid}");
    let deps = json!({
        "runtimeTarget": { "name": with_rid, "signature": "" },
        "compilationOptions": {},
        "targets": {
            &target: {},
            &with_rid: { &library: { "runtime": managed, "native": native } },
        },
        "libraries": {
            &library: { "type": "package", "serviceable": true, "sha512": "", "path": "" },
        },
    });
    write_json(&folder.join(format!("{name}.deps.json")), &deps)?;
    if name != CORE {
        let config = json!({
            "runtimeOptions": {
                "tfm": format!("net{short}"),
                "framework": { "name": CORE, "version": core_version },
            },
        });
        write_json(&folder.join(format!("{name}.runtimeconfig.json")), &config)?;
    }
    Ok(())
}

fn find(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .doing("list", folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    found
        .into_iter()
        .next()
        .ok_or_else(|| content(folder, format!("no file ends with {ending}")))
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).doing("read", path)?;
    serde_json::from_slice(&text).map_err(|error| content(path, error.to_string()))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    std::fs::write(path, value.to_string()).doing("write", path)
}

/// Copies and, for programs, makes executable: unpacking a wheel loses the mode.
pub(crate) fn copy(from: &Path, to: &Path, executable: bool) -> Result<()> {
    std::fs::copy(from, to).doing("copy", from)?;
    set_mode(to, executable)
}

#[cfg(unix)]
fn set_mode(path: &Path, executable: bool) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if executable { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).doing("chmod", path)
}

#[cfg(not(unix))]
fn set_mode(_path: &Path, _executable: bool) -> Result<()> {
    Ok(())
}

fn content(path: &Path, why: String) -> Error {
    Error::Content {
        path: path.to_owned(),
        why,
    }
}
