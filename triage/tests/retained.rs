//! Owners, retained sizes and paths of real dumps, each against a search of its own that knows nothing of trees.
#![allow(clippy::unwrap_used)]

use leakhound_clr::{HandleKind, Options, Runtime};
#[cfg(target_os = "linux")]
use leakhound_testbed::windows;
use leakhound_testbed::{Version, dumps, runtimes, targets};
use leakhound_triage::child::{Modules, Request, Strings};
use leakhound_triage::facts::path::Paths;
use leakhound_triage::facts::survey::{Reach, Root, RootKind, Survey};
use leakhound_triage::subject::Subject;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// Objects with the largest retained sizes that are taken away one by one, and others besides.
const LARGEST: usize = 12;
const OTHERS: usize = 24;

/// The heap as lists, read object by object.
struct Plain {
    edges: Vec<Vec<u32>>,
    slots: Vec<(u32, u32)>,
    ranks: Vec<u8>,
    sizes: Vec<u64>,
}

/// The document's promise, not the program's table: what doubts a root of a kind is under.
fn rank(kind: RootKind) -> u8 {
    match kind {
        RootKind::Static | RootKind::ThreadStatic | RootKind::Handle => 0,
        RootKind::RuntimeArray | RootKind::Frozen => 1,
        RootKind::Stack => 2,
        RootKind::Ready => 3,
        RootKind::Registered => 4,
    }
}

impl Plain {
    fn of(survey: &Survey<'_>) -> Self {
        let objects = &survey.objects;
        let mut references = survey.runtime.references(objects);
        let mut edges = vec![Vec::new(); objects.len()];
        // The runtime's arrays of statics hold nothing: their fields do.
        let arrays: HashSet<u32> = survey
            .runtime
            .statics()
            .iter()
            .map(|field| field.slot)
            .chain(survey.runtime.thread_statics().iter().map(|f| f.slot))
            .filter_map(|slot| objects.index_around(slot))
            .collect();
        for object in 0..objects.len() as u32 {
            if !arrays.contains(&object) {
                references.each(object, |target| edges[object as usize].push(target));
            }
        }
        for handle in survey.runtime.handles() {
            if handle.kind == HandleKind::Dependent
                && let Some(from) = objects.index_of(handle.target)
                && let Some(to) = objects.index_of(handle.secondary)
            {
                edges[from as usize].push(to);
            }
        }
        Self {
            edges,
            slots: survey
                .groups
                .slots()
                .map(|(group, node)| (group.0, node))
                .collect(),
            ranks: survey.roots.iter().map(|root| rank(root.kind)).collect(),
            sizes: (0..objects.len() as u32)
                .map(|object| objects.size(object))
                .collect(),
        }
    }

    /// Steps from the nearest root, 0 for what a root holds itself; roots up to `worst` count, but for one group and one object.
    fn distances(
        &self,
        counts: impl Fn(u32) -> bool,
        gone: Option<u32>,
    ) -> (Vec<Option<u32>>, u64) {
        let mut distance = vec![None; self.edges.len()];
        let mut queue: Vec<u32> = Vec::new();
        for (group, node) in &self.slots {
            if counts(*group) && gone != Some(*node) && distance[*node as usize].is_none() {
                distance[*node as usize] = Some(0);
                queue.push(*node);
            }
        }
        let mut bytes = 0;
        let mut next = 0;
        while let Some(node) = queue.get(next).copied() {
            next += 1;
            bytes += self.sizes[node as usize];
            for target in &self.edges[node as usize] {
                if gone != Some(*target) && distance[*target as usize].is_none() {
                    distance[*target as usize] = distance[node as usize].map(|d| d + 1);
                    queue.push(*target);
                }
            }
        }
        (distance, bytes)
    }

    fn up_to(&self, worst: u8) -> impl Fn(u32) -> bool {
        move |group| self.ranks[group as usize] <= worst
    }
}

fn check(version: Version) {
    let root = runtimes::get(version).unwrap();
    let service = targets::app("inventory")
        .unwrap()
        .on(&root)
        .start()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("heap.core");
    dumps::createdump(&root, service.pid(), dumps::Kind::Heap, &dump).unwrap();
    check_dump(dump, &version.to_string());
}

/// Minidumps that a process under wine writes. One runtime; all of them with `LEAKHOUND_FULL_MATRIX=1`.
#[cfg(target_os = "linux")]
#[test]
fn windows() {
    let all = std::env::var_os("LEAKHOUND_FULL_MATRIX").is_some_and(|value| value != "0");
    let app = targets::app("inventory").unwrap();
    for version in windows::VERSIONS {
        if !all && version != Version::Net8 {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join("heap.dmp");
        let root = windows::get(version).unwrap();
        drop(root.start_and_dump(&app, &dump).unwrap());
        check_dump(dump, &format!("{version} on Windows"));
    }
}

fn check_dump(dump: PathBuf, what: &str) {
    // Names of 3.1 come from its module files.
    let request = Request {
        dump,
        manifest: None,
        service: None,
        modules: Modules::Mapped,
        strings: Strings::Hashed,
        memory_limit_bytes: 1 << 32,
        time_limit_ms: 60_000,
    };
    let subject = Subject::open(&request).unwrap();
    let image = &subject.image;
    let runtime = Runtime::open(image, &Options::default()).unwrap();
    let survey = Survey::take(image, &runtime, &mut |_, _| {}).unwrap();
    let plain = Plain::of(&survey);
    let whole: Vec<(Vec<Option<u32>>, u64)> = (0..=4)
        .map(|worst| plain.distances(plain.up_to(worst), None))
        .collect();
    let best =
        |object: u32| (0..=4u8).find(|r| whole[usize::from(*r)].0[object as usize].is_some());

    // Who is alive, and the account.
    let objects = 0..survey.objects.len() as u32;
    for object in objects.clone() {
        let expected = match best(object) {
            None => Reach::Garbage,
            Some(3 | 4) => Reach::Finalizer,
            Some(_) => Reach::Live,
        };
        assert_eq!(survey.reach(object), expected, "{what}: {object}");
        assert_eq!(survey.is_live(object), best(object).is_some_and(|r| r < 4));
    }
    assert_eq!(survey.tree.total(), whole[4].1, "{what}");
    let owned: u64 = survey.roots.iter().map(|r| survey.owned_by(r).bytes).sum();
    assert_eq!(owned, whole[4].1, "{what}: each byte has one owner");
    let finalizing = |root: &&Root| matches!(root.kind, RootKind::Ready | RootKind::Registered);
    assert!(
        survey
            .roots
            .iter()
            .filter(finalizing)
            .any(|r| survey.owned_by(r).bytes > 0),
        "{what}: the target has dropped leases"
    );

    retained(&survey, &plain, &whole, what);
    owners_and_paths(&survey, &plain, what);
    two_indexes(&survey, what);
}

/// Takes objects and static fields away and looks what is left.
fn retained(survey: &Survey<'_>, plain: &Plain, whole: &[(Vec<Option<u32>>, u64)], what: &str) {
    let mut reached: Vec<u32> = (0..survey.objects.len() as u32)
        .filter(|object| survey.owners.of(*object).is_some())
        .collect();
    let others: Vec<u32> = reached
        .iter()
        .copied()
        .step_by(reached.len() / OTHERS + 1)
        .collect();
    reached.sort_by_key(|object| std::cmp::Reverse(survey.retained(*object)));
    for object in reached.into_iter().take(LARGEST).chain(others) {
        let rank = (0..=4u8)
            .find(|r| whole[usize::from(*r)].0[object as usize].is_some())
            .unwrap();
        let (_, left) = plain.distances(plain.up_to(rank), Some(object));
        assert_eq!(
            survey.retained(object),
            whole[usize::from(rank)].1 - left,
            "{what}: {} at {:#x}",
            survey.type_name(object),
            survey.objects.address(object)
        );
    }
    let mut roots: Vec<&Root> = survey.roots.iter().collect();
    roots.sort_by_key(|root| std::cmp::Reverse(survey.owned_by(root).bytes));
    for root in roots.into_iter().take(LARGEST) {
        let own = rank(root.kind);
        let open = |group: u32| plain.ranks[group as usize] <= own && group != root.group.0;
        let (_, left) = plain.distances(open, None);
        assert_eq!(
            survey.retained_by(root),
            whole[usize::from(own)].1 - left,
            "{what}: {}",
            root.name
        );
    }
}

/// The owner is the nearest root of the best kind, and the way to it is a real one.
fn owners_and_paths(survey: &Survey<'_>, plain: &Plain, what: &str) {
    let by_kind: HashMap<u8, Vec<Option<u32>>> = RootKind::ALL
        .iter()
        .map(|kind| {
            let of_kind = |group: u32| survey.roots[group as usize].kind == *kind;
            (*kind as u8, plain.distances(of_kind, None).0)
        })
        .collect();
    let better = |kind: RootKind| {
        let worse = move |group: u32| survey.roots[group as usize].kind < kind;
        plain.distances(worse, None).0
    };
    let by_better: HashMap<u8, Vec<Option<u32>>> = RootKind::ALL
        .iter()
        .map(|kind| (*kind as u8, better(*kind)))
        .collect();
    let slots: HashSet<(u32, u32)> = plain.slots.iter().copied().collect();
    let mut paths = Paths::new(survey);
    let step = survey.objects.len() / 500 + 1;
    for object in (0..survey.objects.len() as u32).step_by(step) {
        let Some(root) = survey.root_of(object) else {
            assert!(paths.to(object).is_none());
            continue;
        };
        let kind = root.kind as u8;
        assert_eq!(
            by_better[&kind][object as usize], None,
            "{what}: a better kind reaches {object}"
        );
        let (mut at, mut steps) = (object, 0);
        while let Some(parent) = survey.owners.parent(at) {
            assert!(
                plain.edges[parent as usize].contains(&at),
                "{what}: {parent} -> {at}"
            );
            (at, steps) = (parent, steps + 1);
        }
        assert!(
            slots.contains(&(root.group.0, at)),
            "{what}: {} holds {at}",
            root.name
        );
        assert_eq!(
            by_kind[&kind][object as usize],
            Some(steps),
            "{what}: {object}"
        );
        assert_eq!(paths.to(object).unwrap().steps[0], root.title());
    }
}

/// `Registry.All` and `Registry.ByName` hold the same items: one of them owns them, and neither retains them.
fn two_indexes(survey: &Survey<'_>, what: &str) {
    let field = |name: &str| {
        let name = format!("Shop.Inventory.Registry.{name}");
        survey.roots.iter().find(|root| root.name == name).unwrap()
    };
    let id = (0u32..)
        .map(leakhound_clr::TypeId)
        .take(survey.runtime.type_count())
        .find(|id| {
            let info = survey.runtime.type_info(*id);
            info.is_some_and(|info| info.name == "Shop.Inventory.Item")
        })
        .unwrap();
    let items: Vec<u32> = (0..survey.objects.len() as u32)
        .filter(|object| survey.objects.type_id(*object) == id && survey.is_live(*object))
        .collect();
    let (all, by_name) = (field("All"), field("ByName"));
    let shared = items
        .iter()
        .filter(|item| survey.owners.of(**item) == Some(all.group))
        .count();
    assert!(shared > 4_000, "{what}: {shared} of {} items", items.len());
    let bytes: u64 = items.iter().map(|item| survey.objects.size(*item)).sum();
    assert!(survey.owned_by(all).bytes > bytes / 2, "{what}");
    assert!(
        survey.retained_by(all) < survey.owned_by(all).bytes,
        "{what}"
    );
    let keys = survey.retained_by(by_name);
    assert!(
        survey.retained_together(items) >= bytes && keys > 0,
        "{what}"
    );
    // Fields are told with the arrays they hold, without indices.
    let mut paths = Paths::new(survey);
    let entries = (0..survey.objects.len() as u32)
        .find(|object| {
            survey.owners.of(*object) == Some(by_name.group)
                && survey.short_type_name(*object).ends_with("Entry[]")
        })
        .unwrap();
    let path = paths.to(entries).unwrap();
    assert_eq!(
        path.static_field.as_deref(),
        Some("Shop.Inventory.Registry.ByName")
    );
    assert_eq!(
        path.steps[..2],
        [
            "static Shop.Inventory.Registry.ByName",
            "Dictionary<String, Item>._entries"
        ]
    );
    assert!(path.holder.ends_with("._entries"), "{}", path.holder);
    let box_item = (0..survey.objects.len() as u32).find_map(|object| {
        let path = paths.to(object)?;
        let mut steps = path.steps.iter();
        steps
            .any(|step| step.ends_with("._items[]"))
            .then_some(path)
    });
    assert!(
        box_item.is_some(),
        "{what}: a list's element is told by the list's field"
    );
}

macro_rules! on_every_runtime {
    ($($name:ident: $version:ident),*) => {$(
        #[test]
        fn $name() {
            check(Version::$version);
        }
    )*};
}

on_every_runtime!(net31: Net31, net8: Net8, net9: Net9, net10: Net10);
