//! The table is consistent with itself and with the language.

use super::*;
use std::collections::BTreeSet;

#[test]
fn no_name_means_two_things() {
    let mut names = BTreeSet::new();
    for name in FACTS
        .iter()
        .map(|f| f.name)
        .chain(LISTS.iter().map(|l| l.name))
    {
        assert!(names.insert(name), "{name} is there twice");
    }
    for list in LISTS {
        for (column, _, _) in list.columns {
            assert!(fact_named(column).is_none(), "column {column} hides a fact");
            assert!(!["item", "outer", "params"].contains(column), "{column}");
        }
    }
}

#[test]
fn every_row_is_documented_and_lexes_as_a_name() {
    let sentences = FACTS
        .iter()
        .map(|f| (f.name, f.sentence))
        .chain(LISTS.iter().flat_map(|l| {
            l.columns
                .iter()
                .map(|(n, _, s)| (*n, *s))
                .chain([(l.name, l.sentence)])
        }));
    for (name, sentence) in sentences {
        assert!(
            sentence.ends_with(['.', '…']) && sentence.len() > 5,
            "{name}: {sentence}"
        );
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b)),
            "{name}"
        );
        assert!(!crate::lexer::KEYWORDS.contains(&name), "{name}");
    }
}
