//! What a diagnosis is worth: whether the right cause is first, how sure it was, and whether anybody was alarmed in vain.

use crate::run::Setting;
use leakhound_testbed::Target;
use leakhound_testbed::targets::Expectation;
use serde_json::Value;

/// What came out for one service on one runtime.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Name of the service.
    pub service: String,
    /// The runtime, `8`.
    pub runtime: String,
    /// `workstation` or `server`.
    pub collector: String,
    /// The verdict that was given.
    pub verdict: String,
    /// It is one of those that are right.
    pub verdict_right: bool,
    /// Rank of the right finding, with the right culprit; for two faults the worse rank of both. `None`: not found, or there is
    /// nothing to find.
    pub rank: Option<u64>,
    /// The first finding is right; or nothing is to be found, and nothing was.
    pub first_right: bool,
    /// Confidence of the first finding that is a warning or worse.
    pub confidence: Option<u64>,
    /// That finding is right.
    pub alarm_right: bool,
    /// Findings by rank: category, and the severity when it is none to be alarmed by.
    pub found: Vec<String>,
}

/// Places that somebody reads.
const READ: u64 = 3;

impl Outcome {
    /// First, and with the right verdict; of two faults both among those that are read.
    pub fn is_right(&self) -> bool {
        self.first_right && self.verdict_right && self.rank.is_none_or(|rank| rank <= READ)
    }

    /// Among the places that somebody reads.
    pub fn is_read(&self) -> bool {
        self.first_right || self.rank.is_some_and(|rank| rank <= READ)
    }

    /// One line of `results.tsv`.
    pub fn line(&self) -> String {
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        [
            self.service.clone(),
            self.runtime.clone(),
            self.collector.clone(),
            self.verdict.clone(),
            if self.verdict_right { "right" } else { "wrong" }.to_owned(),
            if self.first_right { "right" } else { "wrong" }.to_owned(),
            number(self.rank),
            number(self.confidence)
                + if self.alarm_right || self.confidence.is_none() {
                    ""
                } else {
                    "!"
                },
            self.found.join(", "),
        ]
        .join("\t")
    }

    /// The reverse of [`Self::line`].
    pub fn parse(line: &str) -> Self {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 9, "results.tsv: nine columns: {line:?}");
        let text = |at: usize| columns[at].to_owned();
        Self {
            service: text(0),
            runtime: text(1),
            collector: text(2),
            verdict: text(3),
            verdict_right: columns[4] == "right",
            first_right: columns[5] == "right",
            rank: columns[6].parse().ok(),
            confidence: columns[7].trim_end_matches('!').parse().ok(),
            alarm_right: !columns[7].ends_with('!'),
            found: columns[8]
                .split(", ")
                .filter(|found| !found.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// One fault as it may be found: categories, and a part of the culprit.
struct Wanted<'e> {
    categories: Vec<&'e str>,
    culprit: Option<&'e str>,
}

impl Wanted<'_> {
    fn is(&self, finding: &Value) -> bool {
        let category = finding["category"].as_str().unwrap();
        let culprit = finding["culprit"].as_str().unwrap_or_default();
        self.categories.contains(&category)
            && self.culprit.is_none_or(|wanted| culprit.contains(wanted))
    }
}

fn wanted(expect: &Expectation) -> Vec<Wanted<'_>> {
    let first = expect.category.as_deref().map(|category| Wanted {
        categories: std::iter::once(category)
            .chain(expect.or.iter().map(String::as_str))
            .collect(),
        culprit: expect.culprit.as_deref(),
    });
    let second = expect.also.as_ref().map(|fault| Wanted {
        categories: vec![&fault.category],
        culprit: fault.culprit.as_deref(),
    });
    first.into_iter().chain(second).collect()
}

/// Scores a diagnosis.
pub fn score(target: &Target, setting: Setting, diagnosis: &Value) -> Outcome {
    let expect = &target.card.expect;
    let findings = diagnosis["findings"].as_array().unwrap();
    let alarming = |finding: &&Value| finding["severity"] != "info";
    let wanted = wanted(expect);
    let ranks: Vec<Option<u64>> = wanted
        .iter()
        .map(|fault| {
            let hit = findings.iter().find(|finding| fault.is(finding));
            hit.map(|finding| finding["rank"].as_u64().unwrap())
        })
        .collect();
    let verdict = diagnosis["verdict"].as_str().unwrap().to_owned();
    let first_right = if wanted.is_empty() {
        !findings.iter().any(|finding| alarming(&finding))
    } else {
        ranks.contains(&Some(1))
    };
    let alarm = findings.iter().find(alarming);
    let found = findings.iter().map(|finding| {
        let category = finding["category"].as_str().unwrap();
        match finding["severity"].as_str() {
            Some("info") => format!("{category} (info)"),
            _ => category.to_owned(),
        }
    });
    Outcome {
        service: target.name.clone(),
        runtime: setting.version.short().to_owned(),
        collector: setting.collector.name().to_owned(),
        verdict_right: if expect.verdict.is_empty() {
            // A fault that nobody is told of was not found.
            matches!(verdict.as_str(), "leak" | "pressure")
        } else {
            expect.verdict.contains(&verdict)
        },
        verdict,
        rank: ranks
            .iter()
            .try_fold(0, |worst, rank| rank.map(|rank| worst.max(rank)))
            .filter(|rank| *rank > 0),
        first_right,
        confidence: alarm.and_then(|finding| finding["confidence"].as_u64()),
        alarm_right: alarm.is_none_or(|finding| wanted.iter().any(|fault| fault.is(finding))),
        found: found.collect(),
    }
}
