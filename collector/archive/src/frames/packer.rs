//! Packs chunks into frames, at the lower of two levels where that costs no room.

use super::SealOptions;
use std::io;

/// One frame on its way to the writer.
#[derive(Debug)]
pub(super) struct Packed {
    pub bytes: Vec<u8>,
    pub raw_bytes: u32,
}

/// One frame in so many is packed at both levels.
const SAMPLE_EVERY: u32 = 64;
/// The level that is weighed against a higher one.
const QUICK_LEVEL: i32 = 1;
/// Level 1 forgets too soon for a frame of 512 KiB: with a table of 2^17 places in place of 2^14, heaps pack up to 0.6 %
/// smaller in the same time.
const QUICK_HASH_LOG: u32 = 17;
/// Shorter repeats cost more than they spare: of a reference of eight bytes, five or six stand in every other one too.
const QUICK_MIN_MATCH: u32 = 7;
/// Above this level a user asks for small files at any price.
const HIGHEST_WEIGHED: i32 = 3;

/// At which of the levels a frame is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The one that was asked for.
    Full,
    /// [`QUICK_LEVEL`].
    Quick,
}

/// Says at which level frames are packed.
///
/// Which is best depends on what memory holds. Objects and their references pack smaller at level 1, in two thirds of the
/// time; code, metadata and some text pack smaller at level 3. So it looks now and then: one frame in [`SAMPLE_EVERY`] is
/// packed both ways, and it and those that follow go the way that was smaller. Frames are seen in order, so what comes out
/// depends on nothing but the content.
pub(super) struct Sampler {
    /// Of the level that was asked for and of the quick one; none when there is nothing to weigh.
    both: Option<[zstd::bulk::Compressor<'static>; 2]>,
    buffer: Vec<u8>,
    level: Level,
    until_sample: u32,
}

impl Sampler {
    pub(super) fn new(options: &SealOptions) -> io::Result<Self> {
        let is_weighed = (QUICK_LEVEL + 1..=HIGHEST_WEIGHED).contains(&options.level);
        let both = || Ok::<_, io::Error>([compressor(options.level)?, quick_compressor()?]);
        Ok(Self {
            both: is_weighed.then(both).transpose()?,
            buffer: Vec::new(),
            level: Level::Full,
            until_sample: 0,
        })
    }

    /// The level for the next frame.
    pub(super) fn level(&mut self, raw: &[u8]) -> io::Result<Level> {
        let Some([full, quick]) = &mut self.both else {
            return Ok(Level::Full);
        };
        if self.until_sample > 0 {
            self.until_sample -= 1;
        } else if !is_zero(raw) {
            self.until_sample = SAMPLE_EVERY - 1;
            compress(full, raw, &mut self.buffer)?;
            let full_bytes = self.buffer.len();
            compress(quick, raw, &mut self.buffer)?;
            self.level = if self.buffer.len() <= full_bytes {
                Level::Quick
            } else {
                Level::Full
            };
        }
        Ok(self.level)
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sampler({:?})", self.level)
    }
}

/// What one worker packs with.
pub(super) struct Packer {
    full: zstd::bulk::Compressor<'static>,
    quick: zstd::bulk::Compressor<'static>,
    /// The packed form of a whole frame of zeros.
    zeros: Vec<u8>,
    frame_bytes: usize,
}

impl Packer {
    pub(super) fn new(options: &SealOptions) -> io::Result<Self> {
        let mut full = compressor(options.level)?;
        let mut zeros = Vec::new();
        compress(&mut full, &vec![0; options.frame_bytes], &mut zeros)?;
        Ok(Self {
            full,
            quick: quick_compressor()?,
            zeros,
            frame_bytes: options.frame_bytes,
        })
    }

    /// One frame of `raw`, in the room of `out`.
    pub(super) fn pack(
        &mut self,
        raw: &[u8],
        level: Level,
        mut out: Vec<u8>,
    ) -> io::Result<Packed> {
        if raw.len() == self.frame_bytes && is_zero(raw) {
            out.clear();
            out.extend_from_slice(&self.zeros);
        } else {
            let zstd = match level {
                Level::Full => &mut self.full,
                Level::Quick => &mut self.quick,
            };
            compress(zstd, raw, &mut out)?;
        }
        Ok(Packed {
            bytes: out,
            // A frame is at most 16 MiB.
            raw_bytes: raw.len() as u32,
        })
    }

    /// A whole frame of zeros.
    pub(super) fn zeros(&self) -> Packed {
        Packed {
            bytes: self.zeros.clone(),
            raw_bytes: self.frame_bytes as u32,
        }
    }
}

fn compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = zstd::bulk::Compressor::new(level)?;
    zstd.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
    Ok(zstd)
}

fn quick_compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut zstd = compressor(QUICK_LEVEL)?;
    zstd.set_parameter(zstd::zstd_safe::CParameter::HashLog(QUICK_HASH_LOG))?;
    zstd.set_parameter(zstd::zstd_safe::CParameter::MinMatch(QUICK_MIN_MATCH))?;
    Ok(zstd)
}

fn compress(
    zstd: &mut zstd::bulk::Compressor<'static>,
    raw: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
    zstd.compress_to_buffer(raw, out)?;
    Ok(())
}

/// Leaves at the first block that is not all zero, so it costs nothing on ordinary memory.
fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(64)
        .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const FRAME: usize = crate::limits::FRAME_RAW_BYTES;

    fn options(level: i32) -> SealOptions {
        SealOptions {
            level,
            frame_bytes: FRAME,
            ..SealOptions::default()
        }
    }

    /// Objects as a heap has them: a type, two references, a number.
    fn objects() -> Vec<u8> {
        let words = (0..FRAME as u64 / 32).flat_map(|i| {
            let near = 0x7f3a_0000_0000 + i * 32;
            [0x7f39_1234_5678, near + 32 * (i % 7), near + 4_096, i]
        });
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// Sentences of a few words in changing order.
    fn text() -> Vec<u8> {
        let words = ["order ", "customer ", "total ", "\"price\": ", "delivery "];
        let mut state = 7_u64;
        let mut text = Vec::new();
        while text.len() < FRAME {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.extend_from_slice(words[(state >> 33) as usize % words.len()].as_bytes());
            text.extend_from_slice(((state >> 40) % 100).to_string().as_bytes());
        }
        text.truncate(FRAME);
        text
    }

    #[test]
    fn each_content_gets_the_level_at_which_it_is_smaller_and_comes_back() {
        let (mut sampler, mut packer) = (
            Sampler::new(&options(3)).unwrap(),
            Packer::new(&options(3)).unwrap(),
        );
        let mut chosen = Vec::new();
        for raw in [objects(), text(), objects()] {
            let mut level = Level::Full;
            for _ in 0..SAMPLE_EVERY {
                level = sampler.level(&raw).unwrap();
            }
            chosen.push(level);
            let mut packed = |level| packer.pack(&raw, level, Vec::new()).unwrap().bytes;
            let bytes = packed(level);
            assert!(bytes.len() <= packed(Level::Full).len());
            assert_eq!(zstd::bulk::decompress(&bytes, FRAME).unwrap(), raw);
        }
        assert_eq!(chosen, [Level::Quick, Level::Full, Level::Quick]);
    }

    #[test]
    fn other_levels_are_taken_at_their_word() {
        for level in [1, 9] {
            let mut sampler = Sampler::new(&options(level)).unwrap();
            assert_eq!(sampler.level(&objects()).unwrap(), Level::Full);
        }
    }

    #[test]
    fn zeros_are_found_and_tell_nothing_about_what_follows() {
        assert!(is_zero(&[0; 1_000]));
        let mut last = [0; 1_000];
        last[999] = 1;
        assert!(!is_zero(&last));
        let mut packer = Packer::new(&options(3)).unwrap();
        let packed = packer.pack(&vec![0; FRAME], Level::Quick, Vec::new());
        assert_eq!(packed.unwrap().bytes, packer.zeros().bytes);
        let mut sampler = Sampler::new(&options(3)).unwrap();
        assert_eq!(sampler.level(&vec![0; FRAME]).unwrap(), Level::Full);
        assert_eq!(sampler.level(&objects()).unwrap(), Level::Quick);
    }
}
