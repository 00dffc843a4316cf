//! A real mail server (aiosmtpd): privacy, accounts, threads, refusals, and silence.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use leakhound_triage::notify::email::{Email, Tls};
use leakhound_triage::notify::http::Limits;
use leakhound_triage::notify::message::Turn;
use leakhound_triage::notify::secret::SecretSource;
use leakhound_triage::notify::{
    Failure, FailureKind, Http, Message, Parcel, Proof, Receipt, Repeat,
};

use crate::fixtures::{hostile_name, message, monstrous, to, told};
use crate::peer::{Peer, python};

const SERVER: &str = r#"
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
import trustme
folder = sys.argv[1]
ca = trustme.CA()
cert = ca.issue_cert("127.0.0.1")
ca.cert_pem.write_to_path(folder + "/ca.pem")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
cert.configure_cert(context)

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("full@"): return "452 mailbox full"
        if address.startswith("gone@"): return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("silent@"):
            await asyncio.sleep(600)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = [part for part in mail.walk() if not part.is_multipart()]
        print(json.dumps({
            "to": envelope.rcpt_tos, "encrypted": server.transport.get_extra_info("sslcontext") is not None, "account": session.authenticated,
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "types": [part.get_content_type() for part in parts], "texts": [part.get_content() for part in parts],
        }))
        return "250 kept as 42"

def check(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"bot", b"pw-SECRETSECRET"), handled=False)

async def main():
    loop = asyncio.get_running_loop()
    ports = {}
    async def serve(name, tls=None, **options):
        made = lambda: SMTP(Handler(), hostname="mail.test", loop=loop, **options)
        server = await loop.create_server(made, "127.0.0.1", 0, ssl=tls)
        ports[name] = server.sockets[0].getsockname()[1]
    await serve("starttls", tls_context=context, require_starttls=True, authenticator=check, auth_required=True)
    await serve("tls", tls=context)
    await serve("plain")
    await serve("small", data_size_limit=1000)
    print(json.dumps(ports))
    await loop.run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"#;

struct World {
    peer: Peer,
    folder: tempfile::TempDir,
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::start(&python(), SERVER, folder.path());
        World { peer, folder }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn email(&self, server: &str, tls: Tls, people: &[&str]) -> Email {
        Email {
            server: "127.0.0.1".to_owned(),
            port: Some(u16::try_from(self.peer.at[server].as_u64().unwrap()).unwrap()),
            tls,
            ca: (tls != Tls::None).then(|| self.ca()),
            user: None,
            password: None,
            from: "Leakhound <leakhound@shop.test>".to_owned(),
            to: people.iter().map(|&to| to.to_owned()).collect(),
        }
    }

    fn with_account(&self, password: &str) -> Email {
        Email {
            user: Some("bot".to_owned()),
            password: Some(SecretSource::inline(password)),
            ..self.email("starttls", Tls::Starttls, &["oncall@shop.test"])
        }
    }
}

async fn send_within(
    email: Email,
    key: &str,
    message: &Message,
    continues: Option<&str>,
    limits: Limits,
) -> Result<Receipt, Failure> {
    let parcel = Parcel {
        key,
        message,
        continues,
        maybe_sent: false,
        now: Timestamp::now(),
    };
    let to = to("mail", email);
    assert_eq!(to.destination.repeat(), Repeat::Visible);
    let result = to.destination.send(&Http::new(limits), &parcel).await;
    assert!(!format!("{result:?}").contains("SECRET"), "{result:?}");
    result
}

async fn send(email: Email, message: &Message) -> Result<Receipt, Failure> {
    send_within(email, "lh-1", message, None, Limits::default()).await
}

#[tokio::test]
async fn mails_of_one_incident_stand_in_one_thread() {
    let world = World::start();
    let email = || world.with_account("pw-SECRETSECRET");
    let limits = Limits::default();
    let opened = send_within(email(), "lh-1", &told(Turn::Opened), None, limits)
        .await
        .unwrap();
    let id = opened.id.clone().unwrap();
    assert_eq!(id, "<lh-1@shop.test>");
    assert_eq!(opened.proof, Proof::Accepted);
    assert_eq!(
        (opened.said.status, opened.said.text.as_str()),
        (250, "kept as 42")
    );
    let first = world.peer.next();
    assert_eq!(first["encrypted"], true);
    assert_eq!(first["account"], true);
    let headers = &first["headers"];
    assert_eq!(headers["message-id"], id);
    let subject = "Memory leak in fabric:/Shop/Cart: Shop.Pricing.QuoteCache.Quotes";
    assert_eq!(headers["subject"], subject);
    assert_eq!(headers["from"], "Leakhound <leakhound@shop.test>");
    assert_eq!(headers["to"], "oncall@shop.test");
    assert_eq!(headers["auto-submitted"], "auto-generated");
    assert_eq!(
        first["types"],
        serde_json::json!(["text/plain", "text/html"])
    );
    let text = first["texts"][0].as_str().unwrap();
    assert!(text.contains("How much: 1.21 GB, 78% of commit"), "{text}");
    let html = first["texts"][1].as_str().unwrap();
    assert!(html.contains("Dictionary&lt;String, Order&gt;"), "{html}");

    for (key, turn) in [
        ("lh-2", Turn::Again),
        ("lh-3", Turn::Resolved { version: None }),
    ] {
        send_within(email(), key, &told(turn), Some(&id), limits)
            .await
            .unwrap();
        let next = world.peer.next();
        let headers = &next["headers"];
        assert_eq!(headers["in-reply-to"], id);
        assert_eq!(headers["references"], id);
        assert_eq!(headers["subject"], format!("Re: {subject}"));
        assert_eq!(headers["message-id"], format!("<{key}@shop.test>"));
    }
}

#[tokio::test]
async fn a_mail_is_only_text_and_of_bounded_size() {
    let world = World::start();
    let email = world.email("tls", Tls::Tls, &["oncall@shop.test"]);
    send(email, &message(&monstrous())).await.unwrap();
    let mail = world.peer.next();
    assert_eq!(mail["encrypted"], true);
    let whole = mail.to_string();
    for secret in ["hunter2", "c2lnbmF0dXJl", "\u{202e}"] {
        assert!(!whole.contains(secret), "{secret}");
    }
    assert!(hostile_name().contains("<script>"));
    let html = mail["texts"][1].as_str().unwrap();
    assert!(
        !html.contains("<script") && html.len() < 100_000,
        "{}",
        html.len()
    );
    let subject = mail["headers"]["subject"].as_str().unwrap();
    assert!(subject.chars().count() <= 150, "{subject}");
}

#[tokio::test]
async fn nothing_is_said_in_clear_or_to_a_stranger() {
    let world = World::start();
    let untrusted = Email {
        ca: Some(stranger(world.folder.path())),
        ..world.with_account("pw-SECRETSECRET")
    };
    let failure = send(untrusted, &told(Turn::Opened)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retry(None), "{failure}");
    assert!(
        failure.reason.to_lowercase().contains("certificate"),
        "{failure}"
    );

    let clear = world.email("plain", Tls::Starttls, &["oncall@shop.test"]);
    let failure = send(clear, &told(Turn::Opened)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.reason.contains("offers no STARTTLS"), "{failure}");

    let wrong = world.with_account("wrong-SECRETSECRET");
    let failure = send(wrong, &told(Turn::Opened)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(
        failure.reason.contains("check user and password"),
        "{failure}"
    );
    assert!(world.peer.is_silent());
}

/// An authority that signed nothing here: the test's own, of another run.
fn stranger(folder: &Path) -> std::path::PathBuf {
    let other = folder.join("other");
    std::fs::create_dir_all(&other).unwrap();
    Peer::start(&python(), SERVER, &other);
    other.join("ca.pem")
}

#[tokio::test]
async fn refusals_mean_what_their_numbers_say() {
    let world = World::start();
    let plain = |people: &[&str]| world.email("plain", Tls::None, people);
    let failure = send(plain(&["full@shop.test"]), &told(Turn::Opened))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retry(None), "{failure}");
    assert!(failure.reason.contains("mailbox full"), "{failure}");
    let failure = send(plain(&["gone@shop.test"]), &told(Turn::Opened))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
    let small = world.email("small", Tls::None, &["oncall@shop.test"]);
    let failure = send(small, &told(Turn::Opened)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");

    // One who is gone does not keep the others from hearing of it.
    let both = plain(&["gone@shop.test", "oncall@shop.test"]);
    let receipt = send(both, &told(Turn::Opened)).await.unwrap();
    assert!(
        receipt.said.text.contains("gone@shop.test was refused"),
        "{receipt:?}"
    );
    assert_eq!(
        world.peer.next()["to"],
        serde_json::json!(["oncall@shop.test"])
    );
}

#[tokio::test]
async fn silence_after_the_mail_is_ambiguous_and_before_it_is_not() {
    let world = World::start();
    let limits = Limits {
        connect: Duration::from_secs(5),
        total: Duration::from_secs(5),
    };
    let silent = world.email("plain", Tls::None, &["silent@shop.test"]);
    let failure = send_within(silent, "lh-1", &told(Turn::Opened), None, limits)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Ambiguous, "{failure}");

    let nobody = Email {
        port: Some(1),
        ..world.email("plain", Tls::None, &["oncall@shop.test"])
    };
    let failure = send_within(nobody, "lh-1", &told(Turn::Opened), None, limits)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retry(None), "{failure}");
}
