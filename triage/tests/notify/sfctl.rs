//! Microsoft's own client of Service Fabric, `sfctl` (PyPI), reads and clears what we report, through a gateway that keeps health as
//! a cluster does: one report for each source and property, gone when it expires.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use leakhound_rules::Millis;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::service_fabric::ServiceFabric;
use leakhound_triage::notify::{FailureKind, Http, Message, Parcel};
use serde_json::Value;

use crate::fixtures::{to, told};
use crate::peer::Peer;
use crate::support::{python, run};

/// The client, and what it needs that newer Pythons leave out.
const PACKAGES: &[&str] = &["sfctl==11.2.1", "setuptools==65.5.0"];

const GATEWAY: &str = r#"
import datetime, http.server, json, re, sys, urllib.parse

ORDER = ["Ok", "Warning", "Error"]
service = {"Id": "Shop~Cart", "Name": "fabric:/Shop/Cart"}
reports = {}
ahead = datetime.timedelta()

def now():
    return datetime.datetime.now(datetime.timezone.utc) + ahead

def ttl(report):
    match = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?", report["TimeToLiveInMilliSeconds"])
    hours, minutes, seconds = (int(n or 0) for n in match.groups())
    return datetime.timedelta(hours=hours, minutes=minutes, seconds=seconds)

def events():
    for key, (at, report) in list(reports.items()):
        if now() > at + ttl(report) and report["RemoveWhenExpired"]:
            del reports[key]
    return [report | {"IsExpired": False, "SequenceNumber": "1", "SourceUtcTimestamp": at.isoformat()} for at, report in reports.values()]

class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def say(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def wrong(self, status, code, message):
        self.say(status, {"Error": {"Code": code, "Message": message}})
    def read(self):
        url = urllib.parse.urlsplit(self.path)
        path, query = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query)
        if path.startswith("/Services/") and path.split("/")[2] != service["Id"]:
            self.wrong(404, "FABRIC_E_SERVICE_DOES_NOT_EXIST", "Service does not exist.")
            return None, query
        return path, query
    def do_GET(self):
        path, query = self.read()
        held = events()
        worst = max((event["HealthState"] for event in held), key=ORDER.index, default="Ok")
        if path is None:
            return
        if path == "/":
            self.say(200, {})
        elif path == "/$/GetClusterVersion":
            self.say(200, {"Version": "8.2.1235.9590"})
        elif "api-version" not in query:
            self.wrong(400, "FABRIC_E_INVALID_ADDRESS", "api-version is missing")
        elif path == "/$/GetClusterHealth":
            self.say(200, {"AggregatedHealthState": worst, "HealthEvents": [], "NodeHealthStates": [],
                "ApplicationHealthStates": [{"Name": "fabric:/Shop", "AggregatedHealthState": worst}]})
        elif path == "/Services/Shop~Cart/$/GetHealth":
            self.say(200, {"Name": service["Name"], "AggregatedHealthState": worst, "HealthEvents": held, "PartitionHealthStates": []})
        else:
            self.wrong(404, "FABRIC_E_INVALID_ADDRESS", path)
    def do_POST(self):
        global ahead
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, query = self.read()
        if path is None:
            return
        if path == "/later":
            ahead += datetime.timedelta(seconds=int(query["seconds"][0]))
            return self.say(200)
        if path != "/Services/Shop~Cart/$/ReportHealth" or "api-version" not in query:
            return self.wrong(400, "FABRIC_E_INVALID_ADDRESS", path)
        report = json.loads(body)
        unknown = report.keys() - {"SourceId", "Property", "HealthState", "TimeToLiveInMilliSeconds", "Description", "SequenceNumber", "RemoveWhenExpired"}
        if unknown or report["HealthState"] not in ORDER:
            return self.wrong(400, "E_INVALIDARG", repr(report))
        report.setdefault("RemoveWhenExpired", False)
        report.setdefault("TimeToLiveInMilliSeconds", "PT24000000H")
        reports[report["SourceId"], report["Property"]] = now(), report
        self.say(200)
    def log_message(self, *_): pass

httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
httpd.daemon_threads = True
print(json.dumps({"port": httpd.server_address[1]}))
httpd.serve_forever()
"#;

/// `sfctl`, connected to a gateway.
struct Sfctl {
    program: PathBuf,
    home: PathBuf,
}

impl Sfctl {
    fn connected(python: &Path, home: &Path, gateway: &str) -> Sfctl {
        std::fs::create_dir_all(home.join(".sfctl")).unwrap();
        // It would tell its maker what it is asked.
        std::fs::write(
            home.join(".sfctl/config"),
            "[servicefabric]\nuse_telemetry = false\n",
        )
        .unwrap();
        let sfctl = Sfctl {
            program: python.with_file_name("sfctl"),
            home: home.to_owned(),
        };
        sfctl
            .ask(&["cluster", "select", "--endpoint", gateway])
            .unwrap();
        sfctl
    }

    fn ask(&self, arguments: &[&str]) -> Result<Value, String> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("HOME", &self.home)
            .env("no_proxy", "*");
        let said = run(&mut command)?;
        match said.trim() {
            "" => Ok(Value::Null),
            said => serde_json::from_str(said).map_err(|error| format!("{error}: {said}")),
        }
    }

    /// State of the service, and what stands behind it.
    fn service(&self) -> (String, Vec<Value>) {
        let health = self
            .ask(&["service", "health", "--service-id", "Shop~Cart"])
            .unwrap();
        let events = health["healthEvents"].as_array().unwrap().clone();
        (state(&health), events)
    }

    /// State of the cluster.
    fn cluster(&self) -> String {
        state(&self.ask(&["cluster", "health"]).unwrap())
    }
}

fn state(health: &Value) -> String {
    let state = health["aggregatedHealthState"].as_str();
    state
        .unwrap_or_else(|| panic!("no state in {health}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn microsofts_client_sees_a_warning_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let interpreter = python("python-sfctl-11.2.1", PACKAGES);
    let gateway = Peer::start(&interpreter, GATEWAY, folder.path());
    let url = format!("http://127.0.0.1:{}", gateway.at["port"]);
    let sfctl = Sfctl::connected(&interpreter, folder.path(), &url);
    let fabric = to(
        "fabric",
        ServiceFabric {
            gateway: url.clone(),
            certificate: None,
            key: None,
            token: None,
            servers: Vec::new(),
            expires: Millis(3_600_000),
        },
    );
    let http = Http::default();
    let send = async |message: &Message| {
        let parcel = Parcel {
            key: "lh-1",
            message,
            continues: None,
            maybe_sent: false,
            now: Timestamp::now(),
        };
        fabric.destination.send(&http, &parcel).await
    };
    assert_eq!(sfctl.service(), ("Ok".to_owned(), vec![]));

    // However often it is said, it stands there once.
    for turn in [Turn::Opened, Turn::Again] {
        send(&told(turn)).await.unwrap();
        let (service, events) = sfctl.service();
        assert_eq!(service, "Warning");
        let [event] = events.as_slice() else {
            panic!("not one report but {events:?}");
        };
        assert_eq!(event["sourceId"], "Leakhound");
        assert_eq!(event["property"], "leakhound-3f9ac01b2d");
        assert_eq!(event["healthState"], "Warning");
        assert_eq!(event["timeToLiveInMilliSeconds"], "1:00:00");
        assert_eq!(event["removeWhenExpired"], true);
        let description = event["description"].as_str().unwrap();
        assert!(
            description.contains("Shop.Pricing.QuoteCache.Quotes"),
            "{description}"
        );
    }

    assert_eq!(sfctl.cluster(), "Warning");

    // What somebody else reports is no business of ours: our end leaves it.
    let disk = |state: &str| {
        let report = ["service", "report-health", "--service-id", "Shop~Cart"];
        let what = ["--source-id", "ops", "--health-property", "Disk"];
        let how = ["--health-state", state, "--ttl", "PT2H"];
        let arguments = [&report[..], &what, &how, &["--remove-when-expired", "true"]].concat();
        sfctl.ask(&arguments).unwrap();
    };
    let state_of = |events: &[Value], source: &str| {
        let event = events.iter().find(|event| event["sourceId"] == source);
        event.map(|event| event["healthState"].as_str().unwrap().to_owned())
    };
    disk("Warning");
    send(&told(Turn::Resolved { version: None })).await.unwrap();
    let (service, events) = sfctl.service();
    assert_eq!(state_of(&events, "Leakhound").as_deref(), Some("Ok"));
    assert_eq!(state_of(&events, "ops").as_deref(), Some("Warning"));
    assert_eq!(service, "Warning");
    disk("Ok");
    assert_eq!(sfctl.cluster(), "Ok");

    // A warning that nobody is left to clear goes by itself.
    send(&told(Turn::Opened)).await.unwrap();
    assert_eq!(sfctl.cluster(), "Warning");
    let later = format!("{url}/later?seconds=3601");
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(std::iter::empty())
        .build()
        .unwrap();
    assert!(
        client
            .post(later)
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let (service, events) = sfctl.service();
    assert_eq!((&*service, state_of(&events, "Leakhound")), ("Ok", None));

    // What both of us hear of a service that there is not.
    let mut elsewhere = told(Turn::Opened);
    elsewhere.context.service = "fabric:/Shop/Nowhere".to_owned();
    let failure = send(&elsewhere).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    let theirs = sfctl.ask(&["service", "health", "--service-id", "Shop~Nowhere"]);
    for said in [failure.reason, theirs.unwrap_err()] {
        assert!(said.contains("FABRIC_E_SERVICE_DOES_NOT_EXIST"), "{said}");
    }
}
