//! The transport over real sockets.
#![allow(clippy::unwrap_used)]

mod evidence;
mod exchange;
mod strangers;
mod support;
mod wire;
