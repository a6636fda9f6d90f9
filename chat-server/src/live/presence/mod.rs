//! Who is online, on any replica: soft state, told from replica to replica and never written down.
//!
//! Each replica counts its own subscriptions and tells the others what changes, numbered. A replica that notices a gap in
//! the numbers asks for the whole. Whoever is silent for long, or whose process is gone, counts for nothing.

mod remote;
mod task;
mod word;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chat_core::AccountId;
use chat_replication::types::ReplicaId;
use tokio::sync::Notify;

use self::remote::PeerPresence;
pub(crate) use self::task::run;
#[cfg(fuzzing)]
pub(crate) use self::word::fuzz_word;

/// A replica that says nothing for so long is not counted any more. It speaks several times a second.
const SILENCE: Duration = Duration::from_secs(2);

/// Knows who is online.
pub(crate) trait Online {
    fn is_online(&self, account: AccountId) -> bool;
}

/// Who is online, as far as this replica has heard.
#[derive(Default)]
pub(crate) struct Presence {
    local: Mutex<Local>,
    peers: RwLock<BTreeMap<ReplicaId, PeerPresence>>,
    /// Something is to be told.
    changed: Notify,
}

/// This replica's own subscriptions.
#[derive(Default)]
struct Local {
    /// How many subscriptions an account has here; never zero.
    open: HashMap<AccountId, u32>,
    /// Accounts that came or went since the others were told.
    untold: HashMap<AccountId, ()>,
}

/// Counts one subscription of an account until it is dropped.
pub(crate) struct Guard {
    presence: std::sync::Arc<Presence>,
    account: AccountId,
}

impl Presence {
    /// Counts a subscription here.
    pub(crate) fn enter(self: &std::sync::Arc<Self>, account: AccountId) -> Guard {
        let mut local = self.local();
        let count = local.open.entry(account).or_default();
        *count += 1;
        if *count == 1 {
            local.untold.insert(account, ());
            self.changed.notify_one();
        }
        Guard {
            presence: std::sync::Arc::clone(self),
            account,
        }
    }

    /// Counts nothing of a peer any more, until it is heard of again.
    pub(crate) fn forget(&self, peer: ReplicaId) {
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&peer);
    }

    fn forget_silent(&self, now: Instant) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, peer| now.duration_since(peer.heard) < SILENCE);
    }

    fn leave(&self, account: AccountId) {
        let mut local = self.local();
        let Some(count) = local.open.get_mut(&account) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            local.open.remove(&account);
            local.untold.insert(account, ());
            self.changed.notify_one();
        }
    }

    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Online for Presence {
    fn is_online(&self, account: AccountId) -> bool {
        if self.local().open.contains_key(&account) {
            return true;
        }
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().any(|peer| peer.accounts.contains(&account))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.presence.leave(self.account);
    }
}
