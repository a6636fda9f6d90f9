//! Between what travels and what the core speaks of.

mod account;
mod event;
mod message;
mod page;

pub(crate) use self::account::account;
pub(crate) use self::event::event;
pub(crate) use self::message::{conversation, message};
pub(crate) use self::page::{PageKind, PageToken, foreign as foreign_page, page_size};
