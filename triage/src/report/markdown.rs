//! The report as Markdown for tickets and pull requests: short, and nothing in a name can become markup.

use minijinja::{AutoEscape, Environment};

use super::template;
use super::view::View;

/// Lays the report out as Markdown.
#[must_use]
pub fn render(view: &View) -> String {
    let mut environment = template::environment();
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    environment.set_formatter(|out, state, value| {
        if value.is_safe() || value.is_number() {
            minijinja::escape_formatter(
                out,
                state,
                &minijinja::Value::from_safe_string(value.to_string()),
            )
        } else {
            out.write_str(&escape(&value.to_string()))
                .map_err(Into::into)
        }
    });
    environment.add_filter("code", |text: String| {
        minijinja::Value::from_safe_string(code(&text))
    });
    finish(&environment, view)
}

fn finish(environment: &Environment<'_>, view: &View) -> String {
    template::render(
        environment,
        "report.md",
        include_str!("templates/report.md.j2"),
        view,
    )
}

/// Escapes text for Markdown as GitHub, GitLab, Azure DevOps and Jira read it, in a paragraph and in a table.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // `@` and `#` would address people and issues.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// A name in code letters. A code span shows its content as it is, `<script>` too, but for the backtick that would end
/// it and the pipe that would end a table cell; the fence is longer than any run of backticks inside.
#[must_use]
pub fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let text = text.replace(['\n', '\r'], " ").replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    if longest > 0 || text.starts_with(' ') || text.ends_with(' ') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_text() {
        assert_eq!(
            escape("a|b <script> `x` *y* [z](u)"),
            "a\\|b &lt;script&gt; \\`x\\` \\*y\\* \\[z\\](u)"
        );
        assert_eq!(escape("@all #1"), "&#64;all &#35;1");
    }

    #[test]
    fn a_code_span_cannot_be_left() {
        assert_eq!(
            code("Dictionary<String, Order>"),
            "`Dictionary<String, Order>`"
        );
        assert_eq!(code("List`1"), "`` List`1 ``");
        assert_eq!(code("a``b`c"), "``` a``b`c ```");
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code(""), "");
    }
}
