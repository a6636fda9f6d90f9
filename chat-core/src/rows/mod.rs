//! What the state is made of: rows, each kind with its own key and value, one module per kind.
//!
//! | table | key | value |
//! |---|---|---|
//! | [`meta`] | – | counters, horizon, sum of all row hashes |
//! | [`identity`] | account id | its local number, name and status |
//! | [`account`] | number | id, name, status |
//! | [`account`] | number | password hash |
//! | [`name`] | name | number |
//! | [`name`] | skeleton | number |
//! | [`session`] | session id | account, hashes of secrets, when it ends |
//! | [`session`] | number, session id | – |
//! | [`session`] | end, session id | – |
//! | [`message`] | message id | the message, written once, or what is known of one that is not there |
//! | [`conversation`] | pair | unread counts, and of its newest messages the id, and who has read or deleted it |
//! | [`conversation`] | pair, sequence | the same of older messages, several in a row |
//! | [`conversation`] | number, rank | the peer |
//! | [`inbox`] | recipient | how many messages were not delivered, and the ids of the newest |
//! | [`inbox`] | recipient, sequence | the ids of older ones, several in a row |
//! | [`request`] | request id, account | digest and outcome |
//! | [`request`] | id | what to forget when its time has come |
//! | [`sweep`] | number | what is left to clear up after a deleted account |
//! | [`stood`] | message id | where a message that came by way of a merge stood before |
//!
//! Inside keys an account is a number of four bytes, given out in the order of registration and never again.

pub(crate) mod account;
pub(crate) mod chunk;
pub(crate) mod conversation;
pub(crate) mod identity;
pub(crate) mod inbox;
mod key;
pub(crate) mod message;
pub(crate) mod meta;
pub(crate) mod name;
pub(crate) mod request;
pub(crate) mod series;
pub(crate) mod session;
pub(crate) mod stood;
pub(crate) mod sweep;
mod table;

pub(crate) use self::{
    key::{KeyReader, KeyWriter, RowKey, Span},
    table::Rows,
};

#[cfg(test)]
pub(crate) use self::key::testing;
