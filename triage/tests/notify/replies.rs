//! What other systems answer, from the documented to the absurd, and what each answer makes the outbox do.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use leakhound_triage::notify::http::Limits;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{
    DestinationConfig, Failure, FailureKind, Http, Parcel, Proof, Receipt, matrix::Matrix,
    slack::Slack, teams::Teams,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::matchers::{body_partial_json, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{leak, message, to, webhook};

fn slack(url: &str) -> DestinationConfig {
    to(
        "slack",
        Slack::at(SecretSource::inline(format!(
            "{url}/services/T0SECRET/B0SECRET/xyzSECRET"
        ))),
    )
}

fn teams(url: &str) -> DestinationConfig {
    to(
        "teams",
        Teams::at(SecretSource::inline(format!(
            "{url}/workflows/1/run?sig=SECRETSECRET"
        ))),
    )
}

fn matrix(url: &str) -> DestinationConfig {
    let token = SecretSource::inline("tok-SECRETSECRET");
    to(
        "matrix",
        Matrix {
            homeserver: url.into(),
            room: "!r:test".into(),
            token,
        },
    )
}

async fn send(to: &DestinationConfig) -> Result<Receipt, Failure> {
    send_within(to, Limits::default()).await
}

async fn send_within(to: &DestinationConfig, limits: Limits) -> Result<Receipt, Failure> {
    let (http, message) = (Http::new(limits), message(&leak()));
    let parcel = Parcel {
        key: "lh-0123",
        message: &message,
        continues: None,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let result = to.destination.send(&http, &parcel).await;
    // Whatever happens: no part of a secret is in what people get to see.
    assert!(!format!("{result:?}").contains("SECRET"), "{result:?}");
    result
}

async fn answering(template: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(template)
        .mount(&server)
        .await;
    server
}

/// A server that writes these bytes after the head of any request, then waits or closes.
async fn raw(reply: Vec<u8>, stay: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 65_536];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(&reply).await;
                if stay {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
            });
        }
    });
    url
}

fn kind(result: &Result<Receipt, Failure>) -> FailureKind {
    result.as_ref().expect_err("expected a failure").kind
}

const RETRY: FailureKind = FailureKind::Retry(None);
const PERMANENT: FailureKind = FailureKind::Permanent;

#[tokio::test]
async fn statuses_mean_what_the_vendors_say() {
    let in_two_minutes = FailureKind::Retry(Some(Duration::from_secs(120)));
    let cases: [(u16, &str, FailureKind); 12] = [
        (429, "rate_limited", in_two_minutes),
        (503, "", in_two_minutes),
        (500, "oops", in_two_minutes),
        (400, "invalid_payload", PERMANENT),
        (403, "action_prohibited", PERMANENT),
        (404, "no_service", PERMANENT),
        (410, "channel_is_archived", PERMANENT),
        (413, "Request Entity too large", PERMANENT),
        (401, "", PERMANENT),
        (302, "", PERMANENT),
        (502, "bad gateway", FailureKind::Ambiguous),
        (504, "", FailureKind::Ambiguous),
    ];
    for (status, body, expected) in cases {
        let template = ResponseTemplate::new(status)
            .insert_header("retry-after", "120")
            .set_body_string(body);
        let server = answering(template).await;
        for destination in [slack(&server.uri()), teams(&server.uri())] {
            let result = send(&destination).await;
            assert_eq!(kind(&result), expected, "{status} {body}");
            let failure = result.unwrap_err();
            assert!(
                failure.reason.contains(&status.to_string()) && failure.reason.contains(body),
                "{failure}"
            );
        }
    }
}

#[tokio::test]
async fn retry_after_may_be_a_date_of_the_servers_own_clock() {
    // The server's clock is years off; the wait is what counts.
    let template = ResponseTemplate::new(429)
        .insert_header("date", "Sun, 06 Nov 1994 08:48:37 GMT")
        .insert_header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
    let server = answering(template).await;
    assert_eq!(
        kind(&send(&slack(&server.uri())).await),
        FailureKind::Retry(Some(Duration::from_secs(60)))
    );
}

#[tokio::test]
async fn slack_says_ok_or_something_is_wrong() {
    for (body, expected) in [
        ("ok", None),
        ("{\"ok\":true,\"ts\":\"1.2\"}", None),
        ("{\"ok\":false,\"error\":\"ratelimited\"}", Some(RETRY)),
        (
            "{\"ok\":false,\"error\":\"msg_blocks_too_long\"}",
            Some(PERMANENT),
        ),
        ("<html>Sign in to the hotel's network</html>", Some(RETRY)),
        ("", Some(RETRY)),
    ] {
        let server = answering(ResponseTemplate::new(200).set_body_string(body)).await;
        let result = send(&slack(&server.uri())).await;
        match expected {
            None => assert_eq!(result.unwrap().proof, Proof::Confirmed, "{body}"),
            Some(expected) => assert_eq!(kind(&result), expected, "{body}"),
        }
    }
}

#[tokio::test]
async fn teams_answers_200_and_means_something_else() {
    for (status, body, expected) in [
        (202, "", Ok(Proof::Accepted)),
        (200, "1", Ok(Proof::Confirmed)),
        (200, "{\"done\":true}", Ok(Proof::Accepted)),
        (
            200,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413 with ContextId x",
            Err(PERMANENT),
        ),
        (
            200,
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x",
            Err(RETRY),
        ),
        (
            200,
            "Summary or Text is required. Invalid payload",
            Err(PERMANENT),
        ),
        (
            200,
            "{\"error\":{\"code\":\"WorkflowTriggerIsNotEnabled\",\"message\":\"m\"}}",
            Err(PERMANENT),
        ),
        (
            202,
            "{\"error\":{\"code\":\"TooManyRequests\",\"message\":\"m\"}}",
            Err(RETRY),
        ),
        (200, "<!DOCTYPE html><title>Sign in</title>", Err(RETRY)),
    ] {
        let template = ResponseTemplate::new(status)
            .insert_header("x-ms-workflow-run-id", "08584")
            .set_body_string(body);
        let server = answering(template).await;
        let result = send(&teams(&server.uri())).await;
        match expected {
            Ok(proof) => {
                let receipt = result.unwrap();
                assert_eq!(
                    (receipt.proof, receipt.id.as_deref()),
                    (proof, Some("08584")),
                    "{body}"
                );
            }
            Err(expected) => assert_eq!(kind(&result), expected, "{body}"),
        }
    }
}

#[tokio::test]
async fn matrix_names_the_pause_in_the_body() {
    let limited = ResponseTemplate::new(429).set_body_string(
        r#"{"errcode":"M_LIMIT_EXCEEDED","error":"Too Many Requests","retry_after_ms":1500}"#,
    );
    let server = answering(limited).await;
    assert_eq!(
        kind(&send(&matrix(&server.uri())).await),
        FailureKind::Retry(Some(Duration::from_millis(1500)))
    );

    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path(
            "/_matrix/client/v3/rooms/!r:test/send/m.room.message/lh-0123",
        ))
        .and(header("authorization", "Bearer tok-SECRETSECRET"))
        .and(body_partial_json(
            serde_json::json!({ "msgtype": "m.text", "m.mentions": {} }),
        ))
        .respond_with(ResponseTemplate::new(200).set_body_string(r#"{"event_id":"$e1"}"#))
        .mount(&server)
        .await;
    assert_eq!(
        send(&matrix(&server.uri())).await.unwrap().id.as_deref(),
        Some("$e1")
    );
}

#[tokio::test]
async fn a_reply_that_echoes_the_secret_does_not_show_it() {
    let hook = ResponseTemplate::new(404)
        .set_body_string("no such hook: /services/T0SECRET/B0SECRET/xyzSECRET");
    let server = answering(hook).await;
    let failure = send(&slack(&server.uri())).await.unwrap_err();
    assert!(failure.reason.contains("no such hook: ***"), "{failure}");

    let flow = ResponseTemplate::new(403)
        .set_body_string("bad signature SECRETSECRET in sig=SECRETSECRET");
    let server = answering(flow).await;
    let failure = send(&teams(&server.uri())).await.unwrap_err();
    assert!(failure.reason.contains("bad signature *** in"), "{failure}");

    let token = ResponseTemplate::new(401).set_body_string(
        "{\"errcode\":\"M_UNKNOWN_TOKEN\",\"error\":\"no token tok-SECRETSECRET\"}",
    );
    let server = answering(token).await;
    let failure = send(&matrix(&server.uri())).await.unwrap_err();
    assert!(failure.reason.contains("no token ***"), "{failure}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = answering(ResponseTemplate::new(200).set_body_string("ok")).await;
    let server =
        answering(ResponseTemplate::new(307).insert_header("location", other.uri().as_str())).await;
    let failure = send(&slack(&server.uri())).await.unwrap_err();
    assert_eq!(failure.kind, PERMANENT);
    assert!(failure.reason.contains("final address"), "{failure}");
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_reply_without_end_is_read_up_to_a_limit() {
    let mut reply = b"HTTP/1.1 500 x\r\ncontent-length: 999999999999\r\n\r\n".to_vec();
    reply.extend(std::iter::repeat_n(b'x', 4 << 20));
    let url = raw(reply, true).await;
    let started = Instant::now();
    let failure = send(&slack(&url)).await.unwrap_err();
    assert_eq!(failure.kind, RETRY);
    assert!(
        failure.reason.chars().count() < 400,
        "{}",
        failure.reason.len()
    );
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn silence_is_ambiguous_and_a_closed_door_is_not() {
    let limits = Limits {
        connect: Duration::from_millis(300),
        total: Duration::from_millis(300),
    };
    let silent = raw(Vec::new(), true).await;
    let failure = send_within(&slack(&silent), limits).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Ambiguous, "{failure}");
    assert!(
        failure.reason.contains("no answer from http://127.0.0.1:"),
        "{failure}"
    );

    let rude = raw(Vec::new(), false).await;
    assert_eq!(kind(&send(&slack(&rude)).await), FailureKind::Ambiguous);

    let garbage = raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), false).await;
    assert_eq!(kind(&send(&slack(&garbage)).await), FailureKind::Ambiguous);

    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = send(&slack(&format!("http://{free}"))).await.unwrap_err();
    assert_eq!(failure.kind, RETRY, "{failure}");
    assert!(
        failure.reason.contains("cannot reach http://127.0.0.1:"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_webhook_takes_any_2xx_and_stops_at_410() {
    for (status, expected) in [
        (200, None),
        (204, None),
        (202, None),
        (410, Some(PERMANENT)),
        (502, Some(RETRY)),
    ] {
        let server = answering(ResponseTemplate::new(status)).await;
        let result = send(&webhook("hook", &server.uri())).await;
        assert_eq!(
            result.err().map(|failure| failure.kind),
            expected,
            "{status}"
        );
    }
}
