//! A .NET service in a container of its own is found under its Kubernetes name and captured by an agent that lives in the image, with
//! the DaemonSet's rights and mounts.

use crate::agent::Agent;
use leakhound_collector::rights::CAPABILITIES;
use leakhound_testbed::{Version, runtimes, targets};
use serde_json::Value;
use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const POD: &str = "cart-7d9f8b6c5f-x2x4z";
const POD_UID: &str = "0c2f7a3e-1b7d-4a5f-9d1e-3f6c2b8a9e10";
/// What the group of the container may use, where this machine lets us say so; whole pages.
const LIMIT_BYTES: u64 = 900 << 20;

/// A memory group as the kubelet makes it: `…/kubepods/burstable/podUID/ID`, below our own.
struct Group(PathBuf);

impl Group {
    fn make(container: &str) -> Option<Self> {
        let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
        let of = |controllers: &str| {
            let line = ours
                .lines()
                .find(|l| l.split(':').nth(1) == Some(controllers));
            line.and_then(|l| l.splitn(3, ':').nth(2))
                .map(str::to_owned)
        };
        let (tree, limit) = match of("memory") {
            Some(own) => (
                format!("/sys/fs/cgroup/memory{own}"),
                "memory.limit_in_bytes",
            ),
            None => (format!("/sys/fs/cgroup{}", of("")?), "memory.max"),
        };
        let pods = Path::new(&tree).join(format!("kubepods-{}", std::process::id()));
        let group = Self(pods.join(format!("burstable/pod{POD_UID}/{container}")));
        fs::create_dir_all(&group.0).ok()?;
        fs::write(group.0.join(limit), LIMIT_BYTES.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process leaves a little after its parent has seen it end.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        for folder in self.0.ancestors().skip(1).take(3) {
            let _ = fs::remove_dir(folder);
        }
    }
}

pub struct Container(Child);

impl Container {
    /// A target in a root folder, a mount and a pid namespace of its own, as nobody.
    pub fn start(folder: &Path, target: &str) -> Self {
        Self::start_in(folder, target, None)
    }

    fn start_in(folder: &Path, target: &str, group: Option<&Group>) -> Self {
        let runtime = runtimes::get(Version::Net8).expect("a runtime");
        let app = targets::app(target).expect("the target compiles");
        let root = folder.join("container");
        fs::create_dir(&root).expect("a folder");
        let enter = group
            .map(|g| format!("echo 0 >'{}/cgroup.procs'; ", g.0.display()))
            .unwrap_or_default();
        let script = enter + "exec unshare --mount --pid --fork --kill-child sh \"$@\"";
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(Path::new(ROOT).join("tests/hosts/container.sh"))
            .args([
                &root,
                runtime.folder(),
                app.dll.parent().expect("its folder"),
            ])
            .arg(app.dll.file_name().expect("its name"))
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOSTNAME", POD)])
            .envs([
                ("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1"),
                ("SECRET", "not-to-be-kept"),
            ])
            .envs(
                app.settings
                    .iter()
                    .map(|(name, value)| (format!("DOTNET_{name}"), value)),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh is there");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let container = Self(child);
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.starts_with("READY "));
        assert!(ready, "the service did not become ready in its container");
        container
    }

    /// The id of the service on this node: it is the one child of what made the container.
    pub fn pid(&self) -> u32 {
        let maker = self.0.id();
        let children = fs::read_to_string(format!("/proc/{maker}/task/{maker}/children"));
        let children = children.expect("it runs");
        children.trim().parse().expect("one child")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path(path: &Path) -> CString {
    CString::new(path.to_str().expect("a plain path")).expect("no NUL")
}

/// The program in the image's root, with what the DaemonSet mounts into it, and the two capabilities that are left of root's.
fn in_image(folder: &Path) -> Command {
    let image = folder.join("image");
    let laid_out = Command::new(Path::new(ROOT).join("deploy/docker/root.sh"))
        .arg(env!("CARGO_BIN_EXE_leakhound"))
        .arg(&image)
        .output()
        .expect("sh is there");
    assert!(laid_out.status.success(), "{laid_out:?}");
    let node = |name: &str| {
        let place = folder.join(name);
        fs::create_dir_all(&place).expect("a folder");
        place
    };
    let mounts = [
        (PathBuf::from("/proc"), "proc"),
        (PathBuf::from("/sys/fs/cgroup"), "sys/fs/cgroup"),
        (node("node-config"), "etc/leakhound"),
        (node("node-archive"), "var/lib/leakhound"),
        (node("node-run"), "run/leakhound"),
        (node("node-links"), "var/log/containers"),
    ];
    let mounts = mounts.map(|(from, into)| (path(&from), path(&image.join(into))));
    let image = path(&image);
    let kept: Vec<libc::c_ulong> = CAPABILITIES.iter().map(|c| c.bit.into()).collect();
    let mut command = Command::new("/usr/bin/leakhound");
    let checked = |result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let enter = move || {
        // SAFETY: system calls on this process, which is about to become another; every text ends in NUL and was made before the fork.
        unsafe {
            let (none, slash) = (std::ptr::null::<libc::c_char>(), c"/".as_ptr());
            checked(libc::unshare(libc::CLONE_NEWNS))?;
            checked(libc::mount(
                none,
                slash,
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ))?;
            for (from, into) in &mounts {
                let flags = libc::MS_BIND | libc::MS_REC;
                checked(libc::mount(
                    from.as_ptr(),
                    into.as_ptr(),
                    none,
                    flags,
                    std::ptr::null(),
                ))?;
            }
            checked(libc::chroot(image.as_ptr()))?;
            checked(libc::chdir(slash))?;
            for capability in (0..64).filter(|c| !kept.contains(c)) {
                // Numbers that the kernel does not know are refused.
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        }
    };
    // SAFETY: see there.
    unsafe { command.pre_exec(enter) };
    command
        .args(["run", "--config", "/etc/leakhound/leakhound.toml"])
        .env_clear()
        .env("RUNTIME_DIRECTORY", "/run/leakhound")
        .env("LEAKHOUND_NODE", "node-7");
    command
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_service_in_a_container_is_found_by_its_name_and_captured_from_the_image() {
    // SAFETY: asks for our own id.
    if unsafe { libc::geteuid() } != 0 {
        // Only root makes containers and gives up rights.
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let id = "5e6f".repeat(16);
    let group = Group::make(&id);
    let _container = Container::start_in(folder.path(), "event-handlers", group.as_ref());
    let command = in_image(folder.path());
    // Where this machine makes no memory groups, the container is known by its program alone.
    let (matcher, limit) = match group {
        Some(_) => (
            "kubernetes = \"shop/cart*\"",
            format!(" and limit == {LIMIT_BYTES} B"),
        ),
        None => ("process = \"Shop.Baskets\"", String::new()),
    };
    let config = format!(
        "[capture]\nreserve = \"1 MB\"\n[[service]]\nname = \"*\"\nmatch = {{ {matcher} }}\nevery = \"200 ms\"\n\
         [[service.trigger]]\nname = \"big\"\nwhen = \"private_bytes > 10 MB{limit}\"\n"
    );
    fs::write(folder.path().join("node-config/leakhound.toml"), config).expect("written");
    let link = format!("node-links/{POD}_shop_main-{id}.log");
    fs::write(folder.path().join(link), "").expect("written");

    let agent = Agent::spawn(command, folder.path());
    let name = if group.is_some() {
        "shop/cart/main"
    } else {
        "Shop.Baskets"
    };
    let archive = leakhound_archive::Archive::open_or_create(&folder.path().join("node-archive"))
        .expect("an archive");
    let bundles = || {
        let bundles = archive
            .list(&leakhound_archive::Filter::default())
            .map(|l| l.bundles)
            .unwrap_or_default();
        bundles
            .into_iter()
            .filter(|b| b.path().join("diagnosis.json").is_file())
            .collect::<Vec<_>>()
    };
    agent.until("the capture is diagnosed", || !bundles().is_empty());
    let bundle = &bundles()[0];
    let json = |file: &str| -> Value {
        let text = fs::read_to_string(bundle.path().join(file)).expect("it is in the bundle");
        serde_json::from_str(&text).expect("JSON")
    };
    let manifest = json("capture.json");
    assert_eq!(
        (&manifest["service"], &manifest["node"]),
        (&name.into(), &"node-7".into()),
        "{}",
        agent.said()
    );
    assert_eq!(manifest["method"], "snapshot");
    assert!(!manifest.to_string().contains("not-to-be-kept"));
    if group.is_some() {
        let pod = &manifest["kubernetes"];
        for (key, value) in [
            ("namespace", "shop"),
            ("pod", POD),
            ("workload", "cart"),
            ("container", "main"),
            ("pod_uid", POD_UID),
        ] {
            assert_eq!(pod[key], value, "{key}");
        }
    }
    let diagnosis = json("diagnosis.json");
    assert_eq!(
        diagnosis["findings"][0]["category"], "event-handler-leak",
        "{}",
        diagnosis["headline"]
    );
    // The container has other processes too, and while it is captured there is a copy of the service; they are none of ours.
    assert_eq!(
        agent.said().matches("Watching pid=").count(),
        1,
        "{}",
        agent.said()
    );
    assert_eq!(agent.end().code(), Some(0));
}
