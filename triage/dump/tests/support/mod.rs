//! Writes ELF cores byte by byte. Shares no structure with the reader on purpose: an independent writer notices when
//! the reader's idea of the layout changes.

/// One `PT_LOAD`.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: u64,
    pub flags: u32,
    pub content: Vec<u8>,
    /// `p_memsz`; may exceed the content.
    pub memory_bytes: u64,
}

/// A core under construction.
#[derive(Debug, Clone, Default)]
pub struct CoreWriter {
    pub machine: Option<u16>,
    pub loads: Vec<Load>,
    pub notes: Vec<u8>,
    /// Put the real number of headers into the first section header, as the kernel does beyond 65,534.
    pub extended_count: bool,
    /// gdb writes notes behind the memory, the kernel and createdump before it.
    pub notes_last: bool,
}

fn le(out: &mut Vec<u8>, value: u64, bytes: usize) {
    out.extend_from_slice(&value.to_le_bytes()[..bytes]);
}

impl CoreWriter {
    pub fn load(mut self, address: u64, flags: u32, content: &[u8]) -> Self {
        self.loads.push(Load {
            address,
            flags,
            content: content.to_vec(),
            memory_bytes: content.len() as u64,
        });
        self
    }

    pub fn tail(mut self, memory_bytes: u64) -> Self {
        if let Some(last) = self.loads.last_mut() {
            last.memory_bytes = memory_bytes;
        }
        self
    }

    pub fn note(mut self, owner: &str, kind: u32, content: &[u8]) -> Self {
        le(&mut self.notes, owner.len() as u64 + 1, 4);
        le(&mut self.notes, content.len() as u64, 4);
        le(&mut self.notes, kind.into(), 4);
        for part in [owner.as_bytes(), &[0]]
            .concat()
            .chunks(4)
            .chain(content.chunks(4))
        {
            self.notes.extend_from_slice(part);
            self.notes.resize(self.notes.len().next_multiple_of(4), 0);
        }
        self
    }

    /// A thread of an x86-64 process: register `i` holds `registers + i`.
    pub fn thread(self, id: u32, registers: u64) -> Self {
        let mut status = vec![0u8; 336];
        status[32..36].copy_from_slice(&id.to_le_bytes());
        for i in 0..27u64 {
            let at = 112 + 8 * i as usize;
            status[at..at + 8].copy_from_slice(&(registers + i).to_le_bytes());
        }
        self.note("CORE", 1, &status)
    }

    pub fn process(self, pid: u32, name: &str) -> Self {
        let mut info = vec![0u8; 136];
        info[24..28].copy_from_slice(&pid.to_le_bytes());
        info[40..40 + name.len()].copy_from_slice(name.as_bytes());
        self.note("CORE", 3, &info)
    }

    /// `NT_FILE` with offsets in pages.
    pub fn files(self, files: &[(u64, u64, u64, &str)]) -> Self {
        let mut content = Vec::new();
        le(&mut content, files.len() as u64, 8);
        le(&mut content, 4096, 8);
        for (start, end, page, _) in files {
            for value in [start, end, page] {
                le(&mut content, *value, 8);
            }
        }
        for (.., path) in files {
            content.extend_from_slice(path.as_bytes());
            content.push(0);
        }
        self.note("CORE", 0x4649_4c45, &content)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let count = self.loads.len() as u64 + 1;
        let headers = 64 + 56 * count;
        let section = if self.extended_count { 64 } else { 0 };
        let mut notes_at = headers + section;
        let mut at = notes_at
            + if self.notes_last {
                0
            } else {
                self.notes.len() as u64
            };
        let offsets: Vec<u64> = self
            .loads
            .iter()
            .map(|l| {
                at += l.content.len() as u64;
                at - l.content.len() as u64
            })
            .collect();
        if self.notes_last {
            notes_at = at;
        }
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        le(&mut out, 4, 2); // ET_CORE
        le(&mut out, self.machine.unwrap_or(62).into(), 2);
        le(&mut out, 1, 4);
        le(&mut out, 0, 8); // entry
        le(&mut out, 64, 8); // program headers
        le(&mut out, if self.extended_count { headers } else { 0 }, 8);
        le(&mut out, 0, 4); // flags
        le(&mut out, 64, 2);
        le(&mut out, 56, 2);
        le(
            &mut out,
            if self.extended_count { 0xffff } else { count },
            2,
        );
        le(&mut out, 64, 2);
        le(&mut out, self.extended_count.into(), 2);
        le(&mut out, 0, 2);
        let mut header =
            |kind: u64, flags: u32, offset: u64, address: u64, file: u64, memory: u64| {
                le(&mut out, kind, 4);
                le(&mut out, flags.into(), 4);
                for value in [offset, address, 0, file, memory, 1] {
                    le(&mut out, value, 8);
                }
            };
        header(4, 0, notes_at, 0, self.notes.len() as u64, 0);
        for (l, &offset) in self.loads.iter().zip(&offsets) {
            header(
                1,
                l.flags,
                offset,
                l.address,
                l.content.len() as u64,
                l.memory_bytes,
            );
        }
        if self.extended_count {
            let mut section = vec![0; 64];
            section[44..48].copy_from_slice(&(count as u32).to_le_bytes());
            out.extend_from_slice(&section);
        }
        if !self.notes_last {
            out.extend_from_slice(&self.notes);
        }
        for l in &self.loads {
            out.extend_from_slice(&l.content);
        }
        if self.notes_last {
            out.extend_from_slice(&self.notes);
        }
        out
    }
}

/// The first page of a shared library: ELF header, two segments, a build id and a name.
pub fn library_page(build_id: &[u8], soname: &str) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    le(&mut out, 3, 2);
    le(&mut out, 62, 2);
    le(&mut out, 1, 4);
    for value in [0, 64, 0] {
        le(&mut out, value, 8);
    }
    le(&mut out, 0, 4);
    for value in [64, 56, 4, 64, 0, 0] {
        le(&mut out, value, 2);
    }
    let note_bytes = 16 + build_id.len() as u64;
    // kind, flags, offset, address, file bytes, memory bytes
    for (kind, flags, offset, address, file, memory) in [
        (1u64, 5u64, 0u64, 0u64, 0x1000u64, 0x1000u64),
        (1, 6, 0x1000, 0x2000, 0x800, 0x1800),
        (4, 4, 0x200, 0x200, note_bytes, note_bytes),
        (2, 4, 0x300, 0x300, 48, 48),
    ] {
        le(&mut out, kind, 4);
        le(&mut out, flags, 4);
        for value in [offset, address, address, file, memory, 8] {
            le(&mut out, value, 8);
        }
    }
    out.resize(0x200, 0);
    le(&mut out, 4, 4);
    le(&mut out, build_id.len() as u64, 4);
    le(&mut out, 3, 4);
    out.extend_from_slice(b"GNU\0");
    out.extend_from_slice(build_id);
    out.resize(0x300, 0);
    // Dynamic section: string table (not relocated), own name at 1, end.
    for value in [5, 0x400, 14, 1, 0, 0] {
        le(&mut out, value, 8);
    }
    out.resize(0x401, 0);
    out.extend_from_slice(soname.as_bytes());
    out.resize(0x1000, 0);
    out
}
