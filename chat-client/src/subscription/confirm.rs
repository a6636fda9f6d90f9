//! Confirmations, in batches and until they are durable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::seen::Seen;
use crate::client::Client;
use crate::error::Error;
use crate::ids::{MessageId, RequestId};

/// A confirmation waits this long for others to join it.
const GATHER_FOR: Duration = Duration::from_millis(50);
/// And no longer once so many have.
const BATCH: usize = 100;

/// Hands confirmations to a task of its own, so that the reader never waits for them.
#[derive(Debug)]
pub(super) struct Confirmer {
    sender: mpsc::UnboundedSender<MessageId>,
    task: JoinHandle<()>,
    patience: Duration,
}

impl Confirmer {
    pub(super) fn start(client: Client, seen: Arc<Mutex<Seen>>) -> Self {
        // Unbounded, but never holds more than what was yielded and not yet confirmed.
        let (sender, receiver) = mpsc::unbounded_channel();
        let patience = client.net.settings.total_deadline;
        Self {
            sender,
            task: tokio::spawn(run(client, seen, receiver)),
            patience,
        }
    }

    /// Another way to confirm, for messages that come again. It does not keep the task alive.
    pub(super) fn sender(&self) -> mpsc::WeakUnboundedSender<MessageId> {
        self.sender.downgrade()
    }

    pub(super) fn confirm(&self, message: MessageId) {
        // The task ends only with the subscription, or with a session that can confirm nothing any more.
        let _ = self.sender.send(message);
    }

    /// Waits until everything is confirmed, at most as long as a call may take.
    pub(super) async fn finish(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.sender = closed;
        if timeout(self.patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn run(
    client: Client,
    seen: Arc<Mutex<Seen>>,
    mut messages: mpsc::UnboundedReceiver<MessageId>,
) {
    while let Some(first) = messages.recv().await {
        let mut batch = vec![first];
        let until = Instant::now() + GATHER_FOR;
        while batch.len() < BATCH {
            match timeout_at(until, messages.recv()).await {
                Ok(Some(message)) => batch.push(message),
                // Nobody else comes: the time is over, or the subscription is.
                Ok(None) | Err(_) => break,
            }
        }
        match confirm(&client, &batch).await {
            Ok(()) => close(&seen, &batch),
            Err(Error::NotFound(_)) => confirm_singly(&client, &seen, &batch).await,
            // The session is over; the messages wait for the next one.
            Err(Error::Unauthenticated(_)) => return,
            // Nothing more can be done for this batch. Its messages stay in the inbox and will come again.
            Err(_) => {}
        }
        if messages.is_closed() && messages.is_empty() {
            return;
        }
    }
}

/// One of them is gone, and the others shall not suffer for it.
async fn confirm_singly(client: &Client, seen: &Mutex<Seen>, batch: &[MessageId]) {
    for message in batch {
        match confirm(client, &[*message]).await {
            Ok(()) | Err(Error::NotFound(_)) => close(seen, &[*message]),
            Err(_) => return,
        }
    }
}

/// Repeats a confirmation under one request id for as long as only the cluster is at fault.
async fn confirm(client: &Client, batch: &[MessageId]) -> Result<(), Error> {
    let id = RequestId::mint();
    loop {
        match client.confirm_delivery_as(id, batch).await {
            Err(error) if error.is_transient() => {}
            done => return done,
        }
    }
}

fn close(seen: &Mutex<Seen>, batch: &[MessageId]) {
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .close(batch);
}
