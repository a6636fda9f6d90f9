//! etcd: a key for each message. An acknowledgement means that a majority has it on disk.

use std::time::Duration;

use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

use self::api::kv_client::KvClient;
use self::api::maintenance_client::MaintenanceClient;
use self::api::{PutRequest, RangeRequest, StatusRequest};
use super::words;
use crate::arguments::{Peer, Send};
use crate::closed_loop::{Message, Sender};
use crate::outcome::Outcome;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod api {
    tonic::include_proto!("etcdserverpb");
}

/// What keys begin with, and the end of the range of such keys.
const PREFIX: (&str, &str) = ("m/", "m0");
/// Between a failure and the next attempt.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Etcd {
    /// To each server, leader first. Connects by itself.
    servers: Vec<KvClient<Channel>>,
    at: usize,
}

impl Sender for Etcd {
    async fn send(&mut self, message: &Message) -> Result<(), String> {
        let request = PutRequest {
            key: format!("{}{:016x}", PREFIX.0, message.id).into_bytes(),
            value: message.body.clone().into_bytes(),
        };
        self.servers[self.at].put(request).await.map_err(words)?;
        Ok(())
    }

    async fn recover(&mut self) {
        self.at = (self.at + 1) % self.servers.len();
        sleep(PAUSE).await;
    }
}

fn channels(targets: &[String]) -> Outcome<Vec<Channel>> {
    targets
        .iter()
        .map(|target| {
            let endpoint = Endpoint::from_shared(format!("http://{target}"))?
                .tcp_nodelay(true)
                .connect_timeout(Duration::from_millis(500));
            Ok(endpoint.connect_lazy())
        })
        .collect()
}

/// Senders that share one connection to each server.
pub(super) async fn senders(send: &Send) -> Outcome<Vec<Etcd>> {
    let channels = channels(&send.peer.targets)?;
    let servers: Vec<_> = channels.into_iter().map(KvClient::new).collect();
    Ok((0..send.in_flight)
        .map(|_| Etcd {
            servers: servers.clone(),
            at: 0,
        })
        .collect())
}

pub(super) async fn leader(peer: &Peer) -> Outcome<usize> {
    for (at, channel) in channels(&peer.targets)?.into_iter().enumerate() {
        let status = MaintenanceClient::new(channel)
            .status(StatusRequest {})
            .await;
        let Ok(status) = status.map(tonic::Response::into_inner) else {
            continue;
        };
        if status
            .header
            .is_some_and(|header| header.member_id == status.leader)
        {
            return Ok(at);
        }
    }
    Err("no etcd server leads; wait until they have elected one".into())
}

pub(super) async fn holds(peer: &Peer) -> Outcome<u64> {
    for channel in channels(&peer.targets)? {
        let request = RangeRequest {
            key: PREFIX.0.into(),
            range_end: PREFIX.1.into(),
            count_only: true,
        };
        if let Ok(answer) = KvClient::new(channel).range(request).await {
            return Ok(u64::try_from(answer.into_inner().count)?);
        }
    }
    Err("no etcd server answers".into())
}
