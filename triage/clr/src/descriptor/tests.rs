//! The descriptor on texts made by hand; on real dumps it is tested with the layouts it confirms.

use super::text::Text;
use super::*;
use crate::layout::candidates;
use leakhound_dump::{Arch, Os, SyntheticMemory};

const IMAGE: std::ops::Range<u64> = 0x10_0000..0x20_0000;
const DATA: std::ops::Range<u64> = 0x11_0000..0x12_0000;
const HEADER: u64 = 0x11_0040;
const TEXT: u64 = 0x12_0000;
const POINTERS: u64 = 0x11_0100;
/// A variable of the runtime that holds the address of a second descriptor, when it is not null.
const PART_VARIABLE: u64 = 0x11_0200;
const PART: u64 = 0x13_0000;

fn image() -> ImageRanges {
    ImageRanges {
        all: IMAGE,
        data: Vec::from([DATA]),
    }
}

fn header(text: &str, text_at: u64, pointers: u32, pointers_at: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text_at.to_le_bytes());
    bytes.extend(pointers.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(pointers_at.to_le_bytes());
    bytes
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

const MAIN: &str = r#"{"version":0,"baseline":"empty",
    "types":{"Thread":{"!":900,"Id":16,"OSId":[304,"nuint"],"LinkNext":[120,"pointer"]},"ThreadStore":{"FirstThreadLink":64}},
    "globals":{"ThreadStore":[[1],"pointer"],"AppDomain":[2],"Unmask":["0x7","uint8"],"RID":["1-x64","string"],"Seven":7},
    "subDescriptors":{"GC":[[3],"pointer"]},"contracts":{"Thread":"c1"},"unheard":[[[]]]}"#;

const COLLECTOR: &str = r#"{"version":0,"baseline":"empty","types":{"Generation":{"!":256,"StartSegment":56},"HeapSegment":{"Mem":32}},
    "globals":{"NumHeaps":[[1],"pointer"],"TotalGenerationCount":["0x5","uint32"]}}"#;

/// A runtime's image with a descriptor that leads to a second one, at which `part` points.
fn memory(part: u64) -> SyntheticMemory {
    let mut memory = SyntheticMemory::new();
    memory
        .map(0x11_0000, 0x1_0000)
        .map(TEXT, 0x1000)
        .map(PART, 0x1000)
        .put(HEADER, &header(MAIN, TEXT, 4, POINTERS))
        .put(POINTERS, &words(&[0, 0x11_0300, 0x11_0308, PART_VARIABLE]))
        .put(PART_VARIABLE, &words(&[part]))
        .put(TEXT, MAIN.as_bytes())
        .put(PART, &header(COLLECTOR, PART + 0x100, 2, PART + 0x40))
        .put(PART + 0x40, &words(&[0, 0x11_0400]))
        .put(PART + 0x100, COLLECTOR.as_bytes());
    memory
}

fn only(at: u64, bytes: &[u8]) -> SyntheticMemory {
    let mut memory = SyntheticMemory::new();
    memory.map(at & !0xFFF, 0x2000).put(at, bytes);
    memory
}

#[test]
fn fields_and_variables_are_read_through_the_header() {
    let found = Descriptor::find(&memory(PART), &image()).unwrap();
    assert_eq!(found.field("Thread", "OSId"), Some(304));
    assert_eq!(found.field("Thread", "!"), Some(900));
    assert_eq!(found.variables["ThreadStore"], 0x11_0300);
    assert_eq!(found.variables["AppDomain"], 0x11_0308);
    assert!(!found.variables.contains_key("Seven"));
    // The second descriptor adds its own.
    assert_eq!(found.field("Generation", "StartSegment"), Some(56));
    assert_eq!(found.variables["NumHeaps"], 0x11_0400);
}

#[test]
fn a_part_that_has_not_started_yet_is_left_out() {
    let found = Descriptor::find(&memory(0), &image()).unwrap();
    assert_eq!(found.field("Thread", "OSId"), Some(304));
    assert_eq!(found.field("Generation", "StartSegment"), None);
    // A part that leads back to the whole does not go round in circles.
    let found = Descriptor::find(&memory(HEADER), &image()).unwrap();
    assert_eq!(found.field("Generation", "StartSegment"), None);
}

#[test]
fn without_its_header_the_text_alone_gives_the_offsets() {
    let memory = only(TEXT + 5, MAIN.as_bytes());
    let found = Descriptor::find(&memory, &image()).unwrap();
    assert_eq!(found.field("ThreadStore", "FirstThreadLink"), Some(64));
    assert!(found.variables.is_empty());
    let nothing = only(TEXT, &[b'{'; 0x1000]);
    assert!(Descriptor::find(&nothing, &image()).is_none());
}

#[test]
fn a_layout_is_corrected_and_the_differences_are_named() {
    let found = Descriptor::find(&memory(PART), &image()).unwrap();
    let mut layout = candidates(Some((10, 0)), Os::Linux, Arch::X64).remove(0);
    let changes = found.apply(&mut layout);
    assert_eq!(layout.thread.os_id, 304);
    assert_eq!(layout.thread.managed_id, 16);
    assert_eq!(
        changes,
        [
            "ThreadStore.FirstThreadLink is 64, not 88",
            "Thread.LinkNext is 120, not 112",
            "Thread.OSId is 304, not 296",
        ]
    );
}

#[test]
fn lying_headers_and_texts_are_refused() {
    let refused = |text: &str| assert!(Text::parse(text.as_bytes()).is_none(), "{text:.60}");
    refused("");
    refused("{\"version\":1,\"types\":{\"A\":{\"B\":1}}}");
    refused("{\"version\":0}");
    refused("{\"version\":0,\"types\":[]}");
    refused(&format!("{{\"version\":0,\"deep\":{}", "[".repeat(100_000)));
    let many: Vec<String> = (0..limits::DESCRIPTOR_NAMES)
        .map(|i| format!("\"F{i}\":0"))
        .collect();
    refused(&format!(
        "{{\"version\":0,\"types\":{{\"A\":{{{}}}}}}}",
        many.join(",")
    ));
    // An offset beyond any structure is none.
    let text = Text::parse(br#"{"version":0,"types":{"A":{"B":99999999,"C":"x","D":8}}}"#).unwrap();
    assert_eq!(text.types["A"].len(), 1);
    for (bytes, pointers) in [(u32::MAX, 1), (10, u32::MAX)] {
        let mut lying = header(MAIN, TEXT, pointers, POINTERS);
        lying[12..16].copy_from_slice(&bytes.to_le_bytes());
        let memory = only(HEADER, &lying);
        assert!(read(&memory, HEADER).is_none());
    }
}

#[test]
fn a_collector_that_says_otherwise_is_named() {
    let found = Descriptor::find(&memory(PART), &image()).unwrap();
    let mut vars = GcVars {
        generation_size: 256,
        heap_count: 0x11_0400,
        ..GcVars::default()
    };
    assert_eq!(found.collector_contradicts(&vars), None);
    vars.heap_count += 8;
    assert!(
        found
            .collector_contradicts(&vars)
            .unwrap()
            .contains("NumHeaps")
    );
    vars.heap_count = 0;
    vars.generation_size = 264;
    assert!(found.collector_contradicts(&vars).unwrap().contains("256"));
}
