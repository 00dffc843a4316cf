//! Ranked findings to one word and one sentence.

use crate::category::Category;
use crate::diagnosis::{MemoryAccount, Verdict};
use crate::finding::{Finding, Role, Severity};
use crate::sheet::FactSheet;
use crate::units::format_bytes;

/// The verdict and the headline.
///
/// - `unreliable`: the first finding doubts the capture, or nothing about memory could be read;
/// - `not-a-leak`: the first finding says that the memory comes back by itself;
/// - `leak`: a cause or symptom of warning or above was found;
/// - `pressure`: only the limit is close;
/// - `healthy`: nothing of warning or above.
pub(crate) fn conclude(
    findings: &[Finding],
    memory: &MemoryAccount,
    sheet: &FactSheet,
) -> (Verdict, String) {
    let first = findings.first();
    if let Some(doubt) =
        first.filter(|f| f.role == Role::Integrity && f.severity >= Severity::Warning)
    {
        return (Verdict::Unreliable, sentence(doubt));
    }
    let warned = |f: &&Finding| f.severity >= Severity::Warning;
    let limit = findings
        .iter()
        .filter(warned)
        .find(|f| f.category == Category::NearLimit);
    let cause = findings.iter().filter(warned).find(|f| {
        f.category != Category::NearLimit && matches!(f.role, Role::Cause | Role::Symptom)
    });
    let calm = findings
        .iter()
        .find(|f| f.category != Category::NearLimit)
        .filter(|f| f.role == Role::NotALeak);
    match (calm, cause, limit) {
        (Some(calm), _, None) => (Verdict::NotALeak, format!("Not a leak: {}", sentence(calm))),
        (Some(calm), _, Some(limit)) => (Verdict::Pressure, both(limit, calm)),
        (_, Some(cause), Some(limit)) if limit.rank < cause.rank => {
            (Verdict::Leak, both(limit, cause))
        }
        (_, Some(cause), _) => (Verdict::Leak, sentence(cause)),
        (None, None, Some(limit)) => (Verdict::Pressure, sentence(limit)),
        (None, None, None) => nothing_found(memory, sheet),
    }
}

fn both(first: &Finding, second: &Finding) -> String {
    format!("{}; {}", sentence(first), sentence(second))
}

fn nothing_found(memory: &MemoryAccount, sheet: &FactSheet) -> (Verdict, String) {
    let committed = memory
        .commit
        .map(|b| format!("{} committed", format_bytes(b as f64)));
    let live = sheet
        .get_int("heap.live")
        .or_else(|| sheet.get_int("heap.used"))
        .map(|b| format!("{} in managed objects", format_bytes(b as f64)));
    let account: Vec<String> = committed.into_iter().chain(live).collect();
    if account.is_empty() {
        let headline =
            "Nothing could be judged: neither the memory map nor a managed heap could be read";
        return (Verdict::Unreliable, headline.to_owned());
    }
    let runtime = match sheet.runtime.name.as_str() {
        "none" => "; it is no .NET process that could be read, and only its memory map was judged",
        _ => "",
    };
    (
        Verdict::Healthy,
        format!(
            "No leak found: {}; nothing stands out{runtime}",
            account.join(", ")
        ),
    )
}

/// The first sentence of what a finding says, without its period.
fn sentence(finding: &Finding) -> String {
    let message = finding.message.trim();
    let first = message.split_once(". ").map_or(message, |(first, _)| first);
    first.trim_end_matches('.').to_owned()
}
