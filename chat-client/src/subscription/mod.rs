//! The stream of an account's events.

mod confirm;
mod event;
mod follow;
mod seen;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;

use crate::client::Client;
use crate::error::Error;
use crate::ids::{MessageId, ResumeToken};
use confirm::Confirmer;
use follow::Follower;
use seen::Seen;

pub use event::Event;

/// Events that wait for their reader. When it is full, nothing more is taken from the connection; a replica that cannot
/// get rid of its events disconnects in the end, and the stream resumes when the reader is back.
const BUFFER: usize = 256;

/// How a subscription behaves.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    /// Where to go on; by default at the beginning, with the inbox.
    pub resume: ResumeToken,
    /// Who confirms that messages have arrived.
    pub confirmation: Confirmation,
    /// How long a replica may be silent before it counts as lost. It sends a heartbeat every 5 seconds when it has nothing
    /// else to say. 15 seconds by default.
    pub silence_deadline: Duration,
}

/// Who confirms that messages have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirmation {
    /// The subscription: a message counts as handled when the event behind it is asked for. Confirmations leave in
    /// batches, and are repeated until they are durable.
    #[default]
    Automatic,
    /// The caller, by [`Client::confirm_delivery`].
    Manual,
}

/// The events of the session's account, as they happen: a [`Stream`] that goes on at another replica when one is lost,
/// right behind the last event, and yields each message once.
///
/// It ends with an error that only the user can mend, such as a session that has expired, and after
/// [`Event::SessionClosed`]. Dropping it ends it, too; [`Subscription::close`] also waits for the last confirmations.
#[derive(Debug)]
pub struct Subscription {
    items: mpsc::Receiver<Result<Item, Error>>,
    follower: JoinHandle<()>,
    confirmer: Confirmer,
    confirmation: Confirmation,
    /// Yielded, and perhaps still being handled.
    in_hand: Option<MessageId>,
    resume: ResumeToken,
}

/// An event, and the token that stands for everything up to it.
#[derive(Debug)]
struct Item {
    event: Event,
    resume: ResumeToken,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            resume: ResumeToken::default(),
            confirmation: Confirmation::default(),
            silence_deadline: Duration::from_secs(15),
        }
    }
}

impl Client {
    /// Subscribes to the events of the session's account. Returns once a replica has accepted.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a valid session; [`Error::Unavailable`] and its kin when no replica accepts within
    /// the total deadline. Once subscribed, it is tried for ever.
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, Error> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let confirmer = Confirmer::start(self.clone(), Arc::clone(&seen));
        let (out, items) = mpsc::channel(BUFFER);
        let (confirmation, resume) = (options.confirmation, options.resume.clone());
        let follower = Follower::new(self.clone(), options, seen, confirmer.sender(), out);
        let opened = follower.open(None).await?;
        Ok(Subscription {
            items,
            follower: tokio::spawn(follower.run(opened)),
            confirmer,
            confirmation,
            in_hand: None,
            resume,
        })
    }
}

impl Subscription {
    /// The next event; none when the stream has ended.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Where a later subscription goes on right behind the last event yielded.
    pub fn resume_token(&self) -> &ResumeToken {
        &self.resume
    }

    /// Ends the stream. Everything yielded counts as handled; returns when that is confirmed, or could not be within
    /// the client's total deadline.
    pub async fn close(mut self) {
        self.follower.abort();
        self.hand_over();
        self.confirmer.finish().await;
    }

    /// What was in the reader's hand has been handled.
    fn hand_over(&mut self) {
        if let Some(message) = self.in_hand.take() {
            self.confirmer.confirm(message);
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.hand_over();
        match ready!(self.items.poll_recv(cx)) {
            Some(Ok(Item { event, resume })) => {
                self.resume = resume;
                if let (Event::MessageReceived(message), Confirmation::Automatic) =
                    (&event, self.confirmation)
                {
                    self.in_hand = Some(message.id);
                }
                Poll::Ready(Some(Ok(event)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.follower.abort();
    }
}
