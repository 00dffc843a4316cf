//! Memory pressure as the kernel tells it (PSI): `memory.pressure` of a control group, `/proc/pressure/memory`.

use super::process::read;
use std::fs::File;

/// Shares of the last 10 s.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pressure {
    /// Some task waited for memory.
    pub some: Option<f64>,
    /// All tasks did.
    pub full: Option<f64>,
}

/// The pressure now; empty where the kernel does not tell.
pub(super) fn pressure(file: &File, buffer: &mut Vec<u8>) -> Pressure {
    let Some(n) = read(file, buffer) else {
        return Pressure::default();
    };
    parse(&buffer[..n])
}

/// `some avg10=1.25 avg60=…`, and a second line that begins with `full`.
fn parse(text: &[u8]) -> Pressure {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let share = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        let rest = line.strip_prefix(" avg10=")?;
        let percent: f64 = rest.split(' ').next()?.parse().ok()?;
        Some(percent / 100.0)
    };
    Pressure {
        some: share("some"),
        full: share("full"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read_and_a_missing_one_is_unknown() {
        let both = b"some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=3.25 avg60=0.10 avg300=0.00 total=4\n";
        assert_eq!(
            parse(both),
            Pressure {
                some: Some(0.125),
                full: Some(0.0325)
            }
        );
        assert_eq!(parse(&both[..48]).full, None);
        assert_eq!(parse(b"rubbish"), Pressure::default());
    }
}
