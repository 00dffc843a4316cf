//! Which pod and container a process belongs to, without asking the API server.
//!
//! The path of its control group holds the pod's uid and the container's id, whatever runtime and driver made it. The kubelet keeps one
//! link for each container in `/var/log/containers`, `POD_NAMESPACE_CONTAINER-ID.log`, which has every name. Where that folder is not
//! to be had, the container's own word counts: its variables, its host name, and its service account's folder.

use leakhound_archive::manifest::KubernetesRecord;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the kubelet keeps its links.
pub const LINKS: &str = "/var/log/containers";
/// Where a container finds its service account. In many images `/var/run` is a link to `/run`, which from outside would lead into our own
/// root.
const ACCOUNT_FOLDERS: [&str; 2] = [
    "run/secrets/kubernetes.io/serviceaccount",
    "var/run/secrets/kubernetes.io/serviceaccount",
];
/// Links looked at; a node runs a few hundred containers.
const MAX_LINKS: usize = 20_000;
/// Longest name of an object (RFC 1123).
const MAX_NAME: usize = 253;
/// What the suffixes of generated names are made of (apimachinery, pkg/util/rand): no vowels, no words.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The pod of a process with this control group; `root` is its root folder as we reach it.
pub fn of(
    cgroup: &str,
    root: &Path,
    environment: &[String],
    links: &Path,
) -> Option<KubernetesRecord> {
    let (pod_uid, container_id) = ids(cgroup)?;
    let mut record = container_id
        .as_deref()
        .and_then(|id| linked(links, id))
        .unwrap_or_default();
    let variable = |name: &str| {
        let value = environment
            .iter()
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.filter(|value| is_name(value)).map(str::to_owned)
    };
    record.pod = record
        .pod
        .or_else(|| variable("POD_NAME"))
        .or_else(|| variable("HOSTNAME"));
    record.namespace = record
        .namespace
        .or_else(|| variable("POD_NAMESPACE"))
        .or_else(|| account_namespace(root));
    record.workload = record.pod.as_deref().map(|pod| workload(pod).to_owned());
    record.pod_uid = Some(pod_uid);
    record.container_id = container_id;
    Some(record)
}

/// The pod's uid and the container's id in a path such as
/// `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a2b….slice/cri-containerd-5e6f….scope` (systemd) or
/// `/kubepods/burstable/pod1a2b…/5e6f…` (cgroupfs).
fn ids(cgroup: &str) -> Option<(String, Option<String>)> {
    let mut parts = cgroup.split('/');
    let uid = parts.by_ref().find_map(|part| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let (before, uid) = part.rsplit_once("pod")?;
        let is_own = before.is_empty() || before.ends_with('-');
        let uid = uid.replace('_', "-");
        // A static pod has a hash for a uid.
        let is_uid =
            matches!(uid.len(), 32 | 36) && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        (is_own && is_uid).then_some(uid)
    })?;
    let container = parts.next().and_then(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit_once('-').map_or(part, |(_, id)| id);
        (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
    });
    Some((uid, container))
}

/// Names from the kubelet's link of a container.
fn linked(links: &Path, id: &str) -> Option<KubernetesRecord> {
    let ending = format!("-{id}.log");
    let names = fs::read_dir(links).ok()?.take(MAX_LINKS);
    names.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let mut parts = name.strip_suffix(&ending)?.split('_');
        let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && [pod, namespace, container].into_iter().all(is_name);
        whole.then(|| KubernetesRecord {
            namespace: Some(namespace.to_owned()),
            pod: Some(pod.to_owned()),
            container: Some(container.to_owned()),
            ..KubernetesRecord::default()
        })
    })
}

fn account_namespace(root: &Path) -> Option<String> {
    ACCOUNT_FOLDERS
        .into_iter()
        .find_map(|folder| namespace_in(&root.join(folder)))
}

/// What stands in the container is its own business: a pipe there must not hold us up, and anything but a name is not taken.
fn namespace_in(folder: &Path) -> Option<String> {
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(folder.join("namespace")).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_NAME as u64 + 1)
        .read_to_string(&mut text)
        .ok()?;
    let name = text.trim();
    is_name(name).then(|| name.to_owned())
}

/// What Kubernetes would take as a name; anything else is somebody's invention.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits)
}

/// The workload that made a pod, by the shape of the pod's name: `cart` of `cart-7d9f8b6c5f-x2x4z` (a Deployment), `cart-0`
/// (a StatefulSet), `cart-x2x4z` (a DaemonSet or a Job) and `cart-29112480-x2x4z` (a CronJob).
fn workload(pod: &str) -> &str {
    let is_generated = |text: &str| text.bytes().all(|b| GENERATED.contains(&b));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match pod.rsplit_once('-') {
        Some((name, ordinal)) if is_number(ordinal) && ordinal.len() < 5 => name,
        Some((rest, suffix)) if suffix.len() == 5 && is_generated(suffix) => match rest
            .rsplit_once('-')
        {
            Some((name, hash))
                if (6..=10).contains(&hash.len()) && (is_generated(hash) || is_number(hash)) =>
            {
                name
            }
            _ => rest,
        },
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const UID: &str = "0c2f7a3e-1b7d-4a5f-9d1e-3f6c2b8a9e10";

    fn id() -> String {
        "5e6f".repeat(16)
    }

    #[test]
    fn every_driver_and_runtime_is_understood() {
        let (id, under) = (id(), UID.replace('-', "_"));
        for cgroup in [
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{id}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{under}.slice/crio-{id}.scope"),
            format!(
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{under}.slice/docker-{id}.scope"
            ),
            format!("/kubepods/besteffort/pod{UID}/{id}"),
            format!("/kubepods/pod{UID}/{id}/init.scope"),
            format!("/../../kubepods-besteffort-pod{under}.slice/cri-containerd-{id}.scope"),
        ] {
            assert_eq!(
                ids(&cgroup),
                Some((UID.to_owned(), Some(id.clone()))),
                "{cgroup}"
            );
        }
        assert_eq!(
            ids(&format!("/kubepods/pod{UID}")),
            Some((UID.to_owned(), None))
        );
        for other in [
            "/",
            "/system.slice/cart.service",
            "/docker/pod/x",
            "/user.slice/tripod1.slice",
        ] {
            assert_eq!(ids(other), None, "{other}");
        }
    }

    #[test]
    fn names_come_from_the_kubelet_and_else_from_the_container() {
        let node = tempfile::tempdir().unwrap();
        let (links, root) = (node.path().join("links"), node.path().join("root"));
        fs::create_dir(&links).unwrap();
        let cgroup = format!("/kubepods/pod{UID}/{}", id());
        let environment = [
            "HOSTNAME=told-by-itself".to_owned(),
            "POD_NAMESPACE=Not A Name".to_owned(),
        ];
        let look = || of(&cgroup, &root, &environment, &links).unwrap();
        let told = look();
        assert_eq!(
            (told.namespace, told.pod.as_deref()),
            (None, Some("told-by-itself"))
        );
        for folder in ACCOUNT_FOLDERS {
            let account = root.join(folder);
            fs::create_dir_all(&account).unwrap();
            fs::write(account.join("namespace"), "shop\n").unwrap();
            assert_eq!(look().namespace.as_deref(), Some("shop"), "{folder}");
            // A pipe that nobody writes to is no reason to wait.
            fs::remove_file(account.join("namespace")).unwrap();
            let pipe = std::ffi::CString::new(account.join("namespace").to_str().unwrap()).unwrap();
            // SAFETY: the text ends in NUL.
            assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
            assert_eq!(look().namespace, None);
        }
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir_all(root.join(ACCOUNT_FOLDERS[1])).unwrap();
        fs::write(root.join(ACCOUNT_FOLDERS[1]).join("namespace"), "shop\n").unwrap();
        assert_eq!(look().namespace.as_deref(), Some("shop"));

        fs::write(links.join("readme"), "").unwrap();
        fs::write(
            links.join(format!("cart-7d9f8b6c5f-x2x4z_bank_main-{}.log", id())),
            "",
        )
        .unwrap();
        let record = look();
        let names = [
            &record.namespace,
            &record.pod,
            &record.workload,
            &record.container,
            &record.pod_uid,
        ];
        let names = names.map(|name| name.as_deref().unwrap());
        assert_eq!(
            names,
            ["bank", "cart-7d9f8b6c5f-x2x4z", "cart", "main", UID]
        );
        assert_eq!(record.container_id, Some(id()));
        assert_eq!(
            of("/system.slice/cart.service", &root, &environment, &links),
            None
        );
    }

    #[test]
    fn a_pod_goes_by_what_made_it() {
        for (pod, made_by) in [
            ("cart-7d9f8b6c5f-x2x4z", "cart"),
            ("shop-cart-api-7d9f8b6c5f-x2x4z", "shop-cart-api"),
            ("cart-0", "cart"),
            ("agent-x2x4z", "agent"),
            ("report-29112480-x2x4z", "report"),
            ("cart", "cart"),
            ("cart-worker", "cart-worker"),
            ("cart-2024a", "cart-2024a"),
        ] {
            assert_eq!(workload(pod), made_by, "{pod}");
        }
    }
}
