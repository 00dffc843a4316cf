//! Which service a process belongs to.

use crate::config::{Pattern, ServiceConfig};
use crate::identity::Identity;
use leakhound_archive::manifest::KubernetesRecord;

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
    if let (Some(_), Some(record)) = (&service.matcher.kubernetes, &process.kubernetes)
        && let Some(name) = kubernetes_name(record)
    {
        return name;
    }
    if name.starts_with("fabric:/") {
        let fabric = process.fabric.as_ref();
        let mut services = fabric
            .into_iter()
            .flat_map(|f| f.replicas.iter().map(|r| &r.service));
        // Several replicas of one service are that service; a process that services share goes by the application.
        let service = services
            .next()
            .filter(|first| services.all(|other| other == *first));
        let name = service.or_else(|| fabric?.application.as_ref());
        return name.unwrap_or(&process.name).clone();
    }
    process.name.clone()
}

/// Whether all matchers of a service fit.
#[must_use]
pub fn matches(service: &ServiceConfig, process: &Identity) -> bool {
    let m = &service.matcher;
    let text = |p: &Option<std::path::PathBuf>| p.as_ref().map(|p| p.display().to_string());
    let fabric = process.fabric.as_ref();
    let is =
        |pattern: &Pattern, own: Option<&String>| pattern.matches(own.map_or("", String::as_str));
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
        m.fabric.as_ref().map(|p| in_fabric(p, process)),
        // As with a name alone: one for many takes no shells and sidecars.
        m.kubernetes.as_ref().map(|p| {
            let for_many = service.name.text.contains('*');
            (!for_many || process.dotnet.is_some()) && in_kubernetes(p, process)
        }),
        m.application
            .as_ref()
            .map(|p| is(p, fabric.and_then(|f| f.application.as_ref()))),
        m.application_type
            .as_ref()
            .map(|p| is(p, fabric.and_then(|f| f.application_type.as_ref()))),
        m.service.as_ref().map(|p| {
            let mut replicas = fabric.into_iter().flat_map(|f| &f.replicas);
            replicas.any(|replica| p.matches(&replica.service))
        }),
        m.service_package
            .as_ref()
            .map(|p| is(p, fabric.and_then(|f| f.service_package.as_ref()))),
        m.code_package
            .as_ref()
            .map(|p| is(p, fabric.and_then(|f| f.code_package.as_ref()))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if m.except.iter().any(|p| in_fabric(p, process)) {
        return false;
    }
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

/// The application, or a service that lives in the process.
fn in_fabric(pattern: &Pattern, process: &Identity) -> bool {
    process.fabric.as_ref().is_some_and(|fabric| {
        let services = fabric.replicas.iter().map(|replica| &replica.service);
        fabric
            .application
            .iter()
            .chain(services)
            .any(|name| pattern.matches(name))
    })
}

/// `shop/cart`; of a container that is not called like its workload `shop/cart/proxy`, since its memory is another story.
fn kubernetes_name(record: &KubernetesRecord) -> Option<String> {
    let (namespace, workload) = (record.namespace.as_ref()?, record.workload.as_ref()?);
    let name = format!("{namespace}/{workload}");
    Some(match &record.container {
        Some(container) if container != workload => format!("{name}/{container}"),
        _ => name,
    })
}

/// The workload, the container in it, or the pod.
fn in_kubernetes(pattern: &Pattern, process: &Identity) -> bool {
    let Some(record) = &process.kubernetes else {
        return false;
    };
    let within =
        |name: &Option<String>| Some(format!("{}/{}", record.namespace.as_ref()?, name.as_ref()?));
    let names = [
        kubernetes_name(record),
        within(&record.workload),
        within(&record.pod),
    ];
    names
        .into_iter()
        .flatten()
        .any(|name| pattern.matches(&name))
}

fn by_name(name: &str, process: &Identity) -> bool {
    let pattern = Pattern::new(name);
    if name.starts_with("fabric:/") {
        return in_fabric(&pattern, process);
    }
    // A bare `*` must not sweep in shells and daemons.
    (!name.contains('*') || process.dotnet.is_some()) && named(&pattern, process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Match;
    use crate::identity::DotNet;
    use leakhound_archive::manifest::{FabricRecord, ReplicaRecord};

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
        i.fabric = Some(FabricRecord {
            application: Some("fabric:/Shop".into()),
            application_type: Some("ShopType".into()),
            replicas: vec![replica("fabric:/Shop/Cart")],
            ..FabricRecord::default()
        });
        i
    }

    fn replica(service: &str) -> ReplicaRecord {
        ReplicaRecord {
            service: service.into(),
            ..ReplicaRecord::default()
        }
    }

    #[test]
    fn a_shared_process_is_each_of_its_services_and_goes_by_its_application() {
        let mut shared = cart();
        let fabric = shared.fabric.as_mut().expect("it has one");
        fabric.replicas.push(replica("fabric:/Shop/Orders"));
        for name in ["fabric:/Shop/Cart", "fabric:/Shop/Orders", "fabric:/Shop"] {
            assert!(matches(&ServiceConfig::named(name), &shared), "{name}");
        }
        let all = [ServiceConfig::named("fabric:/*")];
        let name_of = |process: &Identity| owner(&all, process).map(|(_, name)| name);
        assert_eq!(name_of(&shared).as_deref(), Some("fabric:/Shop"));
        // Two partitions of one service are that service.
        let mut partitions = cart();
        let fabric = partitions.fabric.as_mut().expect("it has one");
        fabric.replicas.push(replica("fabric:/Shop/Cart"));
        assert_eq!(name_of(&partitions).as_deref(), Some("fabric:/Shop/Cart"));
    }

    #[test]
    fn fabric_names_are_matched_and_excepted() {
        let service = |fabric: &str, except: &[&str]| ServiceConfig {
            matcher: Match {
                fabric: Some(Pattern::new(fabric)),
                except: except.iter().map(|p| Pattern::new(*p)).collect(),
                ..Match::default()
            },
            ..ServiceConfig::named("shop")
        };
        assert!(matches(&service("fabric:/Shop/*", &[]), &cart()));
        assert!(matches(
            &service("fabric:/Shop", &["fabric:/Shop/Orders"]),
            &cart()
        ));
        assert!(!matches(
            &service("fabric:/*", &["fabric:/*/Cart"]),
            &cart()
        ));
        assert!(!matches(&service("fabric:/Bank/*", &[]), &cart()));
        let mut of_type = service("*", &[]);
        of_type.matcher.application_type = Some(Pattern::new("ShopType"));
        assert!(matches(&of_type, &cart()));
        of_type.matcher.application_type = Some(Pattern::new("BankType"));
        assert!(!matches(&of_type, &cart()));
    }

    #[test]
    fn a_name_alone_matches_fabric_names_and_process_names() {
        for (name, fits) in [
            ("fabric:/Shop/Cart", true),
            ("fabric:/Shop/*", true),
            ("fabric:/Shop", true),
            ("fabric:/Sho", false),
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
    fn pods_are_matched_by_workload_and_a_pattern_takes_their_name() {
        let mut process = cart();
        let named = |text: &str| Some(text.to_owned());
        process.kubernetes = Some(KubernetesRecord {
            namespace: named("shop"),
            pod: named("cart-7d9f8b6c5f-x2x4z"),
            workload: named("cart"),
            container: named("main"),
            ..KubernetesRecord::default()
        });
        let service = |pattern: &str| ServiceConfig {
            matcher: Match {
                kubernetes: Some(Pattern::new(pattern)),
                ..Match::default()
            },
            ..ServiceConfig::named("*")
        };
        for (pattern, fits) in [
            ("shop/cart", true),
            ("shop/cart*", true),
            ("shop/cart/main", true),
            ("shop/cart-7d9f8b6c5f-x2x4z", true),
            ("*", true),
            ("shop/car", false),
            ("bank/*", false),
        ] {
            assert_eq!(matches(&service(pattern), &process), fits, "{pattern}");
        }
        let name = |process: &Identity| owner(&[service("*")], process).map(|(_, name)| name);
        assert_eq!(name(&process).as_deref(), Some("shop/cart/main"));
        process
            .kubernetes
            .iter_mut()
            .for_each(|r| r.container = named("cart"));
        assert_eq!(name(&process).as_deref(), Some("shop/cart"));
        let pause = Identity {
            dotnet: None,
            ..process
        };
        assert_eq!(name(&pause), None);
        // Outside of a cluster the matcher fits nothing.
        assert_eq!(name(&cart()), None);
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
