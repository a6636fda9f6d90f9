//! A program over the library: shows what its subscription tells, and writes through an outbox.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use chat_client::{
    Account, Client, Event, Outbox, OutboxEvent, OutboxEvents, SubscribeOptions, Subscription,
};
use tokio::sync::mpsc;

use crate::display::{Seat, Shown};

struct Program {
    outbox: Outbox,
    outcomes: OutboxEvents,
    events: Subscription,
    peer: String,
    shown: Arc<Mutex<Shown>>,
}

pub(crate) async fn sit_down(client: Client, me: Account, peer: &str, root: PathBuf) -> Seat {
    let (outbox, outcomes) = Outbox::open(&client, me.id, root).await.unwrap();
    let events = client.subscribe(SubscribeOptions::default()).await.unwrap();
    let peer = peer.to_owned();
    Seat::taken(format!("{}'s library", me.name), |orders, shown| {
        let program = Program {
            outbox,
            outcomes,
            events,
            peer,
            shown,
        };
        program.run(orders)
    })
}

impl Program {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<String>) {
        self.shown.lock().unwrap().is_settled = true;
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(body) => {
                        self.outbox.put(&self.peer, &body).await.unwrap();
                    }
                    None => return,
                },
                event = self.events.next() => self.show(event.unwrap().unwrap()),
                Some(outcome) = self.outcomes.next() => self.tell(outcome),
            }
        }
    }

    fn show(&self, event: Event) {
        let mut shown = self.shown.lock().unwrap();
        match event {
            Event::MessageReceived(message) | Event::MessageSent(message) => {
                shown.bodies.push(message.body);
            }
            Event::Reset => {
                shown.problem = Some("the stream was not resumed exactly".into());
            }
            _ => {}
        }
    }

    fn tell(&self, outcome: OutboxEvent) {
        if let OutboxEvent::Refused { .. } | OutboxEvent::Paused(_) | OutboxEvent::Spoilt { .. } =
            outcome
        {
            self.shown.lock().unwrap().problem = Some(format!("{outcome:?}"));
        }
    }
}
