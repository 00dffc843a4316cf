//! The process environment block of Windows: how a process was started.
//!
//! Offsets for 64 bits. What winternl.h publishes (learn.microsoft.com: PEB, RTL_USER_PROCESS_PARAMETERS): `PEB.ProcessParameters` 0x20,
//! `ImagePathName` 0x60 and `CommandLine` 0x70 of the parameters. The rest is of phnt's ntrtl.h and of wine's winternl.h, the same from
//! Windows 7 to 11: `Flags` 8 (bit 0: pointers are absolute), `CurrentDirectory` 0x38 and `Environment` 0x80 of the parameters. It is read
//! from memory like anything else, so the same code serves dumps and running processes.

use crate::memory::{Memory, MemoryExt};

/// Bytes of an environment that are read; Windows allows 32,767 characters a variable and sets no limit for all.
const ENVIRONMENT_BYTES: u64 = 8 << 20;
const ENVIRONMENT_ENTRIES: usize = 65_536;
/// Characters of a variable that are kept.
const VARIABLE_UNITS: usize = 8_192;
/// Bytes read at a time.
const CHUNK: usize = 4_096;
const NORMALIZED: u32 = 1;

/// `RTL_USER_PROCESS_PARAMETERS`, what is needed of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessParameters {
    /// The program.
    pub program: String,
    /// The command line as it was given. It may hold secrets.
    pub command_line: String,
    /// Working folder.
    pub folder: String,
    /// Variables as `NAME=value`. They do hold secrets: choose by name.
    pub environment: Vec<String>,
}

impl ProcessParameters {
    /// Reads them; `None` when the memory is not there or the process is just being made.
    #[must_use]
    pub fn read(memory: &dyn Memory, peb: u64) -> Option<Self> {
        let parameters = memory.u64(peb.checked_add(0x20)?)?;
        let field = |offset| parameters.checked_add(offset);
        if memory.u32(field(0x08)?)? & NORMALIZED == 0 {
            return None;
        }
        let text = |offset| unicode_string(memory, field(offset)?);
        Some(Self {
            folder: text(0x38).unwrap_or_default(),
            program: text(0x60).unwrap_or_default(),
            command_line: text(0x70)?,
            environment: variables(memory, memory.u64(field(0x80)?)?),
        })
    }

    /// The arguments of the command line, the program first, parted as `CommandLineToArgvW` does.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        arguments(&self.command_line)
    }
}

/// `UNICODE_STRING`: length in bytes 0, buffer 8.
fn unicode_string(memory: &dyn Memory, at: u64) -> Option<String> {
    let bytes = memory.u16(at)? & !1;
    let text = memory.bytes(memory.u64(at.checked_add(8)?)?, bytes.into())?;
    Some(decode(&text))
}

fn decode(bytes: &[u8]) -> String {
    let units = bytes.as_chunks::<2>().0.iter();
    String::from_utf16_lossy(&units.map(|u| u16::from_le_bytes(*u)).collect::<Vec<u16>>())
}

/// The texts of an environment block: UTF-16, each ended by a null, the last by two. Ends where the block does, or the memory.
fn variables(memory: &dyn Memory, mut at: u64) -> Vec<String> {
    let (mut all, mut text) = (Vec::new(), Vec::new());
    let mut left = ENVIRONMENT_BYTES;
    let mut chunk = [0; CHUNK];
    while left > 0 && all.len() < ENVIRONMENT_ENTRIES {
        let got = memory.read(at, &mut chunk) & !1;
        for unit in chunk[..got].as_chunks::<2>().0 {
            if *unit != [0, 0] {
                if text.len() < 2 * VARIABLE_UNITS {
                    text.extend_from_slice(unit);
                }
            } else if text.is_empty() {
                return all;
            } else {
                all.push(decode(&text));
                text.clear();
            }
        }
        if got < CHUNK {
            break;
        }
        at = at.saturating_add(CHUNK as u64);
        left = left.saturating_sub(CHUNK as u64);
    }
    all
}

/// Blanks part, quotes join, `\"` is a quote, and backslashes before a quote count half.
fn arguments(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current: Option<String> = None;
    let (mut quoted, mut backslashes) = (false, 0);
    for c in line.chars() {
        if c == '\\' {
            backslashes += 1;
            continue;
        }
        let before = std::mem::take(&mut backslashes);
        if before == 0 && !quoted && (c == ' ' || c == '\t') {
            all.extend(current.take());
            continue;
        }
        let argument = current.get_or_insert_default();
        let kept = if c == '"' { before / 2 } else { before };
        argument.extend(std::iter::repeat_n('\\', kept));
        match c {
            '"' if before % 2 == 1 => argument.push('"'),
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => all.extend(current.take()),
            c => argument.push(c),
        }
    }
    if backslashes > 0 {
        let argument = current.get_or_insert_default();
        argument.extend(std::iter::repeat_n('\\', backslashes));
    }
    all.extend(current);
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::synthetic::SyntheticMemory;

    const PEB: u64 = 0x7000_0000;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn process(line: &str, environment: &str, flags: u32) -> SyntheticMemory {
        let mut memory = SyntheticMemory::new();
        memory.map(PEB, 0x4000);
        let (parameters, text, block) = (PEB + 0x1000, PEB + 0x2000, PEB + 0x3000);
        memory.put_u64(PEB + 0x20, parameters);
        memory.put(parameters + 8, &flags.to_le_bytes());
        let line = utf16(line);
        memory.put(parameters + 0x70, &(line.len() as u16).to_le_bytes());
        memory.put_u64(parameters + 0x78, text);
        memory.put_u64(parameters + 0x80, block);
        memory.put(text, &line);
        memory.put(block, &utf16(environment));
        memory
    }

    #[test]
    fn command_line_and_environment_are_read() {
        let environment = "=C:=C:\\\0PATH=C:\\\0DOTNET_gcServer=1\0\0LATE=1\0";
        let memory = process("dotnet Shop.dll", environment, 0x6001);
        let read = ProcessParameters::read(&memory, PEB).unwrap();
        assert_eq!(read.arguments(), ["dotnet", "Shop.dll"]);
        assert_eq!(
            read.environment,
            ["=C:=C:\\", "PATH=C:\\", "DOTNET_gcServer=1"]
        );
    }

    #[test]
    fn a_block_without_end_ends_with_the_memory_and_parameters_in_the_making_are_not_read() {
        let memory = process("x", &"A=1\0".repeat(512), 1);
        let read = ProcessParameters::read(&memory, PEB).unwrap();
        assert_eq!(read.environment.len(), 512);
        assert_eq!(
            ProcessParameters::read(&process("x", "A=1\0\0", 0), PEB),
            None
        );
        assert_eq!(ProcessParameters::read(&memory, u64::MAX - 0x20), None);
        assert_eq!(ProcessParameters::read(&memory, 0), None);
    }

    #[test]
    fn command_lines_are_parted_as_windows_does() {
        for (line, parted) in [
            ("", &[][..]),
            (
                r#""C:\Program Files\dotnet.exe"  a.dll"#,
                &[r"C:\Program Files\dotnet.exe", "a.dll"],
            ),
            (r#"a\\b d"e f"g h"#, &[r"a\\b", "de fg", "h"]),
            (r#"a\\\"b c d"#, &[r#"a\"b"#, "c", "d"]),
            (r#"a\\\\"b c" d e"#, &[r"a\\b c", "d", "e"]),
            (r#"x "" y\"#, &["x", "", r"y\"]),
            ("a\\ b\t c", &["a\\", "b", "c"]),
        ] {
            assert_eq!(arguments(line), parted, "{line}");
        }
    }
}
