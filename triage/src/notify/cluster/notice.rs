//! Notices between agents, as health reports on partitions: that a secondary was captured, so that its primary need not be.
//!
//! A report goes by itself when its time is over, operators see it in Service Fabric Explorer, and the right that it needs
//! (`ReportHealth` of the cluster's `Security/ClientAccess`) is the one that `[[notify]]` asks for too. A property of a name would need
//! the right to write any, and somebody to take it away again. State `Ok` changes nobody's health.

use super::{Cluster, LIMITS, Session};
use crate::notify::destination::Failure;
use crate::notify::http::{Http, Request, json_body};
use jiff::Timestamp;
use leakhound_rules::Millis;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

/// Who reports; a source that begins with `System.` would be refused.
const SOURCE: &str = "Leakhound";
/// The property of a notice is this and the node: a report takes the place of the one before of the same property.
const PROPERTY: &str = "captured on ";
/// A notice outlives the wait of a primary that has just begun to wait.
const SHORTEST_LIFE_MS: u64 = 60_000;
/// `EventsHealthStateFilter`: events of every state.
const EVERY_EVENT: &str = "65535";
/// `ReplicasHealthStateFilter`: no replicas.
const NO_REPLICA: &str = "1";

impl Cluster {
    /// Tells that a secondary of `partition` was captured on `node`.
    ///
    /// # Errors
    /// The gateway cannot be reached, or lets us not report.
    pub async fn tell_captured(
        &self,
        partition: &str,
        node: &str,
        bundle: &str,
        lasts: Millis,
    ) -> Result<(), Failure> {
        let http = Http::new(LIMITS);
        let session = Session::new(self, &http)?;
        let lasts_s = lasts.0.max(SHORTEST_LIFE_MS).div_ceil(1_000);
        let report = json!({
            "SourceId": SOURCE,
            "Property": format!("{PROPERTY}{node}"),
            "HealthState": "Ok",
            "TimeToLiveInMilliSeconds": format!("PT{lasts_s}S"),
            "RemoveWhenExpired": true,
            "Description": format!("Leakhound captured a secondary on {node} ({bundle}); its primary is spared meanwhile."),
        });
        let path = ["Partitions", partition, "$", "ReportHealth"];
        let query = [("api-version", "6.0"), ("Immediate", "true")];
        let request = Request {
            method: Method::POST,
            client: session.client.clone(),
            headers: session.headers.clone(),
            ..Request::post(
                session.gateway.address()?.join(&path).with_query(&query),
                json_body(&report),
            )
        };
        let reply = http.exchange(request, Timestamp::now()).await?;
        reply.success().map(drop)
    }

    /// The node other than `own` on which a secondary of `partition` was captured, if one was.
    ///
    /// # Errors
    /// The gateway cannot be reached, lets us not in, or does not answer as one.
    pub async fn captured_on(&self, partition: &str, own: &str) -> Result<Option<String>, Failure> {
        let http = Http::new(LIMITS);
        let session = Session::new(self, &http)?;
        let path = ["Partitions", partition, "$", "GetHealth"];
        let query = [
            ("api-version", "6.0"),
            ("EventsHealthStateFilter", EVERY_EVENT),
            ("ReplicasHealthStateFilter", NO_REPLICA),
            ("ExcludeHealthStatistics", "true"),
        ];
        match session.ask::<Health>(&path, &query).await? {
            Some(health) => Ok(health?.captured_on(own)),
            None => Ok(None),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    health_events: Vec<Event>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Event {
    source_id: String,
    property: String,
    is_expired: bool,
}

impl Health {
    fn captured_on(self, own: &str) -> Option<String> {
        let events = self.health_events.into_iter();
        let nodes = events
            .filter(|event| event.source_id == SOURCE && !event.is_expired)
            .filter_map(|event| Some(event.property.strip_prefix(PROPERTY)?.to_owned()));
        nodes
            .into_iter()
            .find(|node| !node.is_empty() && node != own)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_notice_of_another_node_that_still_holds_counts() {
        let event = |source: &str, property: &str, is_expired: bool| json!({ "SourceId": source, "Property": property, "IsExpired": is_expired, "HealthState": "Ok" });
        let said = |events: &[serde_json::Value]| {
            let health = json!({ "AggregatedHealthState": "Ok", "HealthEvents": events });
            serde_json::from_value::<Health>(health)
                .unwrap()
                .captured_on("_Node_0")
        };
        let others = [
            event("System.FM", "captured on _Node_1", false),
            event(SOURCE, "captured on _Node_0", false),
            event(SOURCE, "captured on _Node_1", true),
            event(SOURCE, "captured on ", false),
            event(SOURCE, "an incident", false),
        ];
        assert_eq!(said(&others), None);
        let one = event(SOURCE, "captured on _Node_2", false);
        assert_eq!(
            said(&[&others[..], &[one]].concat()).as_deref(),
            Some("_Node_2")
        );
        assert!(serde_json::from_value::<Health>(json!({ "HealthEvents": 7 })).is_err());
    }
}
