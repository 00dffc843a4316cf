//! The local inbox: what it takes, what it refuses, what it shows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use leakhound_archive::State;
use leakhound_triage::notify::outbox::Policy;
use leakhound_triage::notify::{Context, Http, Inbox, Message, Outbox, sample};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixtures::{KEY, hostile_name, leak, message, monstrous, webhook};

async fn start(
    folder: &tempfile::TempDir,
) -> (
    Inbox,
    tokio::sync::mpsc::Receiver<leakhound_triage::notify::inbox::Received>,
) {
    Inbox::start(&folder.path().join("inbox"), &KEY.to_owned().into())
        .await
        .unwrap()
}

async fn ask(inbox: &Inbox, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(inbox.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn a_diagnosis_arrives_is_kept_and_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut arrived) = start(&folder).await;
    let outbox = Outbox::open(
        State::open(folder.path()).unwrap(),
        Arc::new(Http::default()),
        Policy::default(),
    )
    .unwrap();
    let hook = webhook("inbox", &inbox.webhook_url());
    let now = Timestamp::now();
    outbox.plan(&hook, "e", &message(&leak()), now).unwrap();
    assert_eq!(
        outbox.deliver_due(&[hook], now).await.unwrap().n_confirmed,
        1
    );

    let received = tokio::time::timeout(Duration::from_secs(5), arrived.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received.body["type"], "leakhound.diagnosis");
    assert_eq!(
        received.body["data"]["diagnosis"]["findings"][0]["culprit"],
        "Shop.Pricing.QuoteCache.Quotes"
    );
    assert_eq!(
        received.body["data"]["diagnosis"]["facts"]["heap.live_bytes"],
        1_300_000_000u64
    );
    assert_eq!(
        received.body["data"]["omitted"],
        serde_json::json!(["facts.statics"])
    );
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&received.file).unwrap()).unwrap();
    assert_eq!(kept, received.body);

    let page = ask(&inbox, b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("Memory leak in fabric:/Shop/Cart"),
        "{page}"
    );
    let one = format!(
        "GET /messages/{} HTTP/1.1\r\nhost: localhost:80\r\n\r\n",
        received.id
    );
    let page = ask(&inbox, one.as_bytes()).await;
    assert!(
        page.contains(
            "Owner: static Shop.Pricing.QuoteCache.Quotes → Dictionary&lt;String, Order&gt;"
        ),
        "{page}"
    );
}

#[tokio::test]
async fn a_test_message_says_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut arrived) = start(&folder).await;
    let hook = webhook("inbox", &inbox.webhook_url());
    let report = sample::send(&hook, &Http::default(), Timestamp::now()).await;
    let text = report.to_string();
    assert!(
        report.is_ok()
            && text.contains("inbox (webhook): delivered in")
            && text.contains("said: 200 kept"),
        "{text}"
    );
    let received = arrived.recv().await.unwrap();
    assert_eq!(received.body["type"], "leakhound.test");
    assert!(
        received.text("title").starts_with("TEST: "),
        "{:?}",
        received.body
    );

    drop(inbox);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let text = sample::send(&hook, &Http::default(), Timestamp::now())
        .await
        .to_string();
    assert!(
        text.contains("not delivered now") && text.contains("cannot reach"),
        "{text}"
    );
}

#[tokio::test]
async fn only_signed_fresh_bounded_messages_from_this_machine_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut arrived) = start(&folder).await;
    let now = Timestamp::now().as_second();
    let key = leakhound_triage::notify::webhook::Key::parse(&KEY.to_owned().into()).unwrap();
    let post = |id: &str, time: i64, body: &str, host: &str| {
        let signature = key.sign(id, &time.to_string(), body.as_bytes());
        format!(
            "POST /inbox HTTP/1.1\r\nhost: {host}\r\nwebhook-id: {id}\r\nwebhook-timestamp: {time}\r\n\
             webhook-signature: v1,AAAA {signature}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let here = "127.0.0.1:1";
    let forged = post("m1", now, "{}", here).replace("\r\n\r\n{}", "\r\n\r\n[]");
    let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(40_000));
    for (request, expected) in [
        (forged, "401"),
        (post("m1", now - 400, "{}", here), "more than 5 minutes"),
        (post("m1", now + 400, "{}", here), "more than 5 minutes"),
        (post("../../etc/passwd", now, "{}", here), "webhook-id"),
        (post("m1", now, "not json", here), "expected JSON"),
        (post("m1", now, "{}", "attacker.example.com"), "403"),
        (
            "POST /inbox HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n".into(),
            "413",
        ),
        (
            "POST /inbox HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".into(),
            "411",
        ),
        (
            "POST /inbox HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".into(),
            "400",
        ),
        (long, "431"),
        ("\u{0}\u{1}".into(), "400"),
        (
            "PUT /inbox HTTP/1.1\r\nhost: localhost\r\n\r\n".into(),
            "405",
        ),
        (
            "GET /messages/../x HTTP/1.1\r\nhost: localhost\r\n\r\n".into(),
            "404",
        ),
    ] {
        let reply = ask(&inbox, request.as_bytes()).await;
        assert!(reply.contains(expected), "{request:.200} got {reply}");
    }
    assert!(arrived.try_recv().is_err());
    assert!(
        ask(&inbox, post("m1", now, "{}", here).as_bytes())
            .await
            .ends_with("kept")
    );
    assert!(
        ask(&inbox, post("m1", now + 1, "{}", here).as_bytes())
            .await
            .ends_with("known")
    );
    assert_eq!(arrived.try_recv().unwrap().id, "m1");
    assert!(arrived.try_recv().is_err());
    assert_eq!(
        std::fs::read_dir(folder.path().join("inbox"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test]
async fn a_stalled_client_does_not_keep_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, _arrived) = start(&folder).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(TcpStream::connect(inbox.address()).await.unwrap());
    }
    let page = tokio::time::timeout(
        Duration::from_secs(5),
        ask(&inbox, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    )
    .await;
    assert!(page.unwrap().contains("No message yet"));
}

#[tokio::test]
async fn hostile_text_is_only_text_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let (inbox, mut arrived) = start(&folder).await;
    let hook = webhook("inbox", &inbox.webhook_url());
    let diagnosis = monstrous();
    let context = Context {
        link: Some("javascript:alert(1)".into()),
        node: hostile_name(),
        ..Context::of(&diagnosis)
    };
    let hostile = Message::new(&diagnosis, context);
    assert_eq!(hostile.context.link, None);
    let outbox = Outbox::open(
        State::open(folder.path()).unwrap(),
        Arc::new(Http::default()),
        Policy::default(),
    )
    .unwrap();
    outbox.plan(&hook, "e", &hostile, Timestamp::now()).unwrap();
    outbox.deliver_due(&[hook], Timestamp::now()).await.unwrap();
    let received = arrived.recv().await.unwrap();
    let whole = received.body.to_string();
    assert!(whole.len() < 200_000, "{}", whole.len());
    assert!(!whole.contains("hunter2") && !whole.contains("c2lnbmF0dXJl"));
    let one = format!(
        "GET /messages/{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        received.id
    );
    let page = ask(&inbox, one.as_bytes()).await;
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script"),
        "{page:.2000}"
    );
}
