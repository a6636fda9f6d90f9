//! Connections to the other replicas' client ports, over which calls are passed on.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use chat_replication::handle::LeaderHint;
use chat_replication::types::ReplicaId;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use crate::app::error::Failure;
use crate::edge::tls::Tls;

/// A leader that is there answers within a few round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// A leader that vanished without a word is noticed by the protocol sooner; this frees the connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection for each replica and address, made at its first use and again after each loss.
pub(crate) struct Proxy {
    tls: Option<Arc<Tls>>,
    channels: Mutex<BTreeMap<(ReplicaId, String), Channel>>,
}

impl Proxy {
    /// Connections that are encrypted if there are certificates.
    pub(crate) fn new(tls: Option<Arc<Tls>>) -> Proxy {
        Proxy {
            tls,
            channels: Mutex::default(),
        }
    }

    pub(crate) fn channel(&self, leader: &LeaderHint) -> Result<Channel, Failure> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (leader.id, leader.client_address.clone());
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let address = &leader.client_address;
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            Failure::Internal(format!(
                "the leader's address {address} is unusable: {error}"
            ))
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let channel = match &self.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => endpoint.connect_with_connector_lazy(Connector {
                tls: Arc::clone(tls),
                to: leader.id,
                address: address.clone(),
            }),
        };
        channels.insert(key, channel.clone());
        Ok(channel)
    }
}

/// Makes encrypted connections to one replica.
struct Connector {
    tls: Arc<Tls>,
    to: ReplicaId,
    address: String,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (tls, to, address) = (Arc::clone(&self.tls), self.to, self.address.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tls.connect(to, stream).await.map(TokioIo::new)
        })
    }
}
