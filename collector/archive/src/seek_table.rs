//! The seek table at the end of a seekable zstd file: where every frame lies, packed and unpacked.
//!
//! Format: `contrib/seekable_format/zstd_seekable_compression_format.md` in facebook/zstd 1.5.7. A skippable frame holds
//! one entry per frame (packed size, raw size, optionally a checksum, all u32) and a footer of nine bytes. A decoder that
//! does not know it skips it, so the file stays standard zstd.
//!
//! Invariant: a table that was parsed covers the file exactly, frame by frame; nothing is allocated on its word before
//! its counts were compared with the length of the file and with [`crate::limits`].

use crate::ReadAt;
use crate::limits::{MAX_FRAME_RAW_BYTES, MAX_FRAMES, MAX_RAW_BYTES};
use std::io;

/// First bytes of a zstd frame.
pub const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// First bytes of the skippable frame that the format reserves for the table.
pub const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Last bytes of the file.
pub const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Skippable frames have a magic number with these bits above the lowest four.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
const HEADER_BYTES: u64 = 8;
const FOOTER_BYTES: u64 = 9;
const CHECKSUM_FLAG: u8 = 0x80;
const RESERVED_BITS: u8 = 0x7C;

/// True for the first four bytes of a zstd file, which may begin with a skippable frame.
#[must_use]
pub fn is_zstd(magic: u32) -> bool {
    magic == ZSTD_MAGIC || magic & 0xFFFF_FFF0 == SKIPPABLE_MAGIC
}

/// One frame: where it lies in the file and in the raw content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Position of the frame among its siblings.
    pub index: u32,
    /// Offset of the packed frame in the file.
    pub stored_offset: u64,
    /// Packed size in bytes.
    pub stored_bytes: u32,
    /// Offset of the frame's content in the raw content.
    pub raw_offset: u64,
    /// Unpacked size in bytes.
    pub raw_bytes: u32,
}

/// Where every frame lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekTable {
    /// Ends of the frames in the file and in the raw content, in order.
    ends: Vec<(u64, u64)>,
    /// Raw size shared by all frames but the last, when they have one: makes the lookup a division.
    stride: Option<u32>,
}

/// Why a file has no usable seek table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file does not end in the seekable footer.
    #[error("the file does not end in a seek table")]
    Absent,
    /// There is a table, but it cannot be true.
    #[error(
        "the seek table cannot be true: {0}; unpack the file with `zstd -d` and open the result"
    )]
    Lying(String),
    /// The medium failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<TableError> for io::Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Io(e) => e,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        }
    }
}

impl SeekTable {
    /// Reads and checks the table at the end of `file`.
    ///
    /// # Errors
    /// [`TableError::Absent`] when there is none; [`TableError::Lying`] when its counts and sizes do not describe this file.
    pub fn read(file: &dyn ReadAt) -> Result<Self, TableError> {
        let file_bytes = file.len();
        if file_bytes < HEADER_BYTES + FOOTER_BYTES {
            return Err(TableError::Absent);
        }
        let mut footer = [0u8; FOOTER_BYTES as usize];
        read_exact_at(file, file_bytes - FOOTER_BYTES, &mut footer)?;
        if u32_at(&footer, 5) != FOOTER_MAGIC {
            return Err(TableError::Absent);
        }
        let n_frames = u32_at(&footer, 0);
        let descriptor = footer[4];
        if descriptor & RESERVED_BITS != 0 {
            return Err(lying(format!(
                "its descriptor is {descriptor:#04x}, with reserved bits set"
            )));
        }
        if n_frames > MAX_FRAMES {
            return Err(lying(format!(
                "it claims {n_frames} frames, the limit is {MAX_FRAMES}"
            )));
        }
        let entry_bytes: u64 = if descriptor & CHECKSUM_FLAG == 0 {
            8
        } else {
            12
        };
        let body_bytes = u64::from(n_frames) * entry_bytes + FOOTER_BYTES;
        let table_bytes = HEADER_BYTES + body_bytes;
        if table_bytes > file_bytes {
            return Err(lying(format!(
                "it claims {n_frames} frames, whose table of {table_bytes} bytes is larger than the file of {file_bytes}"
            )));
        }
        let table_offset = file_bytes - table_bytes;
        let mut header = [0u8; HEADER_BYTES as usize];
        read_exact_at(file, table_offset, &mut header)?;
        if u32_at(&header, 0) != TABLE_MAGIC || u64::from(u32_at(&header, 4)) != body_bytes {
            return Err(lying(format!(
                "its {n_frames} frames would make it begin at offset {table_offset}, and no table begins there"
            )));
        }
        Self::read_entries(file, table_offset, n_frames, entry_bytes)
    }

    fn read_entries(
        file: &dyn ReadAt,
        table_offset: u64,
        n_frames: u32,
        entry_bytes: u64,
    ) -> Result<Self, TableError> {
        let mut ends = Vec::with_capacity(n_frames as usize);
        let (mut stored_end, mut raw_end) = (0u64, 0u64);
        let entry = entry_bytes as usize;
        let mut chunk = vec![0u8; entry * 4096];
        let mut index = 0u32;
        while index < n_frames {
            let n = (n_frames - index).min(4096) as usize;
            let at = table_offset + HEADER_BYTES + u64::from(index) * entry_bytes;
            read_exact_at(file, at, &mut chunk[..n * entry])?;
            for bytes in chunk[..n * entry].chunks_exact(entry) {
                let (stored, raw) = (u32_at(bytes, 0), u32_at(bytes, 4));
                if raw > MAX_FRAME_RAW_BYTES {
                    return Err(lying(format!(
                        "frame {index} claims {raw} raw bytes, the limit is {MAX_FRAME_RAW_BYTES}"
                    )));
                }
                // Zstd never grows data by more than one part in 256; a frame without content may carry metadata.
                if raw > 0 && stored > raw + raw / 128 + (1 << 20) {
                    return Err(lying(format!(
                        "frame {index} claims {stored} bytes for {raw} raw bytes"
                    )));
                }
                stored_end += u64::from(stored);
                raw_end += u64::from(raw);
                if stored == 0 || stored_end > table_offset {
                    return Err(lying(format!(
                        "frame {index} of {stored} bytes would end at offset {stored_end}, the frames end at {table_offset}"
                    )));
                }
                ends.push((stored_end, raw_end));
                index += 1;
            }
        }
        if stored_end != table_offset {
            return Err(lying(format!(
                "its frames end at offset {stored_end}, the table begins at {table_offset}"
            )));
        }
        if raw_end > MAX_RAW_BYTES {
            return Err(lying(format!(
                "it claims {raw_end} raw bytes, the limit is {MAX_RAW_BYTES}"
            )));
        }
        Ok(Self::from_ends(ends))
    }

    fn from_ends(ends: Vec<(u64, u64)>) -> Self {
        let stride = uniform_stride(&ends);
        Self { ends, stride }
    }

    /// Number of frames.
    #[must_use]
    pub fn n_frames(&self) -> u32 {
        // Both ways of making a table cap the count at MAX_FRAMES.
        self.ends.len() as u32
    }

    /// Length of the raw content.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.ends.last().map_or(0, |e| e.1)
    }

    /// Length of the frames in the file, without the table.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.ends.last().map_or(0, |e| e.0)
    }

    /// The frame at `index`.
    #[must_use]
    pub fn frame(&self, index: u32) -> Option<Frame> {
        let i = index as usize;
        let &(stored_end, raw_end) = self.ends.get(i)?;
        let (stored_offset, raw_offset) = if i == 0 { (0, 0) } else { self.ends[i - 1] };
        Some(Frame {
            index,
            stored_offset,
            // Differences of neighbors are the u32 values they were summed from.
            stored_bytes: (stored_end - stored_offset) as u32,
            raw_offset,
            raw_bytes: (raw_end - raw_offset) as u32,
        })
    }

    /// The frame that holds raw byte `offset`; never an empty frame.
    #[must_use]
    pub fn frame_at(&self, offset: u64) -> Option<Frame> {
        if offset >= self.raw_bytes() {
            return None;
        }
        let index = match self.stride {
            Some(stride) => ((offset / u64::from(stride)) as usize).min(self.ends.len() - 1),
            None => self.ends.partition_point(|&(_, raw_end)| raw_end <= offset),
        };
        self.frame(index as u32)
    }
}

/// The raw size of all frames but the last, if it is one and the same and the last is not larger.
fn uniform_stride(ends: &[(u64, u64)]) -> Option<u32> {
    let first = ends.first()?.1;
    let (last, body) = ends.split_last()?;
    let regular = body
        .iter()
        .enumerate()
        .all(|(i, e)| e.1 == first * (i as u64 + 1));
    let before_last = body.last().map_or(0, |e| e.1);
    let fits = last.1 > before_last && last.1 - before_last <= first;
    (regular && fits && first > 0).then_some(first as u32)
}

/// Collects the entries while frames are written and serializes them at the end.
#[derive(Debug, Default)]
pub struct TableBuilder {
    entries: Vec<(u32, u32)>,
    raw_bytes: u64,
}

impl TableBuilder {
    /// Adds the next frame.
    ///
    /// # Errors
    /// The file would have more frames than [`MAX_FRAMES`].
    pub fn push(&mut self, stored_bytes: u32, raw_bytes: u32) -> io::Result<()> {
        if self.entries.len() >= MAX_FRAMES as usize {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the content needs more than {MAX_FRAMES} frames; use larger frames"),
            ));
        }
        self.raw_bytes += u64::from(raw_bytes);
        self.entries.push((stored_bytes, raw_bytes));
        Ok(())
    }

    /// Number of frames so far.
    #[must_use]
    pub fn n_frames(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Raw bytes so far.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// The skippable frame that ends the file. Its entries carry no checksums: every frame carries its own.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let body = self.entries.len() * 8 + FOOTER_BYTES as usize;
        let mut out = Vec::with_capacity(HEADER_BYTES as usize + body);
        out.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
        // MAX_FRAMES entries of eight bytes are 256 MiB: fits.
        out.extend_from_slice(&(body as u32).to_le_bytes());
        for (stored, raw) in &self.entries {
            out.extend_from_slice(&stored.to_le_bytes());
            out.extend_from_slice(&raw.to_le_bytes());
        }
        out.extend_from_slice(&self.n_frames().to_le_bytes());
        out.push(0);
        out.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        out
    }
}

fn lying(what: String) -> TableError {
    TableError::Lying(what)
}

/// Fills `buf` or says that the file ended early.
pub(crate) fn read_exact_at(file: &dyn ReadAt, offset: u64, buf: &mut [u8]) -> io::Result<()> {
    let n = file.read_at(offset, buf)?;
    if n == buf.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!(
            "{}: expected {} bytes at offset {offset}, the file ends after {n}; was it truncated while being read?",
            file.origin().display(),
            buf.len()
        ),
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
