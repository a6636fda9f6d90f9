//! Events, as a subscriber gets them.

use chat_client::api;
use chat_client::api::subscribe_response::Event as Wire;
use chat_core::{AccountId, CloseReason, Event, EventKind, MessageId, Profile, SessionId};

use super::account::account;
use super::message::message;
use crate::live::presence::Online;

/// What a subscriber of `event.account` in `session` hears; `None` for what does not concern that session. `profile`
/// looks an account up.
///
/// # Errors
///
/// The state cannot be read.
pub(crate) fn event<E>(
    event: &Event,
    session: SessionId,
    online: &impl Online,
    profile: impl Fn(AccountId) -> Result<Option<Profile>, E>,
) -> Result<Option<Wire>, E> {
    let party = |id: AccountId| -> Result<Option<api::Account>, E> {
        Ok(profile(id)?.map(|profile| account(&profile, online)))
    };
    Ok(Some(match &event.kind {
        EventKind::MessageReceived { message: received } => {
            Wire::MessageReceived(api::MessageReceived {
                message: Some(message(received, online)),
            })
        }
        EventKind::MessageSent { message: sent } => Wire::MessageSent(api::MessageSent {
            message: Some(message(sent, online)),
        }),
        EventKind::Delivered { by, messages, .. } => {
            Wire::MessagesDelivered(api::MessagesDelivered {
                message_ids: texts(messages),
                recipient: party(*by)?,
            })
        }
        EventKind::Read { by, messages, .. } => Wire::MessagesRead(api::MessagesRead {
            message_ids: texts(messages),
            reader: party(*by)?,
        }),
        EventKind::ReadThrough { by, message, .. } => Wire::MessagesRead(api::MessagesRead {
            message_ids: texts(&[*message]),
            reader: party(*by)?,
        }),
        EventKind::MessagesDeleted { peer, messages, .. } => {
            Wire::MessagesDeleted(api::MessagesDeleted {
                message_ids: texts(messages),
                peer: party(*peer)?,
            })
        }
        EventKind::AccountDeleted { account } if *account == event.account => return Ok(None),
        EventKind::AccountDeleted { account } => Wire::PeerDeleted(api::PeerDeleted {
            peer: party(*account)?,
        }),
        EventKind::AccountRenamed { from, to } => Wire::Notice(api::Notice {
            text: format!("Your account `{from}` is called `{to}` from now on."),
        }),
        EventKind::SessionClosed {
            session: closed, ..
        } if *closed != session => return Ok(None),
        EventKind::SessionClosed { reason, .. } => Wire::SessionClosed(api::SessionClosed {
            reason: close_reason(*reason).to_owned(),
        }),
    }))
}

fn close_reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::LoggedOut => "logged out",
        CloseReason::Replaced => "another login took its place",
        CloseReason::PasswordChanged => "the password was changed",
        CloseReason::AccountDeleted => "the account was deleted",
        CloseReason::Expired => "its time was over",
    }
}

fn texts(messages: &[MessageId]) -> Vec<String> {
    messages.iter().map(ToString::to_string).collect()
}
