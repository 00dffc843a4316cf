//! What we send, read by the vendors' own code: Microsoft's Adaptive Cards parser, Slack's SDK, the reference
//! implementation of Standard Webhooks, and Python's own HMAC. Each also rejects a spoiled payload, so that a green
//! test means something.

use std::process::Command;

use jiff::Timestamp;
use leakhound_triage::notify::{Message, Parcel, blocks, matrix, sample, teams};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::fixtures::{KEY, leak, message, monstrous};
use crate::support::{feed, npm, python};

/// Every message that a destination must be able to show.
fn messages() -> Vec<(&'static str, Message)> {
    let mut bare = message(&leak());
    bare.cause = None;
    bare.others.clear();
    bare.context = Default::default();
    let now = "2026-11-22T20:00:00Z".parse().unwrap();
    vec![
        ("leak", message(&leak())),
        ("monstrous", message(&monstrous())),
        ("bare", bare),
        ("sample", sample::message(now)),
    ]
}

/// Text that must not be in anything that leaves.
fn assert_clean(name: &str, payload: &str) {
    for secret in ["hunter2", "c2lnbmF0dXJl", "\u{202e}"] {
        assert!(!payload.contains(secret), "{name} holds {secret:?}");
    }
}

#[test]
fn a_message_fits_a_phone_screen() {
    for (name, message) in messages() {
        let text = message.text();
        let n_chars = text.chars().count();
        println!("--- {name}: {n_chars} characters\n{text}");
        assert_clean(name, &text);
        if name == "leak" {
            assert!(
                n_chars <= 900 && text.lines().count() <= 18,
                "{n_chars} characters:\n{text}"
            );
            for part in [
                "Memory leak in fabric:/Shop/Cart",
                "How much: 1.21 GB, 78% of commit",
                "How sure: 92%, critical",
                "Where: node-07, pid 4711",
                "Since: captured 2026-11-22 19:22 UTC; process was up 3 d 4 h",
                "Owner: static Shop.Pricing.QuoteCache.Quotes → Dictionary<String, Order> → Order",
                "• Bound the cache, or let entries expire.",
                "2. The large object heap is mostly holes (210 MB, 13% of commit)",
                "Report: https://leakhound.example.com/r/42?a=1&b=2",
            ] {
                assert!(text.contains(part), "{part:?} is missing in\n{text}");
            }
        }
    }
}

#[test]
fn contents_of_the_heap_stay_unless_allowed() {
    let mut diagnosis = leak();
    let text = "4th July, Elm Street 12";
    let finding = &mut diagnosis.findings[0];
    finding.message = format!("The text \"{text}\" is kept 40,000 times.");
    finding.evidence = serde_json::from_value(json!([
        { "fact": "duplicate_strings.value", "value": text, "unit": "text", "text": text }
    ]))
    .unwrap();
    let rows = json!({ "duplicate_strings": [{ "value": text, "count": 40_000 }] });
    diagnosis.facts = serde_json::from_value(rows).unwrap();
    let kept = message(&diagnosis);
    let everything = |message: &Message| format!("{}{}", message.text(), message.diagnosis);
    assert!(
        !everything(&kept).contains("Elm Street"),
        "{}",
        everything(&kept)
    );
    assert!(kept.text().contains("The text \"[text withheld]\" is kept"));
    let context = leakhound_triage::notify::Context {
        heap_strings: true,
        ..kept.context.clone()
    };
    assert!(everything(&Message::new(&diagnosis, context)).contains("Elm Street"));
}

#[test]
fn shedding_ends_and_keeps_the_title() {
    let mut message = message(&monstrous());
    let mut sizes = vec![message.text().len()];
    while message.shed() {
        sizes.push(message.text().len());
        assert!(sizes.len() < 100, "does not end");
    }
    assert!(sizes.last().unwrap() < &1500, "{sizes:?}");
    assert!(message.text().contains("Memory leak in fabric:/Shop/Cart"));
    assert!(
        message
            .text()
            .contains("https://leakhound.example.com/r/42")
    );
}

const ADAPTIVE_CARDS: &str = r#"
const fs = require('fs'), path = require('path');
const folder = process.argv[1];
// The package's lib folder is written for bundlers; its dist file is plain JavaScript.
const copy = path.join(folder, 'ac.cjs');
fs.copyFileSync(path.join(folder, 'node_modules/adaptivecards/dist/adaptivecards.min.js'), copy);
const ac = require(copy);
const cards = JSON.parse(fs.readFileSync(0, 'utf8'));
const out = cards.map(card => {
  const context = new ac.SerializationContext(ac.Versions.v1_5);
  const parsed = new ac.AdaptiveCard();
  parsed.parse(card, context);
  const events = [];
  for (let i = 0; i < context.eventCount; i++) events.push(context.getEventAt(i).message);
  for (const f of parsed.validateProperties().validationEvents) events.push(f.message);
  return { events, items: parsed.getItemCount(), version: String(parsed.version) };
});
console.log(JSON.stringify(out));
"#;

#[test]
fn microsofts_parser_accepts_the_cards() {
    let folder = npm("npm-adaptivecards-3.0.6", &["adaptivecards@3.0.6"]);
    let mut cards: Vec<Value> = messages()
        .iter()
        .map(|(_, message)| teams::card(message, true))
        .collect();
    let n_good = cards.len();
    let spoil = |change: fn(&mut Value)| {
        let mut card = teams::card(&message(&leak()), false);
        change(&mut card);
        card
    };
    cards.push(spoil(|card| {
        card["body"][0]["inlines"][0]["color"] = "Mauve".into()
    }));
    cards.push(spoil(|card| {
        card["body"][1] = json!({ "type": "Chart.Nope" })
    }));
    cards.push(spoil(|card| card["actions"][0]["url"] = Value::Null));
    let input = serde_json::to_string(&cards).unwrap();
    let output = feed(
        Command::new("node")
            .arg("-e")
            .arg(ADAPTIVE_CARDS)
            .arg(&folder),
        &input,
    )
    .unwrap();
    let verdicts: Vec<Value> = serde_json::from_str(&output).unwrap();
    for (i, verdict) in verdicts.iter().enumerate() {
        let n_events = verdict["events"].as_array().unwrap().len();
        assert_eq!(n_events == 0, i < n_good, "card {i}: {verdict}");
        assert_eq!(verdict["version"], "1.5");
    }
    assert!(verdicts[0]["items"].as_u64().unwrap() >= 5, "{verdicts:?}");
}

#[test]
fn cards_keep_to_their_size_and_carry_no_markdown_or_mention() {
    for (name, message) in messages() {
        let envelope = teams::payload(&message, true);
        let text = envelope.to_string();
        assert!(text.len() <= 20_000, "{name}: {} bytes", text.len());
        assert_clean(name, &text);
        let card = &envelope["attachments"][0]["content"];
        assert_eq!(
            card["msteams"],
            json!({ "width": "Full" }),
            "no entities, so no mentions"
        );
        // A TextBlock would read markdown out of names; runs do not.
        assert!(!text.contains("\"TextBlock\""), "{name}");
    }
    let card = teams::card(&message(&leak()), false).to_string();
    assert!(card.contains("Dictionary<String, Order>") && card.contains("Open the report"));
}

const SLACK_SDK: &str = r#"
import json, sys
from slack_sdk.models.blocks import Block
out = []
for payload in json.load(sys.stdin):
    try:
        blocks = Block.parse_all(payload["blocks"])
        assert len(blocks) == len(payload["blocks"]) <= 50, "a block was not recognized"
        for block in blocks:
            block.validate_json()
        out.append("")
    except Exception as error:
        out.append(f"{type(error).__name__}: {error}")
print(json.dumps(out))
"#;

#[test]
fn slacks_sdk_accepts_the_blocks() {
    let python = python("python-slack_sdk-3.47.0", &["slack_sdk==3.47.0"]);
    let mut payloads: Vec<Value> = messages()
        .iter()
        .map(|(_, message)| blocks::payload(message, true))
        .collect();
    let n_good = payloads.len();
    let mut long = blocks::payload(&message(&leak()), false);
    long["blocks"][0]["text"]["text"] = "x".repeat(151).into();
    payloads.push(long);
    let mut wide = blocks::payload(&message(&leak()), false);
    wide["blocks"][2]["fields"] = vec![json!({ "type": "mrkdwn", "text": "x" }); 11].into();
    payloads.push(wide);
    let input = serde_json::to_string(&payloads).unwrap();
    let output = feed(Command::new(python).arg("-c").arg(SLACK_SDK), &input).unwrap();
    let verdicts: Vec<String> = serde_json::from_str(&output).unwrap();
    for (i, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.is_empty(), i < n_good, "payload {i}: {verdict}");
    }
}

#[test]
fn blocks_keep_to_their_size_and_mention_nobody() {
    for (name, message) in messages() {
        let payload = blocks::payload(&message, true);
        let text = payload.to_string();
        let n_chars: usize = payload["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b.to_string().chars().count())
            .sum();
        assert!(n_chars <= 13_200, "{name}: {n_chars} characters");
        assert_clean(name, &text);
        for mention in [
            "<!channel>",
            "<@U",
            "<!here",
            "<http://x",
            "@here",
            "@channel",
        ] {
            assert!(!text.contains(mention), "{name} holds {mention}");
        }
    }
    let text = blocks::payload(&message(&leak()), false).to_string();
    assert!(text.contains("Dictionary&lt;String, Order&gt;"), "{text}");
    assert!(
        text.contains("<https://leakhound.example.com/r/42?a=1&amp;b=2|Open the report>"),
        "{text}"
    );
}

#[test]
fn matrix_events_keep_to_their_size_and_are_only_text() {
    for (name, message) in messages() {
        let content = matrix::content(&message, None);
        let text = content.to_string();
        assert!(text.len() <= 32_000, "{name}: {} bytes", text.len());
        assert_clean(name, &text);
        assert!(
            !text.contains("@room")
                && !content["formatted_body"]
                    .as_str()
                    .unwrap()
                    .contains("<script"),
            "{name}"
        );
        assert_eq!(content["m.mentions"], json!({}));
    }
}

const HMAC: &str = r#"
import base64, hashlib, hmac, json, sys
request = json.load(sys.stdin)
body = request["body"].encode()
signed = f'{request["id"]}.{request["timestamp"]}.'.encode() + body
found = request["signature"].split(" ")
keys = [base64.b64decode(request["keys"][0].removeprefix("whsec_")), request["keys"][1].encode()]
expected = ["v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
assert found == expected, (found, expected)
assert json.loads(body)["data"]["service"] == "fabric:/Shop/Cart"
"#;

const STANDARD_WEBHOOKS: &str = r#"
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
request = json.load(sys.stdin)
headers = {"webhook-id": request["id"], "webhook-timestamp": request["timestamp"], "webhook-signature": request["signature"]}
webhook = Webhook(request["keys"][0])
assert webhook.verify(request["body"], headers)["type"] == "leakhound.diagnosis"
try:
    webhook.verify(request["body"].replace("Cart", "Card"), headers)
    sys.exit("a changed body was accepted")
except WebhookVerificationError:
    pass
"#;

#[tokio::test]
async fn others_verify_the_signature() {
    use leakhound_triage::notify::{Http, secret::SecretSource, webhook::Webhook};
    let server = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let plain = "an old secret that is plain text";
    let both = Webhook {
        url: SecretSource::inline(server.uri()),
        secrets: vec![SecretSource::inline(KEY), SecretSource::inline(plain)],
    };
    let to = crate::fixtures::to("hook", both);
    let (http, message) = (Http::default(), message(&leak()));
    let parcel = Parcel {
        key: "lh-0123",
        message: &message,
        continues: None,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    to.destination.send(&http, &parcel).await.unwrap();
    let request = server.received_requests().await.unwrap().remove(0);
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    let input = json!({
        "id": header("webhook-id"), "timestamp": header("webhook-timestamp"), "signature": header("webhook-signature"),
        "body": String::from_utf8(request.body.clone()).unwrap(), "keys": [KEY, plain],
    })
    .to_string();
    assert_eq!(header("webhook-id"), "lh-0123");
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    feed(Command::new("python3").arg("-c").arg(HMAC), &input).unwrap();
    let python = python(
        "python-standardwebhooks-1.1.0",
        &["standardwebhooks==1.1.0"],
    );
    feed(
        Command::new(python).arg("-c").arg(STANDARD_WEBHOOKS),
        &input,
    )
    .unwrap();
}
