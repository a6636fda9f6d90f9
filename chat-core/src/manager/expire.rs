//! Forgetting, by a command, so that every replica forgets the same.

use super::{AccountManager, Call, Fault};
use crate::{
    command::Command,
    event::CloseReason,
    outcome::{Outcome, Progress},
    rows::{
        RowKey, Span,
        identity::{Identity, IdentityKey},
        message::{MessageEntry, MessageKey},
        request::{Forget, ForgetKey, RequestKey, first_id_at},
        session::{SessionEndKey, SessionKey, SessionRow},
        stood::StoodKey,
    },
    store::{KeyValue, Order},
    values::{
        id::{AccountId, MessageId, SessionId},
        time::Timestamp,
    },
};

/// The most rows that one command visits, whatever it asks for.
const MAX_VISITED: u32 = 10_000;

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn expire(
        &mut self,
        call: &mut Call,
        before: Timestamp,
        limit: u32,
    ) -> Result<Outcome, Fault<S::Error>> {
        if call.is_reproposed() {
            // What there was to forget on the other branch is forgotten with it. This one sees to its own, and its horizon
            // must not pass orphans that are still to come.
            return Ok(Outcome::Expired {
                visited: 0,
                progress: Progress::Done,
            });
        }
        let limit = limit.clamp(1, MAX_VISITED) as usize;
        // The newest request that was accepted vouches for the time: this command's own may come from a wrong clock.
        let newest = self.meta.newest_request;
        self.meta.horizon = self
            .meta
            .horizon
            .max(before.min(newest.saturating_sub(Command::REQUEST_WINDOW)));
        let now = call.at.min(newest.saturating_add(Command::MAX_CLOCK_LEAD));

        let mut left = limit;
        left -= self.expire_requests(left)?;
        left -= self.expire_awaited(left)?;
        left -= self.expire_stood(left)?;
        left -= self.expire_sessions(call, now, left)?;
        left -= self.sweep(left)?;
        let progress = if left == 0 {
            Progress::More
        } else {
            Progress::Done
        };
        Ok(Outcome::Expired {
            visited: (limit - left) as u32,
            progress,
        })
    }

    fn expire_requests(&mut self, most: usize) -> Result<usize, S::Error> {
        let rows = self.rows.list::<RequestKey>(
            &self.before_horizon::<RequestKey>(),
            Order::Ascending,
            most,
        )?;
        for (key, answered) in &rows {
            self.rows.remove(key, answered)?;
        }
        Ok(rows.len())
    }

    fn expire_awaited(&mut self, most: usize) -> Result<usize, S::Error> {
        let rows = self.rows.list::<ForgetKey>(
            &self.before_horizon::<ForgetKey>(),
            Order::Ascending,
            most,
        )?;
        for (key, what) in &rows {
            self.rows.remove(key, what)?;
            self.forget(key, *what)?;
        }
        Ok(rows.len())
    }

    fn expire_stood(&mut self, most: usize) -> Result<usize, S::Error> {
        let rows = self.rows.list::<StoodKey>(
            &self.before_horizon::<StoodKey>(),
            Order::Ascending,
            most,
        )?;
        for (key, stood) in &rows {
            self.rows.remove(key, stood)?;
        }
        Ok(rows.len())
    }

    /// Drops what the row was kept for, unless that has come in the meantime and become something of its own.
    fn forget(&mut self, ForgetKey(id): &ForgetKey, what: Forget) -> Result<(), S::Error> {
        match what {
            Forget::Account => {
                let key = IdentityKey(AccountId::from_uuid(*id));
                if let Some(gone @ Identity::Gone) = self.rows.read(&key)? {
                    self.rows.remove(&key, &gone)?;
                }
            }
            Forget::Session => {
                let key = SessionKey(SessionId::from_uuid(*id));
                if let Some(closed @ SessionRow::Closed { .. }) = self.rows.read(&key)? {
                    self.rows.remove(&key, &closed)?;
                }
            }
            Forget::Message => {
                let key = MessageKey(MessageId::from_uuid(*id));
                match self.rows.read(&key)? {
                    Some(gone @ (MessageEntry::Deleted { .. } | MessageEntry::Awaited(_))) => {
                        self.rows.remove(&key, &gone)?;
                    }
                    Some(MessageEntry::Stored(_)) | None => {}
                }
            }
        }
        Ok(())
    }

    fn expire_sessions(
        &mut self,
        call: &mut Call,
        now: Timestamp,
        most: usize,
    ) -> Result<usize, S::Error> {
        let span = Span::table::<SessionEndKey>()
            .before_parts::<SessionEndKey>(|key| key.long(now.as_millis().saturating_add(1)));
        let rows = self
            .rows
            .list::<SessionEndKey>(&span, Order::Ascending, most)?;
        for (key, ()) in &rows {
            self.end_known_session(call, key.session, CloseReason::Expired)?;
        }
        Ok(rows.len())
    }

    fn before_horizon<K: RowKey>(&self) -> Span {
        let first = first_id_at(self.meta.horizon);
        Span::table::<K>().before_parts::<K>(|key| key.uuid(&first))
    }
}
