//! One subscriber's stream: ready, what was missed, what happens, and a heartbeat when nothing does.

use std::sync::Arc;
use std::time::Duration;

use chat_client::api;
use chat_client::api::SubscribeResponse;
use chat_client::api::subscribe_response::Event as Wire;
use chat_core::{EventKind, Sequence};
use chat_replication::types::Position;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tonic::Status;

use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::throttle::Place;
use crate::app::token;
use crate::app::{Caller, look};
use crate::clock;
use crate::engine::leadership::Leadership;
use crate::grpc::wire;
use crate::live::hub::{Subscription, Told};
use crate::live::place::ResumePoint;
use crate::ops::OnlineStream;

const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a reader that was too slow may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(5);
/// Undelivered messages that are read at once.
const INBOX_PAGE: usize = 100;

/// Where a stream begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// With the inbox.
    Inbox,
    /// Behind an event.
    Behind,
    /// With the inbox, because the event to go on behind is unknown here.
    Reset,
}

pub(crate) type Out = mpsc::Sender<Result<SubscribeResponse, Status>>;

/// A subscriber's stream, before it runs.
pub(crate) struct Stream {
    node: Arc<Node>,
    caller: Caller,
    _place: Place,
    out: Out,
    subscription: Subscription,
    leadership: watch::Receiver<Arc<Leadership>>,
    draining: watch::Receiver<bool>,
    leader: Option<api::Leader>,
    replicas: Vec<api::Replica>,
    /// Messages that came up to here were in the inbox.
    inbox_read_at: Position,
    /// Events up to here were told.
    told: ResumePoint,
}

/// Why a stream is over.
enum End {
    /// The reader has gone, or has been told all there is to tell.
    Over,
    Draining,
    Disconnected,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failed(failure)
    }
}

impl Stream {
    pub(crate) fn new(
        node: Arc<Node>,
        (caller, place): (Caller, Place),
        subscription: Subscription,
        out: Out,
    ) -> Stream {
        let mut leadership = node.leadership.clone();
        let (leader, replicas) = {
            let leadership = leadership.borrow_and_update();
            (leadership.on_the_wire(), leadership.replicas().to_vec())
        };
        Stream {
            subscription,
            draining: node.draining.clone(),
            leadership,
            leader,
            replicas,
            inbox_read_at: Position::default(),
            told: ResumePoint::default(),
            node,
            caller,
            _place: place,
            out,
        }
    }

    /// Runs until the reader has gone. The account is online for as long.
    pub(crate) async fn run(mut self, begin: Begin) {
        let _online = self.node.presence.enter(self.caller.account());
        let _counted = OnlineStream::begin(&self.node.metrics);
        let end = match self.open(begin).await {
            Ok(()) => self.follow().await,
            Err(end) => end,
        };
        let farewell = match end {
            End::Over => return,
            End::Draining => Ok(response(Vec::new(), Wire::Draining(api::Draining {}))),
            End::Disconnected => {
                self.node.metrics.slow_readers.inc();
                Err(Failure::Overloaded(
                "events were missed, since they were not read fast enough or this replica took over another state: subscribe \
                 again with the latest resume token",
            )
            .into())
            }
            End::Failed(failure) => Err(failure.into()),
        };
        // A reader that takes nothing need not hear it.
        let _ = timeout(FAREWELL, self.out.send(farewell)).await;
    }

    /// Everything up to the live events.
    async fn open(&mut self, begin: Begin) -> Result<(), End> {
        let missed = self.subscription.missed.take();
        let is_known = matches!(begin, Begin::Inbox) || missed.is_some();
        if begin == Begin::Reset || !is_known {
            self.send(Vec::new(), Wire::Reset(api::Reset {})).await?;
        }
        let ready = api::Ready {
            replica_id: self.node.me.0,
            leader: self.leader.clone(),
            replicas: self.replicas.clone(),
            read_token: token::read_token(self.node.state.applied()),
        };
        self.send(Vec::new(), Wire::Ready(ready)).await?;
        match missed {
            Some(missed) => {
                for told in missed {
                    self.tell(&told).await?;
                }
            }
            None => {
                self.tell_inbox().await?;
                // From here on the stream can be resumed.
                self.pass_inbox().await?;
                self.beat().await?;
            }
        }
        Ok(())
    }

    async fn tell_inbox(&mut self) -> Result<(), End> {
        let account = self.caller.account();
        let mut after: Option<Sequence> = None;
        loop {
            let (page, at) = look(&self.node, move |manager| {
                manager.inbox(account, after, INBOX_PAGE)
            })
            .await?;
            for message in &page.items {
                let message = Some(wire::message(message, &*self.node.presence));
                self.send(
                    Vec::new(),
                    Wire::MessageReceived(api::MessageReceived { message }),
                )
                .await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => {
                    self.inbox_read_at = at;
                    return Ok(());
                }
            }
        }
    }

    /// Waits until the events are as far as the inbox was. A token of an earlier place would have what was in the inbox told
    /// again.
    async fn pass_inbox(&mut self) -> Result<(), End> {
        let mut published = self.node.hub.applied();
        while self.last()?.position < self.inbox_read_at {
            tokio::select! {
                changed = published.changed() => changed.map_err(|_| End::Draining)?,
                _ = &mut self.subscription.disconnected => return Err(End::Disconnected),
                () = is_true(&mut self.draining) => return Err(End::Draining),
            }
        }
        Ok(())
    }

    async fn follow(&mut self) -> End {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut expiry = Box::pin(sleep(clock::until(self.caller.session.expires_at)));
        loop {
            let step = tokio::select! {
                told = self.subscription.live.recv() => match told {
                    Some(told) => self.tell(&told).await,
                    None => Err(End::Disconnected),
                },
                changed = self.leadership.changed() => match changed {
                    Ok(()) => self.tell_cluster().await,
                    Err(_) => Err(End::Draining),
                },
                _ = heartbeat.tick() => self.beat().await,
                () = expiry.as_mut() => self.close("its time was over").await,
                () = is_true(&mut self.draining) => Err(End::Draining),
                () = self.out.closed() => Err(End::Over),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Tells an event to the subscriber, unless it does not concern this one.
    async fn tell(&mut self, told: &Told) -> Result<(), End> {
        assert!(told.point > self.told, "each event is told once, in order");
        self.told = told.point;
        let was_in_inbox = matches!(told.event.kind, EventKind::MessageReceived { .. })
            && told.point.position <= self.inbox_read_at;
        if was_in_inbox {
            return Ok(());
        }
        let (state, presence) = (&self.node.state, &*self.node.presence);
        let profile = |account| state.query(|manager, _| manager.account(account));
        let event = wire::event(&told.event, self.caller.session.id, presence, profile);
        let Some(event) = event.map_err(Failure::from)? else {
            return Ok(());
        };
        let is_last = matches!(event, Wire::SessionClosed(_));
        let token = match told.point.position <= self.inbox_read_at {
            // Behind it are messages that were in the inbox.
            true => Vec::new(),
            false => self.token(told.point),
        };
        self.send(token, event).await?;
        match is_last {
            true => Err(End::Over),
            false => Ok(()),
        }
    }

    async fn tell_cluster(&mut self) -> Result<(), End> {
        let (leader, replicas) = {
            let leadership = self.leadership.borrow_and_update();
            (leadership.on_the_wire(), leadership.replicas().to_vec())
        };
        if !replicas.is_empty() && replicas != self.replicas {
            self.replicas.clone_from(&replicas);
            let changed = api::MembershipChanged { replicas };
            self.send(Vec::new(), Wire::MembershipChanged(changed))
                .await?;
        }
        if leader.is_none() || leader == self.leader {
            return Ok(());
        }
        self.leader.clone_from(&leader);
        self.send(
            Vec::new(),
            Wire::LeaderChanged(api::LeaderChanged { leader }),
        )
        .await
    }

    /// A sign of life, which also moves the resume token of a quiet account on.
    async fn beat(&mut self) -> Result<(), End> {
        let last = self.last()?;
        // All that stands before it is in the queue by now, and perhaps more.
        while let Ok(told) = self.subscription.live.try_recv() {
            self.tell(&told).await?;
        }
        let token = self.token(last.max(self.told));
        self.send(token, Wire::Heartbeat(api::Heartbeat {})).await
    }

    /// What this subscriber has been told, or is about to be. One that events have passed by must not go on behind them.
    fn last(&self) -> Result<ResumePoint, End> {
        self.subscription.last().ok_or(End::Disconnected)
    }

    async fn close(&mut self, reason: &str) -> Result<(), End> {
        let closed = api::SessionClosed {
            reason: reason.to_owned(),
        };
        self.send(Vec::new(), Wire::SessionClosed(closed)).await?;
        Err(End::Over)
    }

    async fn send(&mut self, token: Vec<u8>, event: Wire) -> Result<(), End> {
        let sending = self.out.send(Ok(response(token, event)));
        tokio::select! {
            biased;
            sent = sending => sent.map_err(|_| End::Over),
            _ = &mut self.subscription.disconnected => Err(End::Disconnected),
            () = is_true(&mut self.draining) => Err(End::Draining),
        }
    }

    fn token(&self, point: ResumePoint) -> Vec<u8> {
        point.write(self.node.cluster)
    }
}

/// Resolves once it is, or nobody is left to say so.
async fn is_true(condition: &mut watch::Receiver<bool>) {
    let _ = condition.wait_for(|condition| *condition).await;
}

fn response(resume_token: Vec<u8>, event: Wire) -> SubscribeResponse {
    SubscribeResponse {
        resume_token,
        event: Some(event),
    }
}
