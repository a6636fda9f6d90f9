//! Sending much: many messages under way at once, over one stream.

mod courier;
mod pending;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
use crate::error::{Error, GaveUp};
use crate::ids::RequestId;
use crate::types::Sent;
use courier::Courier;
use pending::Queued;

/// Messages that wait to be taken over by the stream.
const QUEUE: usize = 256;

/// Sends many messages over one stream, for programs that send much: bots, bridges, imports.
///
/// Each message is answered on its own, as by [`Client::send_message`], with the same promises: it is stored once, however
/// often replicas are lost meanwhile. Messages are stored in the order in which they were given, unless the leadership
/// changes while they are under way.
///
/// Cheap to clone. What was taken is still sent when the last clone is dropped, for as long as the runtime lives.
///
/// ```no_run
/// # async fn example(client: chat_client::Client) -> Result<(), chat_client::Error> {
/// let sender = client.message_sender();
/// let mut under_way = Vec::new();
/// for line in ["one", "two", "three"] {
///     under_way.push(sender.send("bob", line).await);
/// }
/// for sending in under_way {
///     println!("stored on {}", sending.await?.durability);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MessageSender {
    queue: mpsc::Sender<Queued>,
}

/// The answer to one message of a [`MessageSender`], once it comes. Dropping it does not take the message back.
#[derive(Debug)]
pub struct Sending {
    id: RequestId,
    answer: oneshot::Receiver<Result<Sent, Error>>,
}

impl Client {
    /// A stream for sending much. It is opened with the first message, in the name of whoever is logged in then. Must be
    /// called within a tokio runtime.
    pub fn message_sender(&self) -> MessageSender {
        let (queue, queued) = mpsc::channel(QUEUE);
        tokio::spawn(Courier::new(self.clone(), queued).run());
        MessageSender { queue }
    }
}

impl MessageSender {
    /// Hands a message over, and waits while too many are under way. The answer comes from what is returned.
    pub async fn send(&self, recipient: &str, body: &str) -> Sending {
        self.send_as(RequestId::mint(), recipient, body).await
    }

    /// Hands a message over under a request id of the caller's, who wants to be able to repeat it.
    pub async fn send_as(&self, id: RequestId, recipient: &str, body: &str) -> Sending {
        let (answer, answered) = oneshot::channel();
        let queued = Queued::new(id, recipient, body, answer);
        // Where the task is gone, the dropped channel says so.
        let _ = self.queue.send(queued).await;
        Sending {
            id,
            answer: answered,
        }
    }
}

impl Sending {
    /// The id under which the message is sent.
    pub fn request_id(&self) -> RequestId {
        self.id
    }
}

impl Future for Sending {
    /// # Errors
    /// As [`Client::send_message`].
    type Output = Result<Sent, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        // The runtime goes down.
        Poll::Ready(answer.unwrap_or_else(|_| {
            Err(Error::Unavailable(GaveUp {
                attempts: Vec::new(),
                after: Duration::ZERO,
                request_id: Some(self.id),
            }))
        }))
    }
}
