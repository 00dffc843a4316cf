//! Incidents on disk: their tables in the node's database, and every statement that touches them.

use super::incident::{Incident, Say, Sighting, Silence, Status};
use super::{Decision, Version};
use jiff::{SignedDuration, Timestamp};
use leakhound_archive::error::Result;
use leakhound_archive::state::State;
use leakhound_rules::Severity;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};
use serde::Serialize;

/// The schema, step by step; released steps are only followed by others.
const STEPS: &[&str] = &["
    CREATE TABLE incident (
        id              TEXT PRIMARY KEY,
        fingerprint     TEXT NOT NULL,
        service         TEXT NOT NULL,
        status          TEXT NOT NULL,                  -- Status as JSON
        active          INTEGER NOT NULL,               -- not resolved
        title           TEXT NOT NULL,
        culprit         TEXT NOT NULL,
        category        TEXT NOT NULL,
        severity        TEXT NOT NULL,
        first_seen_ms   INTEGER NOT NULL,
        last_seen_ms    INTEGER NOT NULL,
        first_version   TEXT,
        last_version    TEXT,
        n_sightings     INTEGER NOT NULL,
        n_nodes         INTEGER NOT NULL,
        bytes           INTEGER NOT NULL,
        round           INTEGER NOT NULL,
        told            TEXT,                           -- Told as JSON
        quiet_ms        INTEGER NOT NULL DEFAULT 0,     -- watched time since the last sighting
        UNIQUE (fingerprint, service)
    ) STRICT;
    CREATE INDEX incident_active ON incident (active, last_seen_ms);
    CREATE TABLE incident_sighting (
        incident        TEXT NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
        capture         TEXT NOT NULL,
        node            TEXT NOT NULL,
        version         TEXT,
        at_ms           INTEGER NOT NULL,
        bytes           INTEGER NOT NULL,
        severity        TEXT NOT NULL,
        say             TEXT NOT NULL,
        event           TEXT NOT NULL,
        PRIMARY KEY (incident, capture)
    ) STRICT;
    CREATE TABLE incident_node (
        incident        TEXT NOT NULL REFERENCES incident (id) ON DELETE CASCADE,
        node            TEXT NOT NULL,
        PRIMARY KEY (incident, node)
    ) STRICT;
    CREATE TABLE incident_version (
        service         TEXT NOT NULL,
        version         TEXT NOT NULL,
        seen_ms         INTEGER NOT NULL,
        PRIMARY KEY (service, version)
    ) STRICT;
    CREATE TABLE incident_clock (
        one             INTEGER PRIMARY KEY CHECK (one = 1),
        at_ms           INTEGER NOT NULL
    ) STRICT;
"];

/// Sightings kept for each incident; the counts go on.
const SIGHTINGS_KEPT: u32 = 1_000;
/// Incidents that one question returns.
const LIST_LIMIT: u32 = 10_000;
/// Versions that one service is remembered with.
const VERSIONS_KEPT: u32 = 100;

/// Columns of an incident, in the order that [`read_incident`] reads them.
const COLUMNS: &str = "id, fingerprint, service, status, title, culprit, category, severity, first_seen_ms, \
    last_seen_ms, first_version, last_version, n_sightings, n_nodes, bytes, round, told";

/// Which incidents to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Resolved ones too.
    pub all: bool,
    /// Of this service.
    pub service: Option<String>,
}

/// One sighting as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    /// The capture.
    pub capture: String,
    /// Host name.
    pub node: String,
    /// Version of the service, where it is known.
    pub version: Option<String>,
    /// Moment of the capture.
    pub at: Timestamp,
    /// Bytes that the cause accounted for.
    pub bytes: u64,
    /// How bad it was.
    pub severity: Severity,
    /// What was said: `opened`, `again`, `regressed`, or why nothing.
    pub said: String,
}

/// The tables.
#[derive(Debug, Clone)]
pub(super) struct Store {
    state: State,
}

impl Store {
    pub fn open(state: State) -> Result<Self> {
        state.migrate("incidents", STEPS)?;
        Ok(Self { state })
    }

    /// One transaction: what is known, what `decide` makes of it, and both on disk.
    pub fn record(
        &self,
        sighting: &Sighting,
        decide: impl FnOnce(Option<Incident>, bool) -> Decision,
    ) -> Result<Decision> {
        self.state.write("record an incident", |t| {
            let before = t
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM incident WHERE fingerprint = ?1 AND service = ?2"
                ))?
                .query_row(
                    params![sighting.fingerprint, sighting.service],
                    read_incident,
                )
                .optional()?;
            if let Some(incident) = &before
                && let Some(decided) = known(t, incident, &sighting.capture)?
            {
                return Ok(decided);
            }
            let new_node = match &before {
                None => true,
                Some(incident) => t
                    .prepare("SELECT 1 FROM incident_node WHERE incident = ?1 AND node = ?2")?
                    .query_row(params![incident.id, sighting.node], |_| Ok(()))
                    .optional()?
                    .is_none(),
            };
            let decision = decide(before, new_node);
            put(t, &decision.incident)?;
            let heard = decision.say != Say::Nothing(Silence::BeforeTheFix);
            keep_sighting(t, sighting, &decision, heard)?;
            Ok(decision)
        })
    }

    pub fn list(&self, query: &Query) -> Result<Vec<Incident>> {
        self.state.read("list incidents", |c| {
            c.prepare(&format!(
                "SELECT {COLUMNS} FROM incident
                 WHERE (active = 1 OR ?1) AND (?2 IS NULL OR service = ?2)
                 ORDER BY last_seen_ms DESC, id LIMIT ?3"
            ))?
            .query_map(params![query.all, query.service, LIST_LIMIT], read_incident)?
            .collect()
        })
    }

    pub fn statuses(&self) -> Result<Vec<Status>> {
        self.state.read("count incidents", |c| {
            c.prepare("SELECT status FROM incident")?
                .query_map([], |row| read_status(row, 0))?
                .collect()
        })
    }

    pub fn beginning_with(&self, wanted: &str) -> Result<Vec<Incident>> {
        self.state.read("look for an incident", |c| {
            c.prepare(&format!(
                "SELECT {COLUMNS} FROM incident
                 WHERE substr(id, 1, length(?1)) = ?1 OR substr(fingerprint, 1, length(?1)) = ?1
                 ORDER BY id LIMIT 10"
            ))?
            .query_map([wanted], read_incident)?
            .collect()
        })
    }

    pub fn occurrences(&self, id: &str, limit: u32) -> Result<Vec<Occurrence>> {
        self.state.read("list sightings", |c| {
            c.prepare(
                "SELECT capture, node, version, at_ms, bytes, severity, say FROM incident_sighting
                 WHERE incident = ?1 ORDER BY at_ms DESC, capture LIMIT ?2",
            )?
            .query_map(params![id, limit], |r| {
                Ok(Occurrence {
                    capture: r.get(0)?,
                    node: r.get(1)?,
                    version: r.get(2)?,
                    at: timestamp(r.get(3)?),
                    bytes: unsigned(r.get(4)?),
                    severity: severity(&r.get::<_, String>(5)?),
                    said: r.get(6)?,
                })
            })?
            .collect()
        })
    }

    pub fn set_told(&self, incident: &Incident) -> Result<()> {
        self.change(
            "note what was said",
            "UPDATE incident SET told = ?2 WHERE id = ?1",
            params![incident.id, incident.told.as_ref().map(json)],
        )
    }

    pub fn set_status(&self, id: &str, status: &Status) -> Result<()> {
        self.change(
            "change an incident",
            "UPDATE incident SET status = ?2, active = ?3, quiet_ms = 0 WHERE id = ?1",
            params![id, json(status), status.is_active()],
        )
    }

    pub fn saw_version(&self, service: &str, version: &str, at: Timestamp) -> Result<()> {
        self.state.write("note a version", |t| {
            t.execute(
                "INSERT INTO incident_version (service, version, seen_ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET seen_ms = max(seen_ms, excluded.seen_ms)",
                params![service, version, at.as_millisecond()],
            )?;
            t.execute(
                "DELETE FROM incident_version WHERE service = ?1 AND version NOT IN
                    (SELECT version FROM incident_version WHERE service = ?1 ORDER BY seen_ms DESC LIMIT ?2)",
                params![service, VERSIONS_KEPT],
            )
            .map(drop)
        })
    }

    /// The latest version, by its own order, that a service was seen with.
    pub fn newest_version(&self, service: &str) -> Result<Option<String>> {
        let seen: Vec<String> = self.state.read("look for versions", |c| {
            c.prepare("SELECT version FROM incident_version WHERE service = ?1")?
                .query_map([service], |r| r.get(0))?
                .collect()
        })?;
        Ok(seen
            .into_iter()
            .max_by(|a, b| Version::of(a).cmp(&Version::of(b))))
    }

    /// Quiet time since the last look, no more than `longest` of it, passes for every incident that is not over.
    pub fn pass(&self, now: Timestamp, longest: SignedDuration) -> Result<()> {
        self.state.write("let quiet time pass", |t| {
            let last: Option<i64> = t
                .query_row("SELECT at_ms FROM incident_clock", [], |r| r.get(0))
                .optional()?;
            let now_ms = now.as_millisecond();
            if let Some(last) = last {
                let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
                let passed = now_ms.saturating_sub(last).clamp(0, longest);
                t.execute(
                    "UPDATE incident SET quiet_ms = quiet_ms + ?1 WHERE active = 1",
                    [passed],
                )?;
            }
            t.execute(
                "INSERT INTO incident_clock (one, at_ms) VALUES (1, ?1)
                 ON CONFLICT (one) DO UPDATE SET at_ms = excluded.at_ms",
                [now_ms],
            )
            .map(drop)
        })
    }

    pub fn quiet_for(&self, quiet: SignedDuration) -> Result<Vec<Incident>> {
        let quiet = i64::try_from(quiet.as_millis()).unwrap_or(i64::MAX);
        self.state.read("look for quiet incidents", |c| {
            c.prepare(&format!(
                "SELECT {COLUMNS} FROM incident WHERE active = 1 AND quiet_ms >= ?1 ORDER BY id LIMIT ?2"
            ))?
            .query_map(params![quiet, LIST_LIMIT], read_incident)?
            .collect()
        })
    }

    fn change(&self, doing: &str, statement: &str, values: &[&dyn ToSql]) -> Result<()> {
        self.state
            .write(doing, |t| t.execute(statement, values).map(drop))
    }
}

/// What was decided about this capture before.
fn known(c: &Connection, incident: &Incident, capture: &str) -> rusqlite::Result<Option<Decision>> {
    let row: Option<(String, String)> = c
        .prepare("SELECT say, event FROM incident_sighting WHERE incident = ?1 AND capture = ?2")?
        .query_row(params![incident.id, capture], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .optional()?;
    Ok(row.map(|(say, event)| Decision {
        incident: incident.clone(),
        say: match say.as_str() {
            "opened" => Say::Opened,
            "again" => Say::Again,
            "regressed" => Say::Regressed,
            _ => Say::Nothing(Silence::Known),
        },
        event,
    }))
}

fn name_of(say: Say) -> &'static str {
    match say {
        Say::Opened => "opened",
        Say::Again => "again",
        Say::Regressed => "regressed",
        Say::Nothing(Silence::Muted) => "nothing: muted",
        Say::Nothing(Silence::Recent) => "nothing: told a moment ago",
        Say::Nothing(Silence::BeforeTheFix) => "nothing: without the fix",
        Say::Nothing(Silence::Known) => "nothing: counted before",
    }
}

fn put(t: &Transaction<'_>, incident: &Incident) -> rusqlite::Result<()> {
    t.prepare(&format!(
        "INSERT INTO incident ({COLUMNS}, active) VALUES
            (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         ON CONFLICT (id) DO UPDATE SET
            status = excluded.status, active = excluded.active, title = excluded.title, severity = excluded.severity,
            first_seen_ms = excluded.first_seen_ms, last_seen_ms = excluded.last_seen_ms,
            last_version = excluded.last_version, n_sightings = excluded.n_sightings, n_nodes = excluded.n_nodes,
            bytes = excluded.bytes, round = excluded.round, told = excluded.told"
    ))?
    .execute(params![
        incident.id,
        incident.fingerprint,
        incident.service,
        json(&incident.status),
        incident.title,
        incident.culprit,
        incident.category,
        incident.severity.name(),
        incident.first_seen.as_millisecond(),
        incident.last_seen.as_millisecond(),
        incident.first_version,
        incident.last_version,
        signed(incident.n_sightings),
        signed(incident.n_nodes),
        signed(incident.bytes),
        incident.round,
        incident.told.as_ref().map(json),
        incident.status.is_active(),
    ])
    .map(drop)
}

fn keep_sighting(
    t: &Transaction<'_>,
    sighting: &Sighting,
    decision: &Decision,
    heard: bool,
) -> rusqlite::Result<()> {
    let id = &decision.incident.id;
    t.execute(
        "INSERT INTO incident_sighting (incident, capture, node, version, at_ms, bytes, severity, say, event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            id,
            sighting.capture,
            sighting.node,
            sighting.version,
            sighting.at.as_millisecond(),
            signed(sighting.bytes),
            sighting.severity.name(),
            name_of(decision.say),
            decision.event,
        ],
    )?;
    t.execute(
        "INSERT OR IGNORE INTO incident_node (incident, node) VALUES (?1, ?2)",
        params![id, sighting.node],
    )?;
    if heard {
        t.execute("UPDATE incident SET quiet_ms = 0 WHERE id = ?1", [id])?;
    }
    t.execute(
        "DELETE FROM incident_sighting WHERE incident = ?1 AND capture IN
            (SELECT capture FROM incident_sighting WHERE incident = ?1 ORDER BY at_ms DESC, capture LIMIT -1 OFFSET ?2)",
        params![id, SIGHTINGS_KEPT],
    )
    .map(drop)
}

fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    let told: Option<String> = row.get(16)?;
    Ok(Incident {
        id: row.get(0)?,
        fingerprint: row.get(1)?,
        service: row.get(2)?,
        status: read_status(row, 3)?,
        title: row.get(4)?,
        culprit: row.get(5)?,
        category: row.get(6)?,
        severity: severity(&row.get::<_, String>(7)?),
        first_seen: timestamp(row.get(8)?),
        last_seen: timestamp(row.get(9)?),
        first_version: row.get(10)?,
        last_version: row.get(11)?,
        n_sightings: unsigned(row.get(12)?),
        n_nodes: unsigned(row.get(13)?),
        bytes: unsigned(row.get(14)?),
        round: row.get(15)?,
        told: told
            .map(|told| serde_json::from_str(&told))
            .transpose()
            .map_err(|e| unreadable(16, e))?,
    })
}

fn read_status(row: &Row<'_>, column: usize) -> rusqlite::Result<Status> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// Enumerations and times of ours always serialize.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn severity(name: &str) -> Severity {
    Severity::named(name).unwrap_or(Severity::Warning)
}

/// Times in the tables are ours; one out of range is as late as can be.
fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}

/// SQLite's numbers are signed; more than it can hold is as much as it can hold.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}
