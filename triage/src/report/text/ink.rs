//! Colors and characters of the text report. Only the sixteen colors that every terminal theme defines.

use crate::report::style::Style;

/// What a stretch of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Act now.
    Critical,
    /// Act soon.
    Warning,
    /// Worth knowing.
    Info,
    /// All is well.
    Good,
    /// A name from the dump.
    Name,
    /// Title of a part of a finding.
    Label,
    /// What the eye should land on.
    Bold,
    /// What the eye may skip.
    Dim,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Self::Critical => "1;31",
            Self::Warning => "33",
            Self::Info => "36",
            Self::Good => "32",
            Self::Name => "35",
            Self::Label => "4",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }
}

/// How text is painted.
#[derive(Debug, Clone, Copy)]
pub struct Ink {
    color: bool,
    unicode: bool,
}

impl Ink {
    /// As the style wants it.
    pub fn new(style: &Style) -> Self {
        Self {
            color: style.color,
            unicode: style.unicode,
        }
    }

    /// The text in a color, or the text.
    pub fn paint(&self, color: Color, text: &str) -> String {
        if !self.color || text.trim().is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{}m{text}\u{1b}[0m", color.code())
    }

    /// The verdict: reversed where there are colors, in brackets where there are none. Two characters wider than the text.
    pub fn badge(&self, color: Color, text: &str) -> String {
        if self.color {
            format!("\u{1b}[7;{}m {text} \u{1b}[0m", color.code())
        } else {
            format!("[{text}]")
        }
    }

    /// The first where the terminal can show it, else the second.
    pub fn pick<'a>(&self, unicode: &'a str, ascii: &'a str) -> &'a str {
        if self.unicode { unicode } else { ascii }
    }

    /// A bar of `share` of `max` columns, to an eighth of a column. What is there at all is never invisible.
    pub fn bar(&self, share: f64, max: usize) -> String {
        let share = share.clamp(0.0, 1.0);
        if share <= 0.0 || max == 0 {
            return String::new();
        }
        if !self.unicode {
            let columns = (share * max as f64).round() as usize;
            return "#".repeat(columns.max(1));
        }
        let eighths = ((share * max as f64 * 8.0).round() as usize).max(1);
        let mut bar = "█".repeat(eighths / 8);
        if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
            bar.push_str(part);
        }
        bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let ink = Ink {
            color: false,
            unicode: true,
        };
        assert_eq!(ink.bar(1.0, 10), "█".repeat(10));
        assert_eq!(ink.bar(0.55, 10), format!("{}▌", "█".repeat(5)));
        assert_eq!(ink.bar(0.0001, 10), "▏");
        assert_eq!(ink.bar(0.0, 10), "");
        assert_eq!(ink.bar(7.0, 3), "███");
        assert_eq!(
            Ink {
                unicode: false,
                ..ink
            }
            .bar(0.5, 10),
            "#####"
        );
    }

    #[test]
    fn without_colors_there_is_no_escape() {
        let plain = Ink {
            color: false,
            unicode: true,
        };
        assert_eq!(plain.paint(Color::Critical, "x"), "x");
        assert_eq!(plain.badge(Color::Critical, "LEAK"), "[LEAK]");
        let color = Ink {
            color: true,
            ..plain
        };
        assert_eq!(color.paint(Color::Critical, "x"), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(color.paint(Color::Critical, "  "), "  ");
    }
}
