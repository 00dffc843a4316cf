//! A machine without trusted certificates: plain delivery to itself works, and `https` fails with a sentence.
//!
//! Which certificates are trusted is read from the environment once, so a process of its own looks.

use std::process::Command;

use jiff::Timestamp;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{FailureKind, Http, Parcel, slack::Slack};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{leak, message, to};

const ENTRY: &str = "LEAKHOUND_TEST_NO_TRUST";

/// Not a test of its own: runs where nothing is trusted. Without its variable it does nothing.
#[tokio::test]
async fn process_without_certificates() {
    if std::env::var_os(ENTRY).is_none() {
        return;
    }
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("ok"))
        .mount(&server)
        .await;
    let (http, message) = (Http::default(), message(&leak()));
    let parcel = Parcel {
        key: "k",
        message: &message,
        continues: None,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let at = |url: String| to("slack", Slack::at(SecretSource::inline(url)));
    at(server.uri())
        .destination
        .send(&http, &parcel)
        .await
        .unwrap();
    let failure = at("https://127.0.0.1:1/hidden".into())
        .destination
        .send(&http, &parcel)
        .await
        .unwrap_err();
    assert!(
        matches!(failure.kind, FailureKind::Retry(None)),
        "{failure:?}"
    );
    assert!(
        failure
            .reason
            .contains("install the package ca-certificates"),
        "{failure}"
    );
}

#[test]
fn a_machine_without_certificates_still_delivers_to_itself() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "trust::process_without_certificates",
            "--nocapture",
        ])
        .env(ENTRY, "1")
        .env("SSL_CERT_FILE", "/nonexistent.pem")
        .env("SSL_CERT_DIR", "/nonexistent")
        // A proxy that does not exist: this machine is reached without one.
        .env("HTTP_PROXY", "http://192.0.2.1:9")
        .env("http_proxy", "http://192.0.2.1:9")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
