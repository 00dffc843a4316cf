//! What Service Fabric calls a process: by its environment, then by what the cluster says.
//!
//! The environment block is there from the first instant and cannot be late or unreachable, so it comes first. It has no replica and
//! no role, and of a process that several services share it has no service; the cluster's answer, told to a [`Roster`] by whoever
//! asks, adds those. Where the two contradict each other the answer is of another process, and is passed over.

use crate::identity::Identity;
use leakhound_archive::manifest::{FabricRecord, ReplicaRecord};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// What the environment block and the folder of a process say; `None` where it is not of Service Fabric.
#[must_use]
pub fn of_environment(
    environment: &BTreeMap<String, String>,
    places: &[Option<&Path>],
) -> Option<FabricRecord> {
    let get = |name: &str| {
        environment
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    };
    let application = get("Fabric_ApplicationName")?;
    let service_package = get("Fabric_ServicePackageName");
    let code_package = get("Fabric_CodePackageName");
    let code_version = match (&service_package, &code_package) {
        (Some(package), Some(code)) => version_in(&format!("{package}.{code}."), places),
        _ => None,
    };
    let replica = get("Fabric_ServiceName").map(|service| ReplicaRecord {
        service,
        partition: get("Fabric_PartitionId"),
        ..ReplicaRecord::default()
    });
    Some(FabricRecord {
        node: get("Fabric_NodeName"),
        application: Some(application),
        application_type: get("Fabric_ApplicationId").and_then(|id| type_of(&id)),
        service_package,
        code_package,
        code_version,
        replicas: replica.into_iter().collect(),
    })
}

/// `ShopType` of `ShopType_App12`.
fn type_of(application_id: &str) -> Option<String> {
    let (kind, number) = application_id.rsplit_once("_App")?;
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    (is_number && !kind.is_empty()).then(|| kind.to_owned())
}

/// Service Fabric lays a code package into `PACKAGE.CODE.VERSION`; both names may have dots, so they must be known.
fn version_in(prefix: &str, places: &[Option<&Path>]) -> Option<String> {
    let names = places.iter().flatten().flat_map(|place| place.iter());
    let mut versions = names.filter_map(|name| name.to_str()?.strip_prefix(prefix));
    versions
        .find(|version| !version.is_empty())
        .map(str::to_owned)
}

/// What the cluster said last of the processes of this node. Cheap to clone; whoever asks the cluster tells, discovery reads.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<RwLock<Told>>);

#[derive(Debug, Default)]
struct Told {
    by_pid: BTreeMap<u32, FabricRecord>,
    /// When the cluster was asked, in milliseconds since 1970.
    asked_ms: i64,
    /// Counts answers that differ from the one before.
    edition: u64,
}

impl Roster {
    /// A new answer, to a question of `asked_ms`. A cluster that does not answer is not told of: the last answer stays.
    pub fn tell(&self, mut by_pid: BTreeMap<u32, FabricRecord>, asked_ms: i64) {
        for said in by_pid.values_mut() {
            said.replicas.sort();
        }
        let mut told = self.0.write().unwrap_or_else(PoisonError::into_inner);
        told.asked_ms = asked_ms;
        if told.by_pid != by_pid {
            told.by_pid = by_pid;
            told.edition += 1;
        }
    }

    /// Moves whenever another answer has come.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .edition
    }

    /// Adds to an identity what the cluster knows of it.
    pub fn complete(&self, identity: &mut Identity) {
        let told = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // A process that started after the question has the id of one that is gone.
        if identity.started_ms > told.asked_ms {
            return;
        }
        if let (Some(said), Some(own)) = (told.by_pid.get(&identity.pid), &mut identity.fabric) {
            add(own, said);
        }
    }
}

/// Adds to `own` what is missing there, unless the two speak of different processes.
fn add(own: &mut FabricRecord, said: &FabricRecord) {
    let differ =
        |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
    if differ(&own.application, &said.application)
        || differ(&own.service_package, &said.service_package)
        || differ(&own.code_package, &said.code_package)
    {
        return;
    }
    let fill = |own: &mut Option<String>, said: &Option<String>| {
        if own.is_none() {
            own.clone_from(said);
        }
    };
    fill(&mut own.node, &said.node);
    fill(&mut own.application_type, &said.application_type);
    fill(&mut own.service_package, &said.service_package);
    fill(&mut own.code_package, &said.code_package);
    fill(&mut own.code_version, &said.code_version);
    match own.replicas.as_mut_slice() {
        [] => own.replicas.clone_from(&said.replicas),
        [only] => {
            let same = said.replicas.iter().find(|replica| {
                replica.service == only.service && !differ(&replica.partition, &only.partition)
            });
            if let Some(same) = same {
                fill(&mut only.partition, &same.partition);
                fill(&mut only.id, &same.id);
                fill(&mut only.role, &same.role);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn process(pairs: &[(&str, &str)]) -> Identity {
        let environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let folder = Path::new("/mnt/sfroot/_App/ShopType_App12/Shop.Cart.Pkg.Main.Code.2.1");
        Identity {
            pid: 40,
            started_ms: 1_000,
            fabric: of_environment(
                &environment,
                &[Some(Path::new("/usr/bin/dotnet")), Some(folder)],
            ),
            environment,
            ..Identity::default()
        }
    }

    const SHARED: &[(&str, &str)] = &[
        ("Fabric_ApplicationName", "fabric:/Shop"),
        ("Fabric_ApplicationId", "ShopType_App12"),
        ("Fabric_ServicePackageName", "Shop.Cart.Pkg"),
        ("Fabric_CodePackageName", "Main.Code"),
        ("Fabric_NodeName", "_Node_0"),
    ];

    fn exclusive() -> Identity {
        let own = [
            ("Fabric_ServiceName", "fabric:/Shop/Cart"),
            ("Fabric_PartitionId", "p1"),
        ];
        process(&[SHARED, &own].concat())
    }

    fn replica(service: &str, partition: &str, role: &str) -> ReplicaRecord {
        ReplicaRecord {
            service: service.to_owned(),
            partition: Some(partition.to_owned()),
            id: Some("131".to_owned()),
            role: Some(role.to_owned()),
        }
    }

    fn said(replicas: Vec<ReplicaRecord>) -> FabricRecord {
        FabricRecord {
            application: Some("fabric:/Shop".to_owned()),
            code_version: Some("9".to_owned()),
            replicas,
            ..FabricRecord::default()
        }
    }

    fn completed(mut identity: Identity, said: FabricRecord, asked_ms: i64) -> FabricRecord {
        let roster = Roster::default();
        roster.tell([(40, said)].into(), asked_ms);
        roster.complete(&mut identity);
        identity.fabric.unwrap()
    }

    #[test]
    fn the_environment_and_the_folder_say_who_it_is() {
        let fabric = exclusive().fabric.unwrap();
        assert_eq!(fabric.application_type.as_deref(), Some("ShopType"));
        assert_eq!(fabric.code_version.as_deref(), Some("2.1"));
        assert_eq!(fabric.replicas.len(), 1);
        assert_eq!(fabric.replicas[0].role, None);
        assert_eq!(process(&[("Fabric_NodeName", "_Node_0")]).fabric, None);
    }

    #[test]
    fn the_cluster_adds_and_never_overrides() {
        let other = replica("fabric:/Shop/Orders", "p7", "Primary");
        let mine = replica("fabric:/Shop/Cart", "p1", "ActiveSecondary");
        let fabric = completed(exclusive(), said(vec![other, mine.clone()]), 2_000);
        assert_eq!(fabric.replicas, [mine]);
        assert_eq!(fabric.code_version.as_deref(), Some("2.1"));
    }

    #[test]
    fn a_shared_process_gets_all_its_services() {
        let all = vec![
            replica("fabric:/Shop/Cart", "p1", "Primary"),
            replica("fabric:/Shop/Orders", "p7", "ActiveSecondary"),
        ];
        assert_eq!(
            completed(process(SHARED), said(all.clone()), 2_000).replicas,
            all
        );
    }

    #[test]
    fn an_answer_about_another_process_is_passed_over() {
        let all = vec![replica("fabric:/Shop/Cart", "p1", "Primary")];
        // It started after the question.
        assert_eq!(
            completed(process(SHARED), said(all.clone()), 999).replicas,
            []
        );
        let mut elsewhere = said(all);
        elsewhere.application = Some("fabric:/Bank".to_owned());
        assert_eq!(completed(process(SHARED), elsewhere, 2_000).replicas, []);
    }

    #[test]
    fn an_answer_that_says_the_same_is_no_news() {
        let roster = Roster::default();
        let answer =
            |role| BTreeMap::from([(40, said(vec![replica("fabric:/Shop/Cart", "p1", role)]))]);
        roster.tell(answer("Primary"), 1);
        let first = roster.edition();
        roster.tell(answer("Primary"), 2);
        assert_eq!(roster.edition(), first);
        roster.tell(answer("ActiveSecondary"), 3);
        assert_ne!(roster.edition(), first);
    }
}
