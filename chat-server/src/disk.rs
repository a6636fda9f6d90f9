//! Room on the replicas' disks: before one of them is full, nothing is written any more.
//!
//! A replica whose disk is low says so to the leader again and again. The leader refuses writes while its own disk is low,
//! or while it hears that of another one. What was acknowledged is on the disks; reads are answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chat_client::Reason;
use chat_replication::handle::Handle;
use chat_replication::types::ReplicaId;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::Limits;
use crate::error::Failure;
use crate::state::Response;
use crate::words::Subject;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// What a peer said of its disk holds so long.
const HELD_TRUE: Duration = Duration::from_secs(3);
/// When to try a refused write again.
const RETRY: Duration = Duration::from_secs(5);

/// What a replica knows of the disks.
pub(crate) struct Disk {
    me: ReplicaId,
    folder: PathBuf,
    limits: watch::Receiver<Limits>,
    is_low: AtomicBool,
    /// When other replicas said last that theirs are low.
    others: Mutex<BTreeMap<ReplicaId, Instant>>,
    shown: Gauge,
}

impl Disk {
    /// The disk that holds a replica's data folder.
    pub(crate) fn of(
        me: ReplicaId,
        folder: &Path,
        limits: watch::Receiver<Limits>,
        shown: Gauge,
    ) -> Arc<Disk> {
        Arc::new(Disk {
            me,
            folder: folder.to_owned(),
            limits,
            is_low: AtomicBool::new(false),
            others: Mutex::default(),
            shown,
        })
    }

    /// Hears that the disk of another replica is low.
    pub(crate) fn hear(&self, from: ReplicaId) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.insert(from, Instant::now());
    }

    /// The replicas that have a low disk, as far as this one knows.
    pub(crate) fn low(&self) -> Vec<ReplicaId> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = others.iter().filter(|(_, at)| at.elapsed() < HELD_TRUE);
        let mut low: Vec<_> = heard.map(|(id, _)| *id).collect();
        if self.is_low.load(Ordering::Relaxed) {
            low.push(self.me);
        }
        low.sort();
        low
    }

    /// Lets a write through, unless a disk is low.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let low = self.low();
        match low.as_slice() {
            [] => Ok(()),
            low => Err(Failure::Limited {
                reason: Reason::DiskFull,
                problem: format!(
                    "nothing is written at this moment, since the disk of {} is nearly full: try again later",
                    named(low)
                ),
                wait: RETRY,
            }),
        }
    }

    /// Looks at the disk until the replica goes away.
    pub(crate) async fn watch(
        self: Arc<Self>,
        handle: Handle<Response>,
        mut draining: watch::Receiver<bool>,
    ) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = draining.wait_for(|draining| *draining) => return,
            }
            let folder = self.folder.clone();
            // A disk that hangs holds nobody else up.
            let Ok((free, _)) = spawn_blocking(move || room(&folder)).await else {
                continue;
            };
            self.note(free);
            let leader = handle.status().leader;
            if let Some(leader) = leader.filter(|leader| *leader != self.me)
                && self.is_low.load(Ordering::Relaxed)
            {
                handle.cast(leader, Subject::Disk.seal(&[]));
            }
        }
    }

    fn note(&self, free: u64) {
        let reserve = self.limits.borrow().disk_reserve;
        let is_low = free < reserve;
        self.shown.set(i64::from(is_low));
        match (self.is_low.swap(is_low, Ordering::Relaxed), is_low) {
            (false, true) => warn!(
                "the disk of {} has {} MiB left, less than the {} MiB that disk_reserve_mib keeps: nothing is written until \
                 there is room",
                self.folder.display(),
                free >> 20,
                reserve >> 20
            ),
            (true, false) => info!("the disk has room again, and writes are accepted"),
            (false, false) | (true, true) => {}
        }
    }
}

/// Replicas in words.
pub(crate) fn named(replicas: &[ReplicaId]) -> String {
    let names: Vec<_> = replicas.iter().map(ReplicaId::to_string).collect();
    match names.as_slice() {
        [one] => format!("replica {one}"),
        all => format!("replicas {}", all.join(", ")),
    }
}

/// Free and total bytes of the file system that holds a folder; no end of both where it does not say.
pub(crate) fn room(folder: &Path) -> (u64, u64) {
    match nix::sys::statvfs::statvfs(folder) {
        Ok(disk) => {
            let unit = disk.fragment_size();
            (disk.blocks_available() * unit, disk.blocks() * unit)
        }
        Err(_) => (u64::MAX, u64::MAX),
    }
}
