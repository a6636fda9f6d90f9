//! What is said of something that is not known here yet: a merge may still bring it.

use uuid::Uuid;

use super::{AccountManager, Call};
use crate::{
    command::Command,
    rows::{
        message::{Mark, MarkKind, MessageEntry, MessageKey},
        request::{Forget, ForgetKey},
    },
    store::KeyValue,
    values::{
        id::{AccountId, MessageId},
        time::Timestamp,
    },
};

/// The two parties to a message have this much to say of it. Others who guess at ids get no more room.
const MAX_MARKS: usize = 8;

impl<S: KeyValue> AccountManager<S> {
    /// Whether a request minted at this moment would still be accepted; if not, there is nothing to wait for.
    pub(super) fn may_still_come(&self, call: &Call, minted: Timestamp) -> bool {
        minted >= self.meta.horizon && minted <= call.at.saturating_add(Command::MAX_CLOCK_LEAD)
    }

    /// Remembers to drop a row once its id's time is past the horizon.
    pub(super) fn forget_later(&mut self, id: Uuid, what: Forget) -> Result<(), S::Error> {
        match self.rows.read(&ForgetKey(id))? {
            None => self.rows.insert(&ForgetKey(id), &what),
            Some(_) => Ok(()),
        }
    }

    /// Remembers what was said of a message that is not known; `before` is what was said already.
    pub(super) fn await_message(
        &mut self,
        call: &Call,
        message: MessageId,
        before: Option<Vec<Mark>>,
        by: AccountId,
        kind: MarkKind,
    ) -> Result<(), S::Error> {
        let mark = Mark { by, kind };
        let mut marks = before.clone().unwrap_or_default();
        if marks.contains(&mark)
            || marks.len() >= MAX_MARKS
            || !self.may_still_come(call, message.time())
        {
            return Ok(());
        }
        marks.push(mark);
        let before = before.map(MessageEntry::Awaited);
        self.rows.set(
            &MessageKey(message),
            before.as_ref(),
            &MessageEntry::Awaited(marks),
        )?;
        self.forget_later(*message.as_uuid(), Forget::Message)
    }
}
