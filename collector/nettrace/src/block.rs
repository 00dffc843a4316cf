//! The events of a block.

use crate::Error;
use crate::cursor::Cursor;

/// The block's events have compressed headers; runtimes have never sent others in format 4.
const COMPRESSED: u16 = 1;
/// Length and flags of a block's own header.
const LEAST_HEADER_BYTES: usize = 4;

/// What the flags of a compressed header say is there; what is not there is as in the event before.
mod has {
    pub const METADATA: u8 = 1;
    pub const CAPTURE_THREAD: u8 = 2;
    pub const THREAD: u8 = 4;
    pub const STACK: u8 = 8;
    pub const ACTIVITY: u8 = 16;
    pub const RELATED_ACTIVITY: u8 = 32;
    pub const LENGTH: u8 = 128;
}

/// One event: what explains it, and its payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    /// Of its metadata; the metadata of events itself has none that counts.
    pub definition: u32,
    pub payload: Cursor<'a>,
}

/// The events of a block, in order; ends after the first damage.
pub(crate) struct Events<'a> {
    rest: Cursor<'a>,
    definition: u32,
    length: u32,
}

impl<'a> Events<'a> {
    pub fn of(block: &'a [u8]) -> Result<Self, Error> {
        let mut rest = Cursor(block);
        let header = usize::from(rest.u16()?);
        let flags = rest.u16()?;
        let more = header
            .checked_sub(LEAST_HEADER_BYTES)
            .ok_or(Error::Damaged("a block's header is shorter than itself"))?;
        rest.take(more)?;
        if flags & COMPRESSED == 0 {
            return Err(Error::Damaged("a block's events have long headers"));
        }
        Ok(Self {
            rest,
            definition: 0,
            length: 0,
        })
    }

    fn event(&mut self) -> Result<Event<'a>, Error> {
        let rest = &mut self.rest;
        let flags = rest.u8()?;
        if flags & has::METADATA != 0 {
            self.definition = rest.varint32()?;
        }
        if flags & has::CAPTURE_THREAD != 0 {
            rest.varint32()?; // sequence number
            rest.varint()?; // thread
            rest.varint32()?; // processor
        }
        if flags & has::THREAD != 0 {
            rest.varint()?;
        }
        if flags & has::STACK != 0 {
            rest.varint32()?;
        }
        rest.varint()?; // time since the event before
        for activity in [has::ACTIVITY, has::RELATED_ACTIVITY] {
            if flags & activity != 0 {
                rest.take(16)?;
            }
        }
        if flags & has::LENGTH != 0 {
            self.length = rest.varint32()?;
        }
        Ok(Event {
            definition: self.definition,
            payload: Cursor(rest.take(self.length as usize)?),
        })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let event = self.event();
        if event.is_err() {
            self.rest = Cursor(&[]);
        }
        Some(event)
    }
}
