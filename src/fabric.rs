//! Asks the cluster which process is which service, and tells the collector.
//!
//! The collector never waits for it: what is said is a [`Roster`] that discovery looks at. A cluster that does not answer costs one
//! question now and then, and what it said last stays.

use jiff::Timestamp;
use leakhound_collector::fabric::Roster;
use leakhound_triage::notify::cluster::Cluster;
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
