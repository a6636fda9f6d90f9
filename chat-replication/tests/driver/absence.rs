//! A replica that is away for long is removed, and comes back, both by itself.

use chat_replication::replica::Settings;
use chat_replication::types::ReplicaId;
use tempfile::TempDir;

use crate::cluster::{Cluster, Made, propose};
use crate::kv::put;

fn by_time(settings: &mut Settings) {
    settings.log_keep = 50;
    settings.absent_ticks = 200;
}

fn by_bytes(settings: &mut Settings) {
    settings.log_keep = 50;
    settings.absent_bytes = 16 << 20;
}

/// The others kept what it lacked for ever, until their disks were full.
async fn is_removed_and_comes_back(limit: fn(&mut Settings), commands: usize, bytes: usize) {
    let mut cluster = Cluster::start_with(Made::Real(TempDir::new().unwrap()), limit);
    cluster.wait_until_well().await;
    let value = "v".repeat(bytes);
    // More than the state machine takes between two checkpoints.
    for number in 0..600 {
        let id = format!("before-{number}");
        propose(&cluster.handles(), put(&id, &id, "x")).await;
    }
    cluster.wait_until_well().await;
    let before = cluster.status(2).identity.store;
    cluster.kill(2).await;
    for number in 0..commands {
        let id = format!("while-{number}");
        propose(&cluster.handles(), put(&id, "same", &value)).await;
    }
    cluster
        .wait("it is removed", |statuses| {
            let known = &statuses[0].configuration;
            known.member(ReplicaId(2)).is_none() && known.has_removed(before)
        })
        .await;
    // What it lacked is dropped now.
    for number in 0..700 {
        let id = format!("after-{number}");
        propose(&cluster.handles(), put(&id, &id, "x")).await;
    }
    cluster
        .wait("the log is short", |statuses| {
            statuses.iter().all(|status| status.compacted > 600)
        })
        .await;

    cluster.start_one(2);
    cluster.wait_until_well().await;
    let status = cluster.status(2);
    assert_ne!(status.identity.store, before);
    assert_eq!(status.configuration.absent, []);
    assert_eq!(status.configuration.members.len(), 3);

    // It is the same replica after its next start.
    let renewed = status.identity.store;
    cluster.stop(2).await;
    cluster.start_one(2);
    cluster.wait_until_well().await;
    assert_eq!(cluster.status(2).identity.store, renewed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_away_for_too_long_is_removed_and_comes_back() {
    is_removed_and_comes_back(by_time, 10, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_cost_too_much_disk_is_removed_and_comes_back() {
    is_removed_and_comes_back(by_bytes, 400, 64 << 10).await;
}
