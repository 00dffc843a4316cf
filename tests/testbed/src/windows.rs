//! Windows runtimes on this Linux machine: fetched like the others, run under wine, dumped by Windows' own dump writer.

use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::minidump;
use crate::packages::{self, Package, last_words};
use crate::place;
use crate::root::{self, WINDOWS};
use crate::runtimes::Version;
use crate::service::{Launch, Service};
use crate::targets::App;
use crate::wine::{Wine, windows_path};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runtimes that there are packages of.
pub const VERSIONS: [Version; 3] = [Version::Net31, Version::Net8, Version::Net10];

/// A Windows runtime on this machine.
#[derive(Debug, Clone)]
pub struct WindowsRoot {
    version: Version,
    folder: PathBuf,
    wine: Wine,
}

/// Processes that are started for one dump.
const ATTEMPTS: u32 = 8;
/// Before the first attempt; longer before each later one. A process that has just started still compiles in the background, and
/// wine's writer, which unwinds every stack, dies on threads that run.
const SETTLE: Duration = Duration::from_millis(1500);
/// The images of a runtime alone are more than this.
const LEAST_BYTES: u64 = 16 << 20;

/// The runtime, fetched now if no earlier run did.
pub fn get(version: Version) -> Result<WindowsRoot> {
    let place = place::folder()?;
    let wine = Wine::get()?;
    let root = WindowsRoot {
        version,
        folder: place.join(folder_name(version)),
        wine,
    };
    let _lock = lock(&place, folder_name(version))?;
    if !root.is_marked() {
        build(&place, &root)?;
        let marker = root.marker();
        std::fs::write(&marker, version.exact()).doing("write", &marker)?;
    }
    Ok(root)
}

fn folder_name(version: Version) -> &'static str {
    match version {
        Version::Net31 => "win31",
        Version::Net8 => "win8",
        Version::Net9 => "win9",
        Version::Net10 => "win10",
    }
}

fn package(version: Version) -> Result<&'static Package> {
    match version {
        Version::Net31 => Ok(&packages::WIN31),
        Version::Net8 => Ok(&packages::WIN8),
        Version::Net10 => Ok(&packages::WIN10),
        Version::Net9 => Err(Error::Fetch {
            what: format!("{version} for Windows"),
            why: "no package carries it".to_owned(),
        }),
    }
}

fn build(place: &Path, root: &WindowsRoot) -> Result<()> {
    let package = package(root.version)?;
    let file = package.fetch(place, &mut |_| {})?;
    let work = place.join(format!("{}.partial", folder_name(root.version)));
    let _ = std::fs::remove_dir_all(&work);
    let (unpacked, built) = (work.join("package"), work.join("root"));
    packages::unpack_wheel(&file, &unpacked).map_err(|why| package.failed(why))?;
    if root.version == Version::Net31 {
        let inside = unpacked.join("dotnetcore2").join("bin");
        std::fs::rename(&inside, &built).doing("move", &inside)?;
    } else {
        let publish = unpack_inner(&unpacked, &work).map_err(|why| package.failed(why))?;
        let muxer = get(Version::Net31)?.dotnet();
        root::build(&WINDOWS, &publish, &muxer, &built, &[])?;
    }
    // Not every assembly loads under wine; the targets prove what they use of it.
    let _ = std::fs::remove_dir_all(&root.folder);
    std::fs::rename(&built, &root.folder).doing("move", &built)?;
    let _ = std::fs::remove_dir_all(&work);
    package.discard(&file);
    Ok(())
}

/// The wheel holds a zip file with the published program, which may have a folder of its own.
fn unpack_inner(unpacked: &Path, work: &Path) -> Result<PathBuf, String> {
    let folders = |of: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let inner = folders(unpacked)
        .iter()
        .map(|folder| folder.join("_binaries").join("win-x64.zip"))
        .find(|path| path.is_file())
        .ok_or_else(|| "the wheel holds no _binaries/win-x64.zip".to_owned())?;
    let publish = work.join("publish");
    packages::unpack_wheel(&inner, &publish)?;
    [publish.clone()]
        .into_iter()
        .chain(folders(&publish))
        .find(|folder| folder.join("coreclr.dll").is_file())
        .ok_or_else(|| "no coreclr.dll inside".to_owned())
}

impl WindowsRoot {
    /// Which runtime it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// `dotnet.exe`.
    #[must_use]
    pub fn dotnet(&self) -> PathBuf {
        self.folder.join(WINDOWS.muxer)
    }

    /// Folder of the framework: coreclr.dll, System.Private.CoreLib.dll and the rest.
    #[must_use]
    pub fn framework(&self) -> PathBuf {
        self.folder
            .join("shared")
            .join(root::CORE)
            .join(self.version.exact())
    }

    /// Prepares to start a target on this runtime.
    #[must_use]
    pub fn launch(&self, app: &App) -> Launch {
        let label = format!("{} for Windows", self.version);
        app.launch(self.command(&app.dll), &label)
    }

    /// Starts a target and writes a full-memory minidump of it. wine's writer fails on some processes however often it is asked,
    /// or forgets the memory; then another process is started.
    pub fn start_and_dump(&self, app: &App, file: &Path) -> Result<Service> {
        self.start_and_dump_as(app, file, |launch| launch)
    }

    /// The same with settings: `prepare` gets what is about to be started.
    pub fn start_and_dump_as(
        &self,
        app: &App,
        file: &Path,
        prepare: impl Fn(Launch) -> Launch,
    ) -> Result<Service> {
        let attempt = |nth: u32| {
            let service = prepare(self.launch(app)).start()?;
            std::thread::sleep(SETTLE * nth);
            self.write_minidump(&service, file)?;
            Ok(service)
        };
        let mut dumped = attempt(1);
        for nth in 2..=ATTEMPTS {
            if dumped.is_ok() {
                break;
            }
            dumped = attempt(nth);
        }
        dumped
    }

    fn write_minidump(&self, service: &Service, file: &Path) -> Result<()> {
        let failed = |why: String| Error::Dump {
            tool: "minidump",
            pid: service.pid(),
            why,
        };
        let output = self
            .wine
            .command(&self.wine.dump_writer()?)
            .arg(service.own_pid()?.to_string())
            .arg(windows_path(file))
            .output()
            .map_err(|error| failed(format!("wine does not start: {error}")))?;
        let mut magic = [0; 4];
        let head = std::fs::File::open(file)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
        match head {
            Ok(()) if magic == *b"MDMP" && output.status.success() => {
                match minidump::memory_bytes(file) {
                    Some(bytes) if bytes >= LEAST_BYTES => Ok(()),
                    bytes => Err(failed(format!("there is no memory in it: {bytes:?} bytes"))),
                }
            }
            _ => Err(failed(last_words(&output))),
        }
    }

    fn command(&self, app: &Path) -> Command {
        let mut command = self.wine.command(&self.dotnet());
        command
            .env("DOTNET_ROOT", windows_path(&self.folder))
            .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
            .env("DOTNET_CLI_TELEMETRY_OPTOUT", "1")
            .arg(windows_path(app));
        command
    }

    fn marker(&self) -> PathBuf {
        self.folder.join(".proved")
    }

    fn is_marked(&self) -> bool {
        std::fs::read_to_string(self.marker()).is_ok_and(|text| text == self.version.exact())
    }
}
