#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const DAY: i64 = 86_400;

fn now() -> Timestamp {
    Timestamp::from_second(1_000 * DAY).unwrap()
}

/// A bundle of `service`, `age` days old, with a dump of 100 bytes and 10 bytes of everything else.
fn item(service: &str, age: i64) -> Item {
    Item {
        key: format!("{service}/{age}"),
        service: service.to_owned(),
        captured_at: Timestamp::from_second((1_000 - age) * DAY).unwrap(),
        dump_bytes: 100,
        other_bytes: 10,
        has_sheet: true,
        is_kept: false,
        in_use: false,
    }
}

fn days(n: i64) -> Option<SignedDuration> {
    Some(SignedDuration::from_hours(24 * n))
}

/// Keys with `D` for a dump and `B` for a bundle.
fn short(plan: &Plan) -> Vec<String> {
    let mark = |d: &Deletion| if d.target == Target::Dump { "D" } else { "B" };
    plan.deletions
        .iter()
        .map(|d| format!("{} {}", mark(d), d.key))
        .collect()
}

#[test]
fn no_limits_delete_nothing() {
    let items = [item("a", 1), item("a", 900)];
    let plan = plan(&items, &Policy::default(), now());
    assert_eq!(
        plan,
        Plan {
            remaining_bytes: 220,
            ..Plan::default()
        }
    );
}

#[test]
fn age_spares_the_newest_of_each_service() {
    let items = [
        item("a", 40),
        item("a", 50),
        item("b", 60),
        item("b", 5),
        item("b", 31),
        item("b", 30),
    ];
    let policy = Policy {
        bundles: Limits {
            age: days(30),
            ..Limits::default()
        },
        ..Policy::default()
    };
    let plan = plan(&items, &policy, now());
    assert_eq!(
        short(&plan),
        ["B b/60", "B a/50", "B b/31"],
        "oldest first; a/40 is the newest of a, b/30 is not over"
    );
    assert_eq!(
        plan.deletions[0].reason,
        "60 days old, bundles are kept for 30 days"
    );
    assert_eq!(plan.remaining_bytes, 330);
}

#[test]
fn count_keeps_the_newest() {
    let items: Vec<_> = (1..=5)
        .map(|age| item("a", age))
        .chain([item("b", 9)])
        .collect();
    let policy = Policy {
        bundles: Limits {
            per_service: Some(3),
            ..Limits::default()
        },
        ..Policy::default()
    };
    let plan = plan(&items, &policy, now());
    assert_eq!(short(&plan), ["B a/5", "B a/4"]);
    assert_eq!(
        plan.deletions[0].reason,
        "number 5 of its service from the newest, 3 bundles are kept"
    );
}

#[test]
fn dumps_go_before_their_bundles() {
    let mut without_sheet = item("a", 20);
    without_sheet.has_sheet = false;
    let mut already_gone = item("a", 25);
    already_gone.dump_bytes = 0;
    let items = [
        item("a", 1),
        item("a", 8),
        without_sheet,
        already_gone,
        item("a", 40),
    ];
    let policy = Policy {
        bundles: Limits {
            age: days(30),
            ..Limits::default()
        },
        dumps: Limits {
            age: days(7),
            ..Limits::default()
        },
        ..Policy::default()
    };
    let plan = plan(&items, &policy, now());
    assert_eq!(short(&plan), ["B a/40", "B a/20", "D a/8"]);
    assert_eq!(plan.deletions[2].frees_bytes, 100);
}

#[test]
fn total_takes_old_dumps_first_then_bundles() {
    let items: Vec<_> = (1..=4).map(|age| item("a", age)).collect();
    let total = |bytes| Policy {
        bundles: Limits {
            total_bytes: Some(bytes),
            ..Limits::default()
        },
        ..Policy::default()
    };
    assert_eq!(short(&plan(&items, &total(440), now())), [""; 0]);
    assert_eq!(short(&plan(&items, &total(439), now())), ["D a/4"]);
    assert_eq!(
        short(&plan(&items, &total(140), now())),
        ["D a/4", "D a/3", "D a/2"]
    );
    assert_eq!(
        short(&plan(&items, &total(125), now())),
        ["B a/4", "B a/3", "D a/2"]
    );
    let hopeless = plan(&items, &total(50), now());
    assert_eq!(short(&hopeless), ["B a/4", "B a/3", "B a/2"]);
    assert_eq!(
        (hopeless.remaining_bytes, hopeless.excess_bytes),
        (110, 60),
        "the newest is protected, and that is said"
    );
}

#[test]
fn marked_and_busy_bundles_stay() {
    let (mut marked, mut busy) = (item("a", 90), item("a", 80));
    marked.is_kept = true;
    busy.in_use = true;
    let items = [marked, busy, item("a", 70), item("a", 1)];
    let policy = Policy {
        bundles: Limits {
            age: days(30),
            per_service: Some(1),
            total_bytes: Some(1),
        },
        dumps: Limits {
            age: days(1),
            per_service: Some(0),
            total_bytes: Some(0),
        },
        keep_newest: 1,
    };
    assert_eq!(short(&plan(&items, &policy, now())), ["B a/70"]);
}

prop_compose! {
    fn any_item()(
        service in "[ab]", age in 0i64..100, dump_bytes in 0u64..1000, other_bytes in 0u64..50,
        has_sheet in any::<bool>(), is_kept in any::<bool>(), in_use in any::<bool>()
    ) -> Item {
        Item { dump_bytes, other_bytes, has_sheet, is_kept, in_use, ..item(&service, age) }
    }
}

prop_compose! {
    fn any_limits()(
        age in proptest::option::of(0i64..100), per_service in proptest::option::of(0u32..5),
        total_bytes in proptest::option::of(0u64..5000)
    ) -> Limits {
        Limits { age: age.map(|d| SignedDuration::from_hours(24 * d)), per_service, total_bytes }
    }
}

proptest! {
    #[test]
    fn promises_hold(
        mut items in proptest::collection::vec(any_item(), 0..20),
        bundles in any_limits(), dumps in any_limits(), keep_newest in 0u32..3
    ) {
        for (i, item) in items.iter_mut().enumerate() {
            item.key = format!("{}/{i}", item.service);
        }
        let policy = Policy { bundles, dumps, keep_newest };
        let plan = plan(&items, &policy, now());
        let find = |key: &str| items.iter().find(|i| i.key == key).unwrap();
        let mut keys = HashSet::new();
        for deletion in &plan.deletions {
            let item = find(&deletion.key);
            prop_assert!(!item.is_kept && !item.in_use);
            prop_assert!(keys.insert(deletion.key.clone()), "one deletion per bundle");
            prop_assert!(deletion.target == Target::Bundle || item.has_sheet && item.dump_bytes > 0);
        }
        for service in ["a", "b"] {
            let n = items.iter().filter(|i| i.service == service).count();
            let gone = plan.deletions.iter().filter(|d| find(&d.key).service == service).count();
            prop_assert!(n - gone >= n.min(keep_newest as usize));
        }
        let all: u64 = items.iter().map(|i| i.dump_bytes + i.other_bytes).sum();
        let freed: u64 = plan.deletions.iter().map(|d| d.frees_bytes).sum();
        prop_assert_eq!(plan.remaining_bytes, all - freed);
        if let Some(limit) = policy.bundles.total_bytes {
            prop_assert_eq!(plan.excess_bytes, plan.remaining_bytes.saturating_sub(limit));
        }
    }
}
