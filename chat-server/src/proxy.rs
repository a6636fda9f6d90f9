//! Connections to the other replicas' client ports, over which calls are passed on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::error::Failure;

/// A leader that is there answers within one round trip.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// A leader that vanished without a word is noticed by the protocol sooner; this frees the connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// One connection for each address, made at its first use and again after each loss.
#[derive(Default)]
pub(crate) struct Proxy {
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Proxy {
    pub(crate) fn channel(&self, address: &str) -> Result<Channel, Failure> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            Failure::Internal(format!(
                "the leader's address {address} is unusable: {error}"
            ))
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}
