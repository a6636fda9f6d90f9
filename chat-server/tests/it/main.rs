//! The server as processes over real sockets and files, driven by the client library.
#![allow(clippy::unwrap_used)]

mod access;
mod admin;
mod advice;
mod alone;
mod backup;
mod clocks;
mod cluster_command;
mod compact;
mod config;
mod embedded;
mod events;
mod every_reason;
mod failover;
mod history;
mod limits;
mod mended;
mod once;
mod operations;
mod presence;
mod reasons;
mod removed;
mod restart;
mod rot;
mod secrets;
mod startup;
mod strangers;
mod streams;
mod support;
mod three;
mod tls;
