//! Who may connect, and how: listeners, TLS, HTTP/2 and HTTP/1.1, limits by address.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod gate;
pub(crate) mod listen;
pub(crate) mod prompt;
pub(crate) mod tls;
pub(crate) mod unencrypted;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::gate::Gate;

pub use self::listen::{Exposure, ListenError};
pub(crate) use self::prompt::Prompt;
use self::tls::Tls;
use crate::config::Limits;

/// Answers whoever connects, until the replica is to stop and its connections are done.
pub(crate) fn serve_clients(
    listener: tokio::net::TcpListener,
    tls: Option<Arc<Tls>>,
    limits: watch::Receiver<Limits>,
    gate: Gate,
    mut draining: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let of_connections = *limits.borrow();
    let mut incoming = accept::incoming(listener, tls, limits);
    tokio::spawn(async move {
        // They end with this task.
        let mut connections = JoinSet::new();
        let stop = draining.clone();
        loop {
            tokio::select! {
                // Gone or true, it is over.
                _ = draining.wait_for(|draining| *draining) => break,
                io = incoming.recv() => match io {
                    Some(io) => {
                        let door = gate.door(io.connection());
                        connections.spawn(connection::serve(io, door, of_connections, stop.clone()));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
            }
        }
        drop(incoming);
        while connections.join_next().await.is_some() {}
    })
}
