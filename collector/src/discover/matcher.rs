//! Which service a process belongs to.

use crate::config::{Pattern, ServiceConfig};
use crate::identity::Identity;

/// The service of a process and the name it is archived under: the first service that matches owns it.
#[must_use]
pub fn owner<'c>(
    services: &'c [ServiceConfig],
    process: &Identity,
) -> Option<(&'c ServiceConfig, String)> {
    services
        .iter()
        .find(|service| matches(service, process))
        .map(|service| (service, archived_name(service, process)))
}

/// The name of a service; where the configured one is a pattern, the process's own.
fn archived_name(service: &ServiceConfig, process: &Identity) -> String {
    let name = &service.name.text;
    if !name.contains('*') {
        return name.clone();
    }
    if name.starts_with("fabric:/") {
        let fabric = process
            .env("Fabric_ServiceName")
            .or(process.env("Fabric_ApplicationName"));
        return fabric.unwrap_or(&process.name).to_owned();
    }
    process.name.clone()
}

/// Whether all matchers of a service fit.
#[must_use]
pub fn matches(service: &ServiceConfig, process: &Identity) -> bool {
    let m = &service.matcher;
    let text = |p: &Option<std::path::PathBuf>| p.as_ref().map(|p| p.display().to_string());
    let env = |name| process.env(name).unwrap_or_default();
    let command = process.arguments.join(" ");
    let executable = text(&process.executable).unwrap_or_default();
    let folder = text(&process.folder).unwrap_or_default();
    // One entry per matcher that is given.
    let given: Vec<bool> = [
        service.process.as_ref().map(|p| named(p, process)),
        m.process.as_ref().map(|p| named(p, process)),
        service.command.as_ref().map(|p| p.found_in(&command)),
        m.command.as_ref().map(|p| p.found_in(&command)),
        service.cgroup.as_ref().map(|p| p.found_in(&process.cgroup)),
        m.cgroup.as_ref().map(|p| p.found_in(&process.cgroup)),
        service.pid.map(|pid| pid == process.pid),
        m.pid.map(|pid| pid == process.pid),
        m.executable.as_ref().map(|p| p.matches(&executable)),
        m.folder.as_ref().map(|p| p.matches(&folder)),
        m.application
            .as_ref()
            .map(|p| p.matches(env("Fabric_ApplicationName"))),
        m.service
            .as_ref()
            .map(|p| p.matches(env("Fabric_ServiceName"))),
        m.service_package
            .as_ref()
            .map(|p| p.matches(env("Fabric_ServicePackageName"))),
        m.code_package
            .as_ref()
            .map(|p| p.matches(env("Fabric_CodePackageName"))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if given.is_empty() {
        return by_name(&service.name.text, process);
    }
    given.into_iter().all(|fits| fits)
}

/// Assembly, executable or `comm`.
fn named(pattern: &Pattern, process: &Identity) -> bool {
    let file = process
        .executable
        .as_ref()
        .and_then(|e| e.file_name()?.to_str());
    pattern.matches(&process.name)
        || pattern.matches(&process.comm)
        || file.is_some_and(|f| pattern.matches(f))
}

fn by_name(name: &str, process: &Identity) -> bool {
    let pattern = Pattern::new(name);
    if name.starts_with("fabric:/") {
        return ["Fabric_ServiceName", "Fabric_ApplicationName"]
            .iter()
            .any(|v| process.env(v).is_some_and(|v| pattern.matches(v)));
    }
    // A bare `*` must not sweep in shells and daemons.
    (!name.contains('*') || process.dotnet.is_some()) && named(&pattern, process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Match;
    use crate::identity::DotNet;

    fn cart() -> Identity {
        let mut i = Identity {
            pid: 40,
            name: "Shop.Cart".into(),
            comm: "dotnet".into(),
            arguments: ["dotnet", "/app/Shop.Cart.dll"].map(String::from).to_vec(),
            cgroup: "/system.slice/cart.service".into(),
            dotnet: Some(DotNet::default()),
            ..Identity::default()
        };
        i.environment
            .insert("Fabric_ServiceName".into(), "fabric:/Shop/Cart".into());
        i
    }

    #[test]
    fn a_name_alone_matches_fabric_names_and_process_names() {
        for (name, fits) in [
            ("fabric:/Shop/Cart", true),
            ("fabric:/Shop/*", true),
            ("fabric:/Shop", false),
            ("Shop.Cart", true),
            ("dotnet", true),
            ("Shop", false),
            ("*", true),
        ] {
            assert_eq!(
                matches(&ServiceConfig::named(name), &cart()),
                fits,
                "{name}"
            );
        }
        let shell = Identity {
            name: "bash".into(),
            ..Identity::default()
        };
        assert!(!matches(&ServiceConfig::named("*"), &shell));
    }

    #[test]
    fn all_matchers_given_must_fit() {
        let mut service = ServiceConfig::named("cart");
        service.command = Some(Pattern::new("Cart.dll"));
        assert!(matches(&service, &cart()));
        service.matcher = Match {
            cgroup: Some(Pattern::new("*/other.service")),
            ..Match::default()
        };
        assert!(!matches(&service, &cart()));
    }

    #[test]
    fn the_first_service_owns_a_process_and_a_pattern_takes_its_name() {
        let services = [
            ServiceConfig::named("nobody"),
            ServiceConfig::named("Shop.*"),
            ServiceConfig::named("*"),
        ];
        let (service, name) =
            owner(&services, &cart()).map_or((None, String::new()), |(s, n)| (Some(s), n));
        assert_eq!(service, Some(&services[1]));
        assert_eq!(name, "Shop.Cart");
    }
}
