//! The version of the service itself: that of the assembly the process was started with.

use leakhound_clr::{ProcessStart, Runtime};
use leakhound_rules::FactSheet;

/// Writes `subject.version`: the version in the entry assembly's metadata, `2.4.0.0`.
///
/// `dotnet Cart.dll` names the assembly; an apphost `Cart` or `Cart.exe` has it beside it under its own name.
pub fn write(runtime: &Runtime, start: Option<&ProcessStart>, sheet: &mut FactSheet) {
    let Some(name) = start.and_then(|start| entry_name(&start.arguments)) else {
        return;
    };
    let modules = runtime.modules();
    let entry = modules
        .iter()
        .filter(|module| !module.dynamic)
        .find(|module| module.name.strip_suffix(".dll").unwrap_or(&module.name) == name);
    sheet.subject.version = entry
        .and_then(|module| module.version)
        .map(|version| version.map(|n| n.to_string()).join("."));
}

fn entry_name(arguments: &[String]) -> Option<String> {
    let stem = |path: &str| {
        let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = file
            .strip_suffix(".dll")
            .or_else(|| file.strip_suffix(".exe"))
            .unwrap_or(file);
        (!stem.is_empty()).then(|| stem.to_owned())
    };
    let host = stem(arguments.first()?)?;
    if !host.eq_ignore_ascii_case("dotnet") {
        return Some(host);
    }
    let assembly = arguments.iter().skip(1).find(|a| a.ends_with(".dll"))?;
    stem(assembly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_assembly_is_named_by_the_command_line() {
        for (arguments, expected) in [
            (
                &["/usr/bin/dotnet", "/srv/Shop.Cart.dll", "x.dll"][..],
                Some("Shop.Cart"),
            ),
            (
                &["dotnet", "exec", "--depsfile", "a.json", "App.dll"],
                Some("App"),
            ),
            (&[r"C:\sf\Shop.Cart.exe", "--port"], Some("Shop.Cart")),
            (&["./Shop.Cart"], Some("Shop.Cart")),
            (&["dotnet", "run"], None),
            (&[], None),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(entry_name(&arguments).as_deref(), expected, "{arguments:?}");
        }
    }
}
