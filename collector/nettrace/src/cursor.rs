//! Bytes in order, none read twice, none past the end.

use crate::Error;
use crate::limits::MAX_NAME_UNITS;

/// What is left of a block or a payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self
            .0
            .split_at_checked(n)
            .ok_or(Error::Damaged("a field reaches past the end"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Error::Damaged("a field reaches past the end"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn f32(&mut self) -> Result<f32, Error> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    pub fn f64(&mut self) -> Result<f64, Error> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Damaged("a number has more than 64 bits"))
    }

    /// The same where 32 bits are meant.
    pub fn varint32(&mut self) -> Result<u32, Error> {
        u32::try_from(self.varint()?).map_err(|_| Error::Damaged("a number has more than 32 bits"))
    }

    /// UTF-16 up to a NUL.
    pub fn text(&mut self) -> Result<String, Error> {
        let units = self.text_units()?;
        let units = units.as_chunks::<2>().0.iter();
        let units: Vec<u16> = units.map(|unit| u16::from_le_bytes(*unit)).collect();
        Ok(String::from_utf16_lossy(&units))
    }

    /// Steps over UTF-16 up to a NUL, of any length.
    pub fn skip_text(&mut self) -> Result<(), Error> {
        let end = self.text_end()?;
        self.take(end + 2).map(drop)
    }

    fn text_units(&mut self) -> Result<&'a [u8], Error> {
        let end = self.text_end()?;
        if end / 2 > MAX_NAME_UNITS {
            return Err(Error::TooLarge {
                what: "a name",
                found: (end / 2) as u64,
                limit: MAX_NAME_UNITS as u64,
            });
        }
        let text = self.take(end)?;
        self.take(2)?;
        Ok(text)
    }

    fn text_end(self) -> Result<usize, Error> {
        let units = self.0.as_chunks::<2>().0;
        let end = units.iter().position(|unit| *unit == [0, 0]);
        end.map(|units| units * 2)
            .ok_or(Error::Damaged("a text does not end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_and_texts_end() {
        assert_eq!(Cursor(&[0xac, 0x02]).varint(), Ok(300));
        assert_eq!(
            Cursor(&[0xff; 12]).varint(),
            Err(Error::Damaged("a number has more than 64 bits"))
        );
        assert!(Cursor(&[0xff, 0xff, 0xff, 0xff, 0x7f]).varint32().is_err());
        assert!(Cursor(&[0x80]).varint().is_err());
        assert_eq!(Cursor(b"a\0b\0\0\0c\0").text(), Ok("ab".to_owned()));
        assert!(Cursor(b"a\0b\0").text().is_err() && Cursor(b"a").text().is_err());
        let long = vec![b'a'; 2 * MAX_NAME_UNITS + 2]
            .into_iter()
            .chain([0, 0])
            .collect::<Vec<_>>();
        assert!(matches!(Cursor(&long).text(), Err(Error::TooLarge { .. })));
        assert!(Cursor(&long).skip_text().is_ok());
    }
}
