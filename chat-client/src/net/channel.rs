//! Connections.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint as Transport};

use super::secure::Connector;
use crate::builder::Settings;
use crate::endpoint::Endpoint;

/// An idle connection is asked for a sign of life this often, so that a replica that vanished without a word is
/// noticed before the next call.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connecting takes one round trip; a host that needs longer than this is silent.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that is made at its first use and again after each loss. Must be called within a tokio runtime.
pub(super) fn open(endpoint: &Endpoint, settings: &Settings) -> Channel {
    let transport =
        Transport::from_shared(endpoint.uri()).expect("a parsed endpoint is a valid URI");
    let transport = transport
        .connect_timeout(CONNECT_TIMEOUT.min(settings.attempt_deadline))
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match &settings.tls {
        None => transport.connect_lazy(),
        Some(tls) => transport.connect_with_connector_lazy(Connector {
            tls: tls.clone(),
            endpoint: endpoint.clone(),
        }),
    }
}
