//! Dumps that benches read: made once by a .NET process and createdump, kept in `target/leakhound-bench` or
//! `LEAKHOUND_BENCH_DIR`.

use leakhound_testbed::compiler::{self, Job, References};
use leakhound_testbed::{App, Version, dumps, runtimes};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const RUNTIME_CONFIG: &str = r#"{"runtimeOptions":{"tfm":"netcoreapp3.1","rollForward":"LatestMajor","framework":{"name":"Microsoft.NETCore.App","version":"3.1.0"},"configProperties":{"System.Globalization.Invariant":true}}}"#;

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Where dumps are kept.
pub fn folder() -> PathBuf {
    std::env::var_os("LEAKHOUND_BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/leakhound-bench"),
        PathBuf::from,
    )
}

/// The raw dump of a program beside this file, run on a runtime with `arguments`; made now if it is not there.
pub fn dump_of(program: &str, version: Version, arguments: &[&str]) -> PathBuf {
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    let name = [&[program, version.short()], arguments].concat().join("-");
    let dump = folder.join(format!("{name}.core"));
    if dump.is_file() {
        return dump;
    }
    // From the crate that includes this file: triage/clr or triage.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = ["benches/dumps", "clr/benches/dumps"]
        .iter()
        .map(|folder| here.join(folder).join(format!("{program}.cs")))
        .find(|file| file.is_file())
        .unwrap();
    let dll = folder.join(format!("{program}.dll"));
    let job = Job {
        name: program.to_owned(),
        output: dll.clone(),
        sources: vec![source],
        references: References::Net31,
    };
    compiler::get(&mut |_| {})
        .unwrap()
        .compile(&[job], &mut |_| {})
        .unwrap();
    let config = folder.join(format!("{program}.runtimeconfig.json"));
    std::fs::write(config, RUNTIME_CONFIG).unwrap();
    let root = runtimes::get(version).unwrap();
    let app = App {
        name: program.to_owned(),
        dll,
        settings: BTreeMap::new(),
    };
    // A large youngest generation: the heap is built in seconds.
    let mut launch = app.on(&root).setting("GCgen0size", "10000000");
    for argument in arguments {
        launch = launch.arg(argument);
    }
    let service = launch.start().unwrap();
    let partial = dump.with_extension("partial");
    dumps::createdump(&root, service.pid(), dumps::Kind::Full, &partial).unwrap();
    std::fs::rename(partial, &dump).unwrap();
    dump
}
