//! Prints what is in a dump: `cargo run -p leakhound-dump --example describe FILE`.

use std::path::Path;
use std::sync::Arc;

use leakhound_archive::read_at::PlainFile;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: describe FILE")?;
    let image = leakhound_dump::open(Arc::new(PlainFile::open(Path::new(&path))?))?;
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
    Ok(())
}
