//! Sending, once.

use super::{AccountManager, Call, Fault};
use crate::{
    command::digest_of_sent,
    message::Content,
    outcome::Outcome,
    rejection::Rejection,
    rows::{
        account::AccountKey,
        message::{MessageEntry, MessageKey, Stored},
        request::RequestKey,
    },
    store::KeyValue,
    values::{
        body::Body,
        id::{AccountId, MessageId},
        time::Timestamp,
    },
};

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn send(
        &mut self,
        call: &mut Call,
        sender: AccountId,
        recipient: AccountId,
        body: &Body,
    ) -> Result<Outcome, Fault<S::Error>> {
        let message = MessageId::derive(sender, call.request);
        let marks = match self.rows.read(&MessageKey(message))? {
            Some(MessageEntry::Stored(stored)) => {
                let at = self.check_resent(&stored, recipient, body)?;
                self.note_stood(call, message)?;
                return Ok(Outcome::MessageSent { message, at });
            }
            Some(MessageEntry::Deleted { digest, .. })
                if digest != digest_of_sent(recipient, body.as_str()) =>
            {
                return Err(Fault::Rejected(Rejection::RequestIdReused));
            }
            Some(MessageEntry::Deleted { at, .. }) => {
                return Ok(Outcome::MessageSent { message, at });
            }
            Some(MessageEntry::Awaited(marks)) => Some(marks),
            None => None,
        };
        if self
            .rows
            .read(&RequestKey {
                request: call.request,
                account: sender,
            })?
            .is_some()
        {
            return Err(Fault::Rejected(Rejection::RequestIdReused));
        }
        // What a deleted account has sent stays, as does what was sent to one, for the other side.
        let from = self.author(call, sender)?;
        let to = if recipient == sender {
            from.clone()
        } else {
            self.author(call, recipient).map_err(|fault| match fault {
                Fault::Rejected(_) => Fault::Rejected(Rejection::RecipientNotFound { recipient }),
                Fault::Store(error) => Fault::Store(error),
            })?
        };
        self.store_message(
            call,
            message,
            marks,
            &from,
            &to,
            Content::Text(body.to_shared()),
        )?;
        Ok(Outcome::MessageSent {
            message,
            at: call.at,
        })
    }

    /// When this message was sent, if it is the one that is sent again.
    fn check_resent(
        &self,
        stored: &Stored,
        recipient: AccountId,
        body: &Body,
    ) -> Result<Timestamp, Fault<S::Error>> {
        let to = self.rows.require(&AccountKey(stored.place.recipient))?.id;
        match &stored.content {
            Content::Text(text) if to == recipient && **text == *body.as_str() => Ok(stored.at),
            _ => Err(Fault::Rejected(Rejection::RequestIdReused)),
        }
    }
}
