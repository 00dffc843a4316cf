//! The cluster that stands in for a real one, and what the tests do with it.

use crate::peer::Peer;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// [`cluster.py`], as long as this lives.
pub struct Cluster {
    peer: Peer,
    pub folder: PathBuf,
}

impl Cluster {
    pub fn start(python: &Path, folder: &Path) -> Self {
        Self {
            peer: Peer::start(python, include_str!("cluster.py"), folder),
            folder: folder.to_owned(),
        }
    }

    pub fn plain(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer.at["plain"])
    }

    /// A Python with an authority that signs certificates; the one of the tests of delivery.
    pub fn with_certificates() -> PathBuf {
        crate::peer::python()
    }

    /// `[fabric]` for a node from which the cluster is at `host`.
    pub fn section(&self, host: &str) -> String {
        format!(
            "[fabric]\ngateway = \"https://{host}:{}\"\ncertificate = {{ file = {:?} }}\nservers = [{}]\nevery = \"1 s\"\n",
            self.peer.at["tls"],
            self.folder.join("user.pem"),
            self.peer.at["sha256"],
        )
    }

    /// What agents show: `users` or `expired`.
    pub fn hand_out(&self, certificate: &str) {
        let from = self.folder.join(format!("{certificate}.pem"));
        let into = self.folder.join("user.pem.new");
        std::fs::copy(from, &into).unwrap();
        std::fs::rename(into, self.folder.join("user.pem")).unwrap();
    }

    /// Sets the state, or with `None` only reads what the cluster has seen.
    pub fn say(&self, state: Option<&Value>) -> Value {
        let body = state.map(Value::to_string).unwrap_or_default();
        let method = if state.is_some() { "POST" } else { "GET" };
        let port = self.peer.at["plain"].as_u64().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
        let length = body.len();
        write!(stream, "{method} /!/state HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{reply}");
        serde_json::from_str(body).unwrap()
    }

    /// How often agents of a node asked.
    pub fn asked(&self, node: &str) -> u64 {
        self.say(None)["asked"][node].as_u64().unwrap_or(0)
    }
}
