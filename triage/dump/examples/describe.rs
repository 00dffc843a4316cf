//! Prints what is in a dump: `cargo run -p leakhound-dump --example describe FILE [SYSROOT]`.

use std::path::Path;
use std::sync::Arc;

use leakhound_archive::read_at::PlainFile;
use leakhound_dump::{FileSearch, MemoryExt, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let path = args.next().ok_or("usage: describe FILE [SYSROOT]")?;
    let options = Options {
        files: args.next().map(|root| FileSearch {
            sysroot: Some(root.into()),
            folders: Vec::new(),
        }),
        ..Options::default()
    };
    let image = leakhound_dump::open_with(Arc::new(PlainFile::open(Path::new(&path))?), &options)?;
    let regions = image.memory.regions();
    let bytes: u64 = regions.iter().map(|r| r.end - r.start).sum();
    println!(
        "{:?} {:?} pid {:?}: {} regions, {bytes} bytes, {} modules, {} mapped files, {} auxv",
        image.os,
        image.arch,
        image.pid,
        regions.len(),
        image.modules.len(),
        image.mapped_files.len(),
        image.auxv.len()
    );
    for warning in &image.warnings {
        println!("warning: {warning}");
    }
    for t in &image.threads {
        println!(
            "thread {} ip {:#x} sp {:#x} {:?}",
            t.os_id, t.ip, t.sp, t.name
        );
    }
    for m in &image.modules {
        let id: String = m.build_id.iter().map(|b| format!("{b:02x}")).collect();
        println!("{:#x} +{:#x} {} {id}", m.base, m.size, m.path.display());
    }
    let headers = |m: &leakhound_dump::Module| image.memory.u32(m.base).is_some();
    println!(
        "{} of {} module headers are readable; files used: {:?}",
        image.modules.iter().filter(|m| headers(m)).count(),
        image.modules.len(),
        image.memory.files_used()
    );
    for problem in image.memory.problems() {
        println!("problem: {problem}");
    }
    Ok(())
}
