//! How memory grew since earlier captures of the process: one line.

use leakhound_rules::sheet::{FactSheet, Value};
use leakhound_rules::vocabulary::Kind;

use crate::report::amount;

/// What is told, with the facts' common beginning.
const LANES: [(&str, &str); 3] = [
    ("commit", "growth.commit"),
    ("live managed memory", "growth.managed"),
    ("native memory", "growth.native"),
];

/// Rates from captures closer together than this are not told: an hour is too far from them.
const RATES_FROM_MS: i64 = 10 * 60 * 1_000;

/// `commit +42 MB, live managed memory +40 MB since the last capture 10 min earlier; commit 250 MB/h ± 31 MB/h over 5 captures in
/// 40 min, …`; `None` without an earlier capture.
pub(super) fn line(sheet: &FactSheet) -> Option<String> {
    let captures = sheet.get_int("growth.captures").filter(|n| *n > 1)?;
    let steps: Vec<String> = LANES
        .iter()
        .filter_map(|(what, fact)| {
            let step = u64::try_from(sheet.get_int(&format!("{fact}_step"))?).ok()?;
            Some(format!("{what} +{}", amount::bytes(step)))
        })
        .collect();
    if steps.is_empty() {
        return None;
    }
    let duration = |fact: &str| {
        let ms = sheet.get_int(fact)?;
        u64::try_from(ms).ok().map(amount::duration)
    };
    let mut line = format!("{} since the last capture", steps.join(", "));
    if let Some(span) = duration("growth.last_span") {
        line.push_str(&format!(" {span} earlier"));
    }
    let span = sheet.get_int("growth.span").unwrap_or(0);
    let rates: Vec<String> = LANES
        .iter()
        .filter(|_| span >= RATES_FROM_MS)
        .filter_map(|(what, fact)| {
            let number = |fact: String| match sheet.facts.get(&fact)? {
                value @ Value::Float(_) => Some(amount::value(value, Kind::BytesPerHour)),
                _ => None,
            };
            let rate = number(format!("{fact}_rate"))?;
            Some(match number(format!("{fact}_rate_error")) {
                Some(error) => format!("{what} {rate} ± {error}"),
                None => format!("{what} {rate}"),
            })
        })
        .collect();
    if !rates.is_empty() {
        let doubt = if captures == 2 {
            "two captures, which do not tell how sure that is".to_owned()
        } else {
            format!("{captures} captures")
        };
        let over = duration("growth.span").map_or_else(String::new, |span| format!(" in {span}"));
        line.push_str(&format!("; {} over {doubt}{over}", rates.join(", ")));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(captures: u64, span_ms: u64) -> FactSheet {
        let mut sheet = FactSheet::default();
        sheet.int("growth.captures", captures);
        sheet.int("growth.span", span_ms);
        sheet.int("growth.last_span", span_ms / 4);
        sheet.int("growth.managed_step", 40_000_000);
        sheet.float("growth.managed_rate", 240e6);
        sheet
    }

    #[test]
    fn growth_has_a_rate_and_its_doubt() {
        let mut five = sheet(5, 2_400_000);
        five.float("growth.managed_rate_error", 30e6);
        assert_eq!(
            line(&five).as_deref(),
            Some(
                "live managed memory +40 MB since the last capture 10 min earlier; live managed memory 240 MB/h ± 30 MB/h over 5 captures in 40 min"
            )
        );
        let two = line(&sheet(2, 2_400_000)).unwrap_or_default();
        assert!(
            two.contains("240 MB/h over two captures, which do not tell"),
            "{two}"
        );
        let near = line(&sheet(2, 12_000)).unwrap_or_default();
        assert!(
            near.ends_with("since the last capture 3 s earlier"),
            "{near}"
        );
        assert_eq!(line(&FactSheet::default()), None);
    }
}
