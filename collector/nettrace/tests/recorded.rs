//! Streams as runtimes wrote them: `tests/targets/counters.cs` for two or three intervals of a second, providers
//! `Shop-Baskets` and `System.Runtime`, on 3.1.23, 8.0.32 and 10.0.13.
#![allow(clippy::unwrap_used)]

use leakhound_nettrace::{Error, Reader};
use proptest::prelude::*;
use std::collections::BTreeMap;

const RECORDED: [(&str, &[u8]); 3] = [
    ("3.1", include_bytes!("recorded/net31.nettrace")),
    ("8", include_bytes!("recorded/net8.nettrace")),
    ("10", include_bytes!("recorded/net10.nettrace")),
];

/// Counter, value.
type Found = Vec<(String, f64)>;

fn read_in(bytes: &[u8], piece: usize) -> Result<Found, Error> {
    let mut reader = Reader::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece, &mut |sample| {
            found.push((format!("{}/{}", sample.provider, sample.name), sample.value));
        })?;
    }
    Ok(found)
}

#[test]
fn every_kind_of_counter_is_read_of_every_runtime() {
    for (version, bytes) in RECORDED {
        let found = read_in(bytes, usize::MAX).unwrap();
        let mut by_name: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, value) in &found {
            by_name.entry(name).or_default().push(*value);
        }
        // Means as they are; what grows, per second: five baskets of four articles.
        for (name, at_least, at_most) in [
            ("Shop-Baskets/basket-size", 4.0, 4.0),
            ("Shop-Baskets/queue-length", 3.0, 3.0),
            ("Shop-Baskets/paid/share", 0.25, 0.25),
            ("Shop-Baskets/orders", 4.0, 6.0),
            ("Shop-Baskets/articles", 16.0, 24.0),
            ("System.Runtime/threadpool-queue-length", 0.0, 0.0),
            ("System.Runtime/working-set", 20.0, 60.0),
            ("System.Runtime/alloc-rate", 1_000.0, 400_000.0),
        ] {
            let values = by_name
                .get(name)
                .unwrap_or_else(|| panic!("{version}: {name}"));
            assert!(
                (2..=3).contains(&values.len()),
                "{version}: {name} {values:?}"
            );
            for value in values {
                assert!(
                    (at_least..=at_most).contains(value),
                    "{version}: {name} {value}"
                );
            }
        }
        let others = by_name.keys().filter(|n| n.starts_with("System.Runtime/"));
        assert!(others.count() >= 19, "{version}");
    }
}

#[test]
fn pieces_of_any_size_say_the_same() {
    for (version, bytes) in RECORDED {
        let whole = read_in(bytes, usize::MAX).unwrap();
        for piece in [1, 2, 3, 7, 64, 1_000, 4_096] {
            assert_eq!(read_in(bytes, piece).unwrap(), whole, "{version}: {piece}");
        }
    }
}

#[test]
fn a_stream_that_breaks_off_gives_what_came() {
    let (_, bytes) = RECORDED[1];
    let whole = read_in(bytes, usize::MAX).unwrap();
    for cut in (0..bytes.len()).step_by(97) {
        let found = read_in(&bytes[..cut], 500).unwrap();
        assert!(whole.starts_with(&found), "{cut}");
    }
}

proptest! {
    #[test]
    fn damage_is_an_error_or_other_values(version in 0..3_usize, at in 0..15_000_usize, with in prop::collection::vec(any::<u8>(), 1..12)) {
        let mut bytes = RECORDED[version].1.to_vec();
        for (byte, with) in bytes[at..].iter_mut().zip(with) {
            *byte = with;
        }
        // It must end without a panic; what it says is worth nothing.
        let _ = read_in(&bytes, 1_024);
    }

    #[test]
    fn other_bytes_are_no_stream(bytes in prop::collection::vec(any::<u8>(), 32..200)) {
        prop_assert_eq!(read_in(&bytes, 50), Err(Error::NoStream));
    }
}
