//! Slack by a bot: the thread, its head, and the report as a file.

use jiff::Timestamp;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::slack_bot::SlackBot;
use leakhound_triage::notify::{FailureKind, Http, Message, Parcel, Receipt};
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{to, told};

async fn send(
    server: &MockServer,
    message: &Message,
    continues: Option<&str>,
) -> Result<Receipt, leakhound_triage::notify::Failure> {
    let bot = SlackBot {
        channel: "C012".to_owned(),
        token: SecretSource::inline("xoxb-SECRETSECRET"),
        report: true,
        api: server.uri(),
    };
    let parcel = Parcel {
        key: "lh-0123",
        message,
        continues,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let to = to("bot", bot);
    to.check().unwrap();
    let result = to.destination.send(&Http::default(), &parcel).await;
    assert!(!format!("{result:?}").contains("SECRET"), "{result:?}");
    result
}

fn says(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn the_report_goes_into_the_thread_without_its_secrets() {
    let server = MockServer::start().await;
    let posted =
        json!({ "channel": "C012", "metadata": { "event_payload": { "key": "lh-0123" } } });
    Mock::given(path("/chat.postMessage"))
        .and(header("authorization", "Bearer xoxb-SECRETSECRET"))
        .and(body_partial_json(posted))
        .respond_with(says(json!({ "ok": true, "ts": "17.5" })))
        .expect(1)
        .mount(&server)
        .await;
    let report = format!("<p>kept</p> Password={};", "hunter2hunter2");
    let scrubbed = "<p>kept</p> Password=***;";
    let place = format!("{}/upload/v1/abc", server.uri());
    Mock::given(method("GET"))
        .and(path("/files.getUploadURLExternal"))
        .and(query_param("filename", "report.html"))
        .and(query_param("length", scrubbed.len().to_string()))
        .respond_with(says(
            json!({ "ok": true, "upload_url": place, "file_id": "F1" }),
        ))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .and(path("/upload/v1/abc"))
        .and(header("content-type", "application/octet-stream"))
        .respond_with(ResponseTemplate::new(200).set_body_string("OK - 26"))
        .expect(1)
        .mount(&server)
        .await;
    let complete = json!({ "files": [{ "id": "F1" }], "channel_id": "C012", "thread_ts": "17.5" });
    Mock::given(path("/files.completeUploadExternal"))
        .and(body_partial_json(complete))
        .respond_with(says(json!({ "ok": true })))
        .expect(1)
        .mount(&server)
        .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(&file, report).unwrap();
    let mut message = told(Turn::Opened);
    message.context.report = Some(file);
    let receipt = send(&server, &message, None).await.unwrap();
    assert_eq!(receipt.id.as_deref(), Some("17.5"));
    assert!(
        receipt.said.text.ends_with("with its report"),
        "{receipt:?}"
    );
    for request in server.received_requests().await.unwrap() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!body.contains("hunter2") && !body.contains("/report.html\""));
        let to_upload = request.url.path().starts_with("/upload");
        assert_eq!(request.headers.contains_key("authorization"), !to_upload);
        assert!(!to_upload || body == scrubbed, "{body}");
    }
}

#[tokio::test]
async fn what_goes_wrong_with_the_report_is_told_and_the_message_is_there() {
    let server = MockServer::start().await;
    Mock::given(path("/chat.postMessage"))
        .respond_with(says(json!({ "ok": true, "ts": "17.5" })))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/files.getUploadURLExternal"))
        .respond_with(says(json!({ "ok": false, "error": "missing_scope" })))
        .mount(&server)
        .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    std::fs::write(&file, "<p>").unwrap();
    let mut message = told(Turn::Opened);
    message.context.report = Some(file);
    let receipt = send(&server, &message, None).await.unwrap();
    assert!(
        receipt.said.text.contains("no report was added"),
        "{receipt:?}"
    );
    assert!(receipt.said.text.contains("missing_scope"), "{receipt:?}");
}

#[tokio::test]
async fn what_continues_stands_in_the_thread_and_its_head_is_kept_up_to_date() {
    for (head, expected) in [
        (json!({ "ok": true, "ts": "17.5" }), None),
        (json!({ "ok": false, "error": "message_not_found" }), None),
        (
            json!({ "ok": false, "error": "ratelimited" }),
            Some(FailureKind::Retry(None)),
        ),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/chat.update"))
            .and(body_partial_json(
                json!({ "channel": "C012", "ts": "17.5" }),
            ))
            .respond_with(says(head))
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(path("/chat.postMessage"))
            .and(body_partial_json(json!({ "thread_ts": "17.5" })))
            .respond_with(says(json!({ "ok": true, "ts": "18.5" })))
            .expect(u64::from(expected.is_none()))
            .mount(&server)
            .await;
        let over = told(Turn::Resolved { version: None });
        let result = send(&server, &over, Some("17.5")).await;
        assert_eq!(result.err().map(|failure| failure.kind), expected);
    }
}
