//! How the replicas are, as each says of itself: an operator asks one of them and hears of all.
//!
//! Every second a replica tells the others the time of its clock, what its disk has left, when its certificate ends, and
//! what it waits for. That is soft state: what is not repeated is forgotten.

mod word;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chat_replication::handle::Handle;
use chat_replication::status::Status;
use chat_replication::types::{Position, ReplicaId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use self::word::Condition;
#[cfg(fuzzing)]
pub(crate) use self::word::fuzz_word;
use crate::admin;
use crate::clock;
use crate::config::ClusterConfig;
use crate::state::Response;
use crate::tls::Tls;
use crate::words::Told;

/// How often a replica says how it is.
const TELL: Duration = Duration::from_secs(1);
/// What was not repeated for so long is not so any more.
const KEPT: Duration = Duration::from_secs(5);

/// What this replica says of itself, and what it has heard of the others.
pub(crate) struct Conditions {
    handle: Handle<Response>,
    folder: PathBuf,
    file: ClusterConfig,
    tls: Option<Arc<Tls>>,
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
        tls: Option<Arc<Tls>>,
    ) -> Arc<Conditions> {
        Arc::new(Conditions {
            handle,
            folder,
            file,
            tls,
            heard: Mutex::default(),
        })
    }

    /// Tells the others and hears them, until the replica ends.
    pub(crate) async fn run(self: Arc<Self>, mut told: mpsc::Receiver<Told>) {
        let mut tell = interval(TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                word = told.recv() => match word {
                    Some((from, bytes)) => self.hear(from, &bytes),
                    None => return,
                },
                _ = tell.tick() => self.tell(),
            }
        }
    }

    /// How this replica is.
    pub(crate) fn own(&self) -> Condition {
        let status = self.handle.status();
        let (disk_free, disk_total) = disk(&self.folder);
        let differences = match status.leader {
            Some(_) => {
                admin::differences(&self.file, &status.configuration, status.identity.replica)
            }
            // What a replica that follows nobody has may be old.
            None => Vec::new(),
        };
        Condition {
            now: clock::now().as_millis(),
            store: status.identity.store,
            applied: applied(&status),
            state_hash: status.state_hash,
            waiting_for: status.waiting_for.clone(),
            disk_free,
            disk_total,
            certificate_ends: self.tls.as_ref().map(|tls| tls.expires_at()),
            differences,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// How another replica is, if it has said so lately.
    pub(crate) fn of(&self, replica: ReplicaId) -> Option<Heard> {
        let heard = self.lock().get(&replica).cloned();
        heard.filter(|heard| heard.at.elapsed() < KEPT)
    }

    fn tell(&self) {
        let word = self.own().seal();
        for peer in &self.handle.status().peers {
            self.handle.cast(peer.id, word.clone());
        }
    }

    fn hear(&self, from: ReplicaId, bytes: &[u8]) {
        let Some(condition) = Condition::decode(bytes) else {
            return;
        };
        let heard = Heard {
            ahead: ahead(condition.now, clock::now().as_millis()),
            condition,
            at: Instant::now(),
        };
        self.lock().insert(from, heard);
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

/// Free and total bytes of the file system that holds a folder; both 0 where it does not say.
fn disk(folder: &std::path::Path) -> (u64, u64) {
    match nix::sys::statvfs::statvfs(folder) {
        Ok(disk) => {
            let unit = disk.fragment_size();
            (disk.blocks_available() * unit, disk.blocks() * unit)
        }
        Err(_) => (0, 0),
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
