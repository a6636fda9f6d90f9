//! Telling the other replicas, and hearing them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chat_core::AccountId;
use chat_replication::handle::Handle;
use chat_replication::types::{PeerId, ReplicaId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Presence;
use super::remote::{Knowledge, PeerPresence};
use super::word::{ACCOUNTS_PER_WORD, Run, Word};
use crate::clock;
use crate::engine::words::Told;

/// A sign of life this often.
const ALIVE: Duration = Duration::from_millis(250);
/// After a change was told, others are gathered for this long.
const GATHER: Duration = Duration::from_millis(10);
/// A peer is asked for everything at most this often.
const ASK: Duration = Duration::from_millis(200);

/// Keeps `presence` up to date until the replica ends.
pub(crate) async fn run<R: Send + 'static>(
    presence: Arc<Presence>,
    handle: Handle<R>,
    mut told: mpsc::Receiver<Told>,
) {
    let mut teller = Teller {
        presence,
        handle,
        run: Run(u64::from_be_bytes(clock::random())),
        number: 0,
        asked: BTreeMap::new(),
    };
    let mut alive = interval(ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let presence = Arc::clone(&teller.presence);
    let mut may_tell = Box::pin(sleep(Duration::ZERO));
    loop {
        tokio::select! {
            word = told.recv() => match word {
                Some((from, bytes)) => teller.hear(from, &bytes),
                None => return,
            },
            () = async { may_tell.as_mut().await; presence.changed.notified().await } => {
                teller.tell_changes();
                may_tell.set(sleep(GATHER));
            }
            _ = alive.tick() => {
                teller.presence.forget_silent(Instant::now());
                let (run, number) = (teller.run, teller.number);
                teller.tell_all(&Word::Alive { run, number });
            }
        }
    }
}

struct Teller<R> {
    presence: Arc<Presence>,
    handle: Handle<R>,
    run: Run,
    /// Of the last change told.
    number: u64,
    /// When each peer was asked last.
    asked: BTreeMap<ReplicaId, Instant>,
}

impl<R> Teller<R> {
    fn hear(&mut self, from: PeerId, bytes: &[u8]) {
        let status = self.handle.status();
        if !status.configuration.votes(from.replica, from.store) {
            return;
        }
        let from = from.replica;
        let Some(word) = Word::decode(bytes) else {
            return;
        };
        if word == Word::Ask {
            return self.tell_everything(from);
        }
        let now = Instant::now();
        let knowledge = {
            let mut peers = self
                .presence
                .peers
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let peer = peers
                .entry(from)
                .or_insert_with(|| PeerPresence::unheard(now));
            peer.hear(word, now)
        };
        let asked_lately = self
            .asked
            .get(&from)
            .is_some_and(|at| now.duration_since(*at) < ASK);
        if knowledge == Knowledge::Missing && !asked_lately {
            self.asked.insert(from, now);
            self.handle.cast(from, Word::Ask.seal());
        }
    }

    fn tell_changes(&mut self) {
        let (mut came, mut went) = (Vec::new(), Vec::new());
        {
            let mut local = self.presence.local();
            for (account, ()) in std::mem::take(&mut local.untold) {
                match local.open.contains_key(&account) {
                    true => came.push(account),
                    false => went.push(account),
                }
            }
        }
        let mut came = came.chunks(ACCOUNTS_PER_WORD);
        let mut went = went.chunks(ACCOUNTS_PER_WORD);
        loop {
            let (came, went) = (came.next(), went.next());
            if came.is_none() && went.is_none() {
                return;
            }
            self.number += 1;
            self.tell_all(&Word::Change {
                run: self.run,
                number: self.number,
                came: came.unwrap_or_default().to_vec(),
                went: went.unwrap_or_default().to_vec(),
            });
        }
    }

    fn tell_everything(&mut self, to: ReplicaId) {
        // Otherwise a change that is counted in already would be told once more, under a later number.
        self.tell_changes();
        let online: Vec<AccountId> = self.presence.local().open.keys().copied().collect();
        let parts = online.len().div_ceil(ACCOUNTS_PER_WORD).max(1) as u32;
        for part in 0..parts {
            let from = part as usize * ACCOUNTS_PER_WORD;
            let through = online.len().min(from + ACCOUNTS_PER_WORD);
            let word = Word::All {
                run: self.run,
                number: self.number,
                part,
                parts,
                online: online[from..through].to_vec(),
            };
            self.handle.cast(to, word.seal());
        }
    }

    fn tell_all(&self, word: &Word) {
        let status = self.handle.status();
        let bytes = word.seal();
        for member in &status.configuration.members {
            if member.id != status.identity.replica {
                self.handle.cast(member.id, bytes.clone());
            }
        }
    }
}
