//! The connection that this replica keeps to one peer.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Notify, watch};
use tokio::time::{interval, sleep, timeout};
use tonic::{Code, Status};
use tracing::{debug, info};

use super::dial::{self, DialError};
use super::once::Once;
use super::proto::exchange_request::Frame;
use super::proto::peer_service_client::PeerServiceClient;
use super::proto::{ExchangeRequest, Hello};
use super::queue::Queue;
use super::security::Security;
use super::{NEWEST_VERSION, OLDEST_VERSION};
use crate::store::Identity;
use crate::transport::Inbox;
use crate::types::ReplicaId;

/// Time for the peer to answer the hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between attempts while a peer is away.
const RETRY: Duration = Duration::from_millis(100);
/// Time between attempts where one more is not likely to end otherwise.
const SLOW_RETRY: Duration = Duration::from_secs(1);
/// A peer that takes nothing for so long, while messages wait for it, is given a new connection.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// One peer's outbound connection, made again and again until the task is dropped.
#[derive(Debug)]
pub(super) struct Link<I: ?Sized> {
    pub(super) me: Identity,
    pub(super) peer: ReplicaId,
    /// HOST:PORT.
    pub(super) address: watch::Receiver<String>,
    /// Something speaks for the peer's end or return: look at once.
    pub(super) nudge: Arc<Notify>,
    pub(super) queue: Arc<Queue>,
    pub(super) security: Arc<dyn Security>,
    pub(super) max_message_bytes: usize,
    pub(super) log: Arc<Once>,
    pub(super) inbox: Arc<I>,
}

/// Why a connection, or the attempt at one, ended.
#[derive(Debug)]
enum End {
    /// Nothing listens there.
    Refused,
    /// It was up, and broke.
    Lost(String),
    /// The peer answered, and wants no messages from here.
    Rejected(String),
    /// It did not come up.
    Failed(DialError),
    /// The peer's address changed.
    Moved,
}

impl<I: Inbox + ?Sized> Link<I> {
    pub(super) async fn run(mut self) {
        // Attempts since the connection was last up.
        let mut attempts = 0;
        loop {
            let end = self.connect().await;
            self.queue.close();
            let peer = self.peer;
            let pause = match end {
                End::Refused => {
                    self.inbox.refused(peer);
                    RETRY
                }
                End::Lost(reason) => {
                    info!(%peer, reason, "the connection to the peer is lost");
                    attempts = 0;
                    Duration::ZERO
                }
                End::Moved => Duration::ZERO,
                End::Rejected(reason) => {
                    self.log.warn(format!(
                        "replica {peer} at {} refuses this replica: {reason}",
                        self.address()
                    ));
                    SLOW_RETRY
                }
                End::Failed(DialError::Unresolvable(reason)) => {
                    self.log.warn(format!(
                        "the address {} of replica {peer} cannot be resolved: {reason}; trying again",
                        self.address()
                    ));
                    SLOW_RETRY
                }
                End::Failed(DialError::Untrusted(reason)) => {
                    self.log.warn(format!(
                        "the connection to replica {peer} at {} is not used: {reason}; trying again",
                        self.address()
                    ));
                    SLOW_RETRY
                }
                End::Failed(error) => {
                    debug!(%peer, ?error, "no connection to the peer");
                    // A listener that was about to go may have taken the first attempts; the next ones tell.
                    RETRY.min(Duration::from_millis(1 << attempts.min(10)))
                }
            };
            attempts += 1;
            let pause = pause.mul_f64(rand::rng().random_range(0.8..1.2));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.nudge.notified() => {}
                changed = self.address.changed() => if changed.is_err() { return },
            }
        }
    }

    fn address(&self) -> String {
        self.address.borrow().clone()
    }

    /// Connects, then waits for the connection's end. Requests are taken from the queue meanwhile.
    async fn connect(&mut self) -> End {
        let address = self.address.borrow_and_update().clone();
        let stream = match dial::tcp(&address).await {
            Ok(stream) => stream,
            Err(DialError::Refused) => return End::Refused,
            Err(error) => return End::Failed(error),
        };
        let channel = match dial::channel(&*self.security, self.peer, &address, stream).await {
            Ok(channel) => channel,
            Err(error) => return End::Failed(error),
        };
        let requests = self.queue.connect(self.hello());
        let mut client =
            PeerServiceClient::new(channel).max_encoding_message_size(self.max_message_bytes);
        let hello = async {
            let mut responses = client.exchange(requests).await?.into_inner();
            let welcome = responses.message().await?;
            Ok((responses, welcome))
        };
        let (mut responses, welcome) = match timeout(HELLO_TIMEOUT, hello).await {
            Ok(Ok((responses, Some(welcome)))) => (responses, welcome),
            Ok(Ok((_, None))) => {
                return End::Failed(DialError::Silent("the peer closed the call".to_owned()));
            }
            Ok(Err(status)) => return failed(&status),
            Err(_) => {
                return End::Failed(DialError::Silent(
                    "the peer does not answer the hello".to_owned(),
                ));
            }
        };
        if welcome.replica_id != self.peer.0 {
            return End::Rejected(format!(
                "replica {} answers there; check the address",
                welcome.replica_id
            ));
        }
        info!(peer = %self.peer, address, version = welcome.version, "connected to the peer");
        self.queue.open();
        self.inbox.connected(self.peer);

        let mut stall_check = interval(STALL_LIMIT / 5);
        loop {
            tokio::select! {
                response = responses.message() => match response {
                    // Newer versions may have more to say.
                    Ok(Some(_)) => {}
                    Ok(None) => return End::Lost("the peer closed it".to_owned()),
                    Err(status) => return End::Lost(status.message().to_owned()),
                },
                () = self.nudge.notified() => {
                    if let Err(DialError::Refused) = dial::tcp(&address).await {
                        return End::Refused;
                    }
                }
                changed = self.address.changed() => {
                    if changed.is_err() || *self.address.borrow() != address {
                        return End::Moved;
                    }
                }
                _ = stall_check.tick() => {
                    if self.queue.stalled(STALL_LIMIT) {
                        return End::Lost("the peer takes no messages".to_owned());
                    }
                }
            }
        }
    }

    fn hello(&self) -> ExchangeRequest {
        let hello = Hello {
            oldest_version: OLDEST_VERSION,
            newest_version: NEWEST_VERSION,
            cluster_id: self.me.cluster.0.as_bytes().to_vec().into(),
            from_replica_id: self.me.replica.0,
            from_store_uuid: self.me.store.0.as_bytes().to_vec().into(),
            to_replica_id: self.peer.0,
        };
        ExchangeRequest {
            frame: Some(Frame::Hello(hello)),
        }
    }
}

/// What a call's status means: the peer's word, or a broken connection.
fn failed(status: &Status) -> End {
    match status.code() {
        Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::Unimplemented => End::Rejected(status.message().to_owned()),
        _ => End::Failed(match untrusted(status) {
            Some(reason) => DialError::Untrusted(reason),
            None => DialError::Silent(status.message().to_owned()),
        }),
    }
}

/// What the other side said to a connection that it does not trust: with TLS 1.3 that is heard with the first answer.
fn untrusted(status: &Status) -> Option<String> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::InvalidData
        {
            return Some(error.to_string());
        }
        cause = error.source();
    }
    None
}
