//! Pieces of a stream to its blocks.

use crate::Error;
use crate::block::Events;
use crate::counter::Sample;
use crate::cursor::Cursor;
use crate::limits::{MAX_BLOCK_BYTES, MAX_DEFINITIONS, MAX_TYPE_NAME_BYTES};
use crate::metadata::{self, Definition};
use std::collections::BTreeMap;

/// What a stream begins with; the length of the second name stands between.
const MAGIC: &[u8; 32] = b"Nettrace\x14\0\0\0!FastSerialization.1";
/// Bytes of the object `Trace`: times, pointer size, process, processors, sampling rate.
const TRACE_BYTES: usize = 48;
/// Versions of `Trace` that are read.
const VERSION: i32 = 4;

/// Tags of the serialization.
mod tag {
    pub const NULL: u8 = 1;
    pub const BEGIN: u8 = 5;
    pub const END: u8 = 6;
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// Before an object, or the end.
    Object,
    /// Before the length of a block.
    Length(Kind),
    /// In a block that is collected whole.
    Block(Kind, usize),
    /// In something that is stepped over, with bytes left.
    Skipped(usize),
    /// Before the tag that closes an object.
    Close,
    /// After the last object.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Metadata,
    Events,
    /// Stacks, sequence points, what is yet to come.
    Other,
}

/// Reads one stream, in pieces as they come.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    /// What came of something that is not whole yet.
    pending: Vec<u8>,
    /// Bytes of the stream before those pending: blocks are aligned by it.
    passed: u64,
    definitions: BTreeMap<u32, Definition>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            place: Place::Start,
            pending: Vec::new(),
            passed: 0,
            definitions: BTreeMap::new(),
        }
    }
}

impl Reader {
    /// Takes the next bytes, and gives each value that they complete to `each`.
    ///
    /// # Errors
    /// The bytes are no such stream, or hold more than [`crate::limits`] allows. Nothing can be read after that.
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Sample<'_>)) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.pending);
        buffer.extend_from_slice(bytes);
        let mut rest = buffer.as_slice();
        while let Some(used) = self.step(rest, each)? {
            rest = &rest[used..];
            self.passed += used as u64;
        }
        let used = buffer.len() - rest.len();
        buffer.drain(..used);
        self.pending = buffer;
        Ok(())
    }

    /// Whether the stream came to its end: nothing more is to be expected.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.place == Place::End
    }

    /// Reads one thing and says how many bytes it was; `None` when there is not enough of it.
    fn step(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(Sample<'_>),
    ) -> Result<Option<usize>, Error> {
        match self.place {
            Place::Start => {
                let n = bytes.len().min(MAGIC.len());
                if bytes[..n] != MAGIC[..n] {
                    return Err(Error::NoStream);
                }
                Ok((n == MAGIC.len()).then(|| self.to(Place::Object, n)))
            }
            Place::Object => self.object(bytes),
            Place::Length(kind) => self.length(bytes, kind),
            Place::Block(kind, length) => {
                let Some(block) = bytes.get(..length) else {
                    return Ok(None);
                };
                self.block(kind, block, each)?;
                Ok(Some(self.to(Place::Close, length)))
            }
            Place::Skipped(left) => {
                let n = left.min(bytes.len());
                let next = if n == left {
                    Place::Close
                } else {
                    Place::Skipped(left - n)
                };
                Ok((n > 0 || left == 0).then(|| self.to(next, n)))
            }
            Place::Close => match bytes.first() {
                None => Ok(None),
                Some(&tag::END) => Ok(Some(self.to(Place::Object, 1))),
                Some(_) => Err(Error::Damaged("an object is not closed")),
            },
            // Whoever writes on after the end is not listened to.
            Place::End => Ok((!bytes.is_empty()).then_some(bytes.len())),
        }
    }

    fn to(&mut self, place: Place, used: usize) -> usize {
        self.place = place;
        used
    }

    /// The beginning of an object, up to its type; or the end of the stream.
    fn object(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        /// Two tags that begin, one that says that the type has no type, two versions, the length of the name.
        const FIXED: usize = 15;
        match bytes.first() {
            None => return Ok(None),
            Some(&tag::NULL) => return Ok(Some(self.to(Place::End, 1))),
            Some(&tag::BEGIN) => {}
            Some(_) => return Err(Error::Damaged("there is no object where one belongs")),
        }
        let Some((head, rest)) = bytes.split_at_checked(FIXED) else {
            return Ok(None);
        };
        let mut head = Cursor(head);
        if head.take(3)? != [tag::BEGIN, tag::BEGIN, tag::NULL] {
            return Err(Error::Damaged("an object has no type"));
        }
        let version = head.u32()?.cast_signed();
        head.u32()?; // the oldest reader that can read it
        let length = head.u32()? as usize;
        if length > MAX_TYPE_NAME_BYTES {
            return Err(Error::TooLarge {
                what: "the name of a type",
                found: length as u64,
                limit: MAX_TYPE_NAME_BYTES as u64,
            });
        }
        let Some(name) = rest.get(..=length) else {
            return Ok(None);
        };
        let next = match name.split_last() {
            Some((&tag::END, b"Trace")) if version != VERSION => {
                return Err(Error::Version(version));
            }
            Some((&tag::END, b"Trace")) => Place::Skipped(TRACE_BYTES),
            Some((&tag::END, b"MetadataBlock")) => Place::Length(Kind::Metadata),
            Some((&tag::END, b"EventBlock")) => Place::Length(Kind::Events),
            Some((&tag::END, _)) => Place::Length(Kind::Other),
            _ => return Err(Error::Damaged("the type of an object is not closed")),
        };
        Ok(Some(self.to(next, FIXED + length + 1)))
    }

    /// The length of a block, and what aligns the block to four bytes.
    fn length(&mut self, bytes: &[u8], kind: Kind) -> Result<Option<usize>, Error> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_BLOCK_BYTES {
            return Err(Error::TooLarge {
                what: "a block",
                found: length as u64,
                limit: MAX_BLOCK_BYTES as u64,
            });
        }
        let padding = (self.passed + 4).wrapping_neg() as usize % 4;
        if rest.len() < padding {
            return Ok(None);
        }
        let next = match kind {
            Kind::Other => Place::Skipped(length),
            kind => Place::Block(kind, length),
        };
        Ok(Some(self.to(next, 4 + padding)))
    }

    fn block(
        &mut self,
        kind: Kind,
        block: &[u8],
        each: &mut dyn FnMut(Sample<'_>),
    ) -> Result<(), Error> {
        for event in Events::of(block)? {
            let event = event?;
            if kind == Kind::Metadata {
                self.define(event.payload)?;
            } else if let Some(definition) = self.definitions.get(&event.definition)
                && let Some(sample) = Sample::read(definition, event.payload)?
            {
                each(sample);
            }
        }
        Ok(())
    }

    fn define(&mut self, from: Cursor<'_>) -> Result<(), Error> {
        let (id, Some(definition)) = metadata::read(from)? else {
            return Ok(());
        };
        if self.definitions.len() == MAX_DEFINITIONS && !self.definitions.contains_key(&id) {
            return Err(Error::TooLarge {
                what: "definitions of counters",
                found: MAX_DEFINITIONS as u64 + 1,
                limit: MAX_DEFINITIONS as u64,
            });
        }
        self.definitions.insert(id, definition);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
