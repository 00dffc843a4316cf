//! The programs that are checked in as IL come from the sources beside them, byte for byte.
//! After a change of a source, run this test once with LEAKHOUND_RENEW_ASSETS=1.
#![allow(clippy::unwrap_used)]

use leakhound_testbed::compiler::{self, Job, References};
use std::path::Path;

#[test]
fn checked_in_programs_compile_to_the_same_bytes() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let fresh = tempfile::tempdir().unwrap();
    let job = |name: &str, references| Job {
        name: name.to_owned(),
        output: fresh.path().join(format!("{name}.dll")),
        sources: vec![assets.join(format!("{name}.cs"))],
        references,
    };
    let jobs = [
        job("compile", References::Driver),
        job("hello", References::Net31),
        job("Shop.Pricing", References::Net31),
    ];
    let compiler = compiler::get(&mut |_| {}).unwrap();
    compiler.compile(&jobs, &mut |_| {}).unwrap();
    for job in jobs {
        let compiled = std::fs::read(&job.output).unwrap();
        let asset = assets.join(format!("{}.dll", job.name));
        if std::env::var_os("LEAKHOUND_RENEW_ASSETS").is_some() {
            std::fs::write(&asset, &compiled).unwrap();
        }
        let checked_in = std::fs::read(&asset).unwrap();
        assert!(
            checked_in == compiled,
            "assets/{0}.dll ({1} bytes) is not what assets/{0}.cs compiles to ({2} bytes)",
            job.name,
            checked_in.len(),
            compiled.len()
        );
        assert!(compiled.len() <= 20 * 1024);
    }
}
