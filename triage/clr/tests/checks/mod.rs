//! Holds a reading of `tests/targets/inventory.cs` to everything that the process reported about itself.

use leakhound_clr::{
    FieldKind, Generation, HandleKind, Object, Options, Runtime, RuntimeInfo, TypeId,
};
use leakhound_dump::ProcessImage;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Count and bytes of every type, and all objects by type.
pub struct Census {
    pub counts: HashMap<TypeId, (u64, u64)>,
    objects: HashMap<TypeId, Vec<Object>>,
    generations: BTreeMap<Generation, (u64, u64)>,
}

pub fn census(runtime: &Runtime) -> Census {
    let walk = runtime.walk(Vec::new, |objects: &mut Vec<Object>, object| {
        objects.push(object)
    });
    let mut census = Census {
        counts: HashMap::new(),
        objects: HashMap::new(),
        generations: BTreeMap::new(),
    };
    for object in walk.accumulators.into_iter().flatten() {
        let entry = census.counts.entry(object.type_id).or_default();
        entry.0 += 1;
        entry.1 += object.size;
        census
            .objects
            .entry(object.type_id)
            .or_default()
            .push(object);
    }
    for (range, stats) in &walk.ranges {
        assert_eq!(
            stats.skipped_bytes, 0,
            "{range:?} was not parsed to its exact end"
        );
        let sum = census.generations.entry(range.generation).or_default();
        sum.0 += stats.object_bytes + stats.free_bytes;
        sum.1 += stats.free_bytes;
    }
    census
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Holds the reader to everything in the report.
pub fn check(image: &ProcessImage, report: &Value, what: &str) {
    let runtime = Runtime::open(image, &Options::default()).unwrap();
    let info = runtime.info();
    assert_eq!(
        info.version.to_string(),
        report["runtime"]["version"].as_str().unwrap(),
        "{what}"
    );
    assert_eq!(
        info.server_gc,
        report["runtime"]["server_gc"].as_bool().unwrap(),
        "{what}"
    );
    assert!(!info.gc_in_progress && info.layout_proven);
    let census = census(&runtime);
    check_types(&runtime, &census, report, what);
    check_generations(&census, info, report, what);
    check_handles(&runtime, report, what);
    check_finalizers(&runtime, report, what);
    check_statics(&runtime, report, what);
    check_thread_statics(&runtime, report, what);
    check_references(&runtime, &census, what);
    let completeness = runtime.completeness();
    assert!(completeness.is_whole(), "{what}: {completeness:?}");
}

fn check_types(runtime: &Runtime, census: &Census, report: &Value, what: &str) {
    let infos: Vec<_> = census
        .counts
        .keys()
        .map(|id| runtime.type_info(*id).unwrap())
        .collect();
    let by_table: HashMap<u64, _> = infos.iter().map(|i| (i.method_table, i)).collect();
    for expected in report["types"].as_array().unwrap() {
        let name = expected["name"].as_str().unwrap();
        let table = hex(&expected["method_table"]);
        let info = by_table
            .get(&table)
            .unwrap_or_else(|| panic!("{what}: no object of {name} ({table:#x})"));
        let (count, bytes) = census.counts[&info.id];
        let each = expected["bytes_each"].as_u64().unwrap();
        let wanted = expected["count"].as_u64().unwrap();
        if name.contains("Shop.") {
            assert_eq!(count, wanted, "{what}: number of {name}");
            assert_eq!(bytes, count * each, "{what}: bytes of {name}");
        } else {
            // The framework has some of these for itself.
            assert!(
                (wanted..wanted + 50).contains(&count),
                "{what}: {count} of {name} instead of {wanted}"
            );
        }
        // Classes that the compiler made are named after what the programmer wrote: see the next test.
        if !name.contains("<>") && !name.contains(">d__") {
            assert_eq!(info.name, name, "{what}");
        }
    }
    // The report itself boxed some, by reflection: those are young.
    let old = |id: &TypeId| {
        census.objects[id]
            .iter()
            .filter(|o| o.generation != Generation::Gen0)
            .count() as u64
    };
    let count_of = |name: &str| {
        infos
            .iter()
            .filter(|i| i.name == name)
            .map(|i| old(&i.id))
            .sum::<u64>()
    };
    for (name, count) in report["boxed"].as_object().unwrap() {
        // Static structs lie in boxes too.
        let statics = runtime
            .statics()
            .iter()
            .filter(|s| s.boxed_struct && runtime.type_of(s.object) == runtime_type(runtime, name))
            .count() as u64;
        assert_eq!(
            count_of(name),
            count.as_u64().unwrap() + statics,
            "{what}: boxes of {name}"
        );
    }
    let unnamed: Vec<&str> = infos
        .iter()
        .map(|i| i.name.as_str())
        .filter(|n| n.contains('!') || n.contains("unreadable"))
        .collect();
    assert!(
        unnamed.is_empty(),
        "{what}: types without a name: {unnamed:?}"
    );
    let names: Vec<&str> = infos.iter().map(|i| i.name.as_str()).collect();
    for translated in [
        "Shop.Inventory.Clerk.WaitForOrderAsync (async)",
        "Shop.Inventory.Clerk.Walk (iterator)",
        "lambda in Shop.Inventory.Program.FillCode",
    ] {
        assert!(
            names.contains(&translated),
            "{what}: {translated} is missing"
        );
    }
    let strings = infos.iter().find(|i| i.string).unwrap();
    let texts = census.objects[&strings.id]
        .iter()
        .map(|s| runtime.string_text(s.address, 64).unwrap());
    // One more is the literal "article-" itself.
    let articles = texts.filter(|text| {
        text.strip_prefix("article-")
            .is_some_and(|number| number.len() == 6)
    });
    assert_eq!(
        articles.count() as u64,
        report["strings_named_article"].as_u64().unwrap(),
        "{what}: strings"
    );
}

fn runtime_type(runtime: &Runtime, name: &str) -> Option<TypeId> {
    let ids = (0..u32::try_from(runtime.type_count()).unwrap()).map(TypeId);
    ids.into_iter()
        .find(|id| runtime.type_info(*id).is_some_and(|i| i.name == name))
}

fn check_generations(census: &Census, info: &RuntimeInfo, report: &Value, what: &str) {
    let gc = &report["gc"];
    // Generation 0 grew after the last collection, while the report was written; 3.1 does not tell.
    for (generation, name) in [
        (Generation::Gen2, "gen2"),
        (Generation::Loh, "loh"),
        (Generation::Poh, "poh"),
    ] {
        let Some(bytes) = gc[format!("{name}_bytes")].as_u64() else {
            continue;
        };
        let free = gc[format!("{name}_fragmented_bytes")].as_u64().unwrap();
        let seen = census
            .generations
            .get(&generation)
            .copied()
            .unwrap_or_default();
        // With segments, each heap's generation starts with a smallest free block that the collector does not count as a hole.
        let heaps = u64::from(info.heap_count);
        let uncounted = if info.regions { 0 } else { 24 * heaps };
        let more = seen.1.checked_sub(free);
        if generation == Generation::Poh {
            // The runtime adds an array for statics now and then.
            assert!(
                seen.0 >= bytes && seen.1 <= free + uncounted,
                "{what}: {name} {seen:?}"
            );
        } else {
            assert_eq!(seen.0, bytes, "{what}: {name} as the collector counts it");
            assert!(
                more.is_some_and(|more| more <= uncounted),
                "{what}: {name} has holes of {} bytes, {free} as the collector counts them",
                seen.1
            );
        }
    }
    let large = &report["large"];
    let of_size = |generation, size: u64| {
        let objects = census
            .objects
            .values()
            .flatten()
            .filter(|o| o.generation == generation && o.size == size);
        objects.count() as u64
    };
    let loh_size = (24 + large["loh_array_length"].as_u64().unwrap()).next_multiple_of(8);
    assert_eq!(
        of_size(Generation::Loh, loh_size),
        large["loh_arrays"].as_u64().unwrap(),
        "{what}: large arrays"
    );
    let poh_size = (24 + 2 * large["poh_array_length"].as_u64().unwrap()).next_multiple_of(8);
    assert_eq!(
        of_size(Generation::Poh, poh_size),
        large["poh_arrays"].as_u64().unwrap(),
        "{what}: pinned arrays"
    );
    assert_eq!(
        census.generations.contains_key(&Generation::Frozen),
        large["literal_is_frozen"].as_bool().unwrap(),
        "{what}: frozen"
    );
}

fn check_handles(runtime: &Runtime, report: &Value, what: &str) {
    let mut counts: HashMap<(HandleKind, String), u64> = HashMap::new();
    for handle in runtime.handles() {
        let name = runtime
            .type_info(runtime.type_of(handle.target).unwrap())
            .unwrap()
            .name
            .clone();
        let name = if handle.secondary == 0 {
            name
        } else {
            format!(
                "{name} => {}",
                runtime
                    .type_info(runtime.type_of(handle.secondary).unwrap())
                    .unwrap()
                    .name
            )
        };
        *counts.entry((handle.kind, name)).or_default() += 1;
    }
    let expected = &report["handles"];
    let count = |kind, name: &str| counts.get(&(kind, name.to_owned())).copied().unwrap_or(0);
    let number = |name: &str| expected[name].as_u64().unwrap();
    assert_eq!(
        count(HandleKind::Strong, "Shop.Inventory.HandleTarget"),
        number("strong"),
        "{what}"
    );
    assert_eq!(
        count(HandleKind::WeakShort, "Shop.Inventory.HandleTarget"),
        number("weak_short"),
        "{what}"
    );
    assert_eq!(
        count(HandleKind::WeakLong, "Shop.Inventory.HandleTarget"),
        number("weak_long"),
        "{what}"
    );
    assert_eq!(
        count(HandleKind::Pinned, "Shop.Inventory.PinnedCell"),
        number("pinned_cells"),
        "{what}"
    );
    assert_eq!(
        count(HandleKind::Pinned, "Shop.Inventory.Reading[]"),
        number("pinned_arrays"),
        "{what}"
    );
    assert_eq!(
        count(
            HandleKind::Dependent,
            "Shop.Inventory.Tagged => Shop.Inventory.Tag"
        ),
        number("dependent"),
        "{what}"
    );
}

fn check_finalizers(runtime: &Runtime, report: &Value, what: &str) {
    let queue = runtime.finalization();
    let of = |objects: &[u64], name: &str| {
        let named = objects.iter().filter(|o| {
            runtime
                .type_info(runtime.type_of(**o).unwrap())
                .unwrap()
                .name
                == name
        });
        named.count() as u64
    };
    let registered: Vec<u64> = queue.registered.iter().map(|(_, object)| *object).collect();
    let (lease, safe) = ("Shop.Inventory.Lease", "Shop.Inventory.SafeLease");
    let number = |name: &str| report["finalizers"][name].as_u64().unwrap();
    assert_eq!(of(&queue.ready, lease), number("lease_ready"), "{what}");
    assert_eq!(
        of(&queue.ready_critical, safe),
        number("safe_lease_ready"),
        "{what}"
    );
    assert_eq!(
        of(&registered, safe),
        number("safe_lease_registered"),
        "{what}"
    );
    // Suppressed ones stay in the queue, but are marked.
    let (suppressed, active): (Vec<u64>, Vec<u64>) = registered
        .iter()
        .partition(|o| runtime.is_finalizer_suppressed(**o));
    assert_eq!(of(&suppressed, lease), number("lease_suppressed"), "{what}");
    assert_eq!(of(&active, lease), number("lease_registered"), "{what}");
    assert_eq!(
        runtime.ready_count().unwrap(),
        (queue.ready.len() + queue.ready_critical.len()) as u64,
        "{what}"
    );
    assert!(
        queue.thread.unwrap().busy,
        "{what}: the finalizer thread waits for a lock"
    );
}

fn check_statics(runtime: &Runtime, report: &Value, what: &str) {
    let statics: HashMap<String, _> = runtime
        .statics()
        .into_iter()
        .map(|s| (s.name.clone(), s))
        .collect();
    let mut checked = 0;
    for expected in report["statics"].as_array().unwrap() {
        let field = expected["field"].as_str().unwrap();
        let seen = statics.get(field);
        let declared = expected["declared"].as_str().unwrap();
        if let Some(address) = expected.get("address") {
            let seen = seen.unwrap_or_else(|| panic!("{what}: {field} is missing"));
            // Nothing was collected between the report and the dump: the address is still true.
            assert_eq!(seen.object, hex(address), "{what}: {field}");
            let info = runtime
                .type_info(runtime.type_of(seen.object).unwrap())
                .unwrap();
            assert_eq!(
                info.method_table,
                hex(&expected["method_table"]),
                "{what}: {field}"
            );
        } else if expected.get("is_null").is_some() && !declared.starts_with("System.Nullable<") {
            assert_eq!(seen.map(|s| s.object), Some(0), "{what}: {field} is null");
        } else if declared.starts_with("Shop.Inventory.Money")
            || declared.starts_with("Shop.Inventory.Slot")
        {
            let seen = seen.unwrap_or_else(|| panic!("{what}: {field} is missing"));
            assert!(seen.boxed_struct, "{what}: {field}");
            assert_eq!(
                runtime
                    .type_info(runtime.type_of(seen.object).unwrap())
                    .unwrap()
                    .name,
                declared,
                "{what}"
            );
        }
        checked += 1;
    }
    assert!(checked > 20, "{what}: {checked} statics");
    // The same field of two instances of a generic class are two fields.
    let cents = statics["Shop.Inventory.Registry.Float"].object;
    let money = runtime
        .instance_field(runtime.type_of(cents).unwrap(), "Cents")
        .unwrap();
    assert_eq!(money.kind, FieldKind::Primitive { bytes: 8 });
    assert_eq!(
        runtime.read_reference(cents, &money),
        Some(12345),
        "{what}: a field inside of a static struct"
    );
}

fn check_thread_statics(runtime: &Runtime, report: &Value, what: &str) {
    let fields = runtime.thread_statics();
    let mine: Vec<_> = fields
        .iter()
        .filter(|f| f.name == "Shop.Inventory.PerThread.Mine")
        .collect();
    let mut quantities: Vec<i64> = Vec::new();
    for field in &mine {
        let quantity = runtime
            .instance_field(runtime.type_of(field.object).unwrap(), "Quantity")
            .unwrap();
        quantities.push(runtime.read_i32(field.object, &quantity).unwrap().into());
    }
    quantities.sort_unstable();
    let expected: Vec<i64> = report["thread_statics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["mine_quantity"].as_i64().unwrap())
        .collect();
    assert_eq!(quantities, expected, "{what}");
    assert_eq!(
        fields
            .iter()
            .filter(|f| f.name == "Shop.Inventory.PerThread.Basket")
            .count(),
        expected.len(),
        "{what}"
    );
    let background = runtime
        .threads()
        .iter()
        .filter(|t| t.is_alive() && t.is_background())
        .count();
    assert!(
        background > expected.len(),
        "{what}: {background} background threads"
    );
}

fn check_references(runtime: &Runtime, census: &Census, what: &str) {
    let snapshot = runtime.snapshot();
    assert_eq!(
        snapshot.len() as u64,
        census.counts.values().map(|c| c.0).sum::<u64>(),
        "{what}"
    );
    let edges = runtime.edges(&snapshot);
    assert_eq!(edges.starts.len(), snapshot.len() + 1);
    assert_eq!(*edges.starts.last().unwrap() as usize, edges.targets.len());
    let mut references = runtime.references(&snapshot);
    for index in (0..u32::try_from(snapshot.len()).unwrap()).step_by(7) {
        let mut targets = Vec::new();
        references.each(index, |target| targets.push(target));
        let (from, to) = (
            edges.starts[index as usize] as usize,
            edges.starts[index as usize + 1] as usize,
        );
        assert_eq!(targets, edges.targets[from..to], "{what}");
        assert_eq!(snapshot.index_of(snapshot.address(index)), Some(index));
        assert_eq!(
            snapshot.index_around(snapshot.address(index) + 9),
            Some(index)
        );
        assert_eq!(snapshot.index_of(snapshot.address(index) + 8), None);
    }
    // Registry.All is one array of 5,700 items: each element is an edge.
    let all = runtime
        .statics()
        .into_iter()
        .find(|s| s.name == "Shop.Inventory.Registry.All")
        .unwrap();
    let index = snapshot.index_of(all.object).unwrap();
    assert_eq!(
        edges.starts[index as usize + 1] - edges.starts[index as usize],
        5700,
        "{what}"
    );
    assert_eq!(runtime.array_length(all.object), Some(5700));
}
