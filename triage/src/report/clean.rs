//! Names from a dump are foreign text: type names may hold escape sequences, line breaks, text that runs from right to
//! left, or ten thousand characters. Everything that reaches a report passes through here first.

/// Stands for a character that would move the cursor, change colors or reverse the text around it.
const REPLACEMENT: char = '\u{FFFD}';

/// The text on one line, with nothing in it that a terminal or a browser would obey, at most `max` characters long.
/// What is too long loses its middle: a type says what it is at its ends.
#[must_use]
pub fn line(text: &str, max: usize) -> String {
    // One character more than fits tells whether it fits; the rest is never looked at.
    let head: String = text.chars().take(max + 1).map(tame).collect();
    let count = head.chars().count();
    if count <= max {
        return head;
    }
    let keep = max.saturating_sub(1);
    let tail_count = keep * 2 / 5;
    let head_count = keep - tail_count;
    let mut out: String = head.chars().take(head_count).collect();
    out.push('…');
    let mut tail: Vec<char> = text.chars().rev().take(tail_count).map(tame).collect();
    tail.reverse();
    out.extend(tail);
    out
}

fn tame(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() => REPLACEMENT,
        // Marks, embeddings, overrides and isolates of text direction; line and paragraph separators; byte order mark.
        '\u{061C}'
        | '\u{200E}'
        | '\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FEFF}' => REPLACEMENT,
        c => c,
    }
}

/// Escapes for the content and the attributes of XML, HTML and SVG.
#[must_use]
pub fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_plain_name_stays_itself() {
        assert_eq!(
            line("Dictionary<String, Order>", 80),
            "Dictionary<String, Order>"
        );
        assert_eq!(line("", 80), "");
        assert_eq!(line("abc", 3), "abc");
    }

    #[test]
    fn what_a_terminal_would_obey_is_gone() {
        let hostile = "A\u{1b}[31mB\nC\u{9b}0mD\u{202e}cba\u{2066}\0";
        let tamed = line(hostile, 80);
        assert!(
            tamed
                .chars()
                .all(|c| !c.is_control() && c != '\u{202e}' && c != '\u{2066}'),
            "{tamed:?}"
        );
        assert!(tamed.starts_with("A\u{FFFD}[31mB C"));
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        let long = format!("Start.{}.End", "x".repeat(10_000));
        let short = line(&long, 40);
        assert_eq!(short.chars().count(), 40);
        assert!(
            short.starts_with("Start.xxx") && short.ends_with("xxx.End") && short.contains('…')
        );
    }

    #[test]
    fn wide_characters_are_counted_not_cut() {
        let short = line(&"ü".repeat(100), 10);
        assert_eq!(short.chars().count(), 10);
        assert_eq!(
            line("שלום", 10),
            "שלום",
            "letters that run from right to left are letters"
        );
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(
            xml("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }
}
