//! What kind of file is this? A wrong file gets a sentence, not a parse error.

use leakhound_archive::ReadAt;

use crate::error::DumpError;

/// Kinds of dump that the magic number tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ELF file of type `ET_CORE`.
    ElfCore,
    /// Windows minidump (`MDMP`).
    Minidump,
}

/// Bytes looked at.
const HEAD: usize = 512;

/// Files that people hand in by mistake: magic, name, advice.
const MISTAKES: &[(&[u8], &str, &str)] = &[
    (
        b"\x1f\x8b",
        "this is a gzip file",
        "Unpack it first (gunzip), or compress with zstd",
    ),
    (
        b"PK\x03\x04",
        "this is a zip archive",
        "Unpack it and give the dump inside",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "this is a zstd file that was not opened as one",
        "Open it through the archive",
    ),
    (
        b"7z\xbc\xaf\x27\x1c",
        "this is a 7-Zip archive",
        "Unpack it and give the dump inside",
    ),
    (
        b"\xfd7zXZ\0",
        "this is an xz file",
        "Unpack it first (unxz), or compress with zstd",
    ),
    (
        b"BZh",
        "this is a bzip2 file",
        "Unpack it first (bunzip2), or compress with zstd",
    ),
    (
        b"\x04\x22\x4d\x18",
        "this is an lz4 file",
        "Unpack it first, or compress with zstd",
    ),
    (
        b"PAGEDU64",
        "this is a Windows kernel dump",
        "Take a dump of the process instead (ProcDump -ma, or leakhound capture)",
    ),
    (
        b"PAGEDUMP",
        "this is a Windows kernel dump",
        "Take a dump of the process instead (ProcDump -ma, or leakhound capture)",
    ),
    (
        b"KDUMP",
        "this is a Linux kernel crash dump",
        "Take a dump of the process instead (leakhound capture, createdump, gcore)",
    ),
    (
        b"Nettrace",
        "this is a .nettrace event trace",
        "Give a memory dump of the process",
    ),
    (
        b"MZ",
        "this is a Windows executable or library",
        "Give a memory dump of the process",
    ),
    (
        b"\xcf\xfa\xed\xfe",
        "this is a macOS Mach-O file",
        "Only dumps of Linux and Windows processes can be read",
    ),
    (
        b"%PDF",
        "this is a PDF document",
        "Give a memory dump of the process",
    ),
    (
        b"JAVA PROFILE",
        "this is a Java heap dump",
        "Eclipse MAT reads those; this tool reads .NET processes",
    ),
];

/// Tells the format of `source` from its first bytes.
///
/// # Errors
/// [`DumpError::NotADump`] with what the file seems to be, [`DumpError::Read`] when the medium fails.
pub fn detect(source: &dyn ReadAt) -> Result<Format, DumpError> {
    let mut buf = [0; HEAD];
    let n = source
        .read_at(0, &mut buf)
        .map_err(|error| DumpError::Read {
            origin: source.origin().to_owned(),
            what: "the first bytes",
            offset: 0,
            error,
        })?;
    classify(&buf[..n.min(HEAD)]).map_err(|(found, advice)| DumpError::NotADump {
        origin: source.origin().to_owned(),
        found,
        advice,
    })
}

/// The decision itself, on the first bytes of the file.
fn classify(head: &[u8]) -> Result<Format, (String, &'static str)> {
    let again = "Copy or take the dump again";
    if head.is_empty() {
        return Err(("the file is empty".to_owned(), again));
    }
    if head.starts_with(b"MDMP") {
        return Ok(Format::Minidump);
    }
    if head.starts_with(b"\x7fELF") {
        return elf_kind(head);
    }
    if let Some((_, found, advice)) = MISTAKES.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(((*found).to_owned(), advice));
    }
    if head.iter().all(|&b| b == 0) {
        return Err((
            "the file begins with zeros: it was allocated but never written".to_owned(),
            again,
        ));
    }
    Err(text_kind(head))
}

/// Sorts cores from programs and libraries.
fn elf_kind(head: &[u8]) -> Result<Format, (String, &'static str)> {
    const ET_NAMES: [&str; 4] = [
        "an untyped ELF file",
        "an object file",
        "a program",
        "a shared library or program",
    ];
    if head.len() < 18 {
        return Err((
            format!("an ELF file of only {} bytes", head.len()),
            "It was truncated; copy it again",
        ));
    }
    match (head[4], head[5], u16::from_le_bytes([head[16], head[17]])) {
        (2, 1, 4) => Ok(Format::ElfCore),
        (1, ..) => Err((
            "this is a 32-bit ELF file".to_owned(),
            "Only 64-bit processes can be read",
        )),
        (_, 2, _) => Err((
            "this is a big-endian ELF file".to_owned(),
            "Only little-endian processes can be read",
        )),
        (_, _, kind) => Err((
            format!(
                "this is {}",
                ET_NAMES
                    .get(usize::from(kind))
                    .unwrap_or(&"an ELF file of unknown type")
            ),
            "Give a core dump of the process",
        )),
    }
}

/// Names text files: a failed download is often an HTML or JSON page.
fn text_kind(head: &[u8]) -> (String, &'static str) {
    let printable = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    if !head.iter().all(printable) {
        let magic: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        return (
            format!(
                "the file begins with {}, which no known dump format does",
                magic.join(" ")
            ),
            "Expected an ELF core or a Windows minidump, raw or compressed with zstd",
        );
    }
    let text = String::from_utf8_lossy(head)
        .trim_start()
        .to_ascii_lowercase();
    let found = if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "this is an HTML page (a download that failed?)"
    } else if text.starts_with("<?xml") {
        "this is an XML document (an error message of a storage service?)"
    } else if text.starts_with('{') || text.starts_with('[') {
        "this is a JSON document"
    } else if text.starts_with("version https://git-lfs") {
        "this is a Git LFS pointer; the content was not fetched"
    } else {
        "this is a text file"
    };
    (found.to_owned(), "Give the dump itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(head: &[u8]) -> String {
        classify(head).expect_err("not a dump").0
    }

    #[test]
    fn dumps_are_told_apart() {
        let mut core = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0";
        assert_eq!(classify(&core), Ok(Format::ElfCore));
        core[16] = 3;
        assert_eq!(refusal(&core), "this is a shared library or program");
        core[4] = 1;
        assert_eq!(refusal(&core), "this is a 32-bit ELF file");
        assert_eq!(classify(b"MDMP\x93\xa7"), Ok(Format::Minidump));
    }

    #[test]
    fn common_mistakes_are_named() {
        for (head, expected) in [
            (&b""[..], "the file is empty"),
            (b"\x1f\x8b\x08\0", "this is a gzip file"),
            (b"PK\x03\x04\x14", "this is a zip archive"),
            (
                b"\n<!DOCTYPE html><html>",
                "this is an HTML page (a download that failed?)",
            ),
            (
                b"<html><body>403",
                "this is an HTML page (a download that failed?)",
            ),
            (b"{\"error\":1}", "this is a JSON document"),
            (b"hello", "this is a text file"),
            (b"\x7fELF\x02\x01", "an ELF file of only 6 bytes"),
            (
                &[0; 64],
                "the file begins with zeros: it was allocated but never written",
            ),
            (
                b"\x01\x02\x03",
                "the file begins with 01 02 03, which no known dump format does",
            ),
        ] {
            assert_eq!(refusal(head), expected, "{head:?}");
        }
    }
}
