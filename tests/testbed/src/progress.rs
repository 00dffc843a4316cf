//! How preparing tells its caller what it is doing: tests ignore it, the demo draws it.

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step begins, in words for a person: `fetching .NET 8 (34 MB)`.
    Step(String),
    /// A download moves.
    Bytes {
        /// Bytes that arrived so far.
        done: u64,
        /// Bytes that will arrive.
        total: u64,
    },
}

/// Receiver of news.
pub type Listener<'a> = dyn FnMut(Progress) + 'a;
