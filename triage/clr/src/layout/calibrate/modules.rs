//! Calibration of modules: their types, their images, their generic instances, and the list of all of them.

use super::super::{AppDomainLayout, BucketShape, Layout, NOWHERE, Scene, TokenWord};
use super::sample::Sample;
use crate::completeness::Log;
use crate::dac_table::DacTable;
use crate::limits;
use crate::method_table::{MethodTable, could_be};
use crate::modules::instantiations;
use leakhound_dump::MemoryExt;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Bytes of `Module` that are searched: 3.1 has the largest, about 1,400.
const MODULE_BYTES: u64 = 1_800;
/// Modules that guesses are tried on.
const TRIED: usize = 16;
/// Bytes of `AppDomain` that its list of assemblies lies in: 2,776 in 3.1.
const DOMAIN_BYTES: u64 = 4_000;
/// Entries of the list of assemblies that are looked at.
const ENTRIES: u64 = 256;

/// Finds what leads from a module to its types and its image.
pub(super) fn find(scene: &Scene<'_>, sample: &Sample, layout: &mut Layout) {
    let Some((token, type_def_map)) = type_def_map(scene, sample) else {
        return;
    };
    layout.token = token;
    layout.module.type_def_map = type_def_map;
    let modules: Vec<u64> = sample.modules().into_iter().take(TRIED).collect();
    if let Some(place) = images(scene, &modules) {
        layout.module.pe_assembly = place.assembly;
        layout.module.pe_image = place.images;
        layout.module.image_layouts = place.layouts;
        layout.module.image_path = image_path(scene, &modules, &place).unwrap_or(NOWHERE);
    }
    if let Some((offset, shape)) = instances(scene, &modules, layout) {
        layout.module.instantiations = offset;
        layout.module.instantiation_buckets = shape;
    }
}

/// Row id of a type's definition, as a form of token has it.
fn row(table: &MethodTable, token: TokenWord) -> u64 {
    u64::from(match token {
        TokenWord::Short => table.flags2 >> 16,
        TokenWord::Long => table.flags2 >> 8,
    })
}

/// How many of the sample's types a module's map leads back to.
fn hits(scene: &Scene<'_>, sample: &Sample, offset: u64, token: TokenWord) -> usize {
    let mut hits = 0;
    for (module, tables) in &sample.plain {
        let map = module
            .checked_add(offset)
            .and_then(|at| scene.memory.array::<24>(at));
        let Some(map) = map else { continue };
        let word = |i: usize| u64::from_le_bytes(map[i..i + 8].try_into().unwrap_or_default());
        let (entries, count) = (word(8), word(16) & 0xFFFF_FFFF);
        if !could_be(entries) || count < 2 || count > u64::from(limits::TYPE_DEFS) {
            continue;
        }
        hits += tables
            .iter()
            .filter(|table| {
                let row = row(table, token);
                let entry = (row > 0 && row < count)
                    .then(|| entries.checked_add(row * 8))
                    .flatten()
                    .and_then(|at| scene.memory.u64(at));
                entry.is_some_and(|entry| entry & !7 == table.address)
            })
            .count();
    }
    hits
}

/// Four of five types of the sample are where the map has them. (Modules of reflection-emit grow theirs in blocks.)
fn enough(hits: usize, sample: &Sample) -> bool {
    let all: usize = sample.plain.values().map(Vec::len).sum();
    hits > 0 && hits * 5 >= all * 4
}

/// The layout's map leads back to the types that have objects.
pub(super) fn type_def_map_fits(scene: &Scene<'_>, sample: &Sample, layout: &Layout) -> bool {
    enough(
        hits(scene, sample, layout.module.type_def_map, layout.token),
        sample,
    )
}

/// The map whose entry for each row is that row's type, and the form of token that has the rows.
fn type_def_map(scene: &Scene<'_>, sample: &Sample) -> Option<(TokenWord, u64)> {
    let places = (0..MODULE_BYTES).step_by(8);
    let guesses =
        places.flat_map(|offset| [TokenWord::Long, TokenWord::Short].map(|token| (token, offset)));
    let scored = guesses.map(|(token, offset)| (hits(scene, sample, offset, token), token, offset));
    // Of equal ones the first: another map of types lists them a second time.
    let best = scored.max_by_key(|(hits, _, offset)| (*hits, std::cmp::Reverse(*offset)))?;
    enough(best.0, sample).then_some((best.1, best.2))
}

/// The way from a module to its images: places in `Module`, in `PEAssembly`, in `PEImage`.
struct ImagePlace {
    assembly: u64,
    images: &'static [u64],
    layouts: &'static [u64],
}

/// Multiples of eight, falling: any run of them is a list of neighboring places, the last one first.
const FALLING: [u64; 64] = {
    let mut places = [0; 64];
    let mut i = 0;
    while i < places.len() {
        places[i] = (places.len() - 1 - i) as u64 * 8;
        i += 1;
    }
    places
};

/// The run of neighboring places around the one that serves most modules: fields of one array, or next to each other.
/// Of equal ones the lowest is meant: behind a small structure begins another, which has images of its own.
fn run(places: &BTreeMap<u64, usize>) -> &'static [u64] {
    const LONGEST: u64 = 16;
    let best = places
        .iter()
        .filter(|(place, _)| **place / 8 < FALLING.len() as u64)
        .max_by_key(|(place, modules)| (**modules, std::cmp::Reverse(**place)));
    let Some((best, _)) = best else {
        return &[];
    };
    let near = || places.keys().filter(|p| p.abs_diff(*best) <= LONGEST);
    let low = near().min().unwrap_or(best);
    let high = near().max().unwrap_or(best);
    let index = |place: &u64| FALLING.len() - 1 - (*place / 8) as usize;
    FALLING.get(index(high)..=index(low)).unwrap_or_default()
}

/// The places that lead every module to an image of its own.
fn images(scene: &Scene<'_>, modules: &[u64]) -> Option<ImagePlace> {
    // (place in Module) -> for each module its images, with the other two places.
    type Ways = BTreeMap<u64, BTreeSet<(u64, u64)>>;
    let mut by_place: BTreeMap<u64, (usize, HashSet<u64>, Ways)> = BTreeMap::new();
    for module in modules {
        let mut seen: BTreeMap<u64, BTreeSet<(u64, u64, u64)>> = BTreeMap::new();
        for first in (0..=400u64).step_by(8) {
            let Some(assembly) = pointer(scene, *module, first) else {
                continue;
            };
            for second in (0..=64u64).step_by(8) {
                let Some(image) = pointer(scene, assembly, second) else {
                    continue;
                };
                for third in (0..=240u64).step_by(8) {
                    let base = pointer(scene, image, third).and_then(|l| image_base(scene, l));
                    if let Some(base) = base {
                        seen.entry(first).or_default().insert((second, third, base));
                    }
                }
            }
        }
        for (first, ways) in seen {
            let (count, bases, all) = by_place.entry(first).or_default();
            *count += 1;
            bases.extend(ways.iter().map(|w| w.2));
            for (second, third, _) in ways {
                all.entry(second).or_default().insert((*module, third));
            }
        }
    }
    // A place that leads all modules to the same image (the system library's) has fewer images than modules.
    let (assembly, (_, _, ways)) = by_place
        .into_iter()
        .filter(|(_, (count, bases, _))| bases.len() >= *count)
        .max_by_key(|(place, (count, _, _))| (*count, std::cmp::Reverse(*place)))?;
    let modules_of = |ways: &BTreeSet<(u64, u64)>| {
        let modules: BTreeSet<u64> = ways.iter().map(|(module, _)| *module).collect();
        modules.len()
    };
    let served = ways
        .iter()
        .map(|(place, w)| (*place, modules_of(w)))
        .collect();
    let images = run(&served);
    let mut layouts: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, third) in images.iter().filter_map(|place| ways.get(place)).flatten() {
        *layouts.entry(*third).or_default() += 1;
    }
    Some(ImagePlace {
        assembly,
        images,
        layouts: run(&layouts),
    })
}

fn pointer(scene: &Scene<'_>, address: u64, offset: u64) -> Option<u64> {
    scene
        .memory
        .u64(address.checked_add(offset)?)
        .filter(|p| could_be(*p))
}

/// The image of a `PEImageLayout`: base, size and flags in this order, and an executable at the base.
fn image_base(scene: &Scene<'_>, layout: u64) -> Option<u64> {
    let words: [u8; 16] = scene.memory.array(layout.checked_add(8)?)?;
    let base = u64::from_le_bytes(words[..8].try_into().unwrap_or_default());
    let size = u32::from_le_bytes(words[8..12].try_into().unwrap_or_default());
    let flags = u32::from_le_bytes(words[12..].try_into().unwrap_or_default());
    let plausible = (0x1_0000..1 << 57).contains(&base) && size >= 0x200 && flags & 2 != 0;
    if !plausible || flags > 0xFFFF || scene.memory.u16(base)? != 0x5A4D {
        return None;
    }
    let header = base.checked_add(u64::from(scene.memory.u32(base.checked_add(0x3C)?)?))?;
    (scene.memory.u32(header)? == 0x4550).then_some(base)
}

/// The pointer in `PEImage` to the path of a library or program.
fn image_path(scene: &Scene<'_>, modules: &[u64], place: &ImagePlace) -> Option<u64> {
    let images: Vec<u64> = modules
        .iter()
        .filter_map(|m| {
            let assembly = pointer(scene, *m, place.assembly)?;
            place
                .images
                .iter()
                .find_map(|o| pointer(scene, assembly, *o))
        })
        .collect();
    let is_path = |at: u64| {
        let text = crate::modules::utf16_path(scene.memory, at)?.to_ascii_lowercase();
        Some(text.ends_with(".dll") || text.ends_with(".exe"))
    };
    (0..=128u64).step_by(8).find(|offset| {
        let paths = images
            .iter()
            .filter(|image| pointer(scene, **image, *offset).and_then(is_path) == Some(true));
        let count = paths.count();
        count > 0 && count * 2 >= images.len()
    })
}

/// The hash table that names its module first, and whose entries are as many as it says, all of them generic instances,
/// arrays and the like.
fn instances(scene: &Scene<'_>, modules: &[u64], layout: &Layout) -> Option<(u64, BucketShape)> {
    let mut best = (0, None);
    let mut budget = limits::CALIBRATION_WORDS;
    for offset in (0..MODULE_BYTES).step_by(8) {
        for shape in [BucketShape::Chained, BucketShape::Plain] {
            let mut guess = layout.clone();
            guess.module.instantiations = offset;
            guess.module.instantiation_buckets = shape;
            let mut score = 0;
            for module in modules {
                match instance_count(scene, *module, &guess, &mut budget) {
                    Some(count) => score += count,
                    None => {
                        score = 0;
                        break;
                    }
                }
            }
            if score > best.0 {
                best = (score, Some((offset, shape)));
            }
        }
    }
    best.1
}

/// Instances of one module; `None` when this cannot be its table.
fn instance_count(
    scene: &Scene<'_>,
    module: u64,
    guess: &Layout,
    budget: &mut u64,
) -> Option<usize> {
    let count_at = match guess.module.instantiation_buckets {
        BucketShape::Chained => 24,
        BucketShape::Plain => 28,
    };
    let word = scene
        .memory
        .u64(module.checked_add(guess.module.instantiations)?)?;
    if word == 0 {
        return Some(0);
    }
    let table = Some(word).filter(|t| could_be(*t))?;
    if scene.memory.u64(table)? != module {
        return None;
    }
    let declared = scene.memory.u32(table + count_at)?;
    let length = match guess.module.instantiation_buckets {
        BucketShape::Chained => scene.memory.u64(scene.memory.u64(table + 16)?)?,
        BucketShape::Plain => u64::from(scene.memory.u32(table + 24)?),
    };
    // No hash is that much larger than its content; what is read is paid for.
    if length > 64 * u64::from(declared) + 4_096 {
        return None;
    }
    *budget = budget.checked_sub(length + u64::from(declared))?;
    let room = declared as usize + 1;
    let handles = instantiations(scene.memory, guess, module, room, &Log::default());
    let fits = |handle: &u64| {
        handle & 2 != 0
            || MethodTable::read_loaded(scene.memory, *handle)
                .is_some_and(|t| t.is_array() || t.is_generic_instance())
    };
    (handles.len() == declared as usize && handles.iter().all(fits)).then_some(handles.len())
}

/// Something that looks like a module: its map of types has types, and they name it.
fn is_module(scene: &Scene<'_>, address: u64, layout: &Layout) -> bool {
    let check = || {
        let map: [u8; 24] = scene
            .memory
            .array(address.checked_add(layout.module.type_def_map)?)?;
        let word = |i: usize| u64::from_le_bytes(map[i..i + 8].try_into().unwrap_or_default());
        let (entries, count) = (word(8), word(16) & 0xFFFF_FFFF);
        if !could_be(entries) || count == 0 || count > u64::from(limits::TYPE_DEFS) {
            return None;
        }
        let mut loaded = 0;
        for i in 0..count.min(4_096) {
            let handle = scene.memory.u64(entries.checked_add(i * 8)?)? & !7;
            if handle == 0 {
                continue;
            }
            let table = MethodTable::read_loaded(scene.memory, handle)?;
            if row(&table, layout.token) != i || table.module != address {
                return None;
            }
            loaded += 1;
            if loaded == 8 {
                break;
            }
        }
        Some(loaded > 0)
    };
    check() == Some(true)
}

/// Ways from an entry of the list of assemblies to a module: one step, or two.
const WAYS: [&[u64]; 16] = [
    &[0],
    &[8],
    &[16],
    &[24],
    &[32],
    &[40],
    &[48],
    &[56],
    &[0, 8],
    &[0, 16],
    &[0, 24],
    &[0, 32],
    &[8, 8],
    &[8, 16],
    &[8, 24],
    &[8, 32],
];

/// The list in the application domain whose entries lead to modules.
pub(super) fn find_list(scene: &Scene<'_>, layout: &Layout) -> Option<AppDomainLayout> {
    if layout.module.type_def_map == NOWHERE {
        return None;
    }
    let domain = scene
        .table
        .pointer(scene.memory, DacTable::APP_DOMAIN)
        .filter(|d| could_be(*d))?;
    let mut best: (usize, Option<AppDomainLayout>) = (0, None);
    let mut judged: HashMap<u64, bool> = HashMap::new();
    for offset in (0..DOMAIN_BYTES).step_by(8) {
        // Count, then the first block: next, capacity, entries.
        let head = domain
            .checked_add(offset)
            .and_then(|at| scene.memory.array::<24>(at));
        let Some(head) = head else { continue };
        let half = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap_or_default());
        let (count, capacity) = (u64::from(half(0)), u64::from(half(16)));
        if count == 0 || count > limits::MODULES as u64 || !(1..=1 << 20).contains(&capacity) {
            continue;
        }
        let there = count.min(capacity).min(ENTRIES);
        let entries: Vec<u64> = (0..there)
            .filter_map(|i| pointer(scene, domain, offset + 24 + i * 8))
            .collect();
        if entries.is_empty() {
            continue;
        }
        for way in WAYS {
            let modules: HashSet<u64> = entries
                .iter()
                .filter_map(|entry| {
                    way.iter()
                        .try_fold(*entry, |at, step| pointer(scene, at, *step))
                })
                .filter(|module| {
                    if judged.len() >= limits::CALIBRATION_MODULES {
                        return judged.get(module) == Some(&true);
                    }
                    *judged
                        .entry(*module)
                        .or_insert_with(|| is_module(scene, *module, layout))
                })
                .collect();
            // Modules without a loaded type cannot be told from other memory.
            if modules.len() * 2 > entries.len() && modules.len() > best.0 {
                best = (
                    modules.len(),
                    Some(AppDomainLayout {
                        assemblies: offset,
                        entry_to_module: way,
                    }),
                );
            }
        }
    }
    best.1
}
