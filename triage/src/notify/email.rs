//! Mail, by SMTP.
//!
//! Nothing leaves this machine in clear: the connection begins with TLS or turns to it (STARTTLS) before anything is said, and a
//! server that cannot is an error. A message's id is made of its key, so that a repeat is the same mail, which most stores fold
//! into one; those that continue an incident answer its first mail, under the same subject, since some programs sort threads by it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::transport::smtp::{Error as SmtpError, commands};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::address::{Address, is_this_machine};
use super::config::ConfigError;
use super::destination::{
    Attempt, Destination, Failure, FailureKind, Parcel, Proof, Receipt, Repeat, Said,
};
use super::document::{Document, html, plain};
use super::http::{Http, Limits, one_line};
use super::message::Turn;
use super::secret::SecretSource;
use super::ticket::Ticket;
use crate::report::clean::xml;

/// Longer subjects are cut off by most programs that show them.
const SUBJECT_CHARS: usize = 150;
/// People that one message goes to; more are a mailing list.
const RECIPIENTS: usize = 50;

/// `email = { server = "smtp.example.net", from = "leakhound@example.net", to = ["oncall@example.net"] }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Name of the mail server.
    pub server: String,
    /// Its port; by default 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub port: Option<u16>,
    /// How the connection is kept private.
    #[serde(default)]
    pub tls: Tls,
    /// File with certificates (PEM) to trust in place of those of the system.
    pub ca: Option<PathBuf>,
    /// Name of the account, where the server asks for one.
    pub user: Option<String>,
    /// Password of the account.
    pub password: Option<SecretSource>,
    /// Who writes: `leakhound@example.net` or `Leakhound <leakhound@example.net>`.
    pub from: String,
    /// Who is written to.
    pub to: Vec<String>,
}

/// How a connection is kept private.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// It turns to TLS before anything is said.
    #[default]
    Starttls,
    /// It begins with TLS.
    Tls,
    /// It is not: on this machine only.
    None,
}

/// The people of a message.
struct People {
    from: Mailbox,
    to: Vec<Mailbox>,
}

fn wrong(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key,
        problem: problem.into(),
    }
}

fn mailbox(text: &str, key: &'static str) -> Result<Mailbox, ConfigError> {
    let mailbox: Mailbox = text.parse().map_err(|error| {
        wrong(
            key,
            format!("expected an address such as oncall@example.net, found {text:?}: {error}"),
        )
    })?;
    let address: &str = mailbox.email.as_ref();
    if address.is_ascii() {
        Ok(mailbox)
    } else {
        Err(wrong(
            key,
            format!("{text:?}: write the address itself in ASCII (xn--… for its host)"),
        ))
    }
}

impl Email {
    fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::Starttls => 587,
            Tls::Tls => 465,
            Tls::None => 25,
        })
    }

    fn people(&self) -> Result<People, ConfigError> {
        if self.to.is_empty() || self.to.len() > RECIPIENTS {
            let problem = format!(
                "expected 1 to {RECIPIENTS} addresses, found {}",
                self.to.len()
            );
            return Err(wrong("email.to", problem));
        }
        let to = self.to.iter().map(|text| mailbox(text, "email.to"));
        Ok(People {
            from: mailbox(&self.from, "email.from")?,
            to: to.collect::<Result<_, _>>()?,
        })
    }

    fn tls(&self) -> Result<Option<TlsParameters>, ConfigError> {
        if self.tls == Tls::None {
            return match is_this_machine(&self.server) {
                true => Ok(None),
                false => Err(wrong(
                    "email.tls",
                    "`none` is for a server on this machine only; use `starttls` or `tls`",
                )),
            };
        }
        let mut tls = TlsParameters::builder(self.server.clone());
        if let Some(path) = &self.ca {
            let bad = |why: String| wrong("email.ca", format!("{}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
            if CertificateDer::pem_slice_iter(&pem).next().is_none() {
                return Err(bad("holds no certificate (PEM)".to_owned()));
            }
            let certificate = Certificate::from_pem(&pem).map_err(|error| bad(chain(&error)))?;
            tls = tls
                .certificate_store(CertificateStore::None)
                .add_root_certificate(certificate);
        }
        let tls = tls.build_rustls();
        tls.map(Some)
            .map_err(|error| wrong("email.tls", chain(&error)))
    }

    fn credentials(&self) -> Result<Option<Credentials>, ConfigError> {
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                let password = password.get("email.password")?;
                let password = password.expose_secret().to_owned();
                Ok(Some(Credentials::new(user.clone(), password)))
            }
            (None, None) => Ok(None),
            (Some(_), None) => Err(wrong("email.password", "is missing; `user` needs it")),
            (None, Some(_)) => Err(wrong("email.user", "is missing; `password` needs it")),
        }
    }

    /// Says everything up to the end of the mail; `under_way` is set when the server may have it.
    async fn converse(
        &self,
        people: &People,
        mail: &[u8],
        limits: Limits,
        under_way: &AtomicBool,
    ) -> Result<(Response, Vec<String>), Failure> {
        let early = |error: SmtpError| failure(&error, self.server.as_str());
        let tls = self.tls()?;
        let hello = ClientId::Domain(people.from.email.domain().to_owned());
        let at_once = (self.tls == Tls::Tls).then(|| tls.clone()).flatten();
        let place = (self.server.as_str(), self.port());
        let connection =
            AsyncSmtpConnection::connect_tokio1(place, Some(limits.connect), &hello, at_once, None);
        let mut server = connection.await.map_err(early)?;
        if self.tls == Tls::Starttls
            && let Some(tls) = tls
        {
            if !server.can_starttls() {
                let reason = format!("{} offers no STARTTLS; is it the right port?", self.server);
                return Err(Failure::new(FailureKind::Permanent, reason));
            }
            server.starttls(tls, &hello).await.map_err(early)?;
        }
        if let Some(credentials) = self.credentials()? {
            let auth = server.auth(DEFAULT_MECHANISMS, &credentials).await;
            auth.map_err(|error| {
                let failure = early(error);
                let reason = format!("{}; check user and password", failure.reason);
                Failure { reason, ..failure }
            })?;
        }
        let from = Mail::new(Some(people.from.email.clone()), Vec::new());
        server.command(from).await.map_err(early)?;
        let mut refused = Vec::new();
        for to in &people.to {
            match server
                .command(Rcpt::new(to.email.clone(), Vec::new()))
                .await
            {
                Ok(_) => {}
                // One who is gone does not keep the others from hearing of it.
                Err(error) if error.is_permanent() && refused.len() + 1 < people.to.len() => {
                    refused.push(format!("{} was refused: {}", to.email, chain(&error)));
                }
                Err(error) => return Err(early(error)),
            }
        }
        server.command(Data).await.map_err(early)?;
        under_way.store(true, Ordering::Relaxed);
        let said = server.message(mail).await.map_err(|error| {
            let failure = early(error);
            match failure.said {
                Some(_) => failure,
                None => Failure {
                    kind: FailureKind::Ambiguous,
                    ..failure
                },
            }
        })?;
        let _ = server.command(commands::Quit).await;
        Ok((said, refused))
    }
}

impl Destination for Email {
    fn kind(&self) -> &'static str {
        "email"
    }

    fn repeat(&self) -> Repeat {
        Repeat::Visible
    }

    fn address(&self) -> Result<Address, ConfigError> {
        Address::mail(&self.server, self.port(), "email.server")
    }

    fn check(&self) -> Result<Vec<String>, ConfigError> {
        self.address()?;
        self.people()?;
        self.tls()?;
        self.credentials()?;
        let password = self.password.iter();
        Ok(password
            .filter_map(|password| password.warning("email.password"))
            .collect())
    }

    fn send<'a>(&'a self, http: &'a Http, parcel: &'a Parcel<'a>) -> Attempt<'a, Receipt> {
        Box::pin(async move {
            let people = self.people()?;
            let id = format!("<{}@{}>", parcel.key, people.from.email.domain());
            let mail = write(&people, &id, parcel)?;
            let limits = http.limits();
            let under_way = AtomicBool::new(false);
            let talk = self.converse(&people, &mail, limits, &under_way);
            match tokio::time::timeout(limits.total, talk).await {
                Ok(result) => result.map(|(said, refused)| receipt(&said, &refused, id)),
                Err(_) => {
                    let kind = match under_way.load(Ordering::Relaxed) {
                        true => FailureKind::Ambiguous,
                        false => FailureKind::Retry(None),
                    };
                    let seconds = limits.total.as_secs();
                    let reason = format!("{} did not take the mail in {seconds} s", self.server);
                    Err(Failure::new(kind, reason))
                }
            }
        })
    }
}

/// The mail, byte for byte.
fn write(people: &People, id: &str, parcel: &Parcel<'_>) -> Result<Vec<u8>, Failure> {
    let document = Document::of(parcel.message, parcel.maybe_sent);
    let heading = document.heading();
    let text = format!("{heading}\n\n{}\n", plain(&document));
    let html = format!("<h3>{}</h3>{}", xml(&heading), html(&document));
    let mut mail = lettre::Message::builder()
        .from(people.from.clone())
        .subject(subject(parcel))
        .message_id(Some(id.to_owned()))
        // Of the message, not of the attempt: a repeat is the same mail.
        .date(parcel.message.context.at.unwrap_or(parcel.now).into())
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    for to in &people.to {
        mail = mail.to(to.clone());
    }
    if let Some(first) = parcel.continues {
        mail = mail
            .in_reply_to(first.to_owned())
            .references(first.to_owned());
    }
    let mail = mail.multipart(MultiPart::alternative_plain_html(text, html));
    mail.map(|mail| mail.formatted()).map_err(|error| {
        let reason = format!("the mail cannot be written: {error}");
        Failure::new(FailureKind::Permanent, reason)
    })
}

/// That of the first mail of its incident, so that all stand in one thread.
fn subject(parcel: &Parcel<'_>) -> String {
    let mut message = parcel.message.clone();
    if parcel.continues.is_some()
        && let Some(story) = &mut message.context.incident
    {
        story.turn = Turn::Opened;
        return format!(
            "Re: {}",
            Ticket::of(&message, parcel.key).title(SUBJECT_CHARS)
        );
    }
    Ticket::of(&message, parcel.key).title(SUBJECT_CHARS)
}

fn receipt(said: &Response, refused: &[String], id: String) -> Receipt {
    let said_by_server: Vec<&str> = said.message().collect();
    let text = std::iter::once(said_by_server.join(" ")).chain(refused.iter().cloned());
    Receipt {
        // The server has it; whether a mailbox does is another server's matter.
        proof: Proof::Accepted,
        id: Some(id),
        said: Said {
            status: said.code().into(),
            text: one_line(&text.collect::<Vec<_>>().join("; ")),
        },
    }
}

/// 4xx is tried again, 5xx is final; anything else happened on the way.
fn failure(error: &SmtpError, server: &str) -> Failure {
    let said = error.status().map(|code| Said {
        status: code.into(),
        text: one_line(&chain(error)),
    });
    let (kind, what) = match &said {
        Some(_) if error.is_permanent() => (FailureKind::Permanent, "refused by"),
        Some(_) => (FailureKind::Retry(None), "asked to come back later by"),
        None => (FailureKind::Retry(None), "cannot speak to"),
    };
    Failure {
        kind,
        reason: one_line(&format!("{what} {server}: {}", chain(error))),
        said,
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
