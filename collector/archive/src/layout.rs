//! Names in the archive: `SERVICE/TIME-NODE-PID/`, safe on every file system and reversible.
//!
//! A service such as `fabric:/Shop/Cart` becomes `fabric=3A=2FShop=2FCart`: letters, digits, `_`, `.` and `-` stand for
//! themselves, every other byte of the UTF-8 text is `=XX`. `=` needs no quoting in a shell, is legal on Windows, and is not
//! escaped again by object stores. Names that Windows reserves (`CON`), a leading dot (hidden) or dash (an option), and a
//! trailing dot are escaped too. A name that is empty or grows too long is cut and ends in `==` and a hash; then only the
//! manifest knows the full name.
//!
//! On file systems that ignore case, services whose names differ only in case share a folder; the manifests tell them apart.

use jiff::Timestamp;
use std::fmt;

/// Longest encoded name of a service in bytes; Windows paths end at 260 in all.
const MAX_SERVICE_BYTES: usize = 120;
/// Longest encoded name of a node in bytes; host names have at most 63.
const MAX_NODE_BYTES: usize = 63;
const HASH_DIGITS: usize = 20;

/// Identity of a bundle: whose memory, when, and its place in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BundleId {
    service: String,
    time: Timestamp,
    node: String,
    pid: u32,
    service_folder: String,
    folder: String,
}

impl BundleId {
    /// The identity of a capture taken at `time`, to the second.
    #[must_use]
    pub fn new(service: &str, time: Timestamp, node: &str, pid: u32) -> Self {
        Self::with_time_text(
            service,
            time,
            node,
            pid,
            &time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        )
    }

    /// The same with milliseconds in its name, for a second capture within one second.
    #[must_use]
    pub fn with_millis(&self, time: Timestamp) -> Self {
        let text = time.strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
        Self::with_time_text(&self.service, time, &self.node, self.pid, &text)
    }

    fn with_time_text(service: &str, time: Timestamp, node: &str, pid: u32, text: &str) -> Self {
        Self {
            service: service.to_owned(),
            time,
            node: node.to_owned(),
            pid,
            service_folder: encode(service, MAX_SERVICE_BYTES),
            folder: format!("{text}-{}-{pid}", encode(node, MAX_NODE_BYTES)),
        }
    }

    /// Reads `SERVICE` and `TIME-NODE-PID` as they stand in the archive. A service or node whose name was cut keeps its
    /// encoded form.
    #[must_use]
    pub fn parse(service_folder: &str, folder: &str) -> Option<Self> {
        let (time, rest) = folder.split_once('-')?;
        let (node, pid) = rest.rsplit_once('-')?;
        if service_folder.is_empty() || service_folder.starts_with('.') || node.is_empty() {
            return None;
        }
        let plain = |text: &str| text.bytes().all(|b| is_plain(b) || b == b'=');
        if !plain(service_folder) || !plain(node) {
            return None;
        }
        Some(Self {
            service: decode(service_folder).unwrap_or_else(|| service_folder.to_owned()),
            time: parse_time(time)?,
            node: decode(node).unwrap_or_else(|| node.to_owned()),
            pid: pid.parse().ok().filter(|p: &u32| p.to_string() == pid)?,
            service_folder: service_folder.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Name of the service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Moment of the capture, as exact as the folder's name.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Host name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Encoded name of the service's folder.
    #[must_use]
    pub fn service_folder(&self) -> &str {
        &self.service_folder
    }

    /// `TIME-NODE-PID`.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// `SERVICE/TIME-NODE-PID`, the unique key of the bundle in its archive.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.service_folder, self.folder)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service_folder, self.folder)
    }
}

/// The folder name of a service.
#[must_use]
pub fn service_folder(service: &str) -> String {
    encode(service, MAX_SERVICE_BYTES)
}

/// The service of a folder name, unless the name was cut or is none of ours.
#[must_use]
pub fn service_name(folder: &str) -> Option<String> {
    decode(folder)
}

fn encode(name: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let last = name.len().saturating_sub(1);
    let reserved = is_reserved(name);
    for (i, byte) in name.bytes().enumerate() {
        let edge =
            (i == 0 && (reserved || byte == b'.' || byte == b'-')) || (i == last && byte == b'.');
        if is_plain(byte) && !edge {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("={byte:02X}"));
        }
        if out.len() > max_bytes {
            return cut(&out, name, max_bytes);
        }
    }
    if out.is_empty() {
        return cut(&out, name, max_bytes);
    }
    out
}

/// The beginning of the encoded name, made unique by a hash of the whole.
fn cut(encoded: &str, name: &str, max_bytes: usize) -> String {
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let kept = encoded.len().min(max_bytes - HASH_DIGITS - 2);
    // Encoded text is ASCII, so every index is a boundary; half an escape at the end is harmless, `==` marks the cut.
    let mut start = &encoded[..kept];
    start = start.trim_end_matches(['=', '.']);
    format!("{start}=={}", &hash[..HASH_DIGITS])
}

fn decode(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'=' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // Only the one canonical spelling counts, so that no two folders mean the same service.
    (encode(&name, usize::MAX) == folder).then_some(name)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// Device names that Windows reserves in every folder, with any extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end();
    let stem = stem.to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        _ => {
            let digit = stem
                .strip_prefix("COM")
                .or_else(|| stem.strip_prefix("LPT"));
            digit.is_some_and(|d| d.len() == 1 && d.as_bytes()[0].is_ascii_digit())
        }
    }
}

/// `20261122T185155Z` or `20261122T185155.123Z`.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (whole, millis) = match text.split_once('.') {
        Some((whole, millis)) if millis.len() == 3 => (whole, millis),
        Some(_) => return None,
        None => (text, "000"),
    };
    let shape = whole.len() == 15 && whole.as_bytes()[8] == b'T';
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !shape || !digits(&whole[..8]) || !digits(&whole[9..]) || !digits(millis) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| whole[range].parse::<i8>().ok();
    let date_time = jiff::civil::DateTime::new(
        whole[0..4].parse().ok()?,
        number(4..6)?,
        number(6..8)?,
        number(9..11)?,
        number(11..13)?,
        number(13..15)?,
        millis.parse::<i32>().ok()? * 1_000_000,
    );
    let zoned = date_time.ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    Some(zoned.ok()?.timestamp())
}

/// Refuses a name that could leave the bundle, hide in it, or be a device.
pub(crate) fn check_file_name(name: &str) -> crate::error::Result<()> {
    let reason = if name.is_empty() || name.len() > 200 {
        "its length is not 1 to 200 bytes"
    } else if !name.bytes().all(is_plain) {
        "only letters, digits, `_`, `.` and `-` are allowed"
    } else if name.starts_with(['.', '-']) || name.ends_with('.') {
        "it begins with a dot or dash, or ends with a dot"
    } else if is_reserved(name) {
        "Windows reserves it for a device"
    } else {
        return Ok(());
    };
    Err(crate::error::ArchiveError::BadName {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn service_fabric_names_read_well() {
        assert_eq!(
            service_folder("fabric:/Shop/Cart"),
            "fabric=3A=2FShop=2FCart"
        );
        assert_eq!(service_folder("cart-api_2.1"), "cart-api_2.1");
    }

    #[test]
    fn dangerous_names_are_tamed() {
        for name in [
            "..",
            ".",
            "../../etc",
            "con",
            "NUL.txt",
            "com1",
            "-rf",
            "a.",
            "a ",
            ".lock",
            "a\\b",
            "C:",
        ] {
            let folder = service_folder(name);
            assert!(
                check_file_name(&folder.replace('=', "")).is_ok(),
                "{name} became {folder}"
            );
            assert!(
                !folder.starts_with(['.', '-']) && !is_reserved(&folder),
                "{name} became {folder}"
            );
            assert_eq!(service_name(&folder).as_deref(), Some(name));
        }
    }

    #[test]
    fn long_and_empty_names_are_cut_and_stay_apart() {
        let (a, b) = ("é".repeat(200) + "a", "é".repeat(200) + "b");
        assert_ne!(service_folder(&a), service_folder(&b));
        assert!(service_folder(&a).len() <= MAX_SERVICE_BYTES);
        assert_eq!(service_name(&service_folder(&a)), None);
        assert!(service_folder("").len() > 2);
        assert!(BundleId::parse(&service_folder(&a), "20261122T185155Z-n-1").is_some());
    }

    #[test]
    fn only_the_canonical_spelling_decodes() {
        assert_eq!(service_name("=61"), None, "a needs no escape");
        assert_eq!(service_name("=2f"), None, "digits are upper case");
        assert_eq!(service_name("=FF"), None, "not UTF-8");
        assert_eq!(service_name("a=2"), None);
    }

    #[test]
    fn an_id_is_its_folder_names() {
        let id = BundleId::new(
            "fabric:/Shop/Cart",
            at("2026-11-22T18:51:55.25Z"),
            "node-7.eu",
            4711,
        );
        assert_eq!(
            id.key(),
            "fabric=3A=2FShop=2FCart/20261122T185155Z-node-7.eu-4711"
        );
        let back = BundleId::parse(id.service_folder(), id.folder()).unwrap();
        assert_eq!(
            (back.service(), back.node(), back.pid()),
            ("fabric:/Shop/Cart", "node-7.eu", 4711)
        );
        assert_eq!(back.time(), at("2026-11-22T18:51:55Z"));
        let exact = id.with_millis(id.time());
        assert_eq!(exact.folder(), "20261122T185155.250Z-node-7.eu-4711");
        let back = BundleId::parse(exact.service_folder(), exact.folder()).unwrap();
        assert_eq!(back, exact);
    }

    #[test]
    fn folders_of_others_are_not_bundles() {
        for folder in [
            "",
            "x",
            "20261122T185155Z",
            "20261122T185155Z--1",
            "20261322T185155Z-n-1",
            "20261122T185155Z-n-01",
            "20261122T185155Z-n-x",
            "2026112éT185155Z-n-1",
            "20261122T185155.1Z-n-1",
            "20261122T185155Z-a b-1",
        ] {
            assert_eq!(BundleId::parse("s", folder), None, "{folder}");
        }
        assert_eq!(BundleId::parse("..", "20261122T185155Z-n-1"), None);
    }

    proptest! {
        #[test]
        fn every_name_survives(name in "\\PC{0,40}", pid in any::<u32>(), seconds in 0i64..4_000_000_000) {
            let time = Timestamp::from_second(seconds).unwrap();
            let id = BundleId::new(&name, time, "n", pid);
            prop_assert!(id.service_folder().len() <= MAX_SERVICE_BYTES);
            let back = BundleId::parse(id.service_folder(), id.folder()).unwrap();
            prop_assert_eq!(back.time(), time);
            if !id.service_folder().contains("==") {
                prop_assert_eq!(back, id);
            }
        }
    }
}
