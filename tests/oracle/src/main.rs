//! `leakhound-oracle CORE LIBMSCORDACCORE`: what the runtime's own debugging library (DAC) says about a core, as JSON.
//!
//! An independent witness for the layouts that `leakhound-clr` reads on its own. It is a program of its own because
//! the library is native code that may crash on what it reads. Tests use it; nothing that ships does.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod com;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod data_target;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod heap;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sos;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod testimony;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<std::path::PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let [core, library] = arguments.as_slice() else {
        anyhow::bail!("usage: leakhound-oracle CORE LIBMSCORDACCORE");
    };
    let image = leakhound_dump::open(leakhound_archive::open_readable(core)?)?;
    let dac = sos::Dac::load(library, &image)?;
    let testimony = testimony::take(&dac, &image)?;
    println!("{}", serde_json::to_string(&testimony)?);
    Ok(())
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the oracle runs on x64 Linux only")
}
