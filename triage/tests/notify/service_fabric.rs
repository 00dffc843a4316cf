//! Health reports to a gateway that asks for a client certificate and shows one that no authority signed.

use jiff::Timestamp;
use leakhound_rules::Millis;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::pinned::Thumbprint;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::service_fabric::ServiceFabric;
use leakhound_triage::notify::{Failure, FailureKind, Http, Message, Parcel, Receipt};
use serde_json::json;
use wiremock::matchers::{body_partial_json, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{message, monstrous, to, told};
use crate::peer::{Peer, python};

const GATEWAY: &str = r#"
import hashlib, http.server, json, ssl, sys, threading
import trustme
folder = sys.argv[1]
users, cluster = trustme.CA(), trustme.CA()
user = users.issue_cert("leakhound@shop.test")
user.private_key_and_cert_chain_pem.write_to_path(folder + "/user.pem")
server = cluster.issue_cert("cluster.shop.test")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.verify_mode = ssl.CERT_REQUIRED
users.configure_trust(context)
server.configure_cert(context)
der = ssl.PEM_cert_to_DER_cert(server.cert_chain_pems[0].bytes().decode())

class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print(json.dumps({"path": self.path, "body": body, "user": self.connection.getpeercert()["subjectAltName"][0][1]}))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_): pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, *_): pass
httpd = Server(("127.0.0.1", 0), Gateway)
httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=httpd.serve_forever, daemon=True).start()
print(json.dumps({"port": httpd.server_address[1], "sha1": hashlib.sha1(der).hexdigest(), "sha256": hashlib.sha256(der).hexdigest()}))
sys.stdin.read()
"#;

fn plain(gateway: String) -> ServiceFabric {
    ServiceFabric {
        gateway,
        certificate: None,
        key: None,
        token: None,
        servers: Vec::new(),
        expires: Millis(3_600_000),
    }
}

async fn send(fabric: ServiceFabric, message: &Message) -> Result<Receipt, Failure> {
    let parcel = Parcel {
        key: "lh-1",
        message,
        continues: None,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let to = to("fabric", fabric);
    let checked = to.check();
    assert!(checked.is_ok(), "{checked:?}");
    to.destination.send(&Http::default(), &parcel).await
}

#[tokio::test]
async fn a_warning_stands_until_it_is_cleared() {
    let server = MockServer::start().await;
    for (state, ttl) in [("Warning", "PT3600S"), ("Ok", "PT5M")] {
        let report = json!({
            "SourceId": "Leakhound", "Property": "leakhound-3f9ac01b2d", "HealthState": state,
            "TimeToLiveInMilliSeconds": ttl, "RemoveWhenExpired": true,
        });
        Mock::given(method("POST"))
            .and(path("/Services/Shop~Cart/$/ReportHealth"))
            .and(query_param("api-version", "6.0"))
            .and(query_param("Immediate", "true"))
            .and(body_partial_json(report))
            .respond_with(ResponseTemplate::new(200))
            .expect(1)
            .mount(&server)
            .await;
    }
    for turn in [Turn::Opened, Turn::Resolved { version: None }] {
        send(plain(server.uri()), &told(turn)).await.unwrap();
    }
    // What is no service of Service Fabric has no health there.
    let mut elsewhere = told(Turn::Opened);
    elsewhere.context.service = "orders".to_owned();
    let receipt = send(plain(server.uri()), &elsewhere).await.unwrap();
    assert!(
        receipt.said.text.contains("`orders` is no service"),
        "{receipt:?}"
    );
    for request in server.received_requests().await.unwrap() {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let description = body["Description"].as_str().unwrap();
        assert!(
            description.contains("Shop.Pricing.QuoteCache.Quotes"),
            "{description}"
        );
    }
}

#[tokio::test]
async fn a_description_fits_and_errors_are_told_apart() {
    let report = leakhound_triage::notify::service_fabric::report(
        &message(&monstrous()),
        "lh-1",
        Millis(60_000),
    );
    let description = report["Description"].as_str().unwrap();
    assert!(description.chars().count() <= 4_000 && !description.contains("hunter2"));
    for (status, code, expected) in [
        (
            404,
            "FABRIC_E_SERVICE_DOES_NOT_EXIST",
            FailureKind::Permanent,
        ),
        (403, "E_ACCESSDENIED", FailureKind::Permanent),
        (
            503,
            "FABRIC_E_GATEWAY_NOT_REACHABLE",
            FailureKind::Retry(None),
        ),
        (504, "FABRIC_E_TIMEOUT", FailureKind::Retry(None)),
    ] {
        let server = MockServer::start().await;
        let body = json!({ "Error": { "Code": code, "Message": "m" } });
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .mount(&server)
            .await;
        let failure = send(plain(server.uri()), &told(Turn::Opened))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, expected, "{status}");
        assert!(failure.reason.contains(code), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_shown_to_the_pinned_server_and_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::start(&python(), GATEWAY, folder.path());
    let print = |kind: &str| Thumbprint::parse(peer.at[kind].as_str().unwrap()).unwrap();
    let fabric = |servers: Vec<Thumbprint>| ServiceFabric {
        certificate: Some(SecretSource::file(folder.path().join("user.pem"))),
        servers,
        ..plain(format!("https://127.0.0.1:{}", peer.at["port"]))
    };
    for kind in ["sha1", "sha256"] {
        send(fabric(vec![print(kind)]), &told(Turn::Opened))
            .await
            .unwrap();
        let got = peer.next();
        assert_eq!(got["user"], "leakhound@shop.test");
        assert_eq!(
            got["path"],
            "/Services/Shop~Cart/$/ReportHealth?api-version=6.0&Immediate=true"
        );
        assert_eq!(got["body"]["HealthState"], "Warning");
    }
    let other = Thumbprint::parse(&"ab".repeat(20)).unwrap();
    let failure = send(fabric(vec![other]), &told(Turn::Opened))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retry(None), "{failure}");
    let stranger = ServiceFabric {
        certificate: None,
        ..fabric(vec![print("sha256")])
    };
    assert!(send(stranger, &told(Turn::Opened)).await.is_err());
    assert!(peer.is_silent());
}

#[test]
fn thumbprints_are_read_as_people_copy_them() {
    let plain = "a909502dd82ae41433e6f83886b00d4277a32a7b";
    let spaced = "\u{200e}A9 09 50 2D D8 2A E4 14 33 E6 F8 38 86 B0 0D 42 77 A3 2A 7B";
    assert_eq!(Thumbprint::parse(plain), Thumbprint::parse(spaced));
    let error = Thumbprint::parse("a909").unwrap_err();
    assert!(error.contains("40 (SHA-1) or 64 (SHA-256)"), "{error}");
    assert!(Thumbprint::parse(&"é".repeat(40)).is_err());
}

#[test]
fn a_certificate_or_a_pin_over_plain_http_is_refused() {
    use leakhound_triage::notify::Destination;
    let pinned = ServiceFabric {
        servers: vec![Thumbprint::parse(&"0f".repeat(20)).unwrap()],
        ..plain("http://localhost:19080".to_owned())
    };
    let error = pinned.check().unwrap_err().to_string();
    assert!(
        error.contains("service_fabric.gateway") && error.contains("https://"),
        "{error}"
    );
    plain("http://localhost:19080".to_owned()).check().unwrap();
}
