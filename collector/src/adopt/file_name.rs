//! What the name of a dump tells: the process and its id, as those who write dumps put them there.

/// Words that say what the file is.
const KINDS: [&str; 5] = ["core", "coredump", "dump", "minidump", "exe"];
/// What ProcDump for Linux puts between the name and the time.
const CAUSES: [&str; 8] = [
    "commit",
    "cpu",
    "time",
    "manual",
    "thread",
    "filedesc",
    "signal",
    "exception",
];

/// Process and id: `core.cart.77` (kernel), `coredump.77` (createdump), `Shop.Cart.exe.77.dmp` (Windows Error Reporting),
/// `Shop.Cart.exe_261130_190509.dmp` (ProcDump, without an id), `Shop.Cart_commit_2026-11-30_19:05:09.77` (ProcDump for
/// Linux), `core_20261130_190509` (dotnet-dump).
pub fn parts(name: &str) -> (Option<String>, Option<u32>) {
    let name = name.strip_suffix(".dmp").unwrap_or(name);
    let name = name.strip_suffix(".core").unwrap_or(name);
    let words: Vec<&str> = name.split(['.', '_', '-']).collect();
    let (mut process, mut pid) = (Vec::new(), None);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let stamp = stamp_words(&words[at..]);
        if stamp > 0 {
            at += stamp;
            if process.last().is_some_and(|w| CAUSES.contains(w)) {
                process.pop();
            }
            continue;
        }
        at += 1;
        match word.parse::<u32>() {
            Ok(n) => pid = pid.or(Some(n)),
            Err(_) if word.is_empty() || KINDS.contains(word) => {}
            // What follows the id is a host.
            Err(_) if pid.is_none() => process.push(word),
            Err(_) => {}
        }
    }
    ((!process.is_empty()).then(|| process.join(".")), pid)
}

/// How many of the next words are a date and a time.
fn stamp_words(words: &[&str]) -> usize {
    let digits = |at: usize, n: usize| {
        words
            .get(at)
            .is_some_and(|w| w.len() == n && w.bytes().all(|b| b.is_ascii_digit()))
    };
    let clock = |at: usize| {
        words
            .get(at)
            .is_some_and(|w| w.len() == 8 && w.split(':').count() == 3)
    };
    match () {
        () if (digits(0, 6) || digits(0, 8)) && digits(1, 6) => 2,
        () if digits(0, 4) && digits(1, 2) && digits(2, 2) && clock(3) => 4,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_others_give() {
        for (name, process, pid) in [
            ("core.cart.77", Some("cart"), Some(77)),
            ("core", None, None),
            ("coredump.77", None, Some(77)),
            ("core.77", None, Some(77)),
            (
                "core.Shop.Cart.77.node-1.1700000000",
                Some("Shop.Cart"),
                Some(77),
            ),
            ("Shop.Cart.exe.4711.dmp", Some("Shop.Cart"), Some(4711)),
            ("Shop.Cart.exe_261130_190509.dmp", Some("Shop.Cart"), None),
            (
                "Shop.Cart_commit_2026-11-30_19:05:09.77",
                Some("Shop.Cart"),
                Some(77),
            ),
            ("core_20261130_190509", None, None),
            ("minidump.77.dmp", None, Some(77)),
        ] {
            assert_eq!(parts(name), (process.map(str::to_owned), pid), "{name}");
        }
    }
}
