//! Two agents on two nodes of one cluster: through failover, upgrade, a gateway that is down, a certificate that has expired and the
//! loss of a node, each service keeps its name, its limits hold, and nothing is captured twice.

use crate::cluster::Cluster;
use crate::{Running, eventually, leakhound};
use serde_json::{Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SHOP: &str = "fabric:/Shop";
/// Grows when it is told to, and stays so.
const SERVICE: &str = "
import os, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.1)
held = bytearray(os.urandom(1 << 20) * 48)
time.sleep(3600)
";

/// A network of its own for a node, where the machine lets us have one; else it shares ours.
struct Network {
    /// Its name, where it is one.
    namespace: Option<String>,
    /// Where the cluster is from there.
    gateway: String,
}

impl Network {
    fn of(node: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (id, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (name, outside, inside) = (
            format!("lh-{id}-{number}"),
            format!("lh{id}o{number}"),
            format!("lh{id}i{number}"),
        );
        // Four addresses of a range that is for tests of networks: 198.18.0.0/15.
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (id * 8 + number) % 0x8000 * 4;
        let [gateway, own] = [1, 2].map(|n| Ipv4Addr::from(first + n).to_string());
        let (gateway_net, own_net) = (format!("{gateway}/30"), format!("{own}/30"));
        let steps: [&[&str]; 7] = [
            &["netns", "add", &name],
            &[
                "link", "add", &outside, "type", "veth", "peer", "name", &inside,
            ],
            &["link", "set", &inside, "netns", &name],
            &["addr", "add", &gateway_net, "dev", &outside],
            &["link", "set", &outside, "up"],
            &["-n", &name, "addr", "add", &own_net, "dev", &inside],
            &["-n", &name, "link", "set", &inside, "up"],
        ];
        let network = Self {
            namespace: Some(name.clone()),
            gateway,
        };
        let ip = |arguments: &[&str]| {
            Command::new("ip")
                .args(arguments)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        if steps.iter().all(|step| ip(step)) {
            return network;
        }
        drop(network);
        println!("no network of its own for node {node}: it is on loopback");
        Self {
            namespace: None,
            gateway: "127.0.0.1".to_owned(),
        }
    }

    fn leakhound(&self) -> Command {
        let Some(name) = &self.namespace else {
            return leakhound();
        };
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", name, env!("CARGO_BIN_EXE_leakhound")])
            .env_remove("LEAKHOUND_CONFIG");
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(name) = &self.namespace {
            // The link goes with its other end.
            let _ = Command::new("ip")
                .args(["netns", "del", name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// A node: its folder, its network, and the agent on it.
struct Node {
    name: &'static str,
    folder: PathBuf,
    network: Network,
    agent: Option<Running>,
    starts: usize,
}

impl Node {
    fn new(index: usize, cluster: &Cluster) -> Self {
        Self::with(index, cluster, "1 s", "")
    }

    /// A node whose primaries wait so long for a secondary to be captured.
    fn sparing(index: usize, cluster: &Cluster, patience: &str) -> Self {
        let fabric = format!("prefer_secondary = {patience:?}\n");
        Self::with(index, cluster, "1 h", &fabric)
    }

    fn with(index: usize, cluster: &Cluster, cooldown: &str, fabric: &str) -> Self {
        let name = ["_Node_0", "_Node_1"][index];
        let folder = cluster.folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let network = Network::of(name);
        // Both nodes are on one machine here, as on a development cluster: each agent keeps to its own folder.
        let own = format!("{}/*", folder.display());
        let services: String = ["Cart", "Orders"]
            .map(|service| {
                format!(
                    "[[service]]\nname = \"{SHOP}/{service}\"\nmatch = {{ fabric = \"{SHOP}/{service}\", folder = {own:?} }}\n\
                     every = \"500 ms\"\nlimit = \"1 per day\"\ncooldown = {cooldown:?}\n\
                     [[service.trigger]]\nname = \"large\"\nwhen = \"private_bytes > 40 MB\"\n"
                )
            })
            .concat();
        let config = format!(
            "[archive]\nlocation = {:?}\n[capture]\nreserve = \"1 MB\"\n{}{fabric}{services}",
            folder.join("archive"),
            cluster.section(&network.gateway)
        );
        fs::write(folder.join("leakhound.toml"), config).unwrap();
        Self {
            name,
            folder,
            network,
            agent: None,
            starts: 0,
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("log-{}", self.starts))
    }

    fn start(&mut self) {
        self.starts += 1;
        let agent = self
            .network
            .leakhound()
            .args([
                "--log-json",
                "--log",
                "leakhound=debug,info",
                "run",
                "--config",
            ])
            .arg(self.folder.join("leakhound.toml"))
            .env("Fabric_NodeName", self.name)
            .env("RUNTIME_DIRECTORY", self.folder.join("run"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(self.log()).unwrap())
            .spawn()
            .unwrap();
        self.agent = Some(Running(agent));
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn wait_for(&self, words: &str) {
        eventually(
            &format!("{}: {words}", self.name),
            || self.said(),
            || self.said().contains(words),
        );
    }

    fn wait_until_watching(&self, service: &str, pid: u32) {
        let watching = || {
            let said = self.said();
            said.lines().any(|line| {
                line.contains("\"Watching\"")
                    && line.contains(&format!("\"{SHOP}/{service}\""))
                    && line.contains(&format!("\"pid\":{pid}"))
            })
        };
        eventually(
            &format!("{} watches {service} {pid}", self.name),
            || self.said(),
            watching,
        );
    }

    /// The manifests of all captures.
    fn captures(&self) -> Vec<Value> {
        let archive = self.folder.join("archive");
        if !archive.exists() {
            return Vec::new();
        }
        let manifests = crate::files(&archive).into_iter().filter(|file| {
            let hidden = file
                .iter()
                .any(|part| part.to_string_lossy().starts_with('.'));
            file.ends_with("capture.json") && !hidden
        });
        let read = |file: PathBuf| serde_json::from_slice(&fs::read(archive.join(file)).ok()?).ok();
        manifests.filter_map(read).collect()
    }
}

/// A process as Service Fabric starts it; `service` is told to it where it does not share the process.
fn process(node: &Node, package: &str, version: &str, service: Option<&str>) -> Running {
    let folder = node
        .folder
        .join(format!("ShopType_App1/{package}.Code.{version}"));
    fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["-c", SERVICE])
        .arg(node.folder.join("grow"))
        .current_dir(folder)
        .env("Fabric_ApplicationName", SHOP)
        .env("Fabric_ApplicationId", "ShopType_App1")
        .env("Fabric_ServicePackageName", package)
        .env("Fabric_CodePackageName", "Code")
        .env("Fabric_NodeName", node.name);
    if let Some(service) = service {
        command.env("Fabric_ServiceName", format!("{SHOP}/{service}"));
        command.env("Fabric_PartitionId", "p1");
    }
    Running(command.spawn().unwrap())
}

/// The cluster's own view of a node on which Cart has a process of its own, and Orders and Billing share one.
fn deployed(cart: (&Running, &str, &str), shared: &Running) -> Value {
    let (process, version, role) = cart;
    let (cart, shared) = (process.0.id(), shared.0.id());
    let replica = |service: &str, package: &str, partition: &str, role: &str, pid: u32| {
        json!({ "service": format!("{SHOP}/{service}"), "package": package, "code": "Code", "partition": partition,
                "id": format!("13{pid}"), "role": role, "pid": pid })
    };
    json!({
        // One page of the answer, and another.
        "Bank": { "type": "BankType", "packages": [], "replicas": [] },
        "Shop": {
            "type": "ShopType",
            "packages": [
                { "package": "CartPkg", "code": "Code", "version": version, "pid": cart },
                { "package": "BackPkg", "code": "Code", "version": "1.0", "pid": shared },
            ],
            "replicas": [
                replica("Cart", "CartPkg", "p1", role, cart),
                replica("Orders", "BackPkg", "p2", role, shared),
                replica("Billing", "BackPkg", "p3", role, shared),
            ],
        },
    })
}

/// Waits until an agent has asked the cluster anew.
fn wait_for_questions(cluster: &Cluster, nodes: &[&Node]) {
    let before: Vec<u64> = nodes.iter().map(|node| cluster.asked(node.name)).collect();
    for (node, before) in nodes.iter().zip(before) {
        eventually(
            "the cluster is asked",
            || node.said(),
            || cluster.asked(node.name) > before + 2,
        );
    }
}

fn role_of<'m>(captures: &'m [Value], service: &str) -> Vec<&'m Value> {
    let of_service = captures
        .iter()
        .filter(|capture| capture["service"] == format!("{SHOP}/{service}"));
    of_service.map(|capture| &capture["fabric"]).collect()
}

#[test]
fn names_and_limits_survive_what_happens_to_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&Cluster::with_certificates(), folder.path());
    cluster.hand_out("users");
    let mut first = Node::new(0, &cluster);
    let mut second = Node::new(1, &cluster);
    let carts = [&first, &second].map(|node| process(node, "CartPkg", "1.0", Some("Cart")));
    let shared = [&first, &second].map(|node| process(node, "BackPkg", "1.0", None));
    let nodes = |roles: [&str; 2], cart: &Running, version: &str| {
        json!({ "nodes": {
            "_Node_0": deployed((cart, version, roles[0]), &shared[0]),
            "_Node_1": deployed((&carts[1], "1.0", roles[1]), &shared[1]),
        } })
    };
    cluster.say(Some(&nodes(
        ["Primary", "ActiveSecondary"],
        &carts[0],
        "1.0",
    )));
    for node in [&mut first, &mut second] {
        node.start();
    }
    // Cart says who it is; that Orders lives in the shared process only the cluster knows.
    for (node, (cart, shared)) in [&first, &second].iter().zip(carts.iter().zip(&shared)) {
        node.wait_until_watching("Cart", cart.0.id());
        node.wait_until_watching("Orders", shared.0.id());
        fs::write(node.folder.join("grow"), "").unwrap();
    }
    for (node, role) in [(&first, "Primary"), (&second, "ActiveSecondary")] {
        eventually(
            "both services are captured",
            || node.said(),
            || node.captures().len() == 2,
        );
        let captures = node.captures();
        let carts = role_of(&captures, "Cart");
        assert_eq!(carts.len(), 1, "{captures:?}");
        assert_eq!(carts[0]["node"], node.name);
        assert_eq!(carts[0]["code_version"], "1.0");
        assert_eq!(carts[0]["replicas"][0]["role"], role);
        let orders = role_of(&captures, "Orders");
        assert_eq!(orders.len(), 1, "{captures:?}");
        assert_eq!(
            orders[0]["replicas"].as_array().unwrap().len(),
            2,
            "Billing lives there too"
        );
    }

    // Failover: the roles change, the processes stay.
    cluster.say(Some(&nodes(
        ["ActiveSecondary", "Primary"],
        &carts[0],
        "1.0",
    )));
    wait_for_questions(&cluster, &[&first, &second]);

    // Upgrade: another process of another version is the same service.
    let [old, other] = carts;
    drop(old);
    let upgraded = process(&first, "CartPkg", "2.0", Some("Cart"));
    let nodes = |roles: [&str; 2]| {
        json!({ "nodes": {
            "_Node_0": deployed((&upgraded, "2.0", roles[0]), &shared[0]),
            "_Node_1": deployed((&other, "1.0", roles[1]), &shared[1]),
        } })
    };
    cluster.say(Some(&nodes(["ActiveSecondary", "Primary"])));
    first.wait_until_watching("Cart", upgraded.0.id());

    // The gateway is down, and comes back.
    cluster.say(Some(&Value::Null));
    for node in [&first, &second] {
        node.wait_for("The cluster does not say");
    }
    cluster.say(Some(&nodes(["ActiveSecondary", "Primary"])));
    for node in [&first, &second] {
        node.wait_for("The cluster answers again");
    }

    // The certificate has expired; it is renewed in place.
    let warnings = |node: &Node| node.said().matches("The cluster does not say").count();
    cluster.hand_out("expired");
    eventually(
        "an expired certificate is noticed",
        || first.said(),
        || warnings(&first) == 2,
    );
    cluster.hand_out("users");
    let answers = |node: &Node| node.said().matches("The cluster answers again").count();
    eventually(
        "a renewed certificate is shown",
        || first.said(),
        || answers(&first) == 2,
    );

    // A node is lost, and its agent with it; both come back.
    second.agent = None;
    let mut without = nodes(["Primary", "Primary"]);
    without["nodes"].as_object_mut().unwrap().remove("_Node_1");
    cluster.say(Some(&without));
    second.start();
    second.wait_for("FABRIC_E_NODE_NOT_FOUND");
    cluster.say(Some(&nodes(["Primary", "ActiveSecondary"])));
    second.wait_for("The cluster answers again");
    second.wait_until_watching("Orders", shared[1].0.id());
    wait_for_questions(&cluster, &[&first, &second]);

    // All the while every process was above its threshold, and nothing was captured again.
    for node in [&first, &second] {
        let captures = node.captures();
        assert_eq!(captures.len(), 2, "{captures:?}\n{}", node.said());
    }
}

/// Two nodes whose primaries wait for secondaries, with every service below its threshold; the first holds the primaries.
struct Sparing {
    nodes: [Node; 2],
    state: Value,
    _processes: [[Running; 2]; 2],
}

impl Sparing {
    fn start(cluster: &Cluster, patience: &str) -> Self {
        cluster.hand_out("users");
        let mut nodes = [0, 1].map(|index| Node::sparing(index, cluster, patience));
        let processes = nodes.each_ref().map(|node| {
            [
                process(node, "CartPkg", "1.0", Some("Cart")),
                process(node, "BackPkg", "1.0", None),
            ]
        });
        let on = |node: usize, role: &str| {
            let [cart, shared] = &processes[node];
            deployed((cart, "1.0", role), shared)
        };
        let state = json!({ "nodes": { "_Node_0": on(0, "Primary"), "_Node_1": on(1, "ActiveSecondary") } });
        cluster.say(Some(&state));
        for (node, [_, shared]) in nodes.iter_mut().zip(&processes) {
            node.start();
            // So it knows what the cluster says, roles too.
            node.wait_until_watching("Orders", shared.0.id());
        }
        wait_for_questions(cluster, &[&nodes[0], &nodes[1]]);
        Self {
            nodes,
            state,
            _processes: processes,
        }
    }

    fn grow(&self) {
        for node in &self.nodes {
            fs::write(node.folder.join("grow"), "").unwrap();
        }
    }

    fn wait_for_captures(&self, node: usize, count: usize) {
        let node = &self.nodes[node];
        let what = format!("{count} captures on {}", node.name);
        eventually(&what, || node.said(), || node.captures().len() == count);
    }
}

#[test]
fn a_secondary_is_captured_in_place_of_its_primary() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&Cluster::with_certificates(), folder.path());
    let sparing = Sparing::start(&cluster, "1 min");
    sparing.grow();
    sparing.wait_for_captures(1, 2);
    let primary = &sparing.nodes[0];
    let spared = || primary.said().matches("so the primary is spared").count();
    eventually(
        "both primaries are spared",
        || primary.said(),
        || spared() == 2,
    );
    // All services of a shared process are told of, and nothing else.
    let mut told = cluster.say(None)["told"].as_array().unwrap().clone();
    told.sort_by_key(ToString::to_string);
    let expected = ["p1", "p2", "p3"].map(|partition| json!([partition, "captured on _Node_1"]));
    assert_eq!(told, expected);
    // The triggers go on holding.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(primary.captures().len(), 0, "{}", primary.said());
    assert_eq!(spared(), 2, "{}", primary.said());
}

#[test]
fn a_primary_of_which_no_notice_comes_is_captured_itself() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&Cluster::with_certificates(), folder.path());
    let mut sparing = Sparing::start(&cluster, "5 s");
    // The certificate may only read, as the one of a careful administrator.
    sparing.state["reads_only"] = json!(true);
    cluster.say(Some(&sparing.state));
    sparing.grow();
    sparing.wait_for_captures(1, 2);
    sparing.wait_for_captures(0, 2);
    let [primary, secondary] = &sparing.nodes;
    primary.wait_for("a secondary is captured in place of this primary");
    primary.wait_for("No secondary was captured");
    secondary.wait_for("Agents of other nodes cannot be told");
    assert_eq!(cluster.say(None)["told"], json!([]));
}

#[test]
fn a_primary_does_not_wait_for_a_gateway_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&Cluster::with_certificates(), folder.path());
    let sparing = Sparing::start(&cluster, "5 s");
    cluster.say(Some(&Value::Null));
    sparing.grow();
    sparing.wait_for_captures(0, 2);
    sparing.wait_for_captures(1, 2);
    sparing.nodes[0].wait_for("No secondary was captured");
}
