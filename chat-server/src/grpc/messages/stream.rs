//! Sending much over one stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chat_client::{Reason, api};
use chat_core::AccountId;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::{self, Caller, write_as};
use crate::engine::leadership::Destination;
use crate::grpc;
use crate::grpc::understood;

/// The answers to a caller's messages. Reading them is what carries the messages on, in the task of the call.
pub(crate) struct Answers {
    /// Until all is answered.
    sending: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    answers: mpsc::Receiver<Result<api::SendMessagesResponse, Status>>,
}

impl Stream for Answers {
    type Item = Result<api::SendMessagesResponse, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<api::SendMessagesResponse, Status>>> {
        let this = &mut *self;
        // Without a word to be woken: what is sent below is seen below.
        if let Ok(answer) = this.answers.try_recv() {
            return Poll::Ready(Some(answer));
        }
        if let Some(sending) = &mut this.sending
            && sending.as_mut().poll(context).is_ready()
        {
            this.sending = None;
        }
        this.answers.poll_recv(context)
    }
}

/// In one request.
const MOST_MESSAGES: usize = 1000;
/// A stream with so many messages under way is not read from.
const MOST_UNDER_WAY: usize = 2048;
/// Nor is one whose messages under way take so many bytes.
const MOST_BYTES: usize = 4 << 20;
/// Results in one response.
const MOST_RESULTS: usize = 256;
/// Responses that wait for a slow reader.
const WAITING: usize = 4;

pub(super) fn send_messages(
    node: Arc<Node>,
    request: Request<Streaming<api::SendMessagesRequest>>,
) -> Result<Answers, Status> {
    node.check_open()?;
    let mut context = grpc::context(&request);
    // The stream's own end is not that of each message.
    context.deadline = None;
    if context.session.is_none() {
        return Err(Failure::Unauthenticated.into());
    }
    let account = Caller::count(&node, &context)?;
    let (metadata, _, messages) = request.into_parts();
    let (out, answers) = mpsc::channel(WAITING);
    let sender = Sender {
        account,
        node,
        context,
        metadata,
        out,
    };
    Ok(Answers {
        sending: Some(Box::pin(sender.run(messages))),
        answers,
    })
}

struct Sender {
    node: Arc<Node>,
    /// Whose messages they are, if the session is known here.
    account: Option<AccountId>,
    context: app::Context,
    metadata: MetadataMap,
    out: mpsc::Sender<Result<api::SendMessagesResponse, Status>>,
}

/// A result, and the bytes that its message took.
type Finished = (api::SendResult, usize);

impl Sender {
    /// Until the caller has no more and all is answered, or the caller is gone. What is under way then goes on: it may be
    /// in the log already.
    async fn run(self, mut messages: Streaming<api::SendMessagesRequest>) {
        let mut under_way = FuturesUnordered::new();
        let mut bytes = 0;
        let mut more = true;
        let mut told = None;
        let mut draining = self.node.draining.clone();
        let mut read: VecDeque<api::SendMessageRequest> = VecDeque::new();
        while more || !under_way.is_empty() || !read.is_empty() {
            // A stream that is too fast is slowed down, not refused.
            let pause = loop {
                if read.is_empty() {
                    break None;
                }
                if let Err(wait) = self.may_send() {
                    break Some(wait);
                }
                if let Some(message) = read.pop_front() {
                    let size = message.encoded_len();
                    under_way.push(self.send(message, size));
                }
            };
            let reads =
                more && read.is_empty() && under_way.len() < MOST_UNDER_WAY && bytes < MOST_BYTES;
            tokio::select! {
                biased;
                Some(first) = under_way.next() => {
                    let mut results = Vec::new();
                    let mut next = Some(first);
                    while let Some((result, size)) = next {
                        bytes -= size;
                        results.push(result);
                        next = match results.len() < MOST_RESULTS {
                            true => under_way.next().now_or_never().flatten(),
                            false => None,
                        };
                    }
                    let leader = self.news_of_the_leader(&mut told);
                    let response = api::SendMessagesResponse { results, leader };
                    if self.out.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                next = messages.message(), if reads => match next {
                    Ok(Some(request)) => {
                        if let Err(failure) = check(&request) {
                            let _ = self.out.send(Err(failure.into())).await;
                            return;
                        }
                        bytes += request.messages.iter().map(Message::encoded_len).sum::<usize>();
                        read.extend(request.messages);
                    }
                    Ok(None) => more = false,
                    // The caller is gone, or sends what nobody understands.
                    Err(status) => {
                        let status = understood(&status).map_or(status, Status::from);
                        let _ = self.out.send(Err(status)).await;
                        return;
                    }
                },
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                () = gone(&mut draining), if more => more = false,
            }
        }
        if self.node.check_open().is_err() {
            // Nobody is left to be told where even this cannot be.
            let _ = self.out.send(Err(Failure::ShuttingDown.into())).await;
        }
    }

    /// Counts a message; says how long to wait before there may be another one.
    fn may_send(&self) -> Result<(), Duration> {
        let throttle = &self.node.throttle;
        let from = self.context.from;
        let counted = match self.account {
            Some(account) => throttle.account(from, account),
            None => Ok(()),
        };
        match counted.and_then(|()| throttle.call(from)) {
            Err(Failure::Limited { wait, .. }) => Err(wait),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn send(&self, message: api::SendMessageRequest, size: usize) -> Finished {
        let sent = write_as(&self.node, &self.context, &self.metadata, &message).await;
        let result = match sent {
            Ok(sent) => api::send_result::Result::Sent(sent),
            Err(status) => api::send_result::Result::Refused(api::SendRefusal {
                code: status.code().into(),
                message: status.message().to_owned(),
                details: status.details().to_vec(),
            }),
        };
        let request_id = message.request_id;
        let result = Some(result);
        (api::SendResult { request_id, result }, size)
    }

    /// Who leads in place of this replica, once for each.
    fn news_of_the_leader(&self, told: &mut Option<api::Leader>) -> Option<api::Leader> {
        let leadership = self.node.leadership.borrow();
        let leader = match leadership.destination() {
            Destination::There(_) => leadership.on_the_wire(),
            Destination::Here | Destination::Nowhere(_) => None,
        };
        let news = leader
            .clone()
            .filter(|leader| told.as_ref() != Some(leader));
        *told = leader;
        news
    }
}

fn check(request: &api::SendMessagesRequest) -> Result<(), Failure> {
    let count = request.messages.len();
    if count <= MOST_MESSAGES {
        return Ok(());
    }
    Err(Failure::invalid(
        Reason::TooManyIds,
        "messages",
        format!("{count} messages in one request are too many: send at most {MOST_MESSAGES}"),
    ))
}

/// Ends when the replica goes away.
async fn gone(draining: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = draining.wait_for(|draining| *draining).await.is_ok();
}
