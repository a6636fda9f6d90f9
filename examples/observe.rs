//! Waiting for what a cluster should come to, as its clients see it.

use std::error::Error;
use std::time::{Duration, Instant};

use chat_client::{Client, ClusterStatus};
use tokio::time::sleep;

use crate::LocalCluster;

/// What an example comes to.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long anything may take before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something, and says what was missing if it does not come.
pub async fn until<T>(
    what: &str,
    mut holds: impl AsyncFnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = holds().await? {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(format!("{what} within {} s", PATIENCE.as_secs()).into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the view consists of exactly these replicas, as its leader sees it.
pub async fn in_view(cluster: &LocalCluster, ids: &[u32]) -> Outcome<ClusterStatus> {
    let client = Client::connect(ids.iter().map(|id| cluster.endpoint(*id))).await?;
    until(&format!("a view of the replicas {ids:?}"), async || {
        for (_, status) in client.cluster_status_everywhere().await {
            let Ok(status) = status else { continue };
            let leads = status
                .leader
                .as_ref()
                .is_some_and(|leader| leader.replica_id == status.replica_id);
            let view: Vec<u32> = status
                .replicas
                .iter()
                .filter(|one| one.in_view)
                .map(|one| one.replica_id)
                .collect();
            if leads && view == ids {
                return Ok(Some(status));
            }
        }
        Ok(None)
    })
    .await
}

/// Waits until this replica leads.
pub async fn led_by(cluster: &LocalCluster, id: u32) -> Outcome {
    let client = Client::connect(cluster.endpoints()).await?;
    until(&format!("replica {id} leads"), async || {
        let status = client.cluster_status().await?;
        Ok(status
            .leader
            .is_some_and(|leader| leader.replica_id == id)
            .then_some(()))
    })
    .await
}

/// How long replicas must have stood still: how far they are is published once per tick, so a single look may be old.
const STILL: Duration = Duration::from_millis(100);

/// Waits until all replicas have stood at the same index for a moment, all that is in their logs applied, and checks that
/// their states are equal there.
pub async fn same_state(cluster: &LocalCluster) -> Outcome<(u64, String)> {
    let client = Client::connect(cluster.endpoints()).await?;
    let mut seen: Option<((u64, String), Instant)> = None;
    until(
        "all replicas at the same index, with the same state,",
        async || {
            let mut states = Vec::new();
            for (_, status) in client.cluster_status_everywhere().await {
                let Ok(status) = status else { return Ok(None) };
                let me = status
                    .replicas
                    .iter()
                    .find(|one| one.replica_id == status.replica_id);
                let Some(me) = me.filter(|me| me.applied_index == me.durable_index) else {
                    return Ok(None);
                };
                states.push((me.applied_index, me.state_hash.clone()));
            }
            states.dedup();
            let state = match (states.pop(), states.is_empty()) {
                (Some(state), true) => state,
                _ => return Ok(None),
            };
            match &seen {
                Some((known, since)) if *known == state => {
                    Ok((since.elapsed() >= STILL).then_some(state))
                }
                _ => {
                    seen = Some((state, Instant::now()));
                    Ok(None)
                }
            }
        },
    )
    .await
}
