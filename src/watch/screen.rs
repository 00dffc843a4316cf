//! A screen that is drawn over and over, and a terminal that is left as it was found.

use super::text::{Line, Mark};
use std::io::{self, Write};

/// Another screen than the one with the shell's history, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The cursor, and the screen from before.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
/// Rows and columns of a terminal that does not tell.
const USUAL: (usize, usize) = (24, 80);

/// The terminal while it shows the screen; restored when dropped, however that comes about.
pub struct Screen;

impl Screen {
    /// Switches to the screen.
    pub fn open() -> io::Result<Self> {
        let screen = Self;
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// Draws the lines that fit, in one piece so that nothing flickers.
    pub fn draw(&mut self, lines: &[Line], color: bool) -> io::Result<()> {
        let (rows, columns) = size();
        let mut out = io::stdout().lock();
        out.write_all(compose(lines, rows, columns, color).as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // A terminal that is gone needs no restoring.
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

fn compose(lines: &[Line], rows: usize, columns: usize, color: bool) -> String {
    let mut page = String::from(HOME);
    let fits = lines.len() <= rows;
    let shown = if fits {
        lines.len()
    } else {
        rows.saturating_sub(1)
    };
    for (row, line) in lines.iter().take(shown).enumerate() {
        if row > 0 {
            page.push_str("\r\n");
        }
        let cut: String = line.text.chars().take(columns).collect();
        let paint = if color { paint(line.mark) } else { "" };
        page.push_str(paint);
        page.push_str(&cut);
        if !paint.is_empty() {
            page.push_str("\x1b[0m");
        }
        page.push_str(CLEAR_LINE);
    }
    if !fits {
        let more = format!("\r\n… {} more lines", lines.len() - shown);
        page.extend(more.chars().take(columns + 2));
        page.push_str(CLEAR_LINE);
    }
    page.push_str(CLEAR_REST);
    page
}

fn paint(mark: Mark) -> &'static str {
    match mark {
        Mark::Plain => "",
        Mark::Heading => "\x1b[1m",
        Mark::Fires => "\x1b[1;31m",
        Mark::Holds => "\x1b[33m",
        Mark::Faint => "\x1b[2m",
    }
}

/// Rows and columns now; a window may be resized at any time.
fn size() -> (usize, usize) {
    #[cfg(target_os = "linux")]
    {
        let mut size = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the kernel fills the struct that it is given, or says that it did not.
        let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
        if done == 0 && size.ws_row > 0 && size.ws_col > 0 {
            return (usize::from(size.ws_row), usize::from(size.ws_col));
        }
    }
    USUAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(n: usize) -> Vec<Line> {
        (0..n)
            .map(|i| Line {
                text: format!("line {i} é and more"),
                mark: Mark::Fires,
            })
            .collect()
    }

    #[test]
    fn a_page_fits_the_terminal_and_says_what_it_left_out() {
        let page = compose(&lines(3), 3, 8, false);
        assert_eq!(page.matches("\r\n").count(), 2);
        assert!(page.contains("line 2 é\x1b[K"), "{page:?}");
        let page = compose(&lines(9), 4, 80, true);
        assert_eq!(page.matches("\r\n").count(), 3);
        assert!(page.contains("… 6 more lines"), "{page:?}");
        assert!(page.contains("\x1b[1;31mline 0"), "{page:?}");
        assert!(compose(&lines(2), 1, 2, false).len() < 40);
    }
}
