//! What all services of a replica share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_client::{Reason, api};
use chat_core::{Applied, Command, CommandBody, Event, EventKind, Outcome, RequestId};
use chat_replication::handle::{Handle, ProposeError};
use chat_replication::types::{ClusterId, Position, ReplicaId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::Barriers;
use crate::app::error::Failure;
use crate::app::hashing::Hashing;
use crate::app::proxy::Proxy;
use crate::app::throttle::{Places, Room, Throttle};
use crate::app::token;
use crate::clock;
use crate::config::{Limits, Registration};
use crate::engine::leadership::Leadership;
use crate::live::hub::Hub;
use crate::live::presence::{Online, Presence};
use crate::ops::Metrics;
use crate::ops::condition::{Conditions, named};
use crate::store::state::{Response, StateReader};

/// When to try a write again that was refused since a disk is low.
const RETRY_DISK: Duration = Duration::from_secs(5);

/// A running replica, as its services see it.
pub(crate) struct Node {
    pub(crate) cluster: ClusterId,
    pub(crate) me: ReplicaId,
    pub(crate) handle: Handle<Response>,
    pub(crate) state: StateReader,
    pub(crate) leadership: watch::Receiver<Arc<Leadership>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) throttle: Throttle,
    pub(crate) subscriptions: Places,
    pub(crate) lists: Places,
    pub(crate) room: Room,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) hashing: Hashing,
    pub(crate) proxy: Proxy,
    pub(crate) barriers: Barriers,
    /// They change while the replica runs.
    pub(crate) limits: watch::Receiver<Limits>,
    pub(crate) registration: watch::Receiver<Registration>,
    pub(crate) metrics: Arc<Metrics>,
    /// True once the replica goes away.
    pub(crate) draining: watch::Receiver<bool>,
    /// Calls that are being answered.
    pub(crate) under_way: Arc<AtomicUsize>,
}

/// Counts a call as under way until it is dropped.
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A command that took effect.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// Empty for a retry.
    pub(crate) events: Vec<Event>,
    pub(crate) position: Position,
    pub(crate) durability: api::Durability,
}

impl Done {
    pub(crate) fn read_token(&self) -> Option<api::ReadToken> {
        token::read_token(self.position)
    }

    /// For an outcome that the command cannot have, which the core rules out.
    pub(crate) fn unexpected(&self) -> Failure {
        Failure::Internal(format!(
            "a command came to an outcome of another kind: {:?}",
            self.outcome
        ))
    }
}

impl Node {
    /// Has a command replicated and applied. For the leader.
    pub(crate) async fn propose(
        &self,
        request: RequestId,
        body: CommandBody,
    ) -> Result<Done, Failure> {
        let begun = Instant::now();
        let command = Command {
            request,
            at: clock::now(),
            body,
        };
        let committed = self
            .handle
            .propose(Bytes::from(command.encode()))
            .await
            .map_err(|error| match error {
                ProposeError::NotLeader {
                    leader: Some(leader),
                } => Failure::NotLeader(leader),
                ProposeError::NotLeader { leader: None } => Failure::NoLeader(String::new()),
                ProposeError::Overloaded => {
                    Failure::Overloaded("too many writes are waiting at this moment: try again")
                }
                ProposeError::Unknown => Failure::OutcomeUnknown,
                ProposeError::Stopped => Failure::ShuttingDown,
            })?;
        match committed.response {
            Response::Applied(Applied {
                result: Ok(outcome),
                events,
            }) => {
                self.metrics.committed(begun.elapsed());
                // A retry has sent nothing anew.
                let is_retry = matches!(outcome, Outcome::MessageSent { .. }) && events.is_empty();
                if !is_retry {
                    let is_online = events.iter().any(|event| self.has_online_recipient(event));
                    self.metrics.happened(&outcome, is_online);
                }
                Ok(Done {
                    outcome,
                    events,
                    position: committed.position,
                    durability: api::Durability {
                        durable_on: committed.durable_on,
                        replicas: committed.replicas,
                    },
                })
            }
            Response::Applied(Applied {
                result: Err(rejection),
                ..
            }) => Err(Failure::Rejected(rejection)),
            Response::Undecodable { reason } => Err(Failure::Internal(format!(
                "a command of our own is unreadable: {reason}"
            ))),
            Response::Quarantined => Err(Failure::Internal(format!(
                "the command of request {request} was put into quarantine"
            ))),
        }
    }

    fn has_online_recipient(&self, event: &Event) -> bool {
        matches!(event.kind, EventKind::MessageReceived { .. })
            && self.presence.is_online(event.account)
    }

    /// On how many replicas it is durable what was carried out before, as far as the present view tells.
    pub(crate) fn durability(&self) -> api::Durability {
        let status = self.handle.status();
        api::Durability {
            durable_on: status.view.len() as u32,
            replicas: status.configuration.members.len() as u32,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// Lets a call in, unless the replica goes away.
    pub(crate) fn enter(&self) -> Result<UnderWay, Failure> {
        self.check_open()?;
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Ok(UnderWay(Arc::clone(&self.under_way)))
    }

    /// Lets a write through, unless a disk is low.
    pub(crate) fn check_room(&self) -> Result<(), Failure> {
        match self.conditions.low_disks().as_slice() {
            [] => Ok(()),
            low => Err(Failure::Limited {
                reason: Reason::DiskFull,
                problem: format!(
                    "nothing is written at this moment, since the disk of {} is nearly full: try again later",
                    named(low)
                ),
                wait: RETRY_DISK,
            }),
        }
    }

    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        match *self.draining.borrow() {
            true => Err(Failure::ShuttingDown),
            false => Ok(()),
        }
    }
}
