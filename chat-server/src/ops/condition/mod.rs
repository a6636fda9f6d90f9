//! How the replicas are, as each says of itself: an operator asks one of them and hears of all.
//!
//! Every second a replica tells the others the time of its clock, what its disk has left, when its certificate ends, and
//! what it waits for. That is soft state: what is not repeated is forgotten.
//!
//! While the disk of any member is low, nothing is written: before it is full, and that replica has to go. What was
//! acknowledged is on the disks; reads are answered.

mod disk;
mod word;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chat_replication::handle::Handle;
use chat_replication::status::Status;
use chat_replication::types::{PeerId, Position, ReplicaId};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use self::disk::{Disk, Room};
pub(crate) use self::word::Condition;
#[cfg(fuzzing)]
pub(crate) use self::word::fuzz_word;
use crate::clock;
use crate::config::{ClusterConfig, Limits};
use crate::engine;
use crate::engine::words::Told;
use crate::store::state::Response;

/// How often a replica says how it is.
const TELL: Duration = Duration::from_secs(1);
/// What was not repeated for so long is not so any more.
const KEPT: Duration = Duration::from_secs(5);

/// When this replica's certificate ends, in seconds since 1970: another one may take its place while it runs.
pub(crate) type CertificateEnds = Box<dyn Fn() -> Option<i64> + Send + Sync>;

/// What this replica says of itself, and what it has heard of the others.
pub(crate) struct Conditions {
    handle: Handle<Response>,
    disk: Disk,
    file: ClusterConfig,
    certificate_ends: CertificateEnds,
    heard: Mutex<BTreeMap<ReplicaId, Heard>>,
}

/// What another replica said last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) condition: Condition,
    /// How many milliseconds its clock is ahead of this machine's, less what the word took to come.
    pub(crate) ahead: i64,
    at: Instant,
}

impl Conditions {
    pub(crate) fn new(
        handle: Handle<Response>,
        folder: PathBuf,
        file: ClusterConfig,
        certificate_ends: CertificateEnds,
        limits: watch::Receiver<Limits>,
        disk_low: Gauge,
    ) -> Arc<Conditions> {
        Arc::new(Conditions {
            handle,
            disk: Disk::of(folder, limits, disk_low),
            file,
            certificate_ends,
            heard: Mutex::default(),
        })
    }

    /// Tells the others and hears them, until the replica ends.
    pub(crate) async fn run(self: Arc<Self>, mut told: mpsc::Receiver<Told>) {
        let mut tell = interval(TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let talk = async {
            loop {
                tokio::select! {
                    word = told.recv() => match word {
                        Some((from, bytes)) => self.hear(from, &bytes),
                        None => return,
                    },
                    _ = tell.tick() => self.tell(),
                }
            }
        };
        tokio::select! {
            () = talk => {}
            () = self.disk.watch() => {}
        }
    }

    /// The members of the cluster that have a low disk, as far as this replica knows.
    pub(crate) fn low_disks(&self) -> Vec<ReplicaId> {
        let status = self.handle.status();
        let is_low = |id: ReplicaId| match id == status.identity.replica {
            true => self.disk.last().is_low,
            false => self.of(id).is_some_and(|heard| heard.condition.disk_is_low),
        };
        let members = status.configuration.members.iter();
        members
            .map(|member| member.id)
            .filter(|id| is_low(*id))
            .collect()
    }

    /// How this replica is.
    pub(crate) fn own(&self) -> Condition {
        let status = self.handle.status();
        let Room {
            free: disk_free,
            total: disk_total,
            is_low: disk_is_low,
        } = self.disk.last();
        let differences = engine::differences(&self.file, &status);
        Condition {
            now: clock::now().as_millis(),
            store: status.identity.store,
            applied: applied(&status),
            state_hash: status.state_hash,
            waiting_for: status.waiting_for.clone(),
            disk_free,
            disk_total,
            certificate_ends: self.certificate_ends(),
            differences,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            disk_is_low,
        }
    }

    /// When this replica's certificate ends, in seconds since 1970.
    pub(crate) fn certificate_ends(&self) -> Option<i64> {
        (self.certificate_ends)()
    }

    /// How another replica is, if it has said so lately and is part of the cluster still.
    pub(crate) fn of(&self, replica: ReplicaId) -> Option<Heard> {
        let status = self.handle.status();
        let is_member = status.configuration.member(replica).is_some();
        let heard = self.lock().get(&replica).cloned();
        heard.filter(|heard| {
            let removed = status.configuration.has_removed(heard.condition.store);
            is_member && !removed && heard.at.elapsed() < KEPT
        })
    }

    fn tell(&self) {
        let word = self.own().seal();
        for peer in &self.handle.status().peers {
            self.handle.cast(peer.id, word.clone());
        }
    }

    fn hear(&self, from: PeerId, bytes: &[u8]) {
        let known = Condition::decode(bytes).filter(|condition| condition.store == from.store);
        let Some(condition) = known else {
            return;
        };
        let heard = Heard {
            ahead: ahead(condition.now, clock::now().as_millis()),
            condition,
            at: Instant::now(),
        };
        self.lock().insert(from.replica, heard);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much later one time is than another.
fn ahead(theirs: u64, ours: u64) -> i64 {
    let apart = i64::try_from(theirs.abs_diff(ours)).unwrap_or(i64::MAX);
    match theirs >= ours {
        true => apart,
        false => -apart,
    }
}

/// The last entry whose effects the state shows, with its epoch: two histories may have the same index.
fn applied(status: &Status) -> Position {
    let index = status.applied;
    let after = status.epochs.partition_point(|(_, first)| *first <= index);
    let epoch = after.checked_sub(1).map(|at| status.epochs[at].0);
    Position {
        epoch: epoch.unwrap_or_default(),
        index,
    }
}

/// Replicas in words.
pub(crate) fn named(replicas: &[ReplicaId]) -> String {
    let names: Vec<_> = replicas.iter().map(ReplicaId::to_string).collect();
    match names.split_last() {
        None => "no replica".to_owned(),
        Some((only, [])) => format!("replica {only}"),
        Some((last, rest)) => format!("replicas {} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_ahead_or_behind() {
        for (theirs, ours, expected) in [
            (5, 5, 0),
            (9, 5, 4),
            (5, 9, -4),
            (u64::MAX, 0, i64::MAX),
            (0, u64::MAX, -i64::MAX),
        ] {
            assert_eq!(ahead(theirs, ours), expected, "{theirs} and {ours}");
        }
    }
}
