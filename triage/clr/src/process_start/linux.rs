//! Linux puts both at the top of the main thread's stack: argc, pointers to arguments, null, pointers to variables, null, the
//! auxiliary vector, then the texts (fs/binfmt_elf.c, `create_elf_tables`).

use super::ProcessStart;
use crate::limits;
use leakhound_dump::{MemoryExt, ProcessImage};

/// Bytes of one text that are kept.
const TEXT_BYTES: usize = 4_096;

/// Reads them from the stack.
pub(super) fn read(image: &ProcessImage) -> Option<ProcessStart> {
    const AT_EXECFN: u64 = 31;
    const AT_RANDOM: u64 = 25;
    let memory = &*image.memory;
    let (name, random) = (*image.auxv.get(&AT_EXECFN)?, *image.auxv.get(&AT_RANDOM)?);
    if random >= name || name - random > limits::ENVIRONMENT_BYTES {
        return None;
    }
    // The vector ends a little below the random bytes; the entry of the program's name is found, then the vector's start.
    let word = |at: u64| memory.u64(at);
    let mut at = (random & !7).checked_sub(16)?;
    let lowest = random.saturating_sub(4_096);
    while !(word(at) == Some(AT_EXECFN) && word(at + 8) == Some(name)) {
        at = at.checked_sub(8).filter(|at| *at >= lowest)?;
    }
    // Keys are small and not 0, and what lies before the first is the null behind the variables.
    while matches!(word(at.checked_sub(16)?), Some(1..=255)) {
        at -= 16;
    }
    let text = random..name;
    let (variables, null) = pointers_before(memory, at.checked_sub(8)?, &text)?;
    let (arguments, count) = pointers_before(memory, null, &text)?;
    if word(count) != Some(arguments.len() as u64) {
        return None;
    }
    let read = |at: &u64| text_at(memory, *at);
    Some(ProcessStart::new(
        arguments.iter().filter_map(read).collect(),
        variables.iter().filter_map(read),
    ))
}

/// The row of pointers into `text` that ends right before the null at `end`, and the address of the word before the row.
fn pointers_before(
    memory: &dyn leakhound_dump::Memory,
    end: u64,
    text: &std::ops::Range<u64>,
) -> Option<(Vec<u64>, u64)> {
    if memory.u64(end)? != 0 {
        return None;
    }
    let mut pointers = Vec::new();
    let mut at = end.checked_sub(8)?;
    loop {
        let word = memory.u64(at)?;
        if !text.contains(&word) {
            break;
        }
        if pointers.len() >= limits::ENVIRONMENT_ENTRIES {
            return None;
        }
        pointers.push(word);
        at = at.checked_sub(8)?;
    }
    pointers.reverse();
    Some((pointers, at))
}

fn text_at(memory: &dyn leakhound_dump::Memory, at: u64) -> Option<String> {
    let mut bytes = vec![0; TEXT_BYTES];
    let got = memory.read(at, &mut bytes);
    let end = bytes[..got].iter().position(|b| *b == 0).unwrap_or(got);
    (got > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_dump::{Arch, Os, SyntheticMemory};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    const STACK: u64 = 0x7000_0000;

    /// A stack as the kernel leaves it.
    fn image(arguments: &[&str], variables: &[&str], count: u64) -> ProcessImage {
        let mut memory = SyntheticMemory::new();
        memory.map(STACK, 0x2000);
        let random = STACK + 0x1000;
        let mut text = random + 32;
        let mut put = |memory: &mut SyntheticMemory, value: &str| {
            let at = text;
            memory.put(at, value.as_bytes());
            text += value.len() as u64 + 1;
            at
        };
        let mut words = vec![count];
        for list in [arguments, variables] {
            for value in list {
                words.push(put(&mut memory, value));
            }
            words.push(0);
        }
        let name = put(&mut memory, "/usr/bin/dotnet");
        words.extend([33, 0x7FFF_0000, 16, 0x178B, 25, random, 31, name, 0, 0]);
        let mut at = random - 8 * words.len() as u64;
        for word in words {
            memory.put_u64(at, word);
            at += 8;
        }
        let mut image = ProcessImage::new(Os::Linux, Arch::X64, Arc::new(memory));
        image.auxv = BTreeMap::from([(25, random), (31, name)]);
        image
    }

    #[test]
    fn arguments_are_read_and_of_the_variables_only_those_of_the_runtime() {
        let image = image(
            &["dotnet", "Shop.dll", "--port=80"],
            &[
                "HOME=/root",
                "DOTNET_gcServer=1",
                "API_TOKEN=x",
                "COMPlus_GCHeapCount=4",
            ],
            3,
        );
        let start = read(&image).unwrap();
        assert_eq!(start.arguments, ["dotnet", "Shop.dll", "--port=80"]);
        let settings: Vec<_> = start.settings.into_iter().collect();
        assert_eq!(
            settings,
            [
                ("COMPlus_GCHeapCount".to_owned(), "4".to_owned()),
                ("DOTNET_gcServer".to_owned(), "1".to_owned())
            ]
        );
    }

    #[test]
    fn a_count_that_does_not_fit_is_not_believed() {
        assert_eq!(read(&image(&["a"], &["DOTNET_X=1"], 2)), None);
        let mut without = image(&["a"], &[], 1);
        assert!(read(&without).is_some());
        without.auxv.clear();
        assert_eq!(read(&without), None);
    }
}
