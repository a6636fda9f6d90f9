//! Room for messages that wait for their recipients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_client::Reason;
use chat_core::AccountId;
use tokio::time::Instant;

use crate::app::error::Failure;
use crate::app::node::Node;

/// Between two counts for a recipient who has no room.
const AGAIN: Duration = Duration::from_secs(1);
/// As many recipients are remembered; it costs a look at the state each to forget them.
const REMEMBERED: usize = 100_000;

/// How many messages may still come for each recipient, known to the leader: those that wait are counted when there may be
/// no more room, not at every message.
#[derive(Clone, Default)]
pub(crate) struct Room {
    /// Only looked up, so that its order never shows.
    known: Arc<Mutex<HashMap<AccountId, Known>>>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// There is room for at least so many.
    left: usize,
    /// Messages on their way into the state.
    coming: usize,
    counted: Option<Counted>,
}

/// A count stands until another replica leads, or the limit is another one.
#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    epoch: u64,
    most: usize,
}

/// Room for one message, which takes it when it has come.
pub(crate) struct Coming {
    recipient: AccountId,
    known: Arc<Mutex<HashMap<AccountId, Known>>>,
}

enum Answer {
    Room(Coming),
    Full,
    Unknown,
}

/// How many messages wait for an account.
fn waiting(node: &Node, recipient: AccountId) -> Result<usize, Failure> {
    let counted = node
        .state
        .query(|manager, _| manager.undelivered(recipient))?;
    Ok(usize::try_from(counted).unwrap_or(usize::MAX))
}

impl Room {
    /// Room for a message. Waits for nothing, so that messages of one stream are proposed in its order.
    pub(crate) fn take(&self, node: &Node, recipient: AccountId) -> Result<Coming, Failure> {
        let most = node.limits().undelivered_per_recipient;
        let epoch = node.handle.status().epoch.number;
        let asked = (most, epoch);
        if let Answer::Room(coming) = match self.answer(recipient, asked) {
            Answer::Unknown => {
                self.learn(recipient, waiting(node, recipient)?, asked);
                self.answer(recipient, asked)
            }
            known => known,
        } {
            return Ok(coming);
        }
        Err(Failure::Limited {
            reason: Reason::RecipientFull,
            problem: format!(
                "{most} messages wait for the recipient already: wait until some are delivered"
            ),
            wait: AGAIN,
        })
    }

    fn answer(&self, recipient: AccountId, (most, epoch): (usize, u64)) -> Answer {
        let mut all = self.all();
        let Some(known) = all.get_mut(&recipient) else {
            return Answer::Unknown;
        };
        let stands = |counted: &Counted| counted.epoch == epoch && counted.most == most;
        match known.counted.filter(stands) {
            Some(_) if known.left > 0 => {
                known.left -= 1;
                known.coming += 1;
                Answer::Room(Coming {
                    recipient,
                    known: Arc::clone(&self.known),
                })
            }
            Some(counted) if counted.at.elapsed() < AGAIN => Answer::Full,
            _ => Answer::Unknown,
        }
    }

    fn learn(&self, recipient: AccountId, waiting: usize, (most, epoch): (usize, u64)) {
        let mut all = self.all();
        if all.len() >= REMEMBERED {
            all.retain(|_, known| known.coming > 0);
        }
        let known = all.entry(recipient).or_default();
        // What is coming may be among those that wait already, which errs on the safe side.
        known.left = most.saturating_sub(waiting).saturating_sub(known.coming);
        known.counted = Some(Counted {
            at: Instant::now(),
            epoch,
            most,
        });
    }

    fn all(&self) -> MutexGuard<'_, HashMap<AccountId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Coming {
    /// The message has not come, or had come before: the room is left to another one.
    pub(crate) fn give_back(self) {
        {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = all.get_mut(&self.recipient) {
                known.left += 1;
            }
        }
        // It is not coming any more, either.
        drop(self);
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get_mut(&self.recipient) {
            known.coming = known.coming.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_coming_is_counted_and_another_leader_counts_anew() {
        let (room, ada) = (Room::default(), AccountId::from_uuid(Uuid::from_u128(1)));
        let asked = (3, 7);
        assert!(matches!(room.answer(ada, asked), Answer::Unknown));
        room.learn(ada, 1, asked);
        let take = || match room.answer(ada, asked) {
            Answer::Room(coming) => Some(coming),
            Answer::Full | Answer::Unknown => None,
        };
        let coming = (take(), take());
        assert!(coming.0.is_some() && coming.1.is_some());
        assert!(matches!(room.answer(ada, asked), Answer::Full));
        // Neither of the two is in the state that is counted.
        room.learn(ada, 1, asked);
        assert!(matches!(room.answer(ada, asked), Answer::Full));
        drop(coming);
        room.learn(ada, 2, asked);
        take().expect("room for one").give_back();
        assert!(take().is_some());
        assert!(take().is_none());

        assert!(matches!(room.answer(ada, (3, 8)), Answer::Unknown));
        assert!(matches!(room.answer(ada, (4, 7)), Answer::Unknown));
    }
}
