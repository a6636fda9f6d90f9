//! Between what travels and what the core speaks of.

mod account;
mod event;
mod message;
mod page;
mod request;
mod token;

pub(crate) use self::account::{Online, account};
pub(crate) use self::event::event;
pub(crate) use self::message::{conversation, message};
pub(crate) use self::page::{PageKind, PageToken, foreign as foreign_page, page_size};
pub(crate) use self::request::{
    Peer, message_ids, new_password, page_query, peer_name, registered_name, request_id,
};
pub(crate) use self::token::{ResumePoint, read_token, seen};
