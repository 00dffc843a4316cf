//! An event stream of a runtime, in pieces whose size the first byte says: values or an error, the same as of the whole.
#![no_main]

use leakhound_nettrace::{Error, Reader};
use libfuzzer_sys::fuzz_target;

/// What came of a stream, bit by bit: a value may be no number.
type Found = (Vec<(String, String, u64)>, Result<(), Error>);

fn read(data: &[u8], piece: usize) -> Found {
    let mut reader = Reader::default();
    let mut found = Vec::new();
    for piece in data.chunks(piece) {
        let read = reader.push(piece, &mut |sample| {
            found.push((
                sample.provider.to_owned(),
                sample.name,
                sample.value.to_bits(),
            ));
        });
        if read.is_err() {
            return (found, read);
        }
    }
    (found, Ok(()))
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, stream)) = data.split_first() else {
        return;
    };
    let whole = read(stream, usize::MAX);
    assert_eq!(whole, read(stream, usize::from(*piece).max(1)));
});
