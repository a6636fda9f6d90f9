//! What makes two requests with one id the same request.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Command, CommandBody, DeleteScope};
use crate::values::{
    id::{AccountId, MessageId, SessionId},
    name::Username,
};

/// A digest over what the client itself wrote into a request.
///
/// Left out is what the edge adds and a retry therefore changes (times, hashes, policies), and everything secret, so
/// that nothing that is stored lets anybody test a guess at a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest([u8; 16]);

#[derive(Serialize)]
enum Content<'a> {
    CreateAccount(&'a Username),
    ChangePassword,
    DeleteAccount,
    OpenSession,
    CloseSession(SessionId),
    CloseAllSessions(Option<SessionId>),
    Send(AccountId, &'a str),
    MarkDelivered(&'a [MessageId]),
    MarkRead(&'a [MessageId]),
    ReadThrough(AccountId, MessageId),
    DeleteMessages(&'a [MessageId], DeleteScope),
    Expire,
}

impl Command {
    /// The digest of the client's own content. Whose request it is, is part of the key that it is stored under.
    pub(crate) fn digest(&self) -> Digest {
        digest(&match &self.body {
            CommandBody::CreateAccount { name, .. } => Content::CreateAccount(name),
            CommandBody::ChangePassword { .. } => Content::ChangePassword,
            CommandBody::DeleteAccount { .. } => Content::DeleteAccount,
            CommandBody::OpenSession { .. } => Content::OpenSession,
            CommandBody::CloseSession { session, .. } => Content::CloseSession(*session),
            CommandBody::CloseAllSessions { except, .. } => Content::CloseAllSessions(*except),
            CommandBody::Send {
                recipient, body, ..
            } => Content::Send(*recipient, body.as_str()),
            CommandBody::MarkDelivered { messages, .. } => Content::MarkDelivered(messages),
            CommandBody::MarkRead { messages, .. } => Content::MarkRead(messages),
            CommandBody::ReadThrough { peer, message, .. } => Content::ReadThrough(*peer, *message),
            CommandBody::DeleteMessages {
                messages, scope, ..
            } => Content::DeleteMessages(messages, *scope),
            CommandBody::Expire { .. } => Content::Expire,
        })
    }
}

/// The digest of the `Send` that left this message.
pub(crate) fn sent(recipient: AccountId, text: &str) -> Digest {
    digest(&Content::Send(recipient, text))
}

fn digest(content: &Content<'_>) -> Digest {
    let bytes = postcard::to_stdvec(content).expect("a request's content can always be encoded");
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(bytes)[..16]);
    Digest(digest)
}
