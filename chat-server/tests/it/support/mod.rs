//! Clusters of real processes.

mod cluster;
mod page;
mod ports;
mod raw;

use std::time::Duration;

pub(crate) use cluster::{Cluster, PROGRAM, Setup};
pub(crate) use page::figure;
pub(crate) use ports::free_base_port;
pub(crate) use raw::{RawClient, by, reason_of, with_token};

/// How long anything may take that is only a matter of time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again until the answer is there.
pub(crate) async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < until,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
