//! Clients and peers that mean harm, over real sockets. While each of them does what it does, a well-behaved user goes on
//! writing and is answered; afterwards the process is the same, and its memory is what it was, give or take what is allowed.
#![allow(clippy::unwrap_used)]

mod bystander;
mod bytes;
mod floods;
mod frames;
mod memory;
mod peers;
mod raw;
mod requests;
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the other tests, which use the rest"
)]
#[path = "../it/support/mod.rs"]
mod support;
