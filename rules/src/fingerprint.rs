//! Identity of a finding across captures, nodes and versions of the program.
//!
//! Made of the rule, the culprit and the types and fields along the path. What changes from capture to
//! capture (addresses, counts, sizes, indices) and from build to build (numbers of compiler-generated
//! names, assembly versions) is erased first.

/// Fingerprint of a finding: 32 hexadecimal digits.
#[must_use]
pub fn fingerprint<'p>(
    rule: &str,
    culprit: &str,
    path: impl IntoIterator<Item = &'p str>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    };
    part("leakhound finding 1");
    part(rule);
    let culprit = erase_volatile(culprit);
    part(&culprit);
    // A linked list is as long as it happens to be: each step counts once.
    let mut steps: Vec<String> = Vec::new();
    for step in path {
        let step = erase_volatile(step);
        if !step.is_empty() && step != culprit && !steps.contains(&step) {
            part(&step);
            steps.push(step);
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// A name without what changes while the code stays the same.
#[must_use]
pub fn erase_volatile(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if is_word(c) {
            let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            out.push_str(&erase_in_word(&rest[..length]));
            rest = &rest[length..];
        } else {
            // Separators inside numbers (`412,310`, `1.2.3`) go with the numbers; spaces never tell anything.
            let inside_number = matches!(c, ',' | '.') && ends_number(&rest[1..]);
            if !c.is_whitespace() && !inside_number {
                out.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text goes on with a word that is a number.
fn ends_number(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_ascii_digit())
}

fn erase_in_word(word: &str) -> String {
    // A word that starts with a digit is a number, an address or an index; no identifier does.
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return String::new();
    }
    // `c__DisplayClass5_0`, `b__0_1`, `d__12`: the compiler numbers what it generates anew in every build.
    if let Some(at) = word.find("__") {
        let (head, tail) = word.split_at(at);
        let letters: String = tail.chars().filter(|c| !c.is_ascii_digit()).collect();
        return format!("{head}__{}", letters.trim_matches('_'));
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_between_captures_is_erased() {
        for (a, b) in [
            (
                "Shop.Cache.Quotes (412,310 entries)",
                "Shop.Cache.Quotes (9 entries)",
            ),
            ("Entry<String, Quote>[4096]", "Entry<String,Quote>[8192]"),
            ("object at 0x7f1200340", "object at 0x7f9900000"),
            (
                "Shop.Cache.<>c__DisplayClass5_0",
                "Shop.Cache.<>c__DisplayClass17_2",
            ),
            ("Shop.Job.<Run>d__12", "Shop.Job.<Run>d__3"),
            ("Lib, Version=1.2.3.4", "Lib, Version=2.0.0.0"),
        ] {
            assert_eq!(erase_volatile(a), erase_volatile(b), "{a}");
        }
    }

    #[test]
    fn what_names_the_code_is_kept() {
        for (a, b) in [
            ("System.Int32", "System.Int64"),
            ("Shop.Cache.Quotes", "Shop.Cache.Orders"),
            ("List<A>", "List<B>"),
            ("<Run>d__1", "<Stop>d__1"),
            ("c__DisplayClass1_0", "c__Iterator1_0"),
        ] {
            assert_ne!(erase_volatile(a), erase_volatile(b), "{a}");
        }
    }

    #[test]
    fn rule_culprit_and_path_make_the_identity() {
        let long = ["static A.b", "Node", "Node", "Node", "Item[10]"];
        let short = ["static A.b", "Node", "Item[99]"];
        assert_eq!(
            fingerprint("r", "A.b", long),
            fingerprint("r", "A.b", short)
        );
        assert_ne!(
            fingerprint("r", "A.b", short),
            fingerprint("s", "A.b", short)
        );
        assert_ne!(
            fingerprint("r", "A.b", short),
            fingerprint("r", "A.c", short)
        );
        assert_ne!(
            fingerprint("r", "A.b", short),
            fingerprint("r", "A.b", ["static A.b", "Other"])
        );
        assert_eq!(fingerprint("r", "A.b", short).len(), 32);
    }
}
