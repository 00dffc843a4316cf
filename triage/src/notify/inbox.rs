//! A small inbox on this machine: receives signed webhooks, keeps them as files, shows them as a page.
//!
//! It is the other end of the `webhook` destination for the demo and for tests, and the shortest example of a receiver
//! that does what the convention asks for: it checks the signature over the exact bytes, refuses old timestamps, and
//! takes each id once.
//!
//! Invariants: listens on loopback only; every request is bounded in size, time and number; a page of another site
//! cannot read it (the `Host` header must name this machine).

mod page;
mod request;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::webhook::Key;
use request::Request;

/// Requests at one time.
const CONNECTIONS_LIMIT: usize = 32;
/// One request, from its first byte to the last of the reply.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Older or newer timestamps are replays, or a clock that is wrong.
const SKEW_LIMIT_SECONDS: i64 = 300;
/// Messages kept in memory for the page; all are on disk.
const SHOWN_LIMIT: usize = 200;
/// Messages that wait for whoever holds the receiver.
const CHANNEL_LIMIT: usize = 64;

/// One message as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Its `webhook-id`.
    pub id: String,
    /// When it arrived.
    pub at: Timestamp,
    /// Where it is kept.
    pub file: PathBuf,
    /// The body.
    pub body: Value,
}

impl Received {
    /// A text of the `data` part.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.body["data"][key].as_str().unwrap_or_default()
    }
}

/// The running inbox; dropping it closes it.
#[derive(Debug)]
pub struct Inbox {
    address: SocketAddr,
    server: JoinHandle<()>,
}

struct Shared {
    folder: PathBuf,
    key: Key,
    shown: Mutex<BTreeMap<(Timestamp, String), Received>>,
    arrived: mpsc::Sender<Received>,
}

impl Inbox {
    /// Listens on a free port of 127.0.0.1 and keeps messages in `folder`, which is created if it is missing.
    ///
    /// # Errors
    /// The folder or the port cannot be had, or the secret is no key.
    pub async fn start(
        folder: &Path,
        secret: &SecretString,
    ) -> io::Result<(Inbox, mpsc::Receiver<Received>)> {
        let key = Key::parse(secret).map_err(|why| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("the secret {why}"))
        })?;
        private_folder(folder)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (arrived, receiver) = mpsc::channel(CHANNEL_LIMIT);
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            key,
            shown: Mutex::default(),
            arrived,
        });
        let server = tokio::spawn(serve(listener, shared));
        Ok((Inbox { address, server }, receiver))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the `webhook` destination has to be given.
    #[must_use]
    pub fn webhook_url(&self) -> String {
        format!("http://{}/inbox", self.address)
    }

    /// The page for people.
    #[must_use]
    pub fn page_url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    loop {
        // A permit first: connections beyond the limit wait in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that stalls or goes away is its own problem.
                    let _ = tokio::time::timeout(REQUEST_TIME, converse(stream, &shared)).await;
                    drop(place);
                });
            }
            // Out of descriptors, for example: breathe, then go on.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let reply = match request::read(&mut stream).await? {
        Ok(request) => answer(request, shared).await,
        Err(reply) => reply,
    };
    stream.write_all(&reply.bytes()).await?;
    stream.shutdown().await?;
    // What the client still sends is read and dropped, up to a limit: closing with unread bytes would reset the
    // connection and could take the reply with it.
    request::drain(&mut stream).await;
    Ok(())
}

/// A reply; the connection closes after it.
pub(crate) struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Reply {
    fn plain(status: u16, body: impl Into<String>) -> Reply {
        Reply {
            status,
            kind: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    fn html(body: String) -> Reply {
        Reply {
            status: 200,
            kind: "text/html; charset=utf-8",
            body,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Reply { status, kind, body } = self;
        // The page needs its own style and nothing else; text that got through all escaping still could not run.
        let head = format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\
             content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n\
             x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\ncache-control: no-store\r\n\r\n",
            reason(*status),
            body.len()
        );
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        _ => "Unknown",
    }
}

async fn answer(request: Request, shared: &Arc<Shared>) -> Reply {
    if !request.header("host").is_some_and(names_this_machine) {
        return Reply::plain(403, "this inbox is for this machine only");
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/inbox") => {
            let shared = Arc::clone(shared);
            // Files are written off the runtime's own threads.
            match tokio::task::spawn_blocking(move || shared.take(&request, Timestamp::now())).await
            {
                Ok(reply) => reply,
                Err(_) => Reply::plain(500, "the message could not be kept"),
            }
        }
        ("GET", "/") => Reply::html(page::list(&shared.newest_first())),
        ("GET", path) => match path
            .strip_prefix("/messages/")
            .and_then(|id| shared.find(id))
        {
            Some(message) => Reply::html(page::message(&message)),
            None => Reply::plain(404, "nothing here"),
        },
        (_, "/inbox") => Reply::plain(405, "messages are sent with POST"),
        _ => Reply::plain(404, "nothing here"),
    }
}

fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

impl Shared {
    fn take(&self, request: &Request, now: Timestamp) -> Reply {
        let header = |name| request.header(name).unwrap_or_default();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        if id.is_empty()
            || id.len() > 64
            || !id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            return Reply::plain(400, "webhook-id: expected 1 to 64 letters, digits, - or _");
        }
        let Ok(seconds) = timestamp.parse::<i64>() else {
            return Reply::plain(400, "webhook-timestamp: expected seconds since 1970");
        };
        if !self
            .key
            .verify(id, timestamp, &request.body, header("webhook-signature"))
        {
            return Reply::plain(401, "webhook-signature: none of the signatures is right");
        }
        if now.as_second().abs_diff(seconds) > SKEW_LIMIT_SECONDS.unsigned_abs() {
            return Reply::plain(
                400,
                "webhook-timestamp: more than 5 minutes away from the clock here",
            );
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return Reply::plain(400, "expected JSON");
        };
        let file = self.folder.join(format!("{id}.json"));
        match keep(&file, &request.body) {
            Ok(true) => {}
            Ok(false) => return Reply::plain(200, "known"),
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "Message could not be kept");
                return Reply::plain(500, "the message could not be kept");
            }
        }
        let received = Received {
            id: id.to_owned(),
            at: now,
            file,
            body,
        };
        self.show(received.clone());
        // Nobody listening, or nobody fast enough, is no reason to refuse: the file is there.
        let _ = self.arrived.try_send(received);
        Reply::plain(200, "kept")
    }

    fn show(&self, received: Received) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert((received.at, received.id.clone()), received);
        while shown.len() > SHOWN_LIMIT {
            shown.pop_first();
        }
    }

    fn newest_first(&self) -> Vec<Received> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.values().rev().cloned().collect()
    }

    fn find(&self, id: &str) -> Option<Received> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.values().find(|message| message.id == id).cloned()
    }
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes the file unless it is there; whole or not at all. `false`: it was there.
fn keep(file: &Path, body: &[u8]) -> io::Result<bool> {
    let partial = file.with_extension(format!("partial-{}", Timestamp::now().as_nanosecond()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut handle = options.open(&partial)?;
    let written = io::Write::write_all(&mut handle, body).and_then(|()| handle.sync_all());
    // A link fails if the name is taken, where a rename would replace: two deliveries of one id cannot both be new.
    let linked = written.and_then(|()| std::fs::hard_link(&partial, file));
    std::fs::remove_file(&partial)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
