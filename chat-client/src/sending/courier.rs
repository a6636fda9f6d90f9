//! The task behind a sender: it follows the leader, and sends again what was under way when a replica was lost.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};

use super::pending::{Pending, Queued};
use crate::api::message_service_client::MessageServiceClient;
use crate::api::send_result::Result as Outcome;
use crate::api::{SendMessageRequest, SendMessagesRequest, SendMessagesResponse, SendResult};
use crate::client::{Client, sent};
use crate::error::Error;
use crate::net::{Answer, Attempt, Backoff, Purpose, ReplicaIndex, Verdict, judge};

/// Messages under way at once.
const WINDOW: usize = 1024;
/// Messages in one request; the service takes 1000.
const BATCH: usize = 256;

type Opened = Answer<(
    mpsc::UnboundedSender<SendMessagesRequest>,
    Streaming<SendMessagesResponse>,
)>;

/// Why a stream was left.
enum End {
    /// The replica is gone or goes away.
    Lost(ReplicaIndex),
    /// Another replica leads.
    Moved,
    /// Nothing is left to do.
    Over,
}

pub(super) struct Courier {
    client: Client,
    queue: mpsc::Receiver<Queued>,
    /// Whether more may come.
    open: bool,
    pending: Pending,
    backoff: Backoff,
}

impl Courier {
    pub(super) fn new(client: Client, queue: mpsc::Receiver<Queued>) -> Self {
        Courier {
            client,
            queue,
            open: true,
            pending: Pending::default(),
            backoff: Backoff::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut lost = None;
        loop {
            if self.pending.is_empty() {
                match self.queue.recv().await {
                    Some(queued) => drop(self.pending.take(queued)),
                    None => return,
                }
            }
            let opened = match self.open(lost).await {
                Ok(opened) => opened,
                Err(
                    Error::NothingListens(gave_up)
                    | Error::Unavailable(gave_up)
                    | Error::Timeout(gave_up),
                ) => {
                    let limit = self.client.net.settings.total_deadline;
                    self.pending.expire(limit, &gave_up.attempts);
                    continue;
                }
                Err(error) => {
                    self.pending.fail(|| error.again());
                    continue;
                }
            };
            lost = match self.talk(opened).await {
                End::Over => return,
                End::Moved => None,
                End::Lost(replica) => {
                    self.client.net.lost(replica);
                    Some(replica)
                }
            };
        }
    }

    /// Opens a stream, to the leader where it is known.
    async fn open(&self, lost: Option<ReplicaIndex>) -> Result<Opened, Error> {
        let authorization = self.client.authorization()?;
        let attempt = |attempt: Attempt| {
            let (requests, outgoing) = mpsc::unbounded_channel();
            let outgoing = UnboundedReceiverStream::new(outgoing);
            let request = self.client.envelope(outgoing, authorization.clone());
            async move {
                let mut service = MessageServiceClient::new(attempt.channel);
                let answers = service.send_messages(request).await?.into_inner();
                Ok((requests, answers))
            }
        };
        self.client
            .net
            .call(Purpose::Message, None, lost, attempt)
            .await
    }

    /// Sends and is answered, until the replica is lost or no longer the one to talk to.
    async fn talk(&mut self, opened: Opened) -> End {
        let Answer {
            value: (requests, mut answers),
            replica,
        } = opened;
        let silence = self.client.net.settings.attempt_deadline;
        let mut silent_at = Instant::now() + silence;
        let mut retry_at: Option<Instant> = None;
        let mut incoming = Vec::new();
        post(&requests, self.pending.all());
        loop {
            if !self.open && self.pending.is_empty() {
                return End::Over;
            }
            let has_room = self.open && self.pending.len() < WINDOW;
            let waits = !self.pending.is_empty();
            tokio::select! {
                biased;
                answer = timeout_at(silent_at, answers.message()), if waits => {
                    let response = match answer {
                        Ok(Ok(Some(response))) => response,
                        Ok(Err(status)) => return self.ended_by(&status, replica),
                        Ok(Ok(None)) | Err(_) => return End::Lost(replica),
                    };
                    silent_at = Instant::now() + silence;
                    if let Some(leader) = response.leader {
                        self.client.net.follow(&leader.into());
                    }
                    for result in response.results {
                        match self.take(result) {
                            Taken::ForGood(next) => post(&requests, Vec::from_iter(next)),
                            Taken::RefusedFor(pause) => {
                                retry_at.get_or_insert(Instant::now() + pause);
                            }
                            Taken::GoesAway => return End::Lost(replica),
                        }
                    }
                    if self.client.net.preferred(Purpose::Message) != Some(replica) {
                        return End::Moved;
                    }
                }
                count = self.queue.recv_many(&mut incoming, BATCH), if has_room => {
                    self.open = count > 0;
                    if !waits {
                        silent_at = Instant::now() + silence;
                    }
                    let batch = incoming.drain(..).filter_map(|queued| self.pending.take(queued));
                    post(&requests, batch.collect());
                }
                () = sleep_until(retry_at.unwrap_or(silent_at)), if retry_at.is_some() => {
                    retry_at = None;
                    let limit = self.client.net.settings.total_deadline;
                    let asked = [(self.client.net.endpoint(replica), String::new())];
                    self.pending.expire(limit, &asked);
                    post(&requests, self.pending.refused());
                }
            }
        }
    }
}

/// What a result meant.
enum Taken {
    /// There may be another message under the same id.
    ForGood(Option<SendMessageRequest>),
    /// To be tried again after this time.
    RefusedFor(Duration),
    /// The replica goes away.
    GoesAway,
}

impl Courier {
    fn take(&mut self, result: SendResult) -> Taken {
        let id = result.request_id;
        let refusal = match result.result {
            Some(Outcome::Sent(mut answer)) => {
                self.backoff = Backoff::new();
                self.client.session.wrote(answer.read_token.take());
                return Taken::ForGood(self.pending.answer(&id, sent(&answer)));
            }
            Some(Outcome::Refused(refusal)) => refusal,
            None => {
                let error = Error::Protocol("a message's result is empty".into());
                return Taken::ForGood(self.pending.answer(&id, Err(error)));
            }
        };
        let code = Code::from(refusal.code);
        let status = Status::with_details(code, refusal.message, refusal.details.into());
        match judge(&status) {
            Verdict::Final(error) => Taken::ForGood(self.pending.answer(&id, Err(error))),
            Verdict::Next(setback) if setback.kind.is_loss() => Taken::GoesAway,
            Verdict::Next(setback) => {
                if let Some(leader) = &setback.leader {
                    self.client.net.follow(leader);
                }
                self.pending.refuse(&id, setback.text);
                let pause = self.backoff.next(rand::random());
                Taken::RefusedFor(pause.max(setback.retry_after.unwrap_or_default()))
            }
        }
    }

    fn ended_by(&mut self, status: &Status, replica: ReplicaIndex) -> End {
        match judge(status) {
            Verdict::Next(setback) if setback.kind.is_loss() => End::Lost(replica),
            Verdict::Next(_) => End::Moved,
            Verdict::Final(error) => {
                self.pending.fail(|| error.again());
                End::Moved
            }
        }
    }
}

fn post(requests: &mpsc::UnboundedSender<SendMessagesRequest>, messages: Vec<SendMessageRequest>) {
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        let messages = messages.by_ref().take(BATCH).collect();
        // A stream that has ended says so where its answers are read.
        let _ = requests.send(SendMessagesRequest { messages });
    }
}
