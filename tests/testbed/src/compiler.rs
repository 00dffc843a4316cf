//! The C# compiler: Roslyn's libraries from npm, driven by a small program of our own.
//!
//! The driver and the probe are checked in as IL beside their sources, so that no other compiler is needed to begin
//! with; `tests/assets.rs` compiles them again and compares byte for byte.

use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::{self, ROSLYN};
use crate::place;
use crate::progress::{Listener, Progress};
use crate::runtimes::{self, DotnetRoot, Version};
use std::path::{Path, PathBuf};

/// The probe that loads a whole framework.
pub(crate) const HELLO: &[u8] = include_bytes!("../assets/hello.dll");
/// The driver of Roslyn.
pub(crate) const DRIVER: &[u8] = include_bytes!("../assets/compile.dll");

/// Lets one program, compiled against 3.1, run on every later runtime.
pub(crate) const RUNTIME_CONFIG: &str = r#"{"runtimeOptions":{"tfm":"netcoreapp3.1","rollForward":"LatestMajor","framework":{"name":"Microsoft.NETCore.App","version":"3.1.0"},"configProperties":{"System.Globalization.Invariant":true}}}"#;

const LIBRARIES: [&str; 2] = [
    "Microsoft.CodeAnalysis.dll",
    "Microsoft.CodeAnalysis.CSharp.dll",
];

/// What a program is compiled against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// .NET Core 3.1: the program runs on every runtime of the testbed.
    Net31,
    /// .NET 8: for what 3.1 does not have.
    Net8,
    /// .NET 8 and Roslyn itself: the driver.
    Driver,
}

/// One program to compile.
#[derive(Debug, Clone)]
pub struct Job {
    /// For messages.
    pub name: String,
    /// The .dll to write; its folder exists.
    pub output: PathBuf,
    /// The .cs files.
    pub sources: Vec<PathBuf>,
    /// What it may use.
    pub references: References,
}

/// The compiler on this machine.
#[derive(Debug)]
pub struct Compiler {
    folder: PathBuf,
    host: DotnetRoot,
    references: DotnetRoot,
}

/// The compiler, fetched now if no earlier run did.
pub fn get(listen: &mut Listener<'_>) -> Result<Compiler> {
    let place = place::folder()?;
    let compiler = Compiler {
        folder: place.join("roslyn"),
        host: runtimes::get_with(Version::Net8, listen)?,
        references: runtimes::get_with(Version::Net31, listen)?,
    };
    let _lock = lock(&place, "roslyn")?;
    if !LIBRARIES
        .iter()
        .all(|library| compiler.folder.join(library).is_file())
    {
        let file = ROSLYN.fetch(&place, listen)?;
        let work = place.join("roslyn.partial");
        let _ = std::fs::remove_dir_all(&work);
        let members = LIBRARIES.map(|library| format!("package/dist/generator/{library}"));
        packages::unpack_tar(&file, &work, &members.each_ref().map(String::as_str))
            .map_err(|why| ROSLYN.failed(why))?;
        let inside = work.join("package/dist/generator");
        let _ = std::fs::remove_dir_all(&compiler.folder);
        std::fs::rename(&inside, &compiler.folder).doing("move", &inside)?;
        let _ = std::fs::remove_dir_all(&work);
        ROSLYN.discard(&file);
    }
    compiler.place_driver()?;
    Ok(compiler)
}

impl Compiler {
    /// Compiles all jobs in one run of the compiler; fails with everything it said if one of them fails.
    pub fn compile(&self, jobs: &[Job], listen: &mut Listener<'_>) -> Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
        listen(Progress::Step(format!("compiling {}", names.join(", "))));
        let mut command = self.host.command(&self.folder.join(DRIVER_FILE));
        for job in jobs {
            let response = job.output.with_file_name(format!("{}.rsp", job.name));
            std::fs::write(&response, self.response(job)?).doing("write", &response)?;
            command.arg(response);
        }
        let output = command.output().map_err(|error| Error::Compile {
            target: names.join(", "),
            diagnostics: format!("the compiler does not start: {error}"),
        })?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Compile {
            target: names.join(", "),
            diagnostics: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The command line of one compilation. Output depends on sources and references alone.
    fn response(&self, job: &Job) -> Result<String> {
        let mut lines = String::from(
            "-nostdlib\n-langversion:latest\n-optimize+\n-deterministic+\n-unsafe+\n-nowarn:1701\n",
        );
        let root = match job.references {
            References::Net31 => &self.references,
            References::Net8 | References::Driver => &self.host,
        };
        let mut references = managed_files(&root.framework())?;
        if job.references == References::Driver {
            references.extend(LIBRARIES.iter().map(|library| self.folder.join(library)));
        }
        for reference in references {
            lines.push_str(&format!("\"-r:{}\"\n", reference.display()));
        }
        lines.push_str(&format!("\"-out:{}\"\n", job.output.display()));
        for source in &job.sources {
            lines.push_str(&format!("\"{}\"\n", source.display()));
        }
        Ok(lines)
    }

    fn place_driver(&self) -> Result<()> {
        let config = RUNTIME_CONFIG
            .replace("netcoreapp3.1", "net8.0")
            .replace("3.1.0", "8.0.0");
        for (file, content) in [
            (DRIVER_FILE, DRIVER),
            ("compile.runtimeconfig.json", config.as_bytes()),
        ] {
            let path = self.folder.join(file);
            if std::fs::read(&path).is_ok_and(|found| found == content) {
                continue;
            }
            // Another process may be running the old one: replace, never write into it.
            let fresh = self.folder.join(format!("{file}.new"));
            std::fs::write(&fresh, content).doing("write", &fresh)?;
            std::fs::rename(&fresh, &path).doing("move", &fresh)?;
        }
        Ok(())
    }
}

const DRIVER_FILE: &str = "compile.dll";

/// The .dll files of a framework that are assemblies, in order of name. In a linux framework all of them are.
fn managed_files(framework: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(framework)
        .doing("list", framework)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "dll"))
        .collect();
    files.sort();
    Ok(files)
}
