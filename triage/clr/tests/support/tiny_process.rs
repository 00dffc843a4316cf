//! A .NET 8 process of 30 KB, made by hand: every structure that the reader follows, once. For tests of single lies and for
//! fuzzing, where a real dump is too large.
//!
//! Offsets are those of `src/layout/net8.rs` and of the collector's structures (gc/gcinterface.dac.h, gc/gcpriv.h,
//! gc/handletablepriv.h); what has a free choice of place lies where the constants say.

use leakhound_dump::{Arch, Memory, Module, Os, ProcessImage, Region};
use std::sync::Arc;

/// Where the runtime's image starts.
pub const BASE: u64 = 0x7F00_0000_0000;
/// Parts of the address space: offset from [`BASE`] and bytes.
const PARTS: [(u64, usize); 4] = [
    (0, 0x4000),
    (0x10_0000, 0x1000),
    (0x20_0000, 0x600),
    (0x30_0000, 0x1400),
];
const HEAP: u64 = BASE + PARTS[1].0;
const IMAGE_FILE: u64 = BASE + PARTS[2].0;
/// A segment of the handle table.
pub const HANDLE_SEGMENT: u64 = BASE + PARTS[3].0;

/// `GcDacVars`.
pub const GC_VARS: u64 = BASE + 0x100;
/// Cells that `GcDacVars` points at.
const CELLS: u64 = BASE + 0x240;
const DAC_TABLE: u64 = BASE + 0x400;
const GENERATIONS: u64 = BASE + 0x600;
const GENERATION_BYTES: u64 = 152;
/// `heap_segment` of generation 0; those of the other generations follow.
pub const SEGMENTS: u64 = BASE + 0x900;
/// Bytes of a `heap_segment`.
pub const SEGMENT_BYTES: u64 = 64;
/// `HandleTableMap`.
pub const HANDLE_MAP: u64 = BASE + 0xA80;
const HANDLE_TABLE: u64 = BASE + 0xB40;
/// `CFinalize`.
pub const FINALIZE: u64 = BASE + 0xE00;
const VARIABLES: u64 = BASE + 0x1000;
const THREAD_STORE: u64 = BASE + 0x1200;
/// The finalizer thread; another follows.
pub const THREAD: u64 = BASE + 0x1400;
/// Link of a thread's list.
pub const THREAD_LINK: u64 = 232;
const SECOND_THREAD: u64 = BASE + 0x1900;
const APP_DOMAIN: u64 = BASE + 0x1E00;
/// The list of assemblies.
pub const ASSEMBLIES: u64 = APP_DOMAIN + 2544;
const ASSEMBLY: u64 = BASE + 0x2900;
/// The only `Module`.
pub const MODULE: u64 = BASE + 0x2A00;
/// Its map of type definitions.
pub const TYPE_DEF_MAP: u64 = MODULE + 752;
/// An entry of its hash of generic instances.
pub const INSTANCE_ENTRY: u64 = BASE + 0x3480;
/// The hash's array of buckets.
pub const INSTANCE_BUCKETS: u64 = BASE + 0x3440;
const LOCAL_MODULE: u64 = BASE + 0x3500;
const FREE: u64 = BASE + 0x3800;
const OBJECT: u64 = BASE + 0x3840;
const STRING: u64 = BASE + 0x3880;
/// `Shop.Node`: a class with one reference.
pub const NODE: u64 = BASE + 0x3900;
const NODES: u64 = BASE + 0x3A00;
/// An array of structs with a reference each.
const PAIRS: u64 = BASE + 0x3B00;
const CLASSES: u64 = BASE + 0x3D00;
const FIELDS: u64 = BASE + 0x3F00;
/// Bytes of heap of each generation.
pub const GENERATION_HEAP_BYTES: u64 = 0x300;

/// First object of a generation: 0 to 2, 3 large, 4 pinned.
pub fn heap_of(generation: u64) -> u64 {
    HEAP + generation * GENERATION_HEAP_BYTES
}

/// Address of a generation's segment.
pub fn segment_of(generation: u64) -> u64 {
    SEGMENTS + generation * SEGMENT_BYTES
}

/// The address space: some pieces, each of them writable.
#[derive(Clone)]
pub struct Tiny {
    pieces: [Vec<u8>; PARTS.len()],
    regions: [Region; PARTS.len()],
}

impl Memory for Tiny {
    fn read(&self, address: u64, buf: &mut [u8]) -> usize {
        let Some((piece, at)) = self.place(address) else {
            return 0;
        };
        let n = buf.len().min(self.pieces[piece].len() - at);
        buf[..n].copy_from_slice(&self.pieces[piece][at..at + n]);
        n
    }

    fn regions(&self) -> &[Region] {
        &self.regions
    }
}

impl Default for Tiny {
    fn default() -> Self {
        let mut tiny = Self {
            pieces: PARTS.map(|(_, bytes)| vec![0; bytes]),
            regions: PARTS.map(|(offset, bytes)| Region {
                start: BASE + offset,
                end: BASE + offset + bytes as u64,
                read: true,
                write: true,
                execute: false,
            }),
        };
        tiny.collector();
        tiny.variables();
        tiny.threads();
        tiny.types();
        tiny.modules();
        tiny.handles();
        tiny.objects();
        tiny
    }
}

impl Tiny {
    fn place(&self, address: u64) -> Option<(usize, usize)> {
        let piece = self
            .regions
            .iter()
            .position(|r| r.start <= address && address < r.end)?;
        Some((piece, (address - self.regions[piece].start) as usize))
    }

    /// Number of words in all pieces.
    pub fn words(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len() / 8).sum()
    }

    /// Replaces a word by its number in all pieces.
    pub fn put_nth(&mut self, mut nth: usize, value: u64) {
        for piece in &mut self.pieces {
            if nth < piece.len() / 8 {
                piece[nth * 8..nth * 8 + 8].copy_from_slice(&value.to_le_bytes());
                return;
            }
            nth -= piece.len() / 8;
        }
    }

    /// Replaces the word at an address.
    pub fn put(&mut self, address: u64, value: u64) -> &mut Self {
        self.put_bytes(address, &value.to_le_bytes())
    }

    fn put_bytes(&mut self, address: u64, bytes: &[u8]) -> &mut Self {
        if let Some((piece, at)) = self.place(address) {
            self.pieces[piece][at..at + bytes.len()].copy_from_slice(bytes);
        }
        self
    }

    fn put_all(&mut self, address: u64, values: &[u64]) -> &mut Self {
        for (i, value) in values.iter().enumerate() {
            self.put(address + i as u64 * 8, *value);
        }
        self
    }

    /// The process.
    pub fn image(self) -> ProcessImage {
        let mut image = ProcessImage::new(Os::Linux, Arch::X64, Arc::new(self));
        image.modules.push(Module {
            base: BASE,
            size: PARTS[0].1 as u64,
            path: "/dotnet/shared/Microsoft.NETCore.App/8.0.0/libcoreclr.so".into(),
            build_id: Vec::new(),
            version: None,
        });
        image
    }

    fn collector(&mut self) {
        const MAJOR_2_MINOR_1: u64 = 0x102;
        let words = [
            (0, MAJOR_2_MINOR_1),
            (8, GENERATION_BYTES),
            (16, 5),
            (32, CELLS),
            (48, GENERATIONS),
            (56, CELLS + 8),
            (72, CELLS + 16),
            (80, CELLS + 24),
            (120, CELLS + 32),
            (144, CELLS + 40),
            (192, CELLS + 48),
            (232, HANDLE_MAP),
            (248, CELLS + 56),
        ];
        for (offset, value) in words {
            self.put(GC_VARS + offset, value);
        }
        let ephemeral_end = heap_of(0) + GENERATION_HEAP_BYTES;
        // Not server; the last generation is 2; no background collection; then the fields of the heap, and the offsets in a
        // generation: allocation context 0, first segment 56, no start of allocation: regions.
        let cells = [
            0,
            2,
            2,
            segment_of(0),
            ephemeral_end,
            FINALIZE,
            0,
            56 << 32,
            0xFFFF_FFFF,
        ];
        self.put_all(CELLS, &cells);
        for generation in 0..5 {
            self.put(
                GENERATIONS + generation * GENERATION_BYTES + 56,
                segment_of(generation),
            );
            let (start, end) = (
                heap_of(generation),
                heap_of(generation) + GENERATION_HEAP_BYTES,
            );
            self.put_all(segment_of(generation), &[end, end, end, end, start, 0, 0]);
        }
        // Registered of generation 2, 1 and 0, then a critical and a normal one that are ready.
        let array = FINALIZE + 0x80;
        let ends = [0, 0, 1, 2, 3, 4, 5].map(|n| array + n * 8);
        self.put_all(FINALIZE, &ends)
            .put_all(FINALIZE + 56, &[array, array + 64]);
        let objects = [2, 1, 0, 0, 0].map(heap_of);
        self.put_all(array, &objects);
    }

    fn variables(&mut self) {
        let values = [
            (16, THREAD_STORE),
            (17, THREAD),
            (18, 0),
            (19, 1),
            (20, GC_VARS),
            (21, APP_DOMAIN),
            (22, 0),
            (36, 0),
            (40, OBJECT),
            (43, STRING),
            (54, FREE),
        ];
        for (index, value) in values {
            let variable = VARIABLES + index * 8;
            self.put(DAC_TABLE + index * 8, variable)
                .put(variable, value);
        }
    }

    fn threads(&mut self) {
        self.put(THREAD_STORE + 160, THREAD + THREAD_LINK);
        for (number, thread, next) in [
            (1, THREAD, SECOND_THREAD + THREAD_LINK),
            (2, SECOND_THREAD, 0),
        ] {
            self.put(thread + 8, 0x200)
                .put(thread + 16, u64::MAX)
                .put(thread + 32, number)
                .put(thread + THREAD_LINK, next)
                .put(thread + 424, 4000 + number);
        }
        // The second one allocates from the end of generation 0.
        let end = heap_of(0) + GENERATION_HEAP_BYTES;
        self.put_all(SECOND_THREAD + 88, &[end - 0x40, end - 24]);
    }

    /// Flags, base size, parent, and the first words of the rest.
    fn table(
        &mut self,
        table: u64,
        flags: u64,
        base_size: u64,
        rid: u64,
        parent: u64,
        element: u64,
    ) {
        let number = (table - FREE) / 0x40;
        let class = CLASSES + number * 32;
        let words = [
            flags | base_size << 32,
            rid << 16,
            parent,
            MODULE,
            0,
            class,
            element,
            0,
        ];
        self.put_all(table, &words)
            .put(class + 16, table)
            .put(class + 24, FIELDS);
    }

    fn types(&mut self) {
        self.put(FREE, 24 << 32 | 0x8000_0001);
        self.table(OBJECT, 0, 24, 2, 0, 0);
        self.table(STRING, 0x8000_0002, 22, 3, OBJECT, 0);
        self.table(NODE, 0x0100_0000, 32, 4, OBJECT, 0);
        // One run: from 8, two words.
        self.put_all(NODE - 24, &[16_u64.wrapping_sub(32), 8, 1]);
        self.table(NODES, 0x810A_0008, 24, 0, OBJECT, NODE);
        self.put_all(NODES - 24, &[0_u64.wrapping_sub(24), 16, 1]);
        self.table(PAIRS, 0x810A_0010, 24, 0, OBJECT, NODE);
        // Elements: one reference, then eight bytes of something else.
        self.put_all(PAIRS - 24, &[8 << 32 | 1, 16, u64::MAX]);
        // Shop.Node: `next`, an instance field, and `first`, a static one.
        self.put_all(
            FIELDS,
            &[NODE, 1 | 0x12 << 59, NODE, 1 << 24 | 2 | 0x12 << 59],
        );
    }

    fn modules(&mut self) {
        const PE_ASSEMBLY: u64 = BASE + 0x2F00;
        const PE_IMAGE: u64 = BASE + 0x2F40;
        const PE_LAYOUT: u64 = BASE + 0x3000;
        const PATH: u64 = BASE + 0x3100;
        const TYPE_DEFS: u64 = BASE + 0x3200;
        const INSTANCES: u64 = BASE + 0x3400;
        self.put(ASSEMBLIES, 1)
            .put_all(ASSEMBLIES + 8, &[0, 1, ASSEMBLY]);
        self.put(ASSEMBLY + 24, MODULE)
            .put(MODULE + 272, PE_ASSEMBLY)
            .put(PE_ASSEMBLY + 8, PE_IMAGE);
        self.put(PE_IMAGE + 16, PATH).put(PE_IMAGE + 120, PE_LAYOUT);
        let path: Vec<u8> = "/app/Shop.dll\0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        self.put_bytes(PATH, &path);
        let image = image_file();
        self.put(PE_LAYOUT + 8, IMAGE_FILE)
            .put(PE_LAYOUT + 16, image.len() as u64);
        self.put_bytes(IMAGE_FILE, &image);
        self.put_all(TYPE_DEF_MAP, &[0, TYPE_DEFS, 5]);
        self.put_all(TYPE_DEFS, &[0, 0, OBJECT, STRING, NODE]);
        self.put(MODULE + 968, INSTANCES)
            .put(INSTANCES + 16, INSTANCE_BUCKETS)
            .put(INSTANCES + 24, 1);
        self.put_all(INSTANCE_BUCKETS, &[1, 0, 0, INSTANCE_ENTRY]);
        self.put_all(INSTANCE_ENTRY, &[NODES, 1]);
        self.put(MODULE + 1224, LOCAL_MODULE)
            .put(LOCAL_MODULE + 32, heap_of(4) + 16);
    }

    fn handles(&mut self) {
        let bucket = HANDLE_MAP + 0x80;
        self.put(HANDLE_MAP, HANDLE_MAP + 0x20)
            .put(HANDLE_MAP + 0x20, bucket);
        self.put(bucket, bucket + 0x10)
            .put(bucket + 0x10, HANDLE_TABLE);
        self.put(HANDLE_TABLE + 48, HANDLE_SEGMENT)
            .put(HANDLE_SEGMENT + 0x7D0, HANDLE_TABLE);
        // Two blocks: strong ones and dependent ones, whose second objects the first block has.
        self.put_bytes(HANDLE_SEGMENT + 0x618, &[0xFF; 120])
            .put_bytes(HANDLE_SEGMENT + 0x618, &[2, 6]);
        self.put_bytes(HANDLE_SEGMENT + 0x690, &[0xFF; 120])
            .put_bytes(HANDLE_SEGMENT + 0x690, &[0xFF, 0]);
        self.put_all(HANDLE_SEGMENT + 0x1000, &[heap_of(0), heap_of(1)]);
        self.put_all(HANDLE_SEGMENT + 0x1200, &[heap_of(2)]);
    }

    /// The same in each generation: nodes in a chain, an array of them, pairs, a text, free blocks to the end.
    fn objects(&mut self) {
        for generation in 0..5 {
            let start = heap_of(generation);
            let end = start + GENERATION_HEAP_BYTES;
            let mut at = start;
            let mut put = |tiny: &mut Self, bytes: u64, words: &[u64]| {
                tiny.put_all(at, words);
                at += bytes;
                at
            };
            // Generation 4 starts with the array that statics lie in.
            put(self, 24 + 4 * 8, &[NODES, 4, start + 56, heap_of(0), 0, 0]);
            for i in 1..6 {
                put(self, 32, &[NODE, start + 24 + 32 * i, 0]);
            }
            put(self, 24 + 2 * 16, &[PAIRS, 2, start, 7, start + 56, 8]);
            put(self, 32, &[STRING, 4 | 0x0061_0062 << 32, 0x0063_0064]);
            // Two of the smallest free blocks side by side.
            put(self, 24, &[FREE, 0]);
            let rest = put(self, 24, &[FREE, 0]);
            // Generation 0 keeps 64 bytes for the thread that allocates.
            let stop = if generation == 0 { end - 0x40 } else { end };
            put(self, stop - rest, &[FREE, stop - rest - 24]);
        }
    }
}

/// A PE file as it lies on disk: one section, a CLI header, metadata.
fn image_file() -> Vec<u8> {
    const HEADERS: usize = 0x200;
    let metadata = metadata();
    let mut file = vec![0; HEADERS + 16];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3C, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x46, &1_u16.to_le_bytes());
    put(0x54, &0xF0_u16.to_le_bytes());
    put(0x58, &0x20B_u16.to_le_bytes());
    let rva = |offset: usize| (0x2000 + offset as u32).to_le_bytes();
    put(0x58 + 112 + 14 * 8, &rva(0));
    let section = 0x58 + 0xF0;
    put(section + 8, &0x1000_u32.to_le_bytes());
    put(section + 12, &rva(0));
    put(section + 20, &(HEADERS as u32).to_le_bytes());
    put(HEADERS + 8, &rva(16));
    put(HEADERS + 12, &(metadata.len() as u32).to_le_bytes());
    file.extend(metadata);
    file
}

/// Metadata with four types (`<Module>`, System.Object, System.String, Shop.Node) and two fields of the last.
pub fn metadata() -> Vec<u8> {
    let mut strings = vec![0_u8];
    let mut name = |text: &str| {
        let at = strings.len() as u16;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at
    };
    let (file, none, system, shop) = (
        name("Shop.dll"),
        name("<Module>"),
        name("System"),
        name("Shop"),
    );
    let (object, string, node) = (name("Object"), name("String"), name("Node"));
    let (next, first) = (name("next"), name("first"));
    let rows: [&[u16]; 7] = [
        &[0, file, 1, 0, 0],
        &[0, 0, none, 0, 0, 1, 1],
        &[0, 0, object, system, 0, 1, 1],
        &[0, 0, string, system, 0, 1, 1],
        &[0, 0, node, shop, 0, 1, 1],
        &[1, next, 0],
        &[17, first, 0],
    ];
    let mut tables = vec![0, 0, 0, 0, 2, 0, 0, 1];
    tables.extend((1_u64 | 1 << 2 | 1 << 4).to_le_bytes());
    tables.extend([0; 8]);
    for count in [1_u32, 4, 2] {
        tables.extend(count.to_le_bytes());
    }
    tables.extend(
        rows.into_iter()
            .flatten()
            .flat_map(|column| column.to_le_bytes()),
    );
    strings.resize(strings.len().next_multiple_of(4), 0);
    let mut out = b"BSJB\x01\0\x01\0\0\0\0\0\x04\0\0\0v4\0\0\0\0\x03\0".to_vec();
    let mut at = out.len() + 12 + 20 + 16;
    for (size, name) in [
        (tables.len(), &b"#~\0\0"[..]),
        (strings.len(), b"#Strings\0\0\0\0"),
        (16, b"#GUID\0\0\0"),
    ] {
        out.extend((at as u32).to_le_bytes());
        out.extend((size as u32).to_le_bytes());
        out.extend_from_slice(name);
        at += size;
    }
    out.extend(tables);
    out.extend(strings);
    out.extend([7; 16]);
    out
}
