//! A diagnosis as people and programs read it. A format is one file here and one line in [`Format`].
//!
//! Names in a dump are foreign text. They are tamed once, in `view`, and escaped by each format for itself.
//! Invariant: a report depends on its diagnosis and its sheet only; equal input gives equal bytes, and no report grows
//! with the number of objects.

mod amount;
pub(crate) mod clean;
mod html;
mod json;
mod markdown;
mod style;
mod svg;
mod template;
mod text;
mod view;

use leakhound_rules::diagnosis::Diagnosis;
use leakhound_rules::sheet::FactSheet;

pub use style::{ColorChoice, Style};

/// A report format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// The contract; for programs.
    Json,
    /// For tickets and pull requests.
    Markdown,
    /// One self-contained page.
    Html,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Text, Self::Json, Self::Markdown, Self::Html];

    /// As it stands on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "md",
            Self::Html => "html",
        }
    }

    /// The format called `name`; `markdown` is `md` too.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "markdown" => Some(Self::Markdown),
            name => Self::ALL.into_iter().find(|format| format.name() == name),
        }
    }

    /// Extension of a file that holds it.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Json => "json",
            Self::Markdown => "md",
            Self::Html => "html",
        }
    }

    /// Media type when it is served or attached.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// The report on a diagnosis. `sheet` is the sheet that was judged; `style` matters to text only.
#[must_use]
pub fn render(diagnosis: &Diagnosis, sheet: &FactSheet, format: Format, style: &Style) -> String {
    let view = || view::View::new(diagnosis, sheet);
    match format {
        Format::Text => text::render(&view(), style),
        Format::Json => json::render(diagnosis),
        Format::Markdown => markdown::render(&view()),
        Format::Html => html::render(&view()),
    }
}
