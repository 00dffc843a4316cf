//! Text in one line: clean, and of bounded length.

use jiff::{Timestamp, Unit};
use leakhound_rules::units::format_bytes;

use crate::notify::scrub;

/// Longest name of a service, type or step, in characters.
pub(super) const NAME_CHARS: usize = 160;
/// Longest sentence, in characters.
pub(super) const SENTENCE_CHARS: usize = 320;
/// What is left of any text in the last step of shedding.
pub(super) const STUB_CHARS: usize = 80;

pub(super) fn cut(text: &mut String, chars: usize) -> bool {
    match text.char_indices().nth(chars) {
        // The ellipsis is one character more: without this test the same text would be cut for ever.
        Some(_) if text.chars().count() == chars + 1 && text.ends_with('…') => false,
        Some((end, _)) => {
            text.truncate(end);
            text.push('…');
            true
        }
        None => false,
    }
}

/// Text of unknown origin as one scrubbed line of bounded length, without characters that steer a terminal or the
/// direction of writing.
pub(crate) fn clean(text: &str, chars: usize) -> String {
    // A bound before any work: a name of a megabyte is not scrubbed to its end.
    let mut head = text;
    if let Some((end, _)) = text.char_indices().nth(chars * 8) {
        head = &text[..end];
    }
    let scrubbed = scrub::text(head);
    let mut line = String::with_capacity(scrubbed.len().min(chars * 4));
    for word in scrubbed
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !steers(*c)));
    }
    cut(&mut line, chars);
    line
}

/// Invisible characters that reorder or join what surrounds them (Unicode bidirectional controls and their kin).
fn steers(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

pub(super) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

pub(super) fn amount(bytes: u64, share: Option<f64>) -> String {
    let size = format_bytes(bytes as f64);
    match share.filter(|share| share.is_finite()) {
        Some(share) => format!("{size}, {:.0}% of commit", share * 100.0),
        None => size,
    }
}

pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `3 d 4 h`, `12 min`: the two largest units say enough.
pub(super) fn span(from: Timestamp, to: Timestamp) -> Option<String> {
    let minutes = to.since((Unit::Minute, from)).ok()?.get_minutes();
    match minutes {
        i64::MIN..0 => None,
        0..120 => Some(format!("{minutes} min")),
        120..2880 => Some(format!("{} h {} min", minutes / 60, minutes % 60)),
        _ => Some(format!("{} d {} h", minutes / 1440, minutes % 1440 / 60)),
    }
}
