//! Real .NET runtimes, laid out as DOTNET_ROOTs, each proved by loading every assembly of its framework.

use crate::compiler::{HELLO, RUNTIME_CONFIG};
use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::{self, Package};
use crate::place;
use crate::progress::{Listener, Progress};
use crate::root;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A runtime that the testbed can bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// .NET Core 3.1.
    Net31,
    /// .NET 8.
    Net8,
    /// .NET 9, with ASP.NET Core.
    Net9,
    /// .NET 10.
    Net10,
}

/// Framework assemblies that the .NET 9 package took from newer packages.
const REPLACED_IN_9: [(&str, &[&str]); 2] = [
    (
        root::CORE,
        &[
            "System.Diagnostics.DiagnosticSource.dll",
            "System.Formats.Asn1.dll",
            "System.Linq.AsyncEnumerable.dll",
            "System.Net.ServerSentEvents.dll",
            "System.Text.Json.dll",
            "System.Threading.Channels.dll",
        ],
    ),
    (
        "Microsoft.AspNetCore.App",
        &[
            "Microsoft.Extensions.Caching.Abstractions.dll",
            "Microsoft.Extensions.Caching.Memory.dll",
            "Microsoft.Extensions.Configuration.Abstractions.dll",
            "Microsoft.Extensions.Configuration.Binder.dll",
            "Microsoft.Extensions.Configuration.CommandLine.dll",
            "Microsoft.Extensions.Configuration.EnvironmentVariables.dll",
            "Microsoft.Extensions.Configuration.FileExtensions.dll",
            "Microsoft.Extensions.Configuration.Json.dll",
            "Microsoft.Extensions.Configuration.UserSecrets.dll",
            "Microsoft.Extensions.Configuration.dll",
            "Microsoft.Extensions.DependencyInjection.Abstractions.dll",
            "Microsoft.Extensions.DependencyInjection.dll",
            "Microsoft.Extensions.Diagnostics.Abstractions.dll",
            "Microsoft.Extensions.Diagnostics.dll",
            "Microsoft.Extensions.FileProviders.Abstractions.dll",
            "Microsoft.Extensions.FileProviders.Physical.dll",
            "Microsoft.Extensions.FileSystemGlobbing.dll",
            "Microsoft.Extensions.Hosting.Abstractions.dll",
            "Microsoft.Extensions.Hosting.dll",
            "Microsoft.Extensions.Logging.Abstractions.dll",
            "Microsoft.Extensions.Logging.Configuration.dll",
            "Microsoft.Extensions.Logging.Console.dll",
            "Microsoft.Extensions.Logging.Debug.dll",
            "Microsoft.Extensions.Logging.EventLog.dll",
            "Microsoft.Extensions.Logging.EventSource.dll",
            "Microsoft.Extensions.Logging.dll",
            "Microsoft.Extensions.Options.ConfigurationExtensions.dll",
            "Microsoft.Extensions.Options.dll",
            "Microsoft.Extensions.Primitives.dll",
            "System.Diagnostics.EventLog.dll",
        ],
    ),
];

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 4] = [Self::Net31, Self::Net8, Self::Net9, Self::Net10];

    /// `3.1.23`: what the runtime says about itself.
    #[must_use]
    pub fn exact(self) -> &'static str {
        match self {
            Self::Net31 => "3.1.23",
            Self::Net8 => "8.0.32",
            Self::Net9 => "9.0.1",
            Self::Net10 => "10.0.13",
        }
    }

    /// `3.1`, `8`, `9`, `10`.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::Net31 => "3.1",
            Self::Net8 => "8",
            Self::Net9 => "9",
            Self::Net10 => "10",
        }
    }

    /// Major version number.
    #[must_use]
    pub fn major(self) -> u32 {
        match self {
            Self::Net31 => 3,
            Self::Net8 => 8,
            Self::Net9 => 9,
            Self::Net10 => 10,
        }
    }

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Net31 => "net31",
            Self::Net8 => "net8",
            Self::Net9 => "net9",
            Self::Net10 => "net10",
        }
    }

    fn package(self) -> &'static Package {
        match self {
            Self::Net31 => &packages::NET31,
            Self::Net8 => &packages::NET8,
            Self::Net9 => &packages::NET9,
            Self::Net10 => &packages::NET10,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net31 => write!(f, ".NET Core {}", self.exact()),
            _ => write!(f, ".NET {}", self.exact()),
        }
    }
}

/// A runtime on this machine, ready to run programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotnetRoot {
    version: Version,
    folder: PathBuf,
}

/// The runtime, fetched now if no earlier run did; other processes that want it wait for this one.
pub fn get(version: Version) -> Result<DotnetRoot> {
    get_with(version, &mut |_| {})
}

/// As [`get`], telling `listen` what goes on.
pub fn get_with(version: Version, listen: &mut Listener<'_>) -> Result<DotnetRoot> {
    let folder = place::folder()?;
    let root = DotnetRoot {
        version,
        folder: folder.join(version.folder()),
    };
    if root.is_marked() {
        return Ok(root);
    }
    let _lock = lock(&folder, version.folder())?;
    if root.is_marked() {
        return Ok(root);
    }
    if root.prove().is_err() {
        build(&folder, &root, listen)?;
    }
    root.mark()?;
    Ok(root)
}

/// Builds in a folder of its own and renames: a crash leaves no half root under the real name.
fn build(folder: &Path, root: &DotnetRoot, listen: &mut Listener<'_>) -> Result<()> {
    let version = root.version;
    let package = version.package();
    // The muxer comes with 3.1: both are fetched at the same time.
    let (muxer, file) = std::thread::scope(|scope| {
        let muxer = (version != Version::Net31).then(|| scope.spawn(|| get(Version::Net31)));
        let file = package.fetch(folder, listen);
        let muxer = muxer.map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(package.failed("its muxer's thread died".to_owned())))
        });
        (muxer.transpose(), file)
    });
    let muxer = muxer?.map(|root| root.dotnet());
    let file = file?;
    listen(Progress::Step(format!("unpacking {}", package.what)));
    let work = folder.join(format!("{}.partial", version.folder()));
    let _ = std::fs::remove_dir_all(&work);
    let unpacked = work.join("package");
    let built = work.join("root");
    unpack(version, &file, &unpacked).map_err(|why| package.failed(why))?;
    match &muxer {
        None => {
            let inside = unpacked.join("dotnetcore2").join("bin");
            std::fs::rename(&inside, &built).doing("move", &inside)?;
            make_programs_executable(&built)?;
        }
        Some(muxer) => {
            let publish = publish_folder(version, &unpacked)?;
            let replaced: &[(&str, &[&str])] = match version {
                Version::Net9 => &REPLACED_IN_9,
                _ => &[],
            };
            root::build(&root::LINUX, &publish, muxer, &built, replaced)?;
        }
    }
    listen(Progress::Step(format!("starting {}", package.what)));
    let candidate = DotnetRoot {
        version,
        folder: built,
    };
    candidate.prove().map_err(|why| package.failed(why))?;
    let _ = std::fs::remove_dir_all(&root.folder);
    std::fs::rename(&candidate.folder, &root.folder).doing("move", &candidate.folder)?;
    let _ = std::fs::remove_dir_all(&work);
    package.discard(&file);
    Ok(())
}

fn unpack(version: Version, file: &Path, into: &Path) -> Result<(), String> {
    match version {
        Version::Net31 => packages::unpack_wheel(file, into),
        Version::Net9 => packages::unpack_tar(file, into, &[]),
        Version::Net8 | Version::Net10 => {
            packages::unpack_wheel(file, into)?;
            let inner = inner_archive(into)
                .ok_or_else(|| "the wheel holds no _binaries/linux-x64.tar.gz".to_owned())?;
            packages::unpack_tar(&inner, &into.join("publish"), &[])
        }
    }
}

fn inner_archive(unpacked: &Path) -> Option<PathBuf> {
    std::fs::read_dir(unpacked)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("_binaries").join("linux-x64.tar.gz"))
        .find(|path| path.is_file())
}

fn publish_folder(version: Version, unpacked: &Path) -> Result<PathBuf> {
    if version == Version::Net9 {
        return Ok(unpacked.join("package"));
    }
    // The tarball may or may not have a folder of its own.
    let publish = unpacked.join("publish");
    if publish.join("libcoreclr.so").is_file() {
        return Ok(publish);
    }
    std::fs::read_dir(&publish)
        .doing("list", &publish)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("libcoreclr.so").is_file())
        .ok_or_else(|| Error::Content {
            path: publish.clone(),
            why: "no libcoreclr.so inside".to_owned(),
        })
}

fn make_programs_executable(root: &Path) -> Result<()> {
    let framework = root
        .join("shared")
        .join(root::CORE)
        .join(Version::Net31.exact());
    for program in [root.join("dotnet"), framework.join("createdump")] {
        let copy = program.with_extension("copy");
        root::copy(&program, &copy, true)?;
        std::fs::rename(&copy, &program).doing("move", &copy)?;
    }
    Ok(())
}

impl DotnetRoot {
    /// Which runtime it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The DOTNET_ROOT.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The `dotnet` program.
    #[must_use]
    pub fn dotnet(&self) -> PathBuf {
        self.folder.join("dotnet")
    }

    /// Folder of the framework: libcoreclr.so, System.Private.CoreLib.dll and the rest.
    #[must_use]
    pub fn framework(&self) -> PathBuf {
        self.folder
            .join("shared")
            .join(root::CORE)
            .join(self.version.exact())
    }

    /// The runtime's own dump writer.
    #[must_use]
    pub fn createdump(&self) -> PathBuf {
        self.framework().join("createdump")
    }

    /// The runtime's own debugging library, the oracle for layouts.
    #[must_use]
    pub fn dac(&self) -> PathBuf {
        self.framework().join("libmscordaccore.so")
    }

    /// A command that runs the program `app` (a .dll) on this runtime, free of the caller's own .NET settings.
    #[must_use]
    pub fn command(&self, app: &Path) -> Command {
        let mut command = Command::new(self.dotnet());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DOTNET_") || text.starts_with("COMPlus_") {
                command.env_remove(&name);
            }
        }
        command
            .env("DOTNET_ROOT", &self.folder)
            .env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1")
            .env("DOTNET_CLI_TELEMETRY_OPTOUT", "1")
            .arg(app);
        command
    }

    /// Loads every assembly of the framework.
    fn prove(&self) -> Result<(), String> {
        let program = self.folder.join("hello");
        std::fs::create_dir_all(&program)
            .and_then(|()| std::fs::write(program.join("hello.dll"), HELLO))
            .and_then(|()| std::fs::write(program.join("hello.runtimeconfig.json"), RUNTIME_CONFIG))
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let output = self
            .command(&program.join("hello.dll"))
            .output()
            .map_err(|error| format!("{} does not start: {error}", self.dotnet().display()))?;
        let _ = std::fs::remove_dir_all(&program);
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = format!("hello {} ", self.version.exact());
        if output.status.success() && said.starts_with(&expected) {
            Ok(())
        } else {
            Err(format!(
                "it was unpacked but a first program on it said {said:?}, expected {expected:?}: {}",
                packages::last_words(&output)
            ))
        }
    }

    fn marker(&self) -> PathBuf {
        self.folder.join(".proved")
    }

    fn is_marked(&self) -> bool {
        std::fs::read_to_string(self.marker()).is_ok_and(|text| text == self.version.exact())
    }

    fn mark(&self) -> Result<()> {
        let marker = self.marker();
        std::fs::write(&marker, self.version.exact()).doing("write", &marker)
    }
}
