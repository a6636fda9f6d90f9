//! Logs are kept short, and whoever misses what is gone from them takes a snapshot, while the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chat_replication::disk_store::DiskStore;
use chat_replication::handle::Handle;
use chat_replication::replica::Settings;
use chat_replication::store::{Reset, Store};
use chat_replication::types::{Mode, ReplicaId};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::cluster::{CLUSTER, Cluster, Made, propose};
use crate::kv::put;

/// So short that a test of seconds has many entries behind it.
fn short(settings: &mut Settings) {
    settings.log_keep = 50;
    settings.log_cap = 1000;
}

fn short_by_majority(settings: &mut Settings) {
    short(settings);
    settings.mode = Mode::Consistent;
}

fn real() -> Made {
    Made::Real(TempDir::new().unwrap())
}

/// Proposes many commands, a few at once; each must be done.
async fn fill(handles: &[Handle<Option<String>>], name: &str, count: usize, bytes: usize) {
    let value = "v".repeat(bytes);
    let tasks: Vec<_> = (0..16)
        .map(|lane| {
            let (handles, value, name) = (handles.to_vec(), value.clone(), name.to_owned());
            tokio::spawn(async move {
                for number in (lane..count).step_by(16) {
                    let id = format!("{name}-{number}");
                    propose(&handles, put(&id, &id, &value)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Clients that never stop, and the longest that one of them waited.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    longest: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(handles: &[Handle<Option<String>>]) -> Load {
        let (stop, done, longest) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let tasks = (0..4)
            .map(|lane| {
                let (handles, stop) = (handles.to_vec(), Arc::clone(&stop));
                let (done, longest) = (Arc::clone(&done), Arc::clone(&longest));
                tokio::spawn(async move {
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        number += 1;
                        let command: Bytes = put(&format!("load-{lane}-{number}"), "load", "x");
                        let begun = Instant::now();
                        propose(&handles, command).await;
                        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();
                        longest.fetch_max(micros, Ordering::Relaxed);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Load {
            stop,
            done,
            longest,
            tasks,
        }
    }

    /// How many commands were done, and the longest that one took.
    async fn stop(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let longest = Duration::from_micros(self.longest.load(Ordering::Relaxed));
        (self.done.load(Ordering::Relaxed), longest)
    }
}

/// Waits until the logs of all that are up hold little more than they must.
async fn wait_until_compacted(cluster: &Cluster, at_least: u64) {
    cluster
        .wait("the logs are short", |statuses| {
            let short = |compacted, last| compacted >= at_least && last - compacted < 1200;
            statuses
                .iter()
                .all(|status| short(status.compacted, status.last.index))
        })
        .await;
}

/// Snapshots that a replica has taken in, as its last checkpoint knows.
fn installs(cluster: &Cluster, id: usize) -> u32 {
    cluster.checkpoints[id].lock().unwrap().installs
}

/// A new disk in an old replica: what it needs is gone from every log. It takes a snapshot under load, the clients do
/// not notice, and nobody is suspected for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr)]
async fn a_wiped_replica_takes_a_snapshot_under_load() {
    let mut cluster = Cluster::start_with(real(), short);
    cluster.wait_until_well().await;
    fill(&cluster.handles(), "first", 6000, 4000).await;
    wait_until_compacted(&cluster, 5000).await;

    cluster.kill(2).await;
    cluster.wipe(2);
    let survivors = cluster.handles();
    fill(&survivors, "second", 700, 100).await;
    let views = cluster.status(0).epochs.len();
    let load = Load::start(&survivors);
    let begun = Instant::now();
    cluster.start_one(2);
    cluster
        .wait("a snapshot has arrived", |statuses| {
            statuses[2].compacted > 5000
        })
        .await;
    let took = begun.elapsed();
    cluster
        .wait("all are in the view again", |statuses| {
            statuses
                .iter()
                .all(|status| status.view.len() == 3 && status.serves())
        })
        .await;
    let (done, longest) = load.stop().await;
    cluster.wait_until_well().await;
    let state = cluster.checkpoints[0].lock().unwrap().clone();
    let bytes: usize = state
        .map
        .iter()
        .map(|(key, value)| 2 * key.len() + value.len())
        .sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{mib:.0} MiB in {took:.2?}, {:.0} MiB/s from the start of the replica; meanwhile {done} commands, none longer than {longest:.1?}",
        mib / took.as_secs_f64()
    );
    // One view lets the new disk in, and perhaps another takes the replica back: none was started for want of heartbeats.
    let started = cluster.status(0).epochs.len() - views;
    assert!((1..=2).contains(&started), "{started} views started");
    assert!(
        cluster
            .status(0)
            .epochs
            .iter()
            .all(|(epoch, _)| epoch.replica == ReplicaId(0))
    );
}

/// Where a majority is enough, nobody waits for a replica that is away for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_majority_an_absent_replica_is_not_waited_for() {
    let mut cluster = Cluster::start_with(real(), short_by_majority);
    cluster.wait_until_well().await;
    fill(&cluster.handles(), "first", 1000, 50).await;
    cluster.kill(2).await;
    fill(&cluster.handles(), "second", 4000, 50).await;
    wait_until_compacted(&cluster, 3000).await;
    cluster.start_one(2);
    assert!(cluster.status(2).last.index < 2000);
    cluster.wait_until_well().await;
    assert_eq!(installs(&cluster, 2), 1);
    assert_eq!(cluster.status(2).orphans, 0);
}

/// Where any replica is enough, one that is away may hold what the others do not: what it needs is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_absent_replica_needs_is_kept() {
    let mut cluster = Cluster::start_with(real(), short);
    cluster.wait_until_well().await;
    fill(&cluster.handles(), "first", 1000, 50).await;
    cluster.kill(2).await;
    fill(&cluster.handles(), "second", 4000, 50).await;
    let behind = cluster.status(0).compacted;
    assert!(
        behind <= 1010,
        "dropped up to {behind}, which replica 2 may not have"
    );
    // A replica that is restarted meanwhile has them as before.
    cluster.kill(1).await;
    cluster.start_one(1);
    cluster.start_one(2);
    cluster.wait_until_well().await;
    assert_eq!(installs(&cluster, 2), 0, "it came from the log");
    wait_until_compacted(&cluster, 3500).await;
}

/// The process died when the snapshot was the state's, and the log did not know: the next start completes it before
/// anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_done_install_is_completed_at_the_start() {
    let mut cluster = Cluster::start_with(real(), short_by_majority);
    cluster.wait_until_well().await;
    fill(&cluster.handles(), "first", 600, 50).await;
    cluster.kill(2).await;
    let left = cluster.checkpoints[2].lock().unwrap().applied;
    fill(&cluster.handles(), "second", 3000, 50).await;
    wait_until_compacted(&cluster, 2000).await;
    for id in [0, 1] {
        cluster.kill(id).await;
    }
    let mut state = cluster.checkpoints[0].lock().unwrap().clone();
    assert!(state.applied > left);
    let log = DiskStore::open(&cluster.folder(0), CLUSTER, ReplicaId(0))
        .unwrap()
        .load()
        .unwrap();
    let mut branches = log.branches;
    branches.truncate(state.applied.index);
    let at = branches.epochs().last().unwrap().1;
    let newest = log
        .view_starts
        .into_iter()
        .find(|(index, _)| *index == at)
        .unwrap();
    state.unsettled = Some(Reset { branches, newest });
    *cluster.checkpoints[2].lock().unwrap() = state.clone();

    // Alone it can do nothing else.
    cluster.start_one(2);
    cluster
        .wait("the log follows the state", |statuses| {
            statuses[0].last == state.applied && statuses[0].compacted == state.applied.index
        })
        .await;
    let checkpoint = Arc::clone(&cluster.checkpoints[2]);
    cluster
        .wait("it is settled", |statuses| {
            statuses[0].applied == state.applied.index
                && checkpoint.lock().unwrap().unsettled.is_none()
        })
        .await;
    cluster.kill(2).await;
    let log = DiskStore::open(&cluster.folder(2), CLUSTER, ReplicaId(2))
        .unwrap()
        .load()
        .unwrap();
    assert_eq!((log.compacted, log.orphans), (state.applied, 0));
    for id in 0..3 {
        cluster.start_one(id);
    }
    cluster.wait_until_well().await;
}

/// A state that was lost while the log was not is rebuilt from a snapshot, and the replica leads again only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_state_comes_back_from_another_replica() {
    let mut cluster = Cluster::start_with(real(), short);
    cluster.wait_until_well().await;
    fill(&cluster.handles(), "first", 3000, 50).await;
    wait_until_compacted(&cluster, 2000).await;
    cluster.kill(0).await;
    *cluster.checkpoints[0].lock().unwrap() = Default::default();
    cluster.start_one(0);
    cluster.wait_until_well().await;
    assert_eq!(installs(&cluster, 0), 1);
    propose(&cluster.handles(), put("after", "all", "is well")).await;
}
