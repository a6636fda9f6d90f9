//! Messages that are safe on this machine until they are safe in the cluster.

mod folder;
mod sender;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::Error;
use crate::ids::{AccountId, RequestId, SessionToken};
use crate::timestamp::Timestamp;
use crate::types::Sent;
use folder::Folder;

/// The messages of one account that wait to be sent, in a folder of this machine.
///
/// A message is durable on this machine when [`Outbox::put`] returns, whether a replica can be reached or not. A task
/// sends what waits, oldest first, for as long as the outbox is open, and a later outbox over the same folder goes on with
/// what is left. With each message its request id is kept, so that it takes effect once however often it is sent: two
/// programs may have the same folder open, and a crash between the service's answer and the removal of the file repeats
/// nothing. (The service remembers request ids for 30 days; what waited longer is refused, not sent twice.)
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use chat_client::{Client, Outbox, OutboxEvent};
///
/// let client = Client::connect(["127.0.0.1:7400", "127.0.0.1:7401"]).await?;
/// let alice = client.login("alice", "correct horse battery staple").await?;
/// let (outbox, mut events) = Outbox::open(&client, alice.account.id, "/var/lib/me/outbox").await?;
/// outbox.put("bob", "sent as soon as somebody listens").await?;
/// while let Some(event) = events.next().await {
///     if let OutboxEvent::Sent { message, answer } = event {
///         println!("to {}: stored on {}", message.recipient, answer.durability);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A message that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxMessage {
    /// The id of the request that sends it, the same for all attempts and all programs.
    pub id: RequestId,
    /// User name of the recipient.
    pub recipient: String,
    /// What it says.
    pub body: String,
    /// When it was written, by this machine's clock.
    pub written: Timestamp,
}

/// Something that happened to an outbox.
#[derive(Debug)]
#[non_exhaustive]
pub enum OutboxEvent {
    /// A message was sent, and waits no longer.
    Sent {
        /// The message.
        message: OutboxMessage,
        /// The service's answer.
        answer: Sent,
    },
    /// The service refuses a message for good, such as one to an unknown account. It waits no longer.
    Refused {
        /// The message.
        message: OutboxMessage,
        /// Why.
        error: Error,
    },
    /// No replica can be reached or serve. What waits is tried again, for ever; told once until something was sent.
    Waiting(Error),
    /// The session is over: nothing is sent until [`Outbox::resume`].
    Paused(Error),
    /// A file in the folder is no message. It is left alone.
    Spoilt {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The events of an outbox. They are kept until they are read.
#[derive(Debug)]
pub struct OutboxEvents {
    receiver: mpsc::UnboundedReceiver<OutboxEvent>,
}

/// The folder of an outbox cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the outbox folder {folder} cannot be used: {source}; free space there, or make it yours to write to"
)]
pub struct OutboxError {
    /// Which folder.
    pub folder: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

#[derive(Debug)]
struct Shared {
    folder: Folder,
    /// In the order of their ids, which is the order in which they were written.
    waiting: Mutex<BTreeMap<RequestId, OutboxMessage>>,
    /// Something may be sent now.
    wake: Notify,
    /// How many wait.
    count: watch::Sender<usize>,
    session: Mutex<Option<SessionToken>>,
    events: mpsc::UnboundedSender<OutboxEvent>,
}

impl Outbox {
    /// Opens the outbox of an account, in a folder of its own below `root`, and begins to send what is left there, in the
    /// session that the client carries now.
    ///
    /// # Errors
    /// [`OutboxError`] where the folder cannot be created or read.
    pub async fn open(
        client: &Client,
        account: AccountId,
        root: impl AsRef<Path>,
    ) -> Result<(Self, OutboxEvents), OutboxError> {
        let folder = Folder::new(root.as_ref().join(account.to_string()));
        let found = folder.clone().load().await?;
        let (events, receiver) = mpsc::unbounded_channel();
        for (file, problem) in found.spoilt {
            let _ = events.send(OutboxEvent::Spoilt { file, problem });
        }
        let shared = Arc::new(Shared {
            folder,
            count: watch::channel(found.messages.len()).0,
            waiting: Mutex::new(found.messages),
            wake: Notify::new(),
            session: Mutex::new(client.session_token()),
            events,
        });
        let task = tokio::spawn(sender::run(client.clone(), Arc::clone(&shared)));
        Ok((Self { shared, task }, OutboxEvents { receiver }))
    }

    /// Takes a message in. It is durable on this machine when this returns.
    ///
    /// # Errors
    /// [`OutboxError`] where it could not be stored; then it is not sent either.
    pub async fn put(&self, recipient: &str, body: &str) -> Result<OutboxMessage, OutboxError> {
        let message = OutboxMessage {
            id: RequestId::mint(),
            recipient: recipient.to_owned(),
            body: body.to_owned(),
            written: Timestamp::now(),
        };
        self.shared.folder.clone().store(message.clone()).await?;
        self.shared.waiting().insert(message.id, message.clone());
        self.shared.counted();
        self.shared.wake.notify_one();
        Ok(message)
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> Vec<OutboxMessage> {
        self.shared.waiting().values().cloned().collect()
    }

    /// Goes on in another session of the same account, after [`OutboxEvent::Paused`].
    pub fn resume(&self, session: SessionToken) {
        *self.shared.session() = Some(session);
        self.shared.wake.notify_one();
    }

    /// Returns once nothing waits, however long that takes.
    pub async fn flushed(&self) {
        let mut count = self.shared.count.subscribe();
        // The sender lives as long as the outbox.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OutboxEvents {
    /// The next event; none once the outbox is gone.
    pub async fn next(&mut self) -> Option<OutboxEvent> {
        self.receiver.recv().await
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<RequestId, OutboxMessage>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> MutexGuard<'_, Option<SessionToken>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) {
        let count = self.waiting().len();
        self.count.send_replace(count);
    }

    fn tell(&self, event: OutboxEvent) {
        // Nobody listening is no failure.
        let _ = self.events.send(event);
    }
}
