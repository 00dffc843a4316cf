//! How a report for a terminal looks: colors, width, characters.

use std::io::IsTerminal;

/// What the user said about colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Colors on a terminal that has them, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Colors, wherever the text goes.
    Always,
    /// No colors.
    Never,
}

/// How the text report looks. The other formats do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Colors, as ANSI sequences.
    pub color: bool,
    /// Columns.
    pub width: usize,
    /// Block characters and arrows; plain ASCII otherwise.
    pub unicode: bool,
}

/// Columns where nobody says how many there are: a file, a pipe, a ticket.
const WIDTH_UNKNOWN: usize = 100;
/// Narrower than this nothing lines up, so lines run over instead.
const WIDTH_MIN: usize = 60;
/// Wider than this a line is hard to read.
const WIDTH_MAX: usize = 120;

impl Default for Style {
    fn default() -> Self {
        Self::plain()
    }
}

impl Style {
    /// For a file or a pipe: no colors, 100 columns.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            color: false,
            width: WIDTH_UNKNOWN,
            unicode: true,
        }
    }

    /// For standard output as it is.
    #[must_use]
    pub fn for_stdout(choice: ColorChoice) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        Self::decide(
            choice,
            &Surroundings {
                terminal,
                no_color: variable("NO_COLOR").is_some(),
                dumb: variable("TERM").is_some_and(|term| term == "dumb"),
                ascii: ascii_locale(&variable),
                columns: terminal
                    .then(|| {
                        variable("COLUMNS")
                            .and_then(|text| text.parse().ok())
                            .or_else(stdout_columns)
                    })
                    .flatten(),
            },
        )
    }

    fn decide(choice: ColorChoice, around: &Surroundings) -> Self {
        Self {
            color: match choice {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => around.terminal && !around.no_color && !around.dumb,
            },
            width: around
                .columns
                .unwrap_or(WIDTH_UNKNOWN)
                .clamp(WIDTH_MIN, WIDTH_MAX),
            unicode: !around.ascii,
        }
    }
}

/// What the process finds around itself.
#[derive(Debug, Clone, Copy, Default)]
struct Surroundings {
    terminal: bool,
    no_color: bool,
    dumb: bool,
    ascii: bool,
    columns: Option<usize>,
}

/// The locale names an encoding, and it is not UTF-8. Without a locale (a service, a container) UTF-8 is the rule today.
fn ascii_locale(variable: &impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(variable);
    locale.is_some_and(|locale| {
        let encoding = locale
            .split_once('.')
            .map(|(_, encoding)| encoding.to_lowercase());
        encoding.is_some_and(|encoding| !encoding.starts_with("utf"))
    })
}

#[cfg(target_os = "linux")]
fn stdout_columns() -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, which is what it gets.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(not(target_os = "linux"))]
fn stdout_columns() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Surroundings = Surroundings {
        terminal: true,
        no_color: false,
        dumb: false,
        ascii: false,
        columns: Some(90),
    };

    #[test]
    fn colors_need_a_terminal_that_wants_them() {
        let color = |choice, around: Surroundings| Style::decide(choice, &around).color;
        assert!(color(ColorChoice::Auto, TERMINAL));
        assert!(!color(
            ColorChoice::Auto,
            Surroundings {
                terminal: false,
                ..TERMINAL
            }
        ));
        assert!(!color(
            ColorChoice::Auto,
            Surroundings {
                no_color: true,
                ..TERMINAL
            }
        ));
        assert!(!color(
            ColorChoice::Auto,
            Surroundings {
                dumb: true,
                ..TERMINAL
            }
        ));
        assert!(!color(ColorChoice::Never, TERMINAL));
        let piped = Surroundings {
            terminal: false,
            no_color: true,
            ..TERMINAL
        };
        assert!(color(ColorChoice::Always, piped), "what the user says wins");
    }

    #[test]
    fn width_follows_the_terminal_within_reason() {
        let width = |columns| {
            Style::decide(
                ColorChoice::Auto,
                &Surroundings {
                    columns,
                    ..TERMINAL
                },
            )
            .width
        };
        assert_eq!(width(Some(90)), 90);
        assert_eq!(width(Some(20)), WIDTH_MIN);
        assert_eq!(width(Some(400)), WIDTH_MAX);
        assert_eq!(width(None), WIDTH_UNKNOWN);
    }

    #[test]
    fn only_a_locale_of_another_encoding_asks_for_ascii() {
        let ascii = |lang: &'static str| {
            ascii_locale(&move |name: &str| {
                (name == "LANG" && !lang.is_empty()).then(|| lang.to_owned())
            })
        };
        assert!(!ascii(""));
        assert!(!ascii("C"));
        assert!(!ascii("en_US.UTF-8"));
        assert!(ascii("en_US.ISO-8859-1"));
    }
}
