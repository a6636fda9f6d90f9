//! Clearing up after deleted accounts: whatever only they could see.

use super::AccountManager;
use crate::{
    message::Sequence,
    rows::{
        Span,
        account::AccountNumber,
        conversation::{ConversationKey, Entry, EntryKey, Pair, RecentKey},
        message::{Place, UndeliveredKey},
        sweep::{Sweep, SweepKey},
    },
    store::{KeyValue, Order},
};

impl<S: KeyValue> AccountManager<S> {
    /// Visits at most `most` rows; says how many.
    pub(super) fn sweep(&mut self, most: usize) -> Result<usize, S::Error> {
        let mut left = most;
        while left > 0 {
            let next =
                self.rows
                    .list::<SweepKey>(&Span::table::<SweepKey>(), Order::Ascending, 1)?;
            let Some((SweepKey(account), progress)) = next.into_iter().next() else {
                break;
            };
            left -= self.sweep_inbox(account, left)?;
            if left > 0 {
                left -= self.sweep_lists(account, progress, left)?;
            }
        }
        Ok(most - left)
    }

    fn sweep_inbox(&mut self, account: AccountNumber, most: usize) -> Result<usize, S::Error> {
        let span = Span::prefix::<UndeliveredKey>(|key| account.write(key));
        let rows = self
            .rows
            .list::<UndeliveredKey>(&span, Order::Ascending, most)?;
        for (key, message) in &rows {
            self.rows.remove(key, message)?;
        }
        Ok(rows.len())
    }

    /// Works on the conversation at the front of the account's list, or ends the sweep when there is none. Visits at
    /// least one row, so that the sweep comes to an end.
    fn sweep_lists(
        &mut self,
        account: AccountNumber,
        progress: Sweep,
        most: usize,
    ) -> Result<usize, S::Error> {
        let span = Span::prefix::<RecentKey>(|key| account.write(key));
        let front = self.rows.list::<RecentKey>(&span, Order::Ascending, 1)?;
        let Some((recent, peer)) = front.into_iter().next() else {
            self.rows.remove(&SweepKey(account), &progress)?;
            return Ok(1);
        };
        let pair = Pair::of(account, peer);
        let span = Span::prefix::<EntryKey>(|key| pair.write(key)).after(&EntryKey {
            pair,
            sequence: progress.visited,
        });
        let entries = self.rows.list::<EntryKey>(&span, Order::Ascending, most)?;
        for (key, entry) in &entries {
            let peer_sees = !pair.is_with_oneself()
                && !entry.is_deleted_by(pair.side(peer))
                && self.active_id(peer)?.is_some();
            if !peer_sees {
                self.sweep_message(key, *entry)?;
            }
        }

        // Without a message that the account sees, its conversation has left its list by itself.
        let is_listed = self.rows.read(&recent)?.is_some();
        let next = match entries.last() {
            Some((last, _)) if entries.len() == most && is_listed => last.sequence,
            _ => {
                if is_listed {
                    self.unlist(pair, &recent, peer)?;
                }
                Sequence::default()
            }
        };
        self.rows
            .replace(&SweepKey(account), &progress, &Sweep { visited: next })?;
        Ok(entries.len().max(1))
    }

    fn sweep_message(&mut self, key: &EntryKey, entry: Entry) -> Result<(), S::Error> {
        let place = Place {
            sequence: key.sequence,
            sender: key.pair.account(entry.sender()),
            recipient: key.pair.peer(entry.sender()),
        };
        self.hide_from(entry.id(), place, key.pair.sides())?;
        Ok(())
    }

    fn unlist(
        &mut self,
        pair: Pair,
        recent: &RecentKey,
        peer: AccountNumber,
    ) -> Result<(), S::Error> {
        self.recall.fronts.forget(&recent.account);
        self.rows.remove(recent, &peer)?;
        let before = self.rows.require(&ConversationKey(pair))?;
        let mut row = before;
        row.side_mut(pair.side(recent.account)).rank = None;
        self.rows.replace(&ConversationKey(pair), &before, &row)
    }
}
