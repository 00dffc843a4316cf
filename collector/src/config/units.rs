//! "5 GB" and "10 min" to numbers, and back for people.

/// Bytes of a text such as `5 GB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, f64)] = &[
        ("B", 1.0),
        ("KB", 1e3),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ];
    with_unit(text, UNITS, "a size", "500 MB")
}

/// Milliseconds of a text such as `10 min`.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, f64)] = &[
        ("ms", 1.0),
        ("s", 1e3),
        ("sec", 1e3),
        ("second", 1e3),
        ("seconds", 1e3),
        ("min", 60e3),
        ("minute", 60e3),
        ("minutes", 60e3),
        ("h", 3600e3),
        ("hour", 3600e3),
        ("hours", 3600e3),
        ("d", 86_400e3),
        ("day", 86_400e3),
        ("days", 86_400e3),
        ("week", 604_800e3),
        ("weeks", 604_800e3),
    ];
    with_unit(text, UNITS, "a time span", "10 min")
}

fn with_unit(text: &str, units: &[(&str, f64)], what: &str, example: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim();
    let number: f64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| format!("`{text}` is not {what}; write it as `{example}`"))?;
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let hint = super::nearest(unit, names.iter().copied())
            .map(|n| format!("; did you mean `{n}`?"))
            .unwrap_or_default();
        return Err(if unit.is_empty() {
            format!("`{text}` has no unit; write {what} as `{example}`")
        } else {
            format!("`{unit}` is not a unit of {what} ({}){hint}", names.join(", "))
        });
    };
    Ok((number * factor) as u64)
}

/// A time span for people.
pub(super) fn show_ms(ms: u64) -> String {
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        if ms >= size && ms % size == 0 {
            return format!("{} {unit}", ms / size);
        }
    }
    format!("{ms} ms")
}

/// Bytes for people.
pub(crate) fn show_bytes(bytes: u64) -> String {
    for (unit, size) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if bytes as f64 >= size {
            return format!("{:.2} {unit}", bytes as f64 / size);
        }
    }
    format!("{bytes} B")
}
