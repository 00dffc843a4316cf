//! Which runtime it is: from paths, or from the version text inside of its image.

use crate::image_ranges::ImageRanges;
use leakhound_dump::{Memory, Module};
use serde::Serialize;
use std::fmt;

/// A product version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Version {
    /// 3, 5, 6, …
    pub major: u16,
    /// Mostly 0; 1 for 3.1.
    pub minor: u16,
    /// Servicing release.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// From the path (`…/Microsoft.NETCore.App/8.0.32/libcoreclr.so`), the version that Windows lists for `coreclr.dll` (that of
/// an application with the runtime built in is its own), or the text in the image.
pub(crate) fn find(memory: &dyn Memory, module: &Module, image: &ImageRanges) -> Option<Version> {
    let listed = || {
        let library = module.file_name().eq_ignore_ascii_case("coreclr.dll");
        from_numbers(&module.version.filter(|_| library)?)
    };
    from_path(&module.path.to_string_lossy())
        .or_else(listed)
        .or_else(|| from_image(memory, image))
}

fn from_path(path: &str) -> Option<Version> {
    let parts: Vec<&str> = path.split(['/', '\\']).collect();
    let at = parts.iter().rposition(|p| *p == "Microsoft.NETCore.App")?;
    parse(parts.get(at + 1)?)
}

/// `10.0.13`, `10.0.0-rc.1`.
fn parse(text: &str) -> Option<Version> {
    let mut numbers = text.split(['.', '-', '+']).map(|n| n.parse::<u16>().ok());
    let mut next = || numbers.next().flatten();
    Some(Version {
        major: next()?,
        minor: next()?,
        patch: next()?,
    })
}

const MARK: &[u8] = b"@(#)Version ";
const CHUNK: usize = 1 << 16;

/// `@(#)Version 9.0.525.21509 @Commit: …`: the third number holds the patch level times 100 since .NET 5 (`8.0.23` was 8.0.0's).
fn from_image(memory: &dyn Memory, image: &ImageRanges) -> Option<Version> {
    let end = image.all.end.min(
        image
            .all
            .start
            .saturating_add(crate::limits::RUNTIME_DATA_BYTES),
    );
    let mut buf = vec![0u8; CHUNK + 64];
    let mut at = image.all.start;
    while at < end {
        let got = memory.read(at, &mut buf);
        for (i, window) in buf[..got].windows(MARK.len()).enumerate() {
            if window == MARK {
                let text = &buf[i + MARK.len()..got];
                let text = text
                    .split(|b| *b == b' ' || *b == 0)
                    .next()
                    .unwrap_or_default();
                return from_text(std::str::from_utf8(text).ok()?);
            }
        }
        at = if got < buf.len() {
            ((at + got as u64) & !0xFFF).checked_add(0x1000)?
        } else {
            at + CHUNK as u64
        };
    }
    None
}

fn from_text(text: &str) -> Option<Version> {
    let numbers: Vec<u16> = text.split('.').map_while(|n| n.parse().ok()).collect();
    from_numbers(&numbers)
}

fn from_numbers(numbers: &[u16]) -> Option<Version> {
    match *numbers {
        // .NET Core 3.1 calls itself 4.700.yy.nnnnn.
        [4, 700, ..] => Some(Version {
            major: 3,
            minor: 1,
            patch: 0,
        }),
        [major, minor, build, ..] if (5..100).contains(&major) => Some(Version {
            major,
            minor,
            patch: build / 100,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u16, minor: u16, patch: u16) -> Option<Version> {
        Some(Version {
            major,
            minor,
            patch,
        })
    }

    #[test]
    fn versions_are_read_from_paths_and_texts() {
        assert_eq!(
            from_path("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.32/libcoreclr.so"),
            version(8, 0, 32)
        );
        assert_eq!(
            from_path(r"C:\dotnet\shared\Microsoft.NETCore.App\10.0.0-rc.1\coreclr.dll"),
            version(10, 0, 0)
        );
        assert_eq!(from_path("/app/libcoreclr.so"), None);
        assert_eq!(from_text("9.0.525.21509"), version(9, 0, 5));
        assert_eq!(from_text("4.700.22.11601"), version(3, 1, 0));
        assert_eq!(from_text("nonsense"), None);
        assert_eq!(from_numbers(&[10, 0, 1326, 50504]), version(10, 0, 13));
    }
}
