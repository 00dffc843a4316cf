//! Asks the cluster which process is which service, and tells the collector; carries notices between agents, where primaries are
//! to be spared.
//!
//! The collector never waits for it: what is said is a [`Roster`] that discovery looks at. A cluster that does not answer costs one
//! question now and then, and what it said last stays.

use jiff::Timestamp;
use leakhound_collector::fabric::Roster;
use leakhound_collector::spare::NoticeBoard;
use leakhound_rules::Millis;
use leakhound_triage::notify::cluster::Cluster;
use leakhound_triage::notify::destination::Failure;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The longest pause between two questions to a cluster that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Asks about the processes of `node` until `shutdown`.
pub async fn ask(
    node: String,
    roster: Roster,
    mut config: watch::Receiver<Option<Cluster>>,
    shutdown: CancellationToken,
) {
    let mut failures = 0;
    loop {
        let cluster = config.borrow_and_update().clone();
        let pause = match &cluster {
            None => None,
            Some(cluster) => {
                let every = Duration::from_millis(cluster.every.0);
                let asked_ms = Timestamp::now().as_millisecond();
                let answer = tokio::select! {
                    answer = cluster.processes(&node) => answer,
                    () = shutdown.cancelled() => return,
                };
                match answer {
                    Ok(processes) => {
                        if failures > 0 {
                            tracing::info!("The cluster answers again");
                        }
                        failures = 0;
                        tracing::debug!(processes = processes.len(), "The cluster has answered");
                        roster.tell(processes, asked_ms);
                    }
                    Err(failure) => {
                        if failures == 0 {
                            tracing::warn!(%failure, "The cluster does not say which process is which service; what it said last holds");
                        }
                        failures += 1;
                    }
                }
                Some(pause(every, failures))
            }
        };
        let waiting = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = waiting => {}
            changed = config.changed() => match changed {
                // Another address may be the cure.
                Ok(()) => failures = 0,
                Err(_) => return,
            },
        }
    }
}

/// How often notices are asked for while a primary waits.
const SHARE_EVERY: Duration = Duration::from_secs(1);
/// After this a notice that could not be told is of no use: no primary waits as long.
const NOTICE_MS: i64 = 600_000;

/// Carries notices between `board` and the cluster until `shutdown`.
pub async fn share(
    node: String,
    board: NoticeBoard,
    mut config: watch::Receiver<Option<Cluster>>,
    shutdown: CancellationToken,
) {
    let mut has_failed = false;
    loop {
        let cluster = config.borrow_and_update().clone();
        let cluster = cluster.filter(|cluster| cluster.prefer_secondary.0 > 0);
        board.set_patience(cluster.as_ref().map(|cluster| cluster.prefer_secondary.0));
        let round = async {
            match &cluster {
                Some(cluster) => {
                    let result = exchange(cluster, &node, &board).await;
                    if let (Err(failure), false) = (&result, has_failed) {
                        tracing::warn!(%failure, "Agents of other nodes cannot be told what was captured here, or asked; primaries are captured by themselves");
                    }
                    has_failed = result.is_err();
                    tokio::time::sleep(SHARE_EVERY).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = round => {}
            changed = config.changed() => match changed {
                Ok(()) => has_failed = false,
                Err(_) => return,
            },
        }
    }
}

/// Tells and asks once; the last failure, if any.
async fn exchange(cluster: &Cluster, node: &str, board: &NoticeBoard) -> Result<(), Failure> {
    let mut result: Result<(), Failure> = Ok(());
    for notice in board.notices() {
        let told = cluster.tell_captured(
            &notice.partition,
            node,
            &notice.bundle,
            Millis(notice.lasts_ms),
        );
        let told = told.await;
        if told.is_ok() || Timestamp::now().as_millisecond() - notice.made_ms > NOTICE_MS {
            board.told(&notice);
        }
        result = told.and(result);
    }
    for partition in board.questions(Timestamp::now().as_millisecond()) {
        match cluster.captured_on(&partition, node).await {
            Ok(found) => board.answer(&partition, found),
            Err(failure) => result = Err(failure),
        }
    }
    result
}

/// Twice as long after each failure, up to a limit.
fn pause(every: Duration, failures: u32) -> Duration {
    let longer = every.saturating_mul(1 << failures.min(16));
    longer.min(LONGEST_PAUSE.max(every))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_cluster_is_asked_less_and_less_often() {
        let seconds = |every, failures| pause(Duration::from_secs(every), failures).as_secs();
        assert_eq!([0, 1, 2, 3].map(|n| seconds(30, n)), [30, 60, 120, 240]);
        assert_eq!(seconds(30, 9), 600);
        assert_eq!(seconds(30, u32::MAX), 600);
        assert_eq!(seconds(3_600, 4), 3_600);
    }
}
