//! Targets as single-file programs: the runtime, the framework and the target in one executable.
//!
//! A published single-file program is a host with the runtime linked in, its files one after another, and a list of them at
//! the end (dotnet/runtime, src/native/corehost/bundle). Its own assembly is exchanged for the target: the target's bytes go
//! behind everything else, and its entry in the list is pointed there.

use crate::error::{Error, IoContext, Result};
use crate::lock::lock;
use crate::packages::{self, SINGLE_FILE};
use crate::place;
use crate::service::Launch;
use crate::targets::App;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the runtime in the executable says about itself.
pub const VERSION: &str = "8.0.30";

/// The program in the package, and its assembly.
const PROGRAM: &str = "Sarif.Multitool";
const ASSEMBLY: &[u8] = b"Sarif.Multitool.dll";
/// Marks the place of the list's offset, which is in the eight bytes before it.
const SIGNATURE: [u8; 32] = [
    0x8B, 0x12, 0x02, 0xB9, 0x6A, 0x61, 0x20, 0x38, 0x72, 0x7B, 0x93, 0x02, 0x14, 0xD7, 0xA0, 0x32,
    0x13, 0xF5, 0xB9, 0xE6, 0xEF, 0xAE, 0x33, 0x18, 0xEE, 0x3B, 0x2D, 0xCE, 0x24, 0xB3, 0x6A, 0xAE,
];
/// Assemblies begin on pages: the host maps them as they are.
const PAGE: usize = 4096;

impl App {
    /// Prepares to start this program as a single file, which is written into `folder`.
    pub fn as_single_file(&self, folder: &Path) -> Result<Launch> {
        let host = host()?;
        let mut bytes = std::fs::read(&host).doing("read", &host)?;
        let target = std::fs::read(&self.dll).doing("read", &self.dll)?;
        exchange(&mut bytes, &target).map_err(|why| Error::Content {
            path: host,
            why: why.to_owned(),
        })?;
        let file = folder.join(&self.name);
        std::fs::write(&file, bytes).doing("write", &file)?;
        crate::root::copy(&file, &folder.join(format!("{}-single", self.name)), true)?;
        std::fs::remove_file(&file).doing("remove", &file)?;
        let mut command = Command::new(folder.join(format!("{}-single", self.name)));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("DOTNET_") || text.starts_with("COMPlus_") {
                command.env_remove(&name);
            }
        }
        command.env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1");
        Ok(Launch::program(
            command,
            format!("{} as a single file", self.name),
        ))
    }
}

/// The single-file program of the package, fetched now if no earlier run did.
fn host() -> Result<PathBuf> {
    let folder = place::folder()?;
    let home = folder.join("single-file");
    let program = home.join("package").join(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    let _lock = lock(&folder, "single-file")?;
    if program.is_file() {
        return Ok(program);
    }
    let file = SINGLE_FILE.fetch(&folder, &mut |_| {})?;
    let work = folder.join("single-file.partial");
    let _ = std::fs::remove_dir_all(&work);
    let member = format!("package/{PROGRAM}");
    packages::unpack_tar(&file, &work, &[&member]).map_err(|why| SINGLE_FILE.failed(why))?;
    let _ = std::fs::remove_dir_all(&home);
    std::fs::rename(&work, &home).doing("move", &work)?;
    SINGLE_FILE.discard(&file);
    Ok(program)
}

/// Points the entry of the program's own assembly at other bytes.
fn exchange(bundle: &mut Vec<u8>, assembly: &[u8]) -> std::result::Result<(), &'static str> {
    let number = |bytes: &[u8], at: usize| -> Option<usize> {
        let word = bytes.get(at..at + 8)?;
        usize::try_from(u64::from_le_bytes(word.try_into().ok()?)).ok()
    };
    let mark = find(bundle, &SIGNATURE).ok_or("it is no single-file program")?;
    let list = mark
        .checked_sub(8)
        .and_then(|at| number(bundle, at))
        .filter(|at| *at < bundle.len())
        .ok_or("its list of files is not where it says")?;
    // An entry: offset, size, compressed size, kind, and the name with its length before it.
    let mut name = vec![u8::try_from(ASSEMBLY.len()).unwrap_or(u8::MAX)];
    name.extend_from_slice(ASSEMBLY);
    let entry = find(&bundle[list..], &name)
        .and_then(|at| (list + at).checked_sub(25))
        .ok_or("its list has no entry for its own assembly")?;
    bundle.resize(bundle.len().next_multiple_of(PAGE), 0);
    let words = [bundle.len() as u64, assembly.len() as u64, 0];
    for (i, word) in words.iter().enumerate() {
        bundle[entry + 8 * i..entry + 8 * i + 8].copy_from_slice(&word.to_le_bytes());
    }
    bundle.extend_from_slice(assembly);
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_assembly_is_exchanged_in_the_list() {
        // Eight bytes that lead to the list, the signature, other files, and the list with one entry.
        let list = 200u64;
        let mut bundle = list.to_le_bytes().to_vec();
        bundle.extend(SIGNATURE);
        assert!(exchange(&mut bundle.clone(), b"new").is_err(), "no list");
        bundle.resize(200, 7);
        assert!(exchange(&mut bundle.clone(), b"new").is_err(), "no entry");
        bundle.extend([1; 25]);
        bundle.push(19);
        bundle.extend(ASSEMBLY);
        exchange(&mut bundle, b"new").unwrap();
        assert_eq!(bundle[200..208], 4096u64.to_le_bytes());
        assert_eq!(bundle[208..216], 3u64.to_le_bytes());
        assert_eq!(bundle[216..224], [0; 8]);
        assert_eq!(bundle[224], 1, "the kind of file stays");
        assert_eq!(&bundle[4096..], b"new");
        assert!(exchange(&mut vec![0; 64], b"new").is_err(), "no signature");
    }
}
