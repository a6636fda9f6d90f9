//! Prints what happens while the user types.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};

use super::screen::Screen;
use super::show;
use super::state::State;
use crate::cli::text::harmless_lines;
use crate::client::Client;
use crate::events::{ClientEvent, ClientEvents, Resent};
use crate::subscription::{Event, SubscribeOptions};
use crate::types::Message;

/// Whether a message of the user is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Nothing,
    Message,
}

/// Prints switches of the replica, until the session ends.
pub(super) async fn client_events(
    mut events: ClientEvents,
    mut outgoing: watch::Receiver<Outgoing>,
    screen: Screen,
) {
    // The stream and the message meet a loss separately. What became of the message belongs into the same line, so that
    // a switch is held back until it is known.
    let mut held = Vec::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event @ ClientEvent::ReplicaSwitched { .. }) => held.push(event),
                Some(event) => say_all(&screen, &[event]),
                None => return,
            },
            _ = idle(&mut outgoing), if !held.is_empty() => {
                held.extend(std::iter::from_fn(|| events.try_next()));
                say_all(&screen, &held);
                held.clear();
            }
        }
    }
}

async fn idle(outgoing: &mut watch::Receiver<Outgoing>) {
    // An error means that nobody sends any more.
    let _ = outgoing.wait_for(|o| *o == Outgoing::Nothing).await;
}

fn say_all(screen: &Screen, events: &[ClientEvent]) {
    for line in in_few_lines(events) {
        screen.say(&line);
    }
}

/// The events as lines; a switch that is told again together with what became of a message is told once.
fn in_few_lines(events: &[ClientEvent]) -> Vec<String> {
    let mut lines = Vec::new();
    for (i, event) in events.iter().enumerate() {
        match event {
            ClientEvent::ReplicaSwitched { from, to, resent } => {
                let told_better = events[i + 1..].iter().any(|later| {
                    matches!(later, ClientEvent::ReplicaSwitched { from: f, resent: Resent::Message, .. }
                        if f.endpoint == from.endpoint)
                });
                if *resent == Resent::Message || !told_better {
                    lines.push(show::switch(from, to, *resent));
                }
            }
            ClientEvent::Waiting { .. } => {
                lines.push("no replica can serve at the moment; still trying".into());
            }
            // The subscription tells the same.
            ClientEvent::LeaderChanged(_) => {}
        }
    }
    lines
}

/// Prints the account's events until `stop` comes or the session is over.
pub(super) async fn account_events(
    client: Client,
    screen: Screen,
    state: Arc<Mutex<State>>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut subscription = loop {
        let subscribed = tokio::select! {
            subscribed = client.subscribe(SubscribeOptions::default()) => subscribed,
            _ = &mut stop => return,
        };
        match subscribed {
            Ok(subscription) => break subscription,
            // The calls have told already that nobody can be reached, and it may pass.
            Err(error) if error.is_transient() => {}
            Err(error) => return give_up(&screen, &error.to_string()),
        }
    };
    loop {
        let event = tokio::select! {
            event = subscription.next() => event,
            _ = &mut stop => break,
        };
        match event {
            Some(Ok(event)) => tell(event, &screen, &state),
            Some(Err(error)) => give_up(&screen, &error.to_string()),
            None => break,
        }
    }
    subscription.close().await;
}

fn tell(event: Event, screen: &Screen, state: &Mutex<State>) {
    match event {
        Event::MessageReceived(message) => screen.say(&line(&message, &mut lock(state))),
        // A note to oneself is received, too.
        Event::MessageSent(message) if message.sender.id == message.recipient.id => {}
        Event::MessageSent(message) => {
            let mut state = lock(state);
            if let Some(message) = state.seen_sent(message) {
                screen.say(&line(&message, &mut state));
            }
        }
        Event::MessagesDelivered {
            messages,
            recipient,
        } => {
            screen.say(&format!(
                "-- delivered to {}: {}",
                show::name(&recipient),
                count(&messages)
            ));
        }
        Event::MessagesRead { messages, reader } => {
            screen.say(&format!(
                "-- read by {}: {}",
                show::name(&reader),
                count(&messages)
            ));
        }
        Event::MessagesDeleted { messages, peer } => {
            screen.say(&format!(
                "-- deleted with {}: {}",
                show::name(&peer),
                count(&messages)
            ));
        }
        Event::PeerDeleted(peer) => screen.say(&format!("-- {} has gone", show::name(&peer))),
        Event::Notice(text) => screen.say(&format!("-- notice: {}", harmless_lines(&text))),
        Event::Reset => {
            screen.say("-- some events may be missing here, but no message; /history shows all");
        }
        Event::SessionClosed { reason } => give_up(screen, &reason),
        // A switch is told where it is noticed.
        Event::Connected { .. } => {}
        Event::LeaderChanged(leader) => {
            screen.say(&format!("-- replica {} leads now", leader.replica_id));
        }
    }
}

fn give_up(screen: &Screen, reason: &str) {
    screen.say(&format!("the session is over: {}", harmless_lines(reason)));
    screen.say("  next: log in again with /login NAME");
}

/// `[3] 2026-11-21 02:37:41Z bob: text`, and with the recipient where that is somebody else.
pub(super) fn line(message: &Message, state: &mut State) -> String {
    let number = state.number(message.id);
    format!(
        "[{number}] {} {}",
        message.sent,
        show::conversation_line(message)
    )
}

fn count(messages: &[crate::ids::MessageId]) -> String {
    match messages.len() {
        1 => "1 message".into(),
        n => format!("{n} messages"),
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Replica;

    fn switch(from: u32, to: u32, resent: Resent) -> ClientEvent {
        let replica = |id| Replica {
            endpoint: format!("h:{}", 7400 + id).parse().expect("an address"),
            id: Some(id),
        };
        ClientEvent::ReplicaSwitched {
            from: replica(from),
            to: replica(to),
            resent,
        }
    }

    #[test]
    fn a_switch_and_what_became_of_a_message_are_one_line() {
        let one = in_few_lines(&[switch(0, 1, Resent::Nothing), switch(0, 1, Resent::Message)]);
        assert_eq!(
            one,
            ["replica 0 lost, now on replica 1; your message was resent"]
        );
        let two = in_few_lines(&[switch(0, 1, Resent::Nothing), switch(1, 2, Resent::Nothing)]);
        assert_eq!(
            two,
            [
                "replica 0 lost, now on replica 1",
                "replica 1 lost, now on replica 2"
            ]
        );
    }
}
