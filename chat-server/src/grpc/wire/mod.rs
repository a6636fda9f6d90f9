//! Between what travels and what the core speaks of.

mod account;
mod event;
mod message;
mod page_token;

pub(crate) use self::account::account;
pub(crate) use self::event::event;
pub(crate) use self::message::{conversation, message};
pub(crate) use self::page_token::{PageKind, PageToken, foreign as foreign_page, page_size};
