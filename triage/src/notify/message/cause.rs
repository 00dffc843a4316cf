//! Findings as a message names them.

use leakhound_rules::Finding;
use serde::{Deserialize, Serialize};

use super::line::{NAME_CHARS, SENTENCE_CHARS, STUB_CHARS, amount, clean};

/// Steps of advice in a message.
const ADVICE_LIMIT: usize = 3;
/// Elements of a path in a message: from both ends, the middle left out.
const PATH_LIMIT: usize = 6;

/// The finding to act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// What it is, in general.
    pub title: String,
    /// What it is, here.
    pub sentence: String,
    /// The type, field, path or thread to blame.
    pub culprit: String,
    /// One of the closed list of categories.
    pub category: String,
    /// How sure, 0 to 100.
    pub confidence: u8,
    /// Bytes it accounts for.
    pub explained_bytes: u64,
    /// The same as a share of the commit.
    pub share_of_commit: Option<f64>,
    /// From a root to what accumulates.
    pub path: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
    /// Identity across captures, nodes and versions.
    pub fingerprint: String,
}

/// A further finding, in one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Its rank.
    pub rank: u32,
    /// Title and culprit.
    pub line: String,
}

pub(super) fn cause(finding: &Finding, say: &dyn Fn(&str, usize) -> String) -> Cause {
    let n_path = finding.path.len();
    let mut path: Vec<String> = finding
        .path
        .iter()
        .map(|step| say(step, NAME_CHARS))
        .collect();
    if n_path > PATH_LIMIT {
        path.splice(PATH_LIMIT / 2..n_path - PATH_LIMIT / 2, ["…".to_owned()]);
    }
    Cause {
        title: say(&finding.title, NAME_CHARS),
        sentence: say(&finding.message, SENTENCE_CHARS),
        culprit: say(&finding.culprit, NAME_CHARS),
        category: finding.category.name().to_owned(),
        confidence: finding.confidence.min(100),
        explained_bytes: finding.explained_bytes,
        share_of_commit: finding.share_of_commit.filter(|share| share.is_finite()),
        path,
        advice: finding
            .advice
            .iter()
            .take(ADVICE_LIMIT)
            .map(|step| say(step, SENTENCE_CHARS))
            .collect(),
        fingerprint: clean(&finding.fingerprint, NAME_CHARS),
    }
}

pub(super) fn other(finding: &Finding, say: &dyn Fn(&str, usize) -> String) -> Other {
    let mut line = say(&finding.title, NAME_CHARS);
    if !finding.culprit.is_empty() && !finding.title.contains(&finding.culprit) {
        line.push_str(": ");
        line.push_str(&say(&finding.culprit, STUB_CHARS));
    }
    if finding.explained_bytes > 0 {
        line.push_str(&format!(
            " ({})",
            amount(finding.explained_bytes, finding.share_of_commit)
        ));
    }
    Other {
        rank: finding.rank,
        line,
    }
}
