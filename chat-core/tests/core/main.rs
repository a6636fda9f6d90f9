//! The crate as its users see it: stories, tables and properties over `AccountManager`.

#![allow(clippy::unwrap_used)]

mod accounts;
mod branches;
mod codec;
mod cost;
mod expiry;
mod merge;
mod messages;
mod model;
mod pages;
mod requests;
mod sessions;
mod world;
