//! What a process is called, and which of its variables are kept; the same on every system.

use std::collections::BTreeMap;
use std::path::Path;

/// The variables that tell who a process is, secret shapes masked.
pub fn kept_environment(all: &[String]) -> BTreeMap<String, String> {
    all.iter()
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| {
            ["DOTNET_", "COMPlus_", "Fabric_"]
                .iter()
                .any(|p| name.starts_with(p))
                || *name == "TMPDIR"
        })
        .map(|(name, value)| {
            let value = if crate::mask::is_secret_name(name) {
                "***".to_owned()
            } else {
                crate::mask::value(value)
            };
            (name.to_owned(), value)
        })
        .collect()
}

/// `Shop.Cart` of `dotnet /app/Shop.Cart.dll`, else the executable's file name, else `comm`.
pub fn name_of(arguments: &[String], executable: Option<&Path>, comm: &str) -> String {
    let file_name = |p: &Path| p.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let host = executable.and_then(file_name).unwrap_or_default();
    let host = host.trim_end_matches(" (deleted)");
    // On Windows every program's file has this ending; a service is called the same on both systems.
    let host = host.strip_suffix(".exe").unwrap_or(host);
    if host == "dotnet" {
        // `dotnet [host options] X.dll [arguments]`, or `dotnet exec … X.dll`.
        let assembly = arguments.iter().skip(1).find(|a| {
            let a = a.to_ascii_lowercase();
            !a.starts_with('-') && (a.ends_with(".dll") || a.ends_with(".exe"))
        });
        if let Some(stem) = assembly.and_then(|a| Path::new(a).file_stem()?.to_str()) {
            return stem.to_owned();
        }
    }
    if host.is_empty() {
        comm.to_owned()
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(arguments: &[&str], executable: &str) -> String {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        name_of(&arguments, Some(Path::new(executable)), "comm")
    }

    #[test]
    fn the_assembly_names_a_framework_dependent_service() {
        assert_eq!(
            name(
                &["dotnet", "/app/Shop.Cart.dll", "--x.dll"],
                "/usr/bin/dotnet"
            ),
            "Shop.Cart"
        );
        assert_eq!(
            name(
                &["dotnet", "exec", "--depsfile", "a.json", "Web.dll"],
                "/d/dotnet"
            ),
            "Web"
        );
        assert_eq!(name(&["/app/Worker", "a.dll"], "/app/Worker"), "Worker");
        assert_eq!(name(&["dotnet", "--version"], "/d/dotnet"), "dotnet");
        assert_eq!(name(&["dotnet.exe", "Web.dll"], "/d/dotnet.exe"), "Web");
        assert_eq!(name(&["Worker.exe"], "/app/Worker.exe"), "Worker");
    }
}
