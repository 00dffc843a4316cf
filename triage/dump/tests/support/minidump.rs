//! Writes minidumps byte by byte; shares no structure with the reader on purpose.

/// A minidump under construction: streams are appended, payload of the 64-bit memory list comes last.
#[derive(Debug, Clone, Default)]
pub struct MinidumpWriter {
    streams: Vec<(u32, Vec<u8>)>,
    /// Strings and thread contexts, referred to by offset from the end of the directory.
    blobs: Vec<u8>,
    pub ranges: Vec<(u64, Vec<u8>)>,
}

/// Where blobs begin: header and a directory of sixteen entries.
const BLOBS_AT: usize = 32 + 16 * 12;

impl MinidumpWriter {
    pub fn stream(mut self, kind: u32, content: Vec<u8>) -> Self {
        self.streams.push((kind, content));
        self
    }

    pub fn range(mut self, start: u64, content: &[u8]) -> Self {
        self.ranges.push((start, content.to_vec()));
        self
    }

    fn blob(&mut self, content: &[u8]) -> u32 {
        let at = BLOBS_AT + self.blobs.len();
        self.blobs.extend_from_slice(content);
        self.blobs.resize(self.blobs.len().next_multiple_of(8), 0);
        at as u32
    }

    fn string(&mut self, text: &str) -> u32 {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut content = (units.len() as u32).to_le_bytes().to_vec();
        content.extend(units);
        content.extend([0, 0]);
        self.blob(&content)
    }

    /// x64, Windows NT 10.0.
    pub fn system(self) -> Self {
        let mut content = vec![0; 56];
        content[0] = 9;
        content[8] = 10;
        content[20] = 2;
        self.stream(7, content)
    }

    pub fn process(self, pid: u32) -> Self {
        let words = [24u32, 1, pid, 0, 0, 0];
        self.stream(15, words.iter().flat_map(|w| w.to_le_bytes()).collect())
    }

    /// (base, size, time stamp, version, path); `padded` aligns the entries to eight bytes.
    pub fn modules(mut self, padded: bool, modules: &[(u64, u32, u32, [u16; 4], &str)]) -> Self {
        let mut content = (modules.len() as u32).to_le_bytes().to_vec();
        if padded {
            content.extend([0; 4]);
        }
        for (base, size, stamp, version, path) in modules {
            let name = self.string(path);
            content.extend(base.to_le_bytes());
            for word in [*size, 0, *stamp, name, 0xfeef_04bd, 0x1_0000] {
                content.extend(word.to_le_bytes());
            }
            let pair = |a: u16, b: u16| (u32::from(a) << 16 | u32::from(b)).to_le_bytes();
            // File version, then product version; then flags and dates.
            for _ in 0..2 {
                content.extend(pair(version[0], version[1]));
                content.extend(pair(version[2], version[3]));
            }
            content.extend([0; 28 + 32]);
        }
        self.stream(4, content)
    }

    /// (id, stack pointer, instruction pointer, name).
    pub fn threads(mut self, threads: &[(u32, u64, u64, &str)]) -> Self {
        let mut list = (threads.len() as u32).to_le_bytes().to_vec();
        let mut names = list.clone();
        for (id, sp, ip, name) in threads {
            let mut context = vec![0; 1232];
            context[48..52].copy_from_slice(&0x10_000b_u32.to_le_bytes());
            context[152..160].copy_from_slice(&sp.to_le_bytes());
            context[248..256].copy_from_slice(&ip.to_le_bytes());
            let context = self.blob(&context);
            list.extend(id.to_le_bytes());
            list.extend([0; 12 + 8 + 8 + 8]);
            list.extend(1232u32.to_le_bytes());
            list.extend(context.to_le_bytes());
            let name = self.string(name);
            names.extend(id.to_le_bytes());
            names.extend(u64::from(name).to_le_bytes());
        }
        self.stream(3, list).stream(24, names)
    }

    /// (start, bytes, protection).
    pub fn protections(self, ranges: &[(u64, u64, u32)]) -> Self {
        let mut content = Vec::new();
        content.extend(16u32.to_le_bytes());
        content.extend(48u32.to_le_bytes());
        content.extend((ranges.len() as u64).to_le_bytes());
        for (start, bytes, protect) in ranges {
            content.extend(start.to_le_bytes());
            content.extend(start.to_le_bytes());
            content.extend([0; 8]);
            content.extend(bytes.to_le_bytes());
            content.extend(0x1000u32.to_le_bytes());
            content.extend(protect.to_le_bytes());
            content.extend(0x2_0000u32.to_le_bytes());
            content.extend([0; 4]);
        }
        self.stream(16, content)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut streams = self.streams.clone();
        let mut list = (self.ranges.len() as u64).to_le_bytes().to_vec();
        list.extend([0; 8]);
        for (start, content) in &self.ranges {
            list.extend(start.to_le_bytes());
            list.extend((content.len() as u64).to_le_bytes());
        }
        let mut at = BLOBS_AT + self.blobs.len();
        let payload = at + streams.iter().map(|s| s.1.len()).sum::<usize>() + list.len();
        list[8..16].copy_from_slice(&(payload as u64).to_le_bytes());
        streams.push((9, list));
        let mut out = b"MDMP".to_vec();
        for word in [0xa793u32, streams.len() as u32, 32, 0, 0, 2, 0] {
            out.extend(word.to_le_bytes());
        }
        for (kind, content) in &streams {
            for word in [*kind, content.len() as u32, at as u32] {
                out.extend(word.to_le_bytes());
            }
            at += content.len();
        }
        out.resize(BLOBS_AT, 0);
        out.extend_from_slice(&self.blobs);
        for content in streams
            .iter()
            .map(|s| &s.1)
            .chain(self.ranges.iter().map(|r| &r.1))
        {
            out.extend_from_slice(content);
        }
        out
    }
}
