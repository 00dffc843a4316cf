//! Numbers as people read them: three digits that matter, the unit beside them.

use leakhound_rules::Value;
use leakhound_rules::vocabulary::Kind;

/// `870 MB`, `1.02 GB`: binary units, as Windows, WinDbg and the rule language have them.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// `1,234,567`.
#[must_use]
pub fn count(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if count < 0 {
        out.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `68%`, `7.4%`, `<0.1%`.
#[must_use]
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if !p.is_finite() => "?".to_owned(),
        0.0 => "0%".to_owned(),
        p if p > 0.0 && p < 0.05 => "<0.1%".to_owned(),
        p if p.abs() < 9.95 => format!("{p:.1}%"),
        p => format!("{p:.0}%"),
    }
}

/// `2 d 4 h`, `3 h 12 min`, `45 s`, `120 ms`: the two largest units.
#[must_use]
pub fn duration(ms: i64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
        (1, "ms"),
    ];
    let sign = if ms < 0 { "-" } else { "" };
    let mut rest = ms.unsigned_abs();
    let Some(first) = UNITS.iter().position(|(size, _)| rest >= *size) else {
        return "0 ms".to_owned();
    };
    let mut parts = Vec::with_capacity(2);
    for (size, name) in UNITS.iter().skip(first).take(2) {
        let n = rest / size;
        rest %= size;
        // Milliseconds beside seconds are noise.
        if n > 0 && !(*name == "ms" && !parts.is_empty()) {
            parts.push(format!("{n} {name}"));
        }
    }
    format!("{sign}{}", parts.join(" "))
}

/// A value of a fact with its unit.
#[must_use]
pub fn value(value: &Value, kind: Kind) -> String {
    match value {
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Text(text) => text.clone(),
        Value::Texts(texts) => texts.join(" → "),
        Value::Int(n) => number(*n as f64, Some(*n), kind),
        Value::Float(x) => number(*x, None, kind),
    }
}

fn number(x: f64, exact: Option<i64>, kind: Kind) -> String {
    let whole = exact.unwrap_or(x.round() as i64);
    let size = |n: i64| {
        let sign = if n < 0 { "-" } else { "" };
        format!("{sign}{}", bytes(n.unsigned_abs()))
    };
    match kind {
        Kind::Bytes => size(whole),
        Kind::BytesPerHour => format!("{}/h", size(whole)),
        Kind::Ratio => share(x),
        Kind::Duration => duration(whole),
        Kind::CountPerHour => format!("{}/h", three_digits(x)),
        Kind::Count | Kind::Bool | Kind::Text | Kind::Texts => match exact {
            Some(n) => count(n),
            None => three_digits(x),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KB"),
            (1024, "1.00 KB"),
            (1536, "1.50 KB"),
            (870 << 20, "870 MB"),
            (1010 << 20, "0.99 GB"),
            (12 << 30, "12.0 GB"),
            (u64::MAX, "16384 PB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(i64::MIN), "-9,223,372,036,854,775,808");
    }

    #[test]
    fn shares_do_not_round_to_nothing() {
        assert_eq!(share(0.0), "0%");
        assert_eq!(share(0.0001), "<0.1%");
        assert_eq!(share(0.0741), "7.4%");
        assert_eq!(share(0.681), "68%");
        assert_eq!(share(f64::NAN), "?");
    }

    #[test]
    fn durations_name_two_units() {
        assert_eq!(duration(0), "0 ms");
        assert_eq!(duration(120), "120 ms");
        assert_eq!(duration(45_250), "45 s");
        assert_eq!(duration(187_200_000), "2 d 4 h");
        assert_eq!(duration(-60_000), "-1 min");
    }
}
