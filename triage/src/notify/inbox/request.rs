//! As much of HTTP/1.1 as an inbox needs: one request per connection, with a head and a body of known length.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Reply;

/// Request line and headers.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;
/// A message; the sender keeps them under 200 KB.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
/// Unread bytes taken from a client that was refused before it ended.
const DRAIN_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads one request; the inner error is the reply to a request that cannot be served.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Result<Request, Reply>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if bytes.len() > HEAD_LIMIT_BYTES {
            return Ok(Err(Reply::plain(
                431,
                "the head of the request is too large",
            )));
        }
        if !fill(stream, &mut bytes).await? {
            return Ok(Err(Reply::plain(400, "the request ended early")));
        }
    };
    let mut request = match parse_head(&bytes[..head_end]) {
        Ok(request) => request,
        Err(why) => return Ok(Err(Reply::plain(400, why))),
    };
    let mut body = bytes.split_off(head_end + 4);
    if request.header("transfer-encoding").is_some() {
        return Ok(Err(Reply::plain(411, "say how long the body is")));
    }
    let length = match request.header("content-length").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(length)) if length <= BODY_LIMIT_BYTES => length,
        Some(Ok(_)) => return Ok(Err(Reply::plain(413, "the body is larger than 1 MiB"))),
        Some(Err(_)) => return Ok(Err(Reply::plain(400, "content-length: expected a number"))),
    };
    if body.len() < length
        && request
            .header("expect")
            .is_some_and(|e| e.eq_ignore_ascii_case("100-continue"))
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    while body.len() < length {
        if !fill(stream, &mut body).await? {
            return Ok(Err(Reply::plain(400, "the body ended early")));
        }
    }
    body.truncate(length);
    request.body = body;
    Ok(Ok(request))
}

/// Reads what the client still has to say, so that it can read our reply.
pub(super) async fn drain(stream: &mut TcpStream) {
    let mut taken = 0;
    let mut buffer = [0; 8192];
    while let Ok(n_read @ 1..) = stream.read(&mut buffer).await {
        taken += n_read;
        if taken > DRAIN_LIMIT_BYTES {
            return;
        }
    }
}

/// Reads some more; `false` at the end.
async fn fill(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let n_read = stream.read(&mut buffer).await?;
    bytes.extend_from_slice(&buffer[..n_read]);
    Ok(n_read > 0)
}

fn parse_head(head: &[u8]) -> Result<Request, &'static str> {
    let head = std::str::from_utf8(head).map_err(|_| "the head of the request is not text")?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (first.next(), first.next(), first.next(), first.next())
    else {
        return Err("expected METHOD PATH HTTP/1.1");
    };
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Ok(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: Vec::new(),
    })
}
