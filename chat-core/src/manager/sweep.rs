//! Clearing up after deleted accounts: whatever only they could see.

use super::AccountManager;
use crate::{
    message::Sequence,
    rows::{
        Span,
        account::AccountNumber,
        conversation::{ConversationKey, Entry, Pair, RecentKey},
        inbox::{Inbox, InboxKey, WaitingKey},
        message::Place,
        series::{Between, Series},
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
        let key = InboxKey(account);
        let Some(before) = self.rows.read(&key)? else {
            return Ok(0);
        };
        let span = Inbox(account).span();
        let older = self
            .rows
            .list::<WaitingKey>(&span, Order::Ascending, most)?;
        let mut row = before.clone();
        for (key, chunk) in &older {
            self.rows.remove(key, chunk)?;
            row.count_out(chunk.len());
        }
        if older.len() == most {
            self.rows.replace(&key, &before, &row)?;
            return Ok(most);
        }
        self.rows.remove(&key, &before)?;
        Ok(older.len() + 1)
    }

    /// Works on the conversation at the back of the account's list, or ends the sweep when there is none. It stays there
    /// until it is done with, whatever comes to the front. Visits at least one row, so that the sweep comes to an end.
    fn sweep_lists(
        &mut self,
        account: AccountNumber,
        progress: Sweep,
        most: usize,
    ) -> Result<usize, S::Error> {
        let span = Span::prefix::<RecentKey>(|key| account.write(key));
        let back = self.rows.list::<RecentKey>(&span, Order::Ascending, 1)?;
        let Some((recent, peer)) = back.into_iter().next() else {
            self.rows.remove(&SweepKey(account), &progress)?;
            return Ok(1);
        };
        let pair = Pair::of(account, peer);
        let conversation = self.rows.require(&ConversationKey(pair))?;
        let between = Between {
            after: Some(progress.visited),
            before: None,
        };
        let entries = self
            .rows
            .stretch(&pair, &conversation.newest, between, most)?;
        for (sequence, entry) in &entries {
            let peer_sees = !pair.is_with_oneself()
                && !entry.is_deleted_by(pair.side(peer))
                && self.active_id(peer)?.is_some();
            if !peer_sees {
                self.sweep_message(&pair, *sequence, *entry)?;
            }
        }

        // Without a message that the account sees, its conversation has left its list by itself.
        let is_listed = self.rows.read(&recent)?.is_some();
        let next = match entries.last() {
            Some((last, _)) if entries.len() == most && is_listed => *last,
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

    fn sweep_message(
        &mut self,
        pair: &Pair,
        sequence: Sequence,
        entry: Entry,
    ) -> Result<(), S::Error> {
        let place = Place {
            sequence,
            sender: pair.account(entry.sender()),
            recipient: pair.peer(entry.sender()),
        };
        self.hide_from(entry.id(), place, pair.sides())?;
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
        let mut row = before.clone();
        row.side_mut(pair.side(recent.account)).rank = None;
        self.rows.replace(&ConversationKey(pair), &before, &row)
    }
}
