//! What waits on purpose: for room under a limit, or to be told with others in a digest.

use jiff::Timestamp;
use leakhound_archive::error::Result;
use rusqlite::{Connection, OptionalExtension, params};

use super::key_of;
use super::store::{NewRow, Store, put, read_message};
use crate::notify::digest;
use crate::notify::message::Message;
use crate::notify::route::Limit;

/// Messages in one digest.
const GATHERED: u32 = 200;

impl Store {
    /// Leaves a destination alone that got as many messages as it may, until it may get the next.
    pub fn hold_at(&self, destination: &str, limit: Limit, now: Timestamp) -> Result<()> {
        let span_ms = i64::try_from(limit.span_ms).unwrap_or(i64::MAX);
        self.state.write("keep to a limit", |t| {
            t.execute(
                "INSERT INTO outbox_hold (destination, until_ms)
                 SELECT destination, finished_at_ms + ?3 FROM outbox
                 WHERE destination = ?1 AND state IN ('sent', 'confirmed') AND gather = 0
                   AND finished_at_ms > ?4 - ?3
                 ORDER BY finished_at_ms DESC LIMIT 1 OFFSET ?2
                 ON CONFLICT (destination) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)",
                params![
                    destination,
                    limit.count - 1,
                    span_ms,
                    now.as_millisecond()
                ],
            )
            .map(drop)
        })
    }

    /// Makes one message of all that wait for a digest of a destination and are due; how many they were. They are remembered, so
    /// that none is planned again, and the digest is planned in the same transaction.
    pub fn gather(&self, destination: &str, now: Timestamp, deadline: Timestamp) -> Result<usize> {
        let now_ms = now.as_millisecond();
        // Most of the time there are none, and then nothing is written.
        let due = |c: &Connection| waiting(c, destination, now_ms);
        if self.state.read("look for a digest", due)?.is_empty() {
            return Ok(0);
        }
        self.state.write("gather a digest", |t| {
            let mut parts = Vec::new();
            for (key, json) in waiting(t, destination, now_ms)? {
                match read_message(json) {
                    Ok(message) => parts.push((key, message)),
                    // It is sent by itself, where its failure is reported.
                    Err(_) => release(t, &key)?,
                }
            }
            let (keys, messages): (Vec<String>, Vec<Message>) = parts.into_iter().unzip();
            let (Some(first), Some(message)) = (keys.first(), digest::of(messages)) else {
                return Ok(0);
            };
            if let [only] = keys.as_slice() {
                release(t, only)?;
                return Ok(1);
            }
            let event = format!("digest-{first}");
            let key = key_of("digest", &message.context.service, destination, &event);
            let row = NewRow {
                key: &key,
                destination,
                event: &event,
                message: &message,
                planned_at: now,
                due_at: now,
                gather: false,
                deadline,
            };
            let json = serde_json::to_string(&message)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            put(t, &row, &json)?;
            for part in &keys {
                t.execute(
                    "UPDATE outbox SET state = 'sent', message = NULL, finished_at_ms = ?2,
                            last_reply = 'part of the digest ' || ?3
                     WHERE key = ?1",
                    params![part, now_ms, key],
                )?;
            }
            Ok(keys.len())
        })
    }

    /// What waited for a digest of a destination that has none any more goes out by itself.
    pub fn scatter(&self, destination: &str) -> Result<usize> {
        let any = self.state.read("look for a digest", |c| {
            c.prepare(
                "SELECT 1 FROM outbox WHERE destination = ?1 AND state = 'planned' AND gather = 1 LIMIT 1",
            )?
            .query_row([destination], |_| Ok(()))
            .optional()
        })?;
        if any.is_none() {
            return Ok(0);
        }
        self.state.write("give up a digest", |t| {
            t.execute(
                "UPDATE outbox SET gather = 0 WHERE destination = ?1 AND state = 'planned' AND gather = 1",
                [destination],
            )
        })
    }
}

/// Keys and messages that wait for a digest and are due, the oldest first.
fn waiting(
    c: &Connection,
    destination: &str,
    now_ms: i64,
) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    c.prepare(
        "SELECT key, message FROM outbox
         WHERE destination = ?1 AND state = 'planned' AND gather = 1 AND next_at_ms <= ?2
         ORDER BY id LIMIT ?3",
    )?
    .query_map(params![destination, now_ms, GATHERED], |r| {
        Ok((r.get(0)?, r.get(1)?))
    })?
    .collect()
}

fn release(c: &Connection, key: &str) -> rusqlite::Result<()> {
    c.execute("UPDATE outbox SET gather = 0 WHERE key = ?1", [key])
        .map(drop)
}
