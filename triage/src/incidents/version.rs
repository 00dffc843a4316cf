//! Versions of a service, as far as their order can be told: `1.10.0` is later than `1.9`.

use std::cmp::Ordering;

/// A version in pieces: numbers compare as numbers, the rest as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    /// Letters come before numbers: `2.0-rc` is earlier than `2.0.1`.
    Word(String),
    Number(u64),
}

impl Version {
    /// Reads any text: pieces are split at everything that is neither letter nor digit, and between letters and digits.
    /// What follows a `+` is build data, which has no order (SemVer 2.0 §10).
    #[must_use]
    pub fn of(text: &str) -> Self {
        let text = text.split('+').next().unwrap_or_default();
        let text = text.trim_start_matches(['v', 'V']);
        let mut pieces = Vec::new();
        for part in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            let mut rest = part;
            while let Some(first) = rest.chars().next() {
                let digits = first.is_ascii_digit();
                let end = rest
                    .find(|c: char| c.is_ascii_digit() != digits)
                    .unwrap_or(rest.len());
                let (piece, after) = rest.split_at(end);
                pieces.push(match piece.parse() {
                    Ok(number) => Piece::Number(number),
                    Err(_) => Piece::Word(piece.to_ascii_lowercase()),
                });
                rest = after;
            }
        }
        // `1.2` and `1.2.0.0` are the same version of an assembly.
        while pieces.last() == Some(&Piece::Number(0)) {
            pieces.pop();
        }
        Version { pieces }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let n = self.pieces.len().max(other.pieces.len());
        let zero = Piece::Number(0);
        let at = |version: &Self, i: usize| version.pieces.get(i).unwrap_or(&zero).clone();
        (0..n)
            .map(|i| at(self, i).cmp(&at(other, i)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_people_mean_them() {
        let ascending = [
            "0.9",
            "1.0-alpha",
            "1.0-alpha2",
            "1.0-rc1",
            "1.0",
            "1.0.1",
            "1.2",
            "1.9.9",
            "1.10",
            "2024.11.3",
            "2024.11.20",
        ];
        for pair in ascending.windows(2) {
            assert!(Version::of(pair[0]) < Version::of(pair[1]), "{pair:?}");
        }
        for (a, b) in [("1.2", "1.2.0.0"), ("v1.2", "1.2+5f3a"), ("1.0", "1")] {
            assert_eq!(Version::of(a), Version::of(b), "{a} {b}");
        }
    }
}
