//! Windows keeps both in the process parameters, which the process environment block points at.

use super::ProcessStart;
use leakhound_dump::{ProcessImage, peb::ProcessParameters};

/// Reads them from the process parameters.
pub(super) fn read(image: &ProcessImage) -> Option<ProcessStart> {
    let parameters = ProcessParameters::read(&*image.memory, image.peb?)?;
    let arguments = parameters.arguments();
    Some(ProcessStart::new(
        arguments,
        parameters.environment.into_iter(),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use leakhound_dump::{Arch, Os, SyntheticMemory};
    use std::sync::Arc;

    const PEB: u64 = 0x7000_0000;

    #[test]
    fn arguments_are_read_and_of_the_variables_only_those_of_the_runtime() {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let mut memory = SyntheticMemory::new();
        memory.map(PEB, 0x4000);
        let (parameters, text, block) = (PEB + 0x1000, PEB + 0x2000, PEB + 0x3000);
        memory.put_u64(PEB + 0x20, parameters);
        memory.put(parameters + 8, &1_u32.to_le_bytes());
        let line = utf16("dotnet Shop.dll");
        memory.put(parameters + 0x70, &(line.len() as u16).to_le_bytes());
        memory.put_u64(parameters + 0x78, text);
        memory.put_u64(parameters + 0x80, block);
        memory.put(text, &line);
        memory.put(
            block,
            &utf16("DOTNET_gcServer=1\0API_TOKEN=x\0COMPlus_GCHeapCount=4\0\0"),
        );
        let mut image = ProcessImage::new(Os::Windows, Arch::X64, Arc::new(memory));
        assert_eq!(ProcessStart::read(&image), None);
        image.peb = Some(PEB);
        let start = ProcessStart::read(&image).unwrap();
        assert_eq!(start.arguments, ["dotnet", "Shop.dll"]);
        let settings: Vec<(&str, &str)> = start
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            settings,
            [("COMPlus_GCHeapCount", "4"), ("DOTNET_gcServer", "1")]
        );
    }
}
