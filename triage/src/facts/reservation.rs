//! The address space that the GC set aside: regions that it has emptied and keeps lie in it and on no list of segments.

use super::account::Mapping;

/// What is set aside and not committed is at least this large; thread arenas of malloc set aside 64 MB, stacks less.
const LEAST_BYTES: u64 = 256 << 20;

/// From the first segment to the end of what is set aside behind it without a break; `None` when no map shows that.
pub(super) fn find(mappings: &[Mapping<'_>], segments: &[(u64, u64)]) -> Option<(u64, u64)> {
    let set_aside =
        |m: &&Mapping<'_>| !m.readable && !m.writable && m.path.is_empty() && m.cost == 0;
    let end = mappings
        .iter()
        .filter(set_aside)
        .filter(|m| m.end - m.start >= LEAST_BYTES)
        .filter(|m| segments.iter().any(|(start, _)| *start < m.start))
        .max_by_key(|m| m.end - m.start)?;
    let at = mappings.iter().position(|m| m.start == end.start)?;
    // Back as long as one mapping begins where the one before it ends, and no file lies between.
    let mut first = end.start;
    for before in mappings[..at].iter().rev() {
        if before.end != first || !before.path.is_empty() {
            break;
        }
        first = before.start;
    }
    let own = segments
        .iter()
        .map(|(start, _)| *start)
        .filter(|start| (first..end.start).contains(start));
    Some((own.min()?, end.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn mapping(start: u64, end: u64, committed: bool) -> Mapping<'static> {
        Mapping {
            start: start * MB,
            end: end * MB,
            cost: if committed { (end - start) * MB } else { 0 },
            path: "",
            readable: committed,
            writable: committed,
            executable: false,
            shared: false,
        }
    }

    #[test]
    fn what_lies_between_the_first_segment_and_the_end_of_the_reservation_is_the_collectors() {
        let mappings = [
            // A thread arena, which ends where the reservation begins.
            mapping(900, 901, true),
            mapping(901, 964, false),
            mapping(964, 980, true),
            mapping(980, 1_000, true),
            mapping(1_000, 5_000, false),
        ];
        let segments = [(964 * MB, 968 * MB), (990 * MB, 992 * MB)];
        assert_eq!(find(&mappings, &segments), Some((964 * MB, 5_000 * MB)));
    }

    #[test]
    fn a_reservation_without_a_segment_in_it_is_somebody_elses() {
        let mappings = [
            mapping(100, 110, true),
            mapping(200, 210, true),
            mapping(210, 900, false),
        ];
        assert_eq!(find(&mappings, &[(100 * MB, 104 * MB)]), None);
        assert_eq!(
            find(&mappings, &[(200 * MB, 204 * MB)]),
            Some((200 * MB, 900 * MB))
        );
        assert_eq!(find(&mappings[..1], &[(100 * MB, 104 * MB)]), None);
        assert_eq!(find(&mappings, &[]), None);
    }
}
