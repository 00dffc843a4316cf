//! `leakhound-oracle CORE LIBMSCORDACCORE [TABLES]`: what the runtime's own debugging library (DAC) says about a core, as JSON.
//!
//! An independent witness for the layouts that `leakhound-clr` reads on its own. It is a program of its own because
//! the library is native code that may crash on what it reads. Tests use it; nothing that ships does.
//!
//! TABLES is a file of method tables in hexadecimal, one a line, whose static fields are asked for too.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<std::path::PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let (core, library, tables) = match arguments.as_slice() {
        [core, library] => (core, library, None),
        [core, library, tables] => (core, library, Some(tables)),
        _ => anyhow::bail!("usage: leakhound-oracle CORE LIBMSCORDACCORE [TABLES]"),
    };
    let tables = match tables {
        None => Vec::new(),
        Some(file) => std::fs::read_to_string(file)?
            .lines()
            .map(|line| u64::from_str_radix(line, 16))
            .collect::<Result<_, _>>()?,
    };
    let testimony = leakhound_oracle::witness(core, library, &tables)?;
    println!("{}", serde_json::to_string(&testimony)?);
    Ok(())
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the oracle runs on x64 Linux only")
}
