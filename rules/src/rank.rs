//! Findings to one order. The policy stands in the constants.
//!
//! Score = bytes explained × severity × role × confidence × growth × novelty. A damaged capture and an
//! imminent out-of-memory come first whatever they explain. A cause absorbs the symptoms it suppresses. What is worth knowing and
//! no more stands behind what somebody should act on; only memory that comes back by itself may stand before it, when it explains
//! much more, and when every cause tells how much it explains.
//! The order is total: equal scores are ordered by rule id, then culprit.

use crate::category::Category;
use crate::finding::{Absorbed, Finding, Role, Severity};
use crate::judge::bytes_and_share;

/// A finding counts for at least this share of the commit, so that what explains no bytes still has a place.
const LEAST_SHARE_OF_COMMIT: f64 = 0.01;

/// The same when the commit is unknown.
const LEAST_BYTES: f64 = 1e6;

/// What was not seen before counts this much more.
const NOVELTY: f64 = 1.5;

/// A cause that is less sure than this absorbs nothing.
const LEAST_ABSORBING_CONFIDENCE: u8 = 40;

fn severity_weight(severity: Severity) -> f64 {
    match severity {
        // Low enough that "not a leak" wins only when it explains ten times as much as a warned cause: what comes back by itself
        // is no reason to overlook what does not.
        Severity::Info => 0.1,
        Severity::Warning => 1.0,
        Severity::Critical => 2.0,
    }
}

fn role_weight(role: Role) -> f64 {
    match role {
        Role::Cause | Role::NotALeak | Role::Integrity => 1.0,
        // What is seen ranks below what makes it so, unless it is twice as large.
        Role::Symptom => 0.5,
    }
}

/// A finding on its way to its rank.
#[derive(Debug)]
pub(crate) struct Draft<'r> {
    /// The finding.
    pub finding: Finding,
    /// Bytes by which it grew.
    pub growth_bytes: f64,
    /// Not seen before.
    pub is_new: bool,
    /// It is about one element of a list.
    pub element_wise: bool,
    /// Rules whose findings it absorbs.
    pub suppresses: &'r [String],
}

/// Classes that come before any score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Damaged,
    OutOfMemory,
    Ordinary,
    /// A cause or symptom that nobody has to act on, where there is one that somebody should.
    Aside,
}

/// Whether some finding is a cause or symptom that somebody should act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    None,
    /// Each tells how many bytes it explains, so that memory that comes back by itself can be weighed against it.
    Weighed,
    /// One does not: its weight is not known, so nothing outweighs it.
    Unweighed,
}

impl Alarm {
    fn of(drafts: &[Draft<'_>]) -> Self {
        let alarming = drafts.iter().filter(|draft| draft.is_alarming());
        let each = alarming.map(|draft| match draft.finding.explained_bytes {
            0 => Self::Unweighed,
            _ => Self::Weighed,
        });
        each.max().unwrap_or(Self::None)
    }
}

impl Draft<'_> {
    fn class(&self, alarm: Alarm) -> Class {
        let Finding {
            role,
            severity,
            category,
            ..
        } = self.finding;
        if role == Role::Integrity && severity >= Severity::Warning {
            Class::Damaged
        } else if category == Category::NearLimit && severity == Severity::Critical {
            Class::OutOfMemory
        } else if severity == Severity::Info
            && (alarm == Alarm::Unweighed || (alarm == Alarm::Weighed && role != Role::NotALeak))
        {
            Class::Aside
        } else {
            Class::Ordinary
        }
    }

    fn is_alarming(&self) -> bool {
        self.finding.severity >= Severity::Warning
            && matches!(self.finding.role, Role::Cause | Role::Symptom)
    }

    fn score(&self, commit: Option<u64>) -> f64 {
        let finding = &self.finding;
        let least = commit.map_or(LEAST_BYTES, |c| c as f64 * LEAST_SHARE_OF_COMMIT);
        let bytes = (finding.explained_bytes as f64).max(least);
        // From 1 (steady) to 2 (all of it is new since the first capture).
        let growth = 1.0 + (self.growth_bytes / bytes).clamp(0.0, 1.0);
        let novelty = if self.is_new { NOVELTY } else { 1.0 };
        bytes
            * severity_weight(finding.severity)
            * role_weight(finding.role)
            * f64::from(finding.confidence)
            / 100.0
            * growth
            * novelty
    }

    /// Whether this finding explains `other` away.
    fn absorbs(&self, other: &Self) -> bool {
        self.suppresses.contains(&other.finding.rule)
            && self.finding.confidence >= LEAST_ABSORBING_CONFIDENCE
            && (self.finding.severity >= Severity::Warning
                || self.finding.severity >= other.finding.severity)
            && (!self.element_wise || !other.element_wise || self.is_about_the_same(other))
    }

    /// Two findings about elements are about the same thing when they blame the same, or when the path of this one begins at
    /// the static field that the other blames.
    fn is_about_the_same(&self, other: &Self) -> bool {
        let begins_at = |field: &str| {
            let root = self.finding.path.first();
            root.and_then(|root| root.strip_prefix("static ")) == Some(field)
        };
        // `A.Root → B.items` blames what A.Root holds.
        let blamed = other
            .finding
            .culprit
            .split(" → ")
            .next()
            .unwrap_or_default();
        self.finding.culprit == other.finding.culprit
            || begins_at(blamed)
            || self.is_on_the_way_to(other)
    }

    /// What the other accumulates hangs below what this one blames: the way there leads through the object at the end of this path.
    fn is_on_the_way_to(&self, other: &Self) -> bool {
        let (own, others) = (&self.finding.path, &other.finding.path);
        own.len() > 1 && others.len() > own.len() && others[1..].contains(&own[own.len() - 1])
    }

    fn why_here(&self, class: Class) -> String {
        let finding = &self.finding;
        match class {
            Class::Damaged => {
                return "First, because the capture is damaged and everything below is in doubt."
                    .to_owned();
            }
            Class::OutOfMemory => {
                return "Ahead of what explains more bytes, because the limit is nearly reached."
                    .to_owned();
            }
            Class::Ordinary | Class::Aside => {}
        }
        let part = match finding.role {
            Role::Cause => "a cause",
            Role::Symptom => "a symptom without its cause",
            Role::NotALeak => "memory that comes back by itself",
            Role::Integrity => "a doubt about the capture",
        };
        let mut why = if finding.explained_bytes > 0 {
            format!("It is {part} and accounts for {}", bytes_and_share(finding))
        } else {
            format!("It is {part} and accounts for no bytes of its own")
        };
        why.push_str(&format!(
            "; {} at {}% confidence",
            finding.severity, finding.confidence
        ));
        if self.growth_bytes > 0.0 {
            why.push_str("; it grows");
        }
        if self.is_new {
            why.push_str("; it is new");
        }
        match finding.absorbed.len() {
            0 => {}
            1 => why.push_str("; it explains one symptom"),
            n => why.push_str(&format!("; it explains {n} symptoms")),
        }
        if class == Class::Aside {
            why.push_str("; behind what somebody should act on");
        }
        why.push('.');
        why
    }
}

/// Orders findings, lets causes absorb their symptoms, and numbers what is left from 1.
pub(crate) fn rank(drafts: Vec<Draft<'_>>, commit: Option<u64>) -> Vec<Finding> {
    let alarm = Alarm::of(&drafts);
    let mut scored: Vec<(Class, f64, Draft<'_>)> = drafts
        .into_iter()
        .map(|draft| (draft.class(alarm), draft.score(commit), draft))
        .collect();
    scored.sort_by(|(class_a, score_a, a), (class_b, score_b, b)| {
        class_a
            .cmp(class_b)
            .then(score_b.total_cmp(score_a))
            .then_with(|| a.finding.rule.cmp(&b.finding.rule))
            .then_with(|| a.finding.culprit.cmp(&b.finding.culprit))
            .then_with(|| a.finding.fingerprint.cmp(&b.finding.fingerprint))
    });
    let mut drafts: Vec<Option<Draft<'_>>> = scored
        .into_iter()
        .map(|(_, _, draft)| Some(draft))
        .collect();
    for at in 0..drafts.len() {
        let Some(mut cause) = drafts[at].take() else {
            continue;
        };
        for slot in &mut drafts {
            if let Some(symptom) = slot.take_if(|other| cause.absorbs(other)) {
                cause.finding.absorbed.push(absorbed_line(&symptom.finding));
                cause.finding.absorbed.extend(symptom.finding.absorbed);
            }
        }
        drafts[at] = Some(cause);
    }
    number(drafts.into_iter().flatten(), alarm)
}

fn number<'r>(drafts: impl Iterator<Item = Draft<'r>>, alarm: Alarm) -> Vec<Finding> {
    let mut findings: Vec<Finding> = (1..)
        .zip(drafts)
        .map(|(rank, mut draft)| {
            draft.finding.rank = rank;
            draft.finding.why_here = draft.why_here(draft.class(alarm));
            draft.finding
        })
        .collect();
    if let [first, second, ..] = findings.as_mut_slice() {
        // Why first is a comparison.
        let bytes = match second.explained_bytes {
            0 => "no bytes of its own".to_owned(),
            _ => bytes_and_share(second),
        };
        first.why_here.push_str(&format!(
            " Next is {}: {bytes}, {} at {}%.",
            second.rule, second.severity, second.confidence
        ));
    }
    findings
}

fn absorbed_line(finding: &Finding) -> Absorbed {
    Absorbed {
        rule: finding.rule.clone(),
        title: finding.title.clone(),
        message: finding.message.clone(),
        explained_bytes: finding.explained_bytes,
    }
}
