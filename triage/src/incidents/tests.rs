//! The store: counted once, told once, over when it is quiet, whatever happens between two steps.
#![allow(clippy::unwrap_used)]

use super::*;
use leakhound_rules::Severity;
use std::path::Path;

fn open(folder: &Path) -> Incidents {
    Incidents::open(State::open(folder).unwrap()).unwrap()
}

fn time(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(29_000_000 + minutes)
}

fn seen(minutes: i64, node: &str, version: &str) -> Sighting {
    Sighting {
        fingerprint: "0123456789abcdef".to_owned(),
        service: "fabric:/Shop/Cart".to_owned(),
        capture: format!("cart/{minutes}-{node}"),
        node: node.to_owned(),
        version: (!version.is_empty()).then(|| version.to_owned()),
        at: time(minutes),
        severity: Severity::Warning,
        bytes: 100_000_000,
        title: "One static field keeps a large part of the heap alive".to_owned(),
        culprit: "Shop.Cart.Cache.All".to_owned(),
        category: "static-root".to_owned(),
    }
}

#[test]
fn twenty_nodes_are_one_incident_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::default();
    let mut said = Vec::new();
    for n in 0..20 {
        // Every sighting by a process of its own, as after a crash.
        let incidents = open(folder.path());
        let decision = incidents
            .record(&seen(n, &format!("node-{n}"), "1.0"), &policy, time(n))
            .unwrap();
        said.push(decision.say);
    }
    assert_eq!(said[0], Say::Opened);
    assert!(
        said[1..]
            .iter()
            .all(|say| *say == Say::Nothing(Silence::Recent))
    );
    let incidents = open(folder.path());
    assert!(incidents.due(time(60), &policy).unwrap().is_empty());
    let due = incidents.due(time(6 * 60), &policy).unwrap();
    assert_eq!(due.len(), 1);
    let incident = due[0].incident.clone();
    assert_eq!((incident.n_sightings, incident.n_nodes), (20, 20));
    assert_eq!(due[0].event, "again-1-20");
    incidents.told(incident.clone(), time(6 * 60)).unwrap();
    assert!(incidents.due(time(48 * 60), &policy).unwrap().is_empty());
    let kept = incidents.occurrences(&incident.id, 100).unwrap();
    assert_eq!(kept.len(), 20);
    assert_eq!(
        (kept[0].node.as_str(), kept[19].said.as_str()),
        ("node-19", "opened")
    );
}

#[test]
fn a_capture_that_is_judged_again_gives_the_same_decision() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::default();
    let incidents = open(folder.path());
    let sighting = seen(0, "a", "1.0");
    let first = incidents.record(&sighting, &policy, time(0)).unwrap();
    // The process died before the message was planned; the job is given to another one.
    let again = open(folder.path())
        .record(&sighting, &policy, time(5))
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(again.event, "opened-1");
    assert_eq!(again.incident.n_sightings, 1);
}

#[test]
fn quiet_time_counts_only_while_somebody_watches() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy {
        quiet: SignedDuration::from_hours(2),
        ..Policy::default()
    };
    let incidents = open(folder.path());
    incidents
        .record(&seen(0, "a", "1.0"), &policy, time(0))
        .unwrap();
    assert!(incidents.watch(time(0), &policy).unwrap().is_empty());
    // Switched off for a month: ten minutes of it may have been watched.
    assert!(incidents.watch(time(43_200), &policy).unwrap().is_empty());
    let mut at = 43_200;
    let quiet = loop {
        at += 5;
        let quiet = incidents.watch(time(at), &policy).unwrap();
        if !quiet.is_empty() {
            break quiet;
        }
        assert!(at < 43_200 + 240);
    };
    assert_eq!(at, 43_200 + 110, "ten minutes of the gap count");
    incidents
        .saw_version("fabric:/Shop/Cart", "1.9", time(at))
        .unwrap();
    incidents
        .saw_version("fabric:/Shop/Cart", "1.10", time(at - 9))
        .unwrap();
    incidents.over(&quiet[0], &policy, time(at)).unwrap();
    let incident = incidents.find(&quiet[0].id).unwrap();
    assert_eq!(
        incident.status,
        Status::Resolved {
            at: time(at),
            by: Resolver::Quiet(policy.quiet),
            version: Some("1.10".to_owned()),
        }
    );
    assert!(incidents.list(&Query::default()).unwrap().is_empty());
    // A node that still runs the old version does not reopen it; the fixed version does.
    let old = incidents
        .record(&seen(at + 5, "b", "1.9"), &policy, time(at + 5))
        .unwrap();
    assert_eq!(old.say, Say::Nothing(Silence::BeforeTheFix));
    let back = incidents
        .record(&seen(at + 9, "b", "1.10"), &policy, time(at + 9))
        .unwrap();
    assert_eq!(
        (back.say, back.event.as_str()),
        (Say::Regressed, "opened-2")
    );
    let Status::Regressed { fixed_in, .. } = back.incident.status else {
        panic!("{:?}", back.incident.status);
    };
    assert_eq!(fixed_in.as_deref(), Some("1.10"));
}

#[test]
fn people_mute_and_resolve_by_the_beginning_of_an_id() {
    let folder = tempfile::tempdir().unwrap();
    let policy = Policy::default();
    let incidents = open(folder.path());
    let opened = incidents
        .record(&seen(0, "a", "1.0"), &policy, time(0))
        .unwrap()
        .incident;
    let muted = incidents
        .mute(&opened.id[..6], None, "known, ticket 12")
        .unwrap();
    assert_eq!(muted.status.name(), "muted");
    assert_eq!(incidents.counts().unwrap()["muted"], 1);
    let say = incidents
        .record(&seen(9, "b", "1.0"), &policy, time(9))
        .unwrap()
        .say;
    assert_eq!(say, Say::Nothing(Silence::Muted));
    assert!(incidents.due(time(6_000), &policy).unwrap().is_empty());
    incidents.unmute(&opened.fingerprint).unwrap();
    incidents
        .resolve(&opened.id, Some("1.1"), "bounded", time(20))
        .unwrap();
    let error = incidents
        .resolve(&opened.id, None, "again", time(21))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is resolved already"), "{error}");
    let counts = incidents.counts().unwrap();
    let expected = [("muted", 0), ("open", 0), ("regressed", 0), ("resolved", 1)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    let error = incidents.find("zzz").unwrap_err().to_string();
    assert!(
        error.contains("`zzz`") && error.contains("incidents list"),
        "{error}"
    );
    // A percent sign is a letter like any other, not a pattern.
    assert!(incidents.find("%").is_err());
}
