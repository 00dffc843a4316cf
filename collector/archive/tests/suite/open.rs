//! Opening files of every container, good and bad.

use crate::support::noise;
use leakhound_archive::open::{Container, detect};
use leakhound_archive::read_at::PlainFile;
use leakhound_archive::{
    OpenOptions, ReadAt, SealOptions, SealWriter, open_readable, open_readable_with,
};
use proptest::prelude::*;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn sealed(raw: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::new(Vec::new(), &SealOptions::default()).unwrap();
    writer.write_all(raw).unwrap();
    writer.finish_into().unwrap().1
}

fn read_all(file: &dyn ReadAt) -> Vec<u8> {
    let mut out = vec![0; file.len() as usize];
    assert_eq!(file.read_at(0, &mut out).unwrap(), out.len());
    out
}

fn container(path: &Path) -> Container {
    detect(&PlainFile::open(path).unwrap()).unwrap()
}

#[test]
fn every_container_gives_the_same_bytes() {
    let folder = Folder::new();
    let raw = noise(2_500_000, 1);
    let plain_level_3 = zstd::encode_all(&raw[..], 3).unwrap();
    // As `cat a.zst b.zst` or pzstd make it.
    let mut many_frames = zstd::encode_all(&raw[..1_000_000], 3).unwrap();
    many_frames.extend(zstd::encode_all(&raw[1_000_000..], 3).unwrap());
    let cases = [
        (folder.file("raw", &raw), Container::Raw),
        (folder.file("sealed.zst", &sealed(&raw)), Container::Sealed),
        (
            folder.file("sealed-without-suffix", &sealed(&raw)),
            Container::Sealed,
        ),
        (folder.file("plain.zst", &plain_level_3), Container::Plain),
        (folder.file("many.zst", &many_frames), Container::Plain),
    ];
    for (path, expected) in cases {
        assert_eq!(container(&path), expected, "{}", path.display());
        let file = open_readable(&path).unwrap();
        assert!(read_all(&*file) == raw, "{}", path.display());
        assert_eq!(file.as_slice().is_some(), expected == Container::Raw);
        assert_eq!(file.origin(), path);
    }
    assert_eq!(
        std::fs::read_dir(folder.0.path()).unwrap().count(),
        5,
        "no temporary files"
    );
}

#[test]
fn the_real_zstd_programs_output_opens() {
    let folder = Folder::new();
    let raw = noise(1_500_000, 2);
    let path = folder.file("core", &raw);
    let packed = std::process::Command::new("zstd")
        .args(["-q", "-T2", "-3"])
        .arg(&path)
        .status();
    if packed.is_err() {
        eprintln!("there is no zstd program here: the library's encoder is tested elsewhere");
        return;
    }
    let file = open_readable(&folder.0.path().join("core.zst")).unwrap();
    assert!(read_all(&*file) == raw);
}

#[test]
fn small_and_empty_files_are_raw() {
    let folder = Folder::new();
    for bytes in [&b""[..], b"\x28", b"\x28\xB5\x2F", b"ELF?"] {
        let file = open_readable(&folder.file("small", bytes)).unwrap();
        assert_eq!(file.as_slice(), Some(bytes));
        assert_eq!(file.read_at(5, &mut [0; 4]).unwrap(), 0);
    }
}

#[test]
fn what_cannot_be_opened_says_which_and_why() {
    let folder = Folder::new();
    let raw = noise(900_000, 3);
    let plain = zstd::encode_all(&raw[..], 3).unwrap();
    let mut lying = sealed(&raw);
    let n = lying.len();
    lying[n - 9] ^= 0x7F;
    let cases = [
        (
            folder.0.path().to_owned(),
            ErrorKind::InvalidInput,
            "a folder",
        ),
        (
            PathBuf::from("/dev/null"),
            ErrorKind::InvalidInput,
            "not a regular file",
        ),
        (
            folder.0.path().join("missing"),
            ErrorKind::NotFound,
            "missing",
        ),
        (
            folder.file("cut.zst", &plain[..plain.len() / 2]),
            ErrorKind::InvalidData,
            "damaged or truncated after",
        ),
        (
            folder.file("cut-sealed.zst", &sealed(&raw)[..300_000]),
            ErrorKind::InvalidData,
            "damaged or truncated after",
        ),
        (
            folder.file("lying.zst", &lying),
            ErrorKind::InvalidData,
            "the seek table cannot be true",
        ),
        (
            folder.file(
                "noise.zst",
                &[&[0x28, 0xB5, 0x2F, 0xFD], &noise(999, 4)[..]].concat(),
            ),
            ErrorKind::InvalidData,
            "damaged",
        ),
    ];
    for (path, kind, what) in cases {
        let error = open_readable(&path).err().unwrap();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(what), "{text}");
        assert!(text.starts_with(&path.display().to_string()), "{text}");
    }
}

#[test]
fn a_bomb_without_seek_table_is_stopped_by_its_limits() {
    let folder = Folder::new();
    let zeros = zstd::encode_all(std::io::repeat(0).take_bytes(300 << 20), 1).unwrap();
    assert!(zeros.len() < 100_000);
    let path = folder.file("bomb.zst", &zeros);
    let options = OpenOptions {
        recut_raw_bytes: 100 << 20,
        ..OpenOptions::default()
    };
    let error = open_readable_with(&path, &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert!(
        error
            .to_string()
            .contains("unpacks to more than 104857600 bytes"),
        "{error}"
    );
    let path = folder.file(
        "noise.zst",
        &zstd::encode_all(&noise(4 << 20, 5)[..], 1).unwrap(),
    );
    let options = OpenOptions {
        recut_stored_bytes: 1 << 20,
        ..OpenOptions::default()
    };
    let error = open_readable_with(&path, &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(
        error
            .to_string()
            .contains("need more than 1048576 bytes of memory"),
        "{error}"
    );
    assert_eq!(open_readable(&path).unwrap().len(), 4 << 20);
}

trait TakeBytes {
    fn take_bytes(self, n: u64) -> std::io::Take<Self>
    where
        Self: Sized;
}

impl<R: std::io::Read> TakeBytes for R {
    fn take_bytes(self, n: u64) -> std::io::Take<R> {
        std::io::Read::take(self, n)
    }
}

#[test]
fn a_sealed_file_that_shrinks_while_open_is_an_error() {
    let folder = Folder::new();
    let raw = noise(4 << 20, 6);
    let path = folder.file("dump.zst", &sealed(&raw));
    let file = open_readable(&path).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let error = file.read_at(3 << 20, &mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(
        error.to_string().contains("truncated while being read"),
        "{error}"
    );
}

#[test]
fn a_plain_file_that_shrinks_is_a_short_read() {
    let folder = Folder::new();
    let path = folder.file("raw", &[7; 10_000]);
    let file = PlainFile::open(&path).unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(file.read_at(50, &mut [0; 100]).unwrap(), 50);
    assert_eq!(file.read_at(5000, &mut [0; 100]).unwrap(), 0);
}

#[test]
fn many_threads_share_one_file() {
    let folder = Folder::new();
    let raw = Arc::new(noise(6 << 20, 7));
    for bytes in [
        sealed(&raw),
        raw.to_vec(),
        zstd::encode_all(&raw[..], 1).unwrap(),
    ] {
        let file = open_readable(&folder.file("shared", &bytes)).unwrap();
        let threads: Vec<_> = (0..4usize)
            .map(|t| {
                let (file, raw) = (Arc::clone(&file), Arc::clone(&raw));
                std::thread::spawn(move || {
                    for i in 0..200usize {
                        let at = (i * 1_299_721 + t * 15_485_863) % (raw.len() - 70_000);
                        let n = 1 + (i * 347) % 70_000;
                        let mut buf = vec![0; n];
                        assert_eq!(file.read_at(at as u64, &mut buf).unwrap(), n);
                        assert!(buf[..] == raw[at..at + n]);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), kind in 0..3) {
        let folder = Folder::new();
        let magic: &[u8] = [&[][..], &[0x28, 0xB5, 0x2F, 0xFD], &[0x5E, 0x2A, 0x4D, 0x18]][kind as usize];
        let path = folder.file("random", &[magic, &bytes].concat());
        if let Ok(file) = open_readable(&path) {
            let _ = file.read_at(0, &mut [0; 500]);
        }
    }
}
