//! Connections between replicas, with certificates on both sides.

use std::sync::Arc;

use chat_replication::grpc::{Accepted, Connection, Identified, Securing, Security};
use chat_replication::types::ReplicaId;
use tokio::net::TcpStream;

use super::Tls;
use crate::edge::Prompt;

/// Keeps everybody out who is not a replica of the cluster.
#[derive(Debug)]
pub(crate) struct PeerSecurity(pub(crate) Arc<Tls>);

impl Security for PeerSecurity {
    fn connect<'a>(
        &'a self,
        peer: ReplicaId,
        _: &'a str,
        stream: TcpStream,
    ) -> Securing<'a, Box<dyn Connection>> {
        Box::pin(async move {
            let stream = self.0.connect(peer, stream).await?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }

    fn accept(&self, stream: TcpStream) -> Securing<'_, Accepted> {
        Box::pin(async move {
            let (stream, replica) = self.0.accept_peer(stream).await?;
            Ok(Accepted {
                connection: Box::new(Prompt::new(stream)),
                caller: Identified::Replica(replica),
            })
        })
    }
}
