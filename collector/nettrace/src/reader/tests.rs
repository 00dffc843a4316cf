//! Streams made by hand: what no runtime writes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::limits::{MAX_DEPTH, MAX_FIELDS};

/// A stream under construction.
struct Made(Vec<u8>);

impl Made {
    fn new() -> Self {
        Self(MAGIC.to_vec()).trace(VERSION)
    }

    fn begin(mut self, version: i32, name: &str) -> Self {
        self.0.extend([tag::BEGIN, tag::BEGIN, tag::NULL]);
        self.0.extend(version.to_le_bytes());
        self.0.extend(0_i32.to_le_bytes());
        self.0.extend((name.len() as u32).to_le_bytes());
        self.0.extend(name.as_bytes());
        self.0.push(tag::END);
        self
    }

    fn trace(self, version: i32) -> Self {
        let mut this = self.begin(version, "Trace");
        this.0.extend([0; TRACE_BYTES]);
        this.0.push(tag::END);
        this
    }

    fn block(self, name: &str, content: &[u8]) -> Self {
        let mut this = self.begin(2, name);
        this.0.extend((content.len() as u32).to_le_bytes());
        while !this.0.len().is_multiple_of(4) {
            this.0.push(0);
        }
        this.0.extend(content);
        this.0.push(tag::END);
        this
    }

    /// A block with one event.
    fn event(self, block: &str, definition: u8, payload: &[u8]) -> Self {
        let mut content = vec![4, 0, 1, 0, 1 | 128, definition, 0];
        let mut length = payload.len();
        while length > 0x7f {
            content.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        content.push(length as u8);
        content.extend(payload);
        self.block(block, &content)
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
}

/// What explains an event with these fields of a double each.
fn definition(id: u32, fields: &[&str]) -> Vec<u8> {
    let mut out = id.to_le_bytes().to_vec();
    text(&mut out, "Shop");
    out.extend([0; 4]);
    text(&mut out, "EventCounters");
    out.extend([0; 16]);
    out.extend((fields.len() as u32).to_le_bytes());
    for field in fields {
        let code: u32 = if *field == "Name" { 18 } else { 14 };
        out.extend(code.to_le_bytes());
        text(&mut out, field);
    }
    out
}

fn read(made: &Made) -> Result<Vec<(String, f64)>, Error> {
    let mut found = Vec::new();
    Reader::default().push(&made.0, &mut |s| found.push((s.name.clone(), s.value)))?;
    Ok(found)
}

fn sample(value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, "waiting");
    out.extend(value.to_le_bytes());
    out
}

#[test]
fn what_is_not_known_is_stepped_over() {
    let made = Made::new()
        .block("StackBlock", &[1; 37])
        .event("MetadataBlock", 0, &definition(7, &["Name", "Mean"]))
        .block("BlockOfTheFuture", &[])
        .event("EventBlock", 9, b"an event that was never explained")
        .event("EventBlock", 7, &sample(2.5));
    assert_eq!(read(&made).unwrap(), [("waiting".to_owned(), 2.5)]);
}

#[test]
fn the_end_is_the_end() {
    let mut made = Made::new();
    made.0.push(tag::NULL);
    made.0.extend(b"and what somebody wrote behind it");
    let mut reader = Reader::default();
    for byte in &made.0 {
        reader.push(&[*byte], &mut |_| panic!("a value")).unwrap();
    }
    assert!(reader.is_at_end() && reader.pending.is_empty());
}

#[test]
fn values_that_tell_nothing_are_left_out() {
    let made = Made::new()
        .event("MetadataBlock", 0, &definition(7, &["Name", "Increment"]))
        .event("EventBlock", 7, &sample(2.5));
    assert_eq!(read(&made).unwrap(), [], "an increase in no time");
    let unnamed = Made::new()
        .event("MetadataBlock", 0, &definition(7, &["Mean"]))
        .event("EventBlock", 7, &2.5_f64.to_le_bytes());
    assert_eq!(read(&unnamed).unwrap(), []);
}

#[test]
fn counts_are_held_to_their_limits() {
    let too_large = |made: Made, what: &str| match read(&made) {
        Err(Error::TooLarge { what: said, .. }) => assert_eq!(said, what),
        other => panic!("{what}: {other:?}"),
    };
    let mut long = Made::new().begin(2, "EventBlock");
    long.0.extend(u32::MAX.to_le_bytes());
    too_large(long, "a block");
    let mut named = Made::new();
    named
        .0
        .extend([tag::BEGIN, tag::BEGIN, tag::NULL, 0, 0, 0, 0, 0, 0, 0, 0]);
    named.0.extend(u32::MAX.to_le_bytes());
    too_large(named, "the name of a type");
    let fields = vec!["x"; MAX_FIELDS + 1];
    let many = Made::new().event("MetadataBlock", 0, &definition(1, &fields));
    too_large(many, "an event with fields");
    let mut deep = definition(1, &[]);
    for _ in 0..=MAX_DEPTH {
        let at = deep.len() - 4;
        deep[at..].copy_from_slice(&1_u32.to_le_bytes());
        deep.extend(1_u32.to_le_bytes());
        deep.extend([0; 4]);
    }
    too_large(
        Made::new().event("MetadataBlock", 0, &deep),
        "fields inside of fields",
    );
    let mut all = Made::new();
    for id in 0..=MAX_DEFINITIONS as u32 {
        all = all.event("MetadataBlock", 0, &definition(id, &[]));
    }
    too_large(all, "definitions of counters");
}

#[test]
fn other_formats_are_named() {
    let newer = Made(MAGIC.to_vec()).trace(6);
    assert_eq!(read(&newer), Err(Error::Version(6)));
    let mut reader = Reader::default();
    assert_eq!(
        reader.push(b"DOTNET_IPC_V1", &mut |_| {}),
        Err(Error::NoStream)
    );
}

#[test]
fn damage_is_named() {
    let torn = Made::new().block("EventBlock", &[2, 0, 1, 0]);
    assert!(matches!(read(&torn), Err(Error::Damaged(_))));
    let long_headers = Made::new().block("EventBlock", &[4, 0, 0, 0]);
    assert!(matches!(read(&long_headers), Err(Error::Damaged(_))));
    let mut open = Made::new().block("EventBlock", &[4, 0, 1, 0]);
    if let Some(close) = open.0.last_mut() {
        *close = 9;
    }
    assert!(matches!(read(&open), Err(Error::Damaged(_))));
    // An event that says it is longer than its block.
    let past = Made::new().block("EventBlock", &[4, 0, 1, 0, 129, 1, 0, 100, 1, 2, 3]);
    assert!(matches!(read(&past), Err(Error::Damaged(_))));
}
