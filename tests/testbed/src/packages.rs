//! The packages that carry runtimes and the compiler, fetched by name with the registries' own clients.

use crate::error::{Error, IoContext, Result};
use crate::progress::{Listener, Progress};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Which client fetches a package.
pub(crate) enum Client {
    /// `pip download` for a wheel platform tag.
    Pip { platform: &'static str },
    /// `npm pack`.
    Npm,
}

/// A pinned package.
pub(crate) struct Package {
    /// What a person calls it.
    pub what: &'static str,
    pub client: Client,
    pub name: &'static str,
    pub version: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
}

/// .NET Core 3.1.23 as a whole DOTNET_ROOT; its `dotnet` also drives the later runtimes.
pub(crate) const NET31: Package = Package {
    what: ".NET Core 3.1 (3.1.23)",
    client: Client::Pip {
        platform: "manylinux1_x86_64",
    },
    name: "dotnetcore2",
    version: "3.1.23",
    bytes: 31_118_828,
    sha256: "5f076ddc39da0c685e7de20ecb91ee81185928918ec86fbeb3bffc55dd867ab5",
};

/// .NET 8.0.32 as a self-contained program.
pub(crate) const NET8: Package = Package {
    what: ".NET 8 (8.0.32)",
    client: Client::Pip {
        platform: "manylinux2014_x86_64",
    },
    name: "python-redlines-ooxmlpowertools",
    version: "2.0.0",
    bytes: 34_100_420,
    sha256: "f25cff368f7f305d540c5680f03f8ad499fca2416962a635ba79192df089105e",
};

/// .NET 9.0.1 with ASP.NET Core as a self-contained program.
pub(crate) const NET9: Package = Package {
    what: ".NET 9 (9.0.1)",
    client: Client::Npm,
    name: "@azure/mcp-linux-x64",
    version: "0.0.8",
    bytes: 70_926_498,
    sha256: "0c4de171016414ca63416eb704a39cd18b3e674e269bb5a76be8577369d4afa3",
};

/// .NET 10.0.13 as a self-contained program.
pub(crate) const NET10: Package = Package {
    what: ".NET 10 (10.0.13)",
    client: Client::Pip {
        platform: "manylinux2014_x86_64",
    },
    name: "python-redlines-docxodus",
    version: "2.0.0",
    bytes: 45_212_306,
    sha256: "85cb58b2784f697e4160004458b87f7b59d401f050af30005e8e29d2db0a2d56",
};

/// .NET Core 3.1 for Windows (3.1.23).
pub(crate) const WIN31: Package = Package {
    what: ".NET Core 3.1 for Windows (3.1.23)",
    client: Client::Pip {
        platform: "win_amd64",
    },
    name: "dotnetcore2",
    version: "3.1.23",
    bytes: 31_749_585,
    sha256: "e2528813677d7a080522336cb530442408d1e2aea76fa8657018fb532c03c252",
};

/// .NET 8 for Windows (8.0.32).
pub(crate) const WIN8: Package = Package {
    what: ".NET 8 for Windows (8.0.32)",
    client: Client::Pip {
        platform: "win_amd64",
    },
    name: "python-redlines-ooxmlpowertools",
    version: "2.0.0",
    bytes: 35_365_785,
    sha256: "f6567702a12ded4299732b29074bb70fbf49564277021ea99b293011b5d7e225",
};

/// .NET 10 for Windows (10.0.13).
pub(crate) const WIN10: Package = Package {
    what: ".NET 10 for Windows (10.0.13)",
    client: Client::Pip {
        platform: "win_amd64",
    },
    name: "python-redlines-docxodus",
    version: "2.0.0",
    bytes: 69_753_754,
    sha256: "9d92725b7ec279b0be8d724c29a5754b39b55724fb6102164e67c244ca885fef",
};

/// A single-file program that carries .NET 8.0.30 with its whole framework: its host runs any program of ours.
pub(crate) const SINGLE_FILE: Package = Package {
    what: "a single-file program (.NET 8.0.30)",
    client: Client::Npm,
    name: "@microsoft/sarif-multitool-linux",
    version: "5.7.0",
    bytes: 43_615_539,
    sha256: "27d8e3e96dde578a23b7c45035b8d741fece5731e2700aa068015b8c44d1514e",
};

/// Roslyn 4.8, the C# compiler as libraries.
pub(crate) const ROSLYN: Package = Package {
    what: "the C# compiler (Roslyn 4.8)",
    client: Client::Npm,
    name: "@typespec/http-client-csharp",
    version: "1.0.0-alpha.20260929.2",
    bytes: 11_517_976,
    sha256: "0e2ce0496f43b4a37dcc6f2e751386169356503f685bd2c1d0e7c2e60b68f171",
};

/// How often a running download is looked at.
const POLL: Duration = Duration::from_millis(200);

impl Package {
    /// The package file, fetched if no earlier run left it; checked against the pinned SHA-256.
    pub fn fetch(&self, folder: &Path, listen: &mut Listener<'_>) -> Result<PathBuf> {
        let place = folder.join("dl").join(self.place());
        if let Some(file) = only_file(&place)
            && self.check(&file).is_ok()
        {
            return Ok(file);
        }
        let _ = std::fs::remove_dir_all(&place);
        let scratch = place.join("tmp");
        std::fs::create_dir_all(&scratch).doing("create", &scratch)?;
        listen(Progress::Step(format!(
            "fetching {} ({} MB)",
            self.what,
            self.bytes.div_ceil(1_000_000)
        )));
        let output = self.run_client(&place, &scratch, listen)?;
        let file = only_file(&place).ok_or_else(|| {
            self.failed(if output.status.success() {
                "the client reported success but left no file".to_owned()
            } else {
                last_words(&output)
            })
        })?;
        if !output.status.success() {
            return Err(self.failed(last_words(&output)));
        }
        let _ = std::fs::remove_dir_all(&scratch);
        self.check(&file)?;
        Ok(file)
    }

    /// One name carries packages for several systems.
    fn place(&self) -> String {
        let name = self.name.replace(['@', '/'], "_");
        match self.client {
            Client::Pip { platform } => format!("{name}-{platform}"),
            Client::Npm => name,
        }
    }

    /// Removes the package file once it is unpacked.
    pub fn discard(&self, file: &Path) {
        if let Some(place) = file.parent() {
            let _ = std::fs::remove_dir_all(place);
        }
    }

    fn run_client(
        &self,
        place: &Path,
        scratch: &Path,
        listen: &mut Listener<'_>,
    ) -> Result<Output> {
        let wanted;
        let mut command = match self.client {
            Client::Pip { platform } => {
                wanted = format!("{}=={}", self.name, self.version);
                let mut command = Command::new("python3");
                command
                    .args([
                        "-m",
                        "pip",
                        "download",
                        "--quiet",
                        "--no-input",
                        "--no-deps",
                    ])
                    .args(["--disable-pip-version-check", "--only-binary=:all:"])
                    .args(["--python-version", "3.11", "--platform", platform])
                    .arg("--dest")
                    .arg(place)
                    .arg(&wanted)
                    // pip downloads into its temporary folder: there the progress can be seen.
                    .env("TMPDIR", scratch);
                command
            }
            Client::Npm => {
                wanted = format!("{}@{}", self.name, self.version);
                let mut command = Command::new("npm");
                command
                    .args(["pack", "--silent", "--no-update-notifier"])
                    .arg("--pack-destination")
                    .arg(place)
                    .arg(&wanted)
                    .current_dir(scratch);
                command
            }
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(format!("{program} does not start: {error}")))?;
        loop {
            match child.try_wait() {
                Ok(Some(_)) => break,
                Ok(None) => {}
                Err(error) => return Err(self.failed(error.to_string())),
            }
            listen(Progress::Bytes {
                done: bytes_under(place).min(self.bytes),
                total: self.bytes,
            });
            std::thread::sleep(POLL);
        }
        child
            .wait_with_output()
            .map_err(|error| self.failed(error.to_string()))
    }

    fn check(&self, file: &Path) -> Result<()> {
        let found = sha256_of(file)?;
        if found == self.sha256 {
            return Ok(());
        }
        Err(self.failed(format!(
            "{} {} has SHA-256 {found}, expected {}",
            self.name, self.version, self.sha256
        )))
    }

    pub fn failed(&self, why: String) -> Error {
        Error::Fetch {
            what: self.what.to_owned(),
            why,
        }
    }
}

/// Unpacks a wheel, a zip file with Python's own module: no unzip is needed.
pub(crate) fn unpack_wheel(file: &Path, into: &Path) -> Result<(), String> {
    let mut command = Command::new("python3");
    command.args(["-m", "zipfile", "-e"]).arg(file).arg(into);
    run(command)
}

/// Unpacks the named members of a tarball, or all of them.
pub(crate) fn unpack_tar(file: &Path, into: &Path, members: &[&str]) -> Result<(), String> {
    std::fs::create_dir_all(into).map_err(|error| format!("{}: {error}", into.display()))?;
    let mut command = Command::new("tar");
    command
        .arg("-xzf")
        .arg(file)
        .arg("-C")
        .arg(into)
        .args(members);
    run(command)
}

fn run(mut command: Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{program}: {}", last_words(&output)))
    }
}

/// The end of what a program printed, enough to see why it failed.
pub(crate) fn last_words(output: &Output) -> String {
    let text = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let tail = lines[lines.len().saturating_sub(4)..].join("; ");
    if tail.is_empty() {
        format!("it ended with {}", output.status)
    } else {
        tail
    }
}

/// SHA-256 of a file, hex.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).doing("open", path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).doing("read", path)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..read]);
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn only_file(folder: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file());
    let file = files.next()?;
    files.next().is_none().then_some(file)
}

fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_under(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONSENSE: Package = Package {
        what: ".NET 99",
        client: Client::Pip {
            platform: "manylinux2014_x86_64",
        },
        name: "not a package",
        version: "0",
        bytes: 1,
        sha256: "",
    };

    #[test]
    fn a_package_that_cannot_be_had_is_a_sentence_not_a_skip() {
        let folder = tempfile::tempdir().unwrap();
        let error = NONSENSE.fetch(folder.path(), &mut |_| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(".NET 99 could not be fetched: "), "{text}");
        assert!(text.ends_with("; the live tests need it"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.whl");
        std::fs::write(&file, b"tampered").unwrap();
        let text = NET8.check(&file).unwrap_err().to_string();
        assert!(text.contains("expected f25cff36"), "{text}");
    }

    #[test]
    fn sha256_is_the_known_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        std::fs::write(&file, b"abc").unwrap();
        assert_eq!(
            sha256_of(&file).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
