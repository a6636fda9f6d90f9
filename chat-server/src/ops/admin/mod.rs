//! What operators do: a gRPC service on a socket in the data folder, which only the folder's owner can open.
//!
//! Orders for the leader are passed on to it between the replicas, so that an operator may turn to any of them.

mod accounts;
pub(crate) mod proto;
mod service;
mod socket;
mod take;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tracing::warn;

use self::proto::admin_service_server::AdminServiceServer;
use self::service::Service;
use self::socket::Socket;
pub(crate) use self::socket::{SOCKET, path_in};
use crate::app::node::Node;
use crate::engine::Orders;

/// How long operators' calls may take to end once the replica is to stop.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves operators until the replica goes away. Without a socket the replica works all the same, so that is a warning.
pub(crate) fn serve(folder: &Path, node: Arc<Node>, orders: Arc<Orders>) -> Option<JoinHandle<()>> {
    let (socket, listener) = match Socket::listen(folder) {
        Ok(listening) => listening,
        Err(error) => {
            warn!(
                "this replica takes no orders from operators, since its socket cannot be made: {error}"
            );
            return None;
        }
    };
    let mut draining = node.draining.clone();
    let mut stopping = draining.clone();
    let stop = async move {
        // Gone or true, it is over.
        let _ = stopping.wait_for(|draining| *draining).await;
    };
    let serving = Server::builder()
        .add_service(AdminServiceServer::new(Service { node, orders }))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop);
    Some(tokio::spawn(async move {
        let _socket = socket;
        let stopped = async {
            let _ = draining.wait_for(|draining| *draining).await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            served = serving => {
                if let Err(error) = served {
                    warn!(%error, "the socket for operators has ended");
                }
            }
            () = stopped => {}
        }
    }))
}
