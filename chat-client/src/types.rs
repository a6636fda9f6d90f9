//! What the service speaks of, as plain Rust types.

use std::fmt;

use crate::api;
use crate::error::Error;
use crate::ids::{AccountId, MessageId, PageToken, SessionId, SessionToken};
use crate::timestamp::Timestamp;

/// An account as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its identity.
    pub id: AccountId,
    /// Its user name.
    pub name: String,
    /// Whether a subscription of the account is open on any replica, as far as the answering one has heard.
    pub online: bool,
    /// When it was registered.
    pub created: Timestamp,
    /// Whether it was deleted; its name may belong to somebody else by now.
    pub deleted: bool,
}

/// A message as one of its two parties sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its identity, stable for ever.
    pub id: MessageId,
    /// Its place in the order of all messages: grows within a conversation, may have gaps.
    pub sequence: u64,
    /// Who sent it.
    pub sender: Account,
    /// Whom it is for.
    pub recipient: Account,
    /// What it says.
    pub body: String,
    /// When the service received it.
    pub sent: Timestamp,
    /// Whether the recipient's client has confirmed it.
    pub delivered: bool,
    /// Whether the recipient has read it.
    pub read: bool,
}

/// A conversation as one of its two parties sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The other party.
    pub peer: Account,
    /// How many messages from the peer are unread.
    pub unread: u64,
    /// The latest message, unless all were deleted.
    pub last_message: Option<Message>,
}

/// How far a write is safe: fsynced on so many of the configured replicas. Displayed as `3 of 3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// On how many it is durable.
    pub durable_on: u32,
    /// How many are configured.
    pub replicas: u32,
}

/// What became of a message when it was stored. Displayed in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// The recipient is online: it is on its way.
    Delivering,
    /// The recipient is not online: it waits in the inbox.
    Queued,
}

/// The answer to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's identity.
    pub message_id: MessageId,
    /// Its place in the order of all messages.
    pub sequence: u64,
    /// What became of it.
    pub state: DeliveryState,
    /// How safe it is.
    pub durability: Durability,
    /// When the service received it.
    pub sent: Timestamp,
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The new account; its name is the normalised form of the one asked for.
    pub account: Account,
    /// How safe it is.
    pub durability: Durability,
}

/// The answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// Whose session it is.
    pub account: Account,
    /// The session's secret.
    pub token: SessionToken,
    /// When the session ends by itself.
    pub expires: Timestamp,
    /// How safe the session is.
    pub durability: Durability,
}

/// The session that a call carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub account: Account,
    /// Its identity.
    pub id: SessionId,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// A session among those of the caller's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Its identity.
    pub id: SessionId,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// Whether it is the one that this client carries.
    pub is_this: bool,
}

/// Which sessions a logout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutScope {
    /// The one that the call carries.
    ThisSession,
    /// All of the account.
    AllSessions,
}

/// For whom messages are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteScope {
    /// For the caller alone.
    ForMe,
    /// For both parties; only messages that the caller sent.
    ForBoth,
}

/// The answer to a deletion of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// How many messages are gone by it.
    pub count: u32,
    /// How safe the deletion is.
    pub durability: Durability,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many; 0 leaves it to the service. The service allows 1000.
    pub size: u32,
    /// Where to go on; none for the beginning.
    pub token: Option<PageToken>,
}

impl PageRequest {
    /// The first page, of at most `size` items.
    pub fn first(size: u32) -> Self {
        Self { size, token: None }
    }
}

/// A part of a list. It may hold fewer items than asked for, even none, and not be the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the list goes on; none on the last page.
    pub next: Option<PageToken>,
}

impl<T> Page<T> {
    /// The request for the page behind this one; none on the last page.
    pub fn next_request(&self, size: u32) -> Option<PageRequest> {
        self.next.clone().map(|token| PageRequest {
            size,
            token: Some(token),
        })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.durable_on, self.replicas)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeliveryState::Delivering => "delivering",
            DeliveryState::Queued => "queued",
        })
    }
}

impl TryFrom<api::Account> for Account {
    type Error = Error;

    fn try_from(wire: api::Account) -> Result<Self, Error> {
        Ok(Self {
            id: parse_id(&wire.account_id)?,
            name: wire.username,
            online: wire.online,
            created: Timestamp::from_unix_ms(wire.create_time_ms),
            deleted: wire.deleted,
        })
    }
}

impl TryFrom<api::Message> for Message {
    type Error = Error;

    fn try_from(wire: api::Message) -> Result<Self, Error> {
        Ok(Self {
            id: parse_id(&wire.message_id)?,
            sequence: wire.sequence,
            sender: required("message.sender", wire.sender)?.try_into()?,
            recipient: required("message.recipient", wire.recipient)?.try_into()?,
            body: wire.body,
            sent: Timestamp::from_unix_ms(wire.send_time_ms),
            delivered: wire.delivered,
            read: wire.read,
        })
    }
}

impl TryFrom<api::Conversation> for Conversation {
    type Error = Error;

    fn try_from(wire: api::Conversation) -> Result<Self, Error> {
        Ok(Self {
            peer: required("conversation.peer", wire.peer)?.try_into()?,
            unread: wire.unread_count,
            last_message: wire.last_message.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<Option<api::Durability>> for Durability {
    fn from(wire: Option<api::Durability>) -> Self {
        let wire = wire.unwrap_or_default();
        Self {
            durable_on: wire.durable_on,
            replicas: wire.replicas,
        }
    }
}

impl From<api::DeliveryState> for DeliveryState {
    fn from(wire: api::DeliveryState) -> Self {
        match wire {
            api::DeliveryState::Delivering => DeliveryState::Delivering,
            // The weaker promise of the two, should a later version of the service say something else.
            api::DeliveryState::Queued | api::DeliveryState::Unspecified => DeliveryState::Queued,
        }
    }
}

/// A field that the service always sets.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::Protocol(format!("{field} is missing")))
}

/// An id as the service writes it.
pub(crate) fn parse_id<T>(text: &str) -> Result<T, Error>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    text.parse()
        .map_err(|e: T::Err| Error::Protocol(e.to_string()))
}

/// A page as the service answers it.
pub(crate) fn page<W, T>(items: Vec<W>, next_page_token: String) -> Result<Page<T>, Error>
where
    T: TryFrom<W, Error = Error>,
{
    let items = items
        .into_iter()
        .map(T::try_from)
        .collect::<Result<_, _>>()?;
    let next = (!next_page_token.is_empty()).then_some(PageToken(next_page_token));
    Ok(Page { items, next })
}
