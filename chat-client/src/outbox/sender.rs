//! Sends what waits.

use std::sync::Arc;

use tokio::time::sleep;

use super::{OutboxEvent, OutboxMessage, Shared};
use crate::client::Client;
use crate::error::Error;
use crate::net::Backoff;

/// An answer that says nothing about the message is asked for again, under the same id, so often.
const ODD_ANSWERS: u32 = 5;

/// What to do after an attempt.
enum Next {
    GoOn,
    /// Until somebody puts a message in or opens a session.
    Wait,
}

/// Sends one message after the other, oldest first, until the outbox is dropped.
pub(super) async fn run(client: Client, shared: Arc<Shared>) {
    let mut outage_told = false;
    let mut odd = 0;
    let mut backoff = Backoff::new();
    loop {
        let first = shared.waiting().values().next().cloned();
        let Some(message) = first else {
            shared.wake.notified().await;
            continue;
        };
        // In a session of its own: whoever logs in elsewhere with the same client must not send this one's messages.
        let own = client.with_session(shared.session().clone());
        own.set_read_token(client.read_token());
        let attempt = own.with_request_id(message.id);
        let result = attempt
            .send_message(&message.recipient, &message.body)
            .await;
        let next = match result {
            Ok(answer) => {
                (outage_told, odd, backoff) = (false, 0, Backoff::new());
                // Whoever reads after this must see the message.
                client.set_read_token(own.read_token());
                let sent = message.clone();
                done(&shared, &message).await;
                shared.tell(OutboxEvent::Sent {
                    message: sent,
                    answer,
                });
                Next::GoOn
            }
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut outage_told, true) {
                    shared.tell(OutboxEvent::Waiting(error));
                }
                Next::GoOn
            }
            Err(error @ (Error::Unauthenticated(_) | Error::Denied(_))) => {
                shared.tell(OutboxEvent::Paused(error));
                Next::Wait
            }
            Err(Error::Server { .. } | Error::Protocol(_)) if odd < ODD_ANSWERS => {
                odd += 1;
                sleep(backoff.next(rand::random())).await;
                Next::GoOn
            }
            Err(error) => {
                odd = 0;
                done(&shared, &message).await;
                shared.tell(OutboxEvent::Refused { message, error });
                Next::GoOn
            }
        };
        if let Next::Wait = next {
            shared.wake.notified().await;
        }
    }
}

/// The message waits no longer. Where its file cannot be removed, the next program sends it again under the same id.
async fn done(shared: &Shared, message: &OutboxMessage) {
    let _ = shared.folder.clone().remove(message.id).await;
    shared.waiting().remove(&message.id);
    shared.counted();
}
