//! Following the stream from replica to replica.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, Streaming};

use super::event::{Event, Received};
use super::seen::{Seen, Sighting};
use super::{Confirmation, Item, SubscribeOptions};
use crate::api::event_service_client::EventServiceClient;
use crate::api::subscribe_response::Event as Wire;
use crate::api::{SubscribeRequest, SubscribeResponse};
use crate::client::Client;
use crate::error::{Error, chat_reason};
use crate::events::ClientEvent;
use crate::ids::{MessageId, ResumeToken};
use crate::net::{Answer, Attempt, Backoff, Purpose, ReplicaIndex};
use crate::reason::Reason;

/// A stream that lasted this long was a sound one, and its loss is met at once.
const SOUND: Duration = Duration::from_secs(1);

/// How often a replica that does not know the session yet is given time to catch up.
const SESSION_RETRIES: u32 = 5;

pub(super) type Opened = Answer<(Streaming<SubscribeResponse>, SubscribeResponse)>;

pub(super) struct Follower {
    client: Client,
    options: SubscribeOptions,
    resume: ResumeToken,
    seen: Arc<Mutex<Seen>>,
    /// Messages that the account sent itself.
    sent: Seen,
    confirm: mpsc::WeakUnboundedSender<MessageId>,
    out: mpsc::Sender<Result<Item, Error>>,
}

/// Why reading from one replica ended.
enum End {
    /// The replica is gone or goes away: on to another one.
    Lost,
    /// The replica is there, but ended the stream: once more.
    Broken,
    /// Nothing more will come, or nobody reads it.
    Over,
    /// Only the user can mend it.
    Failed(Error),
}

impl Follower {
    pub(super) fn new(
        client: Client,
        options: SubscribeOptions,
        seen: Arc<Mutex<Seen>>,
        confirm: mpsc::WeakUnboundedSender<MessageId>,
        out: mpsc::Sender<Result<Item, Error>>,
    ) -> Self {
        let resume = options.resume.clone();
        Self {
            client,
            options,
            resume,
            seen,
            sent: Seen::default(),
            confirm,
            out,
        }
    }

    /// Opens the stream at any replica, behind the last event seen.
    pub(super) async fn open(&self, lost: Option<ReplicaIndex>) -> Result<Opened, Error> {
        let mut backoff = Backoff::new();
        for _ in 0..SESSION_RETRIES {
            let seen = self.client.read_token();
            match self.open_once(lost).await {
                // Whoever lags behind does not know a session that was just opened; a read waits until it does.
                Err(error)
                    if error.reason() == Some(Reason::Unauthenticated)
                        && self.client.read_token().is_some() =>
                {
                    self.client.who_am_i().await?;
                    sleep(backoff.next(rand::random())).await;
                }
                Err(error) if self.client.drop_lost_history(&error, seen.as_ref()) => {}
                result => return result,
            }
        }
        self.open_once(lost).await
    }

    async fn open_once(&self, lost: Option<ReplicaIndex>) -> Result<Opened, Error> {
        let authorization = self.client.authorization()?;
        let attempt = |attempt: Attempt| {
            let request = SubscribeRequest {
                resume_token: self.resume.0.clone(),
                // Each call carries it in its metadata.
                read_token: None,
            };
            let request = self.client.envelope(request, authorization.clone());
            async move {
                let mut service = EventServiceClient::new(attempt.channel);
                let mut stream = service.subscribe(request).await?.into_inner();
                // Only the first word shows that the stream is live.
                match stream.message().await? {
                    Some(first) => Ok((stream, first)),
                    None => Err(Status::unavailable("the stream ended before it began")),
                }
            }
        };
        self.client
            .net
            .call(Purpose::Stream, None, lost, attempt)
            .await
    }

    /// Reads until the subscription is over.
    pub(super) async fn run(mut self, mut opened: Opened) {
        let mut backoff = Backoff::new();
        let mut unsound = 0;
        loop {
            let replica = opened.replica;
            let began = Instant::now();
            let lost = match self.read(opened).await {
                End::Over => return,
                End::Failed(error) => return self.fail(error).await,
                End::Broken => None,
                End::Lost => {
                    self.client.net.lost(replica);
                    Some(replica)
                }
            };
            if began.elapsed() >= SOUND {
                unsound = 0;
                backoff = Backoff::new();
            } else {
                unsound += 1;
            }
            // One short stream may be an accident, a second one is a pattern that must not spin.
            if unsound > 1 {
                sleep(backoff.next(rand::random())).await;
            }
            opened = match self.reopen(lost).await {
                Ok(opened) => opened,
                Err(error) => return self.fail(error).await,
            };
        }
    }

    /// Opens the stream again, however long the cluster is away.
    async fn reopen(&self, lost: Option<ReplicaIndex>) -> Result<Opened, Error> {
        loop {
            let result = tokio::select! {
                result = self.open(lost) => result,
                () = self.out.closed() => std::future::pending().await,
            };
            match result {
                Err(
                    Error::NothingListens(gave_up)
                    | Error::Unavailable(gave_up)
                    | Error::Timeout(gave_up),
                ) => {
                    let attempts = gave_up.attempts;
                    self.client.net.emit(ClientEvent::Waiting { attempts });
                }
                result => return result,
            }
        }
    }

    async fn read(&mut self, opened: Opened) -> End {
        let Answer {
            value: (mut stream, first),
            replica,
        } = opened;
        let mut response = first;
        loop {
            if let Some(end) = self.handle(response, replica).await {
                return end;
            }
            let next = tokio::select! {
                next = timeout(self.options.silence_deadline, stream.message()) => next,
                () = self.out.closed() => return End::Over,
            };
            response = match next {
                Ok(Ok(Some(response))) => response,
                // Silent, or ended without a word.
                Err(_) | Ok(Ok(None)) => return End::Lost,
                Ok(Err(status)) => return ended_by(&status),
            };
        }
    }

    /// Takes one response in. Returns something where it is the last.
    async fn handle(&mut self, response: SubscribeResponse, replica: ReplicaIndex) -> Option<End> {
        if !response.resume_token.is_empty() {
            self.resume = ResumeToken(response.resume_token);
        }
        if let Some(Wire::Ready(ready)) = &response.event {
            self.client.net.adopt(&ready.replicas);
        }
        let event = match Received::try_from(response.event) {
            Ok(Received::Event(event)) => event,
            Ok(Received::Nothing) => return None,
            Ok(Received::Membership(replicas)) => {
                self.client.net.adopt(&replicas);
                return None;
            }
            Ok(Received::Draining) => return Some(End::Lost),
            Err(error) => return Some(End::Failed(error)),
        };
        self.note_cluster(&event, replica);
        if self.is_repetition(&event) {
            return None;
        }
        let last = matches!(event, Event::SessionClosed { .. });
        let item = Item {
            event,
            resume: self.resume.clone(),
        };
        if self.out.send(Ok(item)).await.is_err() || last {
            return Some(End::Over);
        }
        None
    }

    fn note_cluster(&self, event: &Event, replica: ReplicaIndex) {
        let net = &self.client.net;
        match event {
            Event::Connected { replica_id, leader } => {
                net.identify(replica, *replica_id);
                if let Some(leader) = leader {
                    net.follow(leader);
                }
            }
            Event::LeaderChanged(leader) => net.follow(leader),
            _ => {}
        }
    }

    fn is_repetition(&mut self, event: &Event) -> bool {
        match event {
            Event::MessageReceived(message) => {
                let sighting = self.seen().sight(message.id);
                if sighting == Sighting::Closed {
                    self.confirm_again(message.id);
                }
                sighting != Sighting::First
            }
            Event::MessageSent(message) => {
                let sighting = self.sent.sight(message.id);
                self.sent.close(&[message.id]);
                sighting != Sighting::First
            }
            _ => false,
        }
    }

    /// A confirmation was lost together with the history that held it.
    fn confirm_again(&self, message: MessageId) {
        if self.options.confirmation == Confirmation::Automatic
            && let Some(confirm) = self.confirm.upgrade()
        {
            let _ = confirm.send(message);
        }
    }

    async fn fail(&self, error: Error) {
        // Nobody left to tell is fine.
        let _ = self.out.send(Err(error)).await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a status in the middle of a stream means. Opening it again tells whether the trouble lasts, so only what concerns
/// the session ends it here.
fn ended_by(status: &Status) -> End {
    match Error::from_status(status) {
        error @ (Error::Unauthenticated(_) | Error::Denied(_)) => End::Failed(error),
        _ => match chat_reason(status) {
            None | Some(Reason::ShuttingDown) => End::Lost,
            Some(_) => End::Broken,
        },
    }
}
