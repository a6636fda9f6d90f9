//! Sending through the outbox: answers are told at once, or whenever they come.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::listen::{self, lock};
use super::screen::Screen;
use super::show;
use super::state::State;
use crate::cli::failure::Failure;
use crate::cli::text::{harmless, harmless_lines};
use crate::client::Client;
use crate::ids::{AccountId, RequestId};
use crate::outbox::{Outbox, OutboxError, OutboxEvent, OutboxEvents, OutboxMessage};

/// The outbox of whoever is logged in.
pub(super) struct Post {
    outbox: Outbox,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

/// Where events go: to the user who waits for an answer, or onto the screen.
struct Desk {
    screen: Screen,
    state: Arc<Mutex<State>>,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    /// The user waits for what is sent last.
    counter: Option<mpsc::UnboundedSender<OutboxEvent>>,
    /// Nobody can be reached, as far as was told.
    outage: Option<String>,
}

impl Post {
    pub(super) async fn open(
        client: &Client,
        account: AccountId,
        root: &Path,
        screen: &Screen,
        state: &Arc<Mutex<State>>,
    ) -> Result<Self, OutboxError> {
        let (outbox, events) = Outbox::open(client, account, root).await?;
        for _ in outbox.waiting() {
            lock(state).sending();
        }
        let desk = Arc::new(Desk {
            screen: screen.clone(),
            state: Arc::clone(state),
            waits: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&desk).work(events));
        Ok(Self { outbox, desk, task })
    }

    /// Sends a message and tells what became of it. Where nobody can be reached it is kept, and told of later.
    pub(super) async fn send(&self, to: &str, body: &str) -> Result<(), Failure> {
        let mut counter = Counter::before(&self.desk);
        lock(&self.desk.state).sending();
        let put = self.outbox.put(to, body).await;
        let message = put.map_err(|error| {
            self.desk.sent(None);
            Failure::Other(error.to_string())
        })?;
        if let Some(why) = self.desk.outage() {
            self.desk.kept(&message, &why);
            return Ok(());
        }
        while let Some(event) = counter.events.recv().await {
            match event {
                OutboxEvent::Refused {
                    message: refused,
                    error,
                } if refused.id == message.id => {
                    self.desk.sent(None);
                    return Err(error.into());
                }
                OutboxEvent::Paused(error) => return Err(error.into()),
                OutboxEvent::Waiting(error) => {
                    self.desk.kept(&message, &error.to_string());
                    break;
                }
                event => {
                    let is_last = is_about(&event, message.id);
                    self.desk.tell(event);
                    if is_last {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the sending. Tells what is left.
    pub(super) fn close(self) {
        self.task.abort();
        match self.outbox.waiting().len() {
            0 => {}
            1 => self
                .desk
                .screen
                .say("1 message is not sent yet; it is kept for your next session"),
            n => self.desk.screen.say(&format!(
                "{n} messages are not sent yet; they are kept for your next session"
            )),
        }
    }
}

/// The user waits for as long as this lives.
struct Counter<'a> {
    desk: &'a Desk,
    events: mpsc::UnboundedReceiver<OutboxEvent>,
}

impl<'a> Counter<'a> {
    fn before(desk: &'a Desk) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        desk.waits().counter = Some(sender);
        Self { desk, events }
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        self.desk.waits().counter = None;
        // What came in the last moment is told all the same.
        while let Ok(event) = self.events.try_recv() {
            self.desk.tell(event);
        }
    }
}

impl Desk {
    async fn work(self: Arc<Self>, mut events: OutboxEvents) {
        while let Some(event) = events.next().await {
            // Handed over under the lock: whoever goes takes along what is there.
            let unclaimed = {
                let mut waits = self.waits();
                match &event {
                    OutboxEvent::Waiting(error) => waits.outage = Some(error.to_string()),
                    OutboxEvent::Sent { .. } => waits.outage = None,
                    _ => {}
                }
                match &waits.counter {
                    None => Some(event),
                    Some(counter) => counter.send(event).err().map(|back| back.0),
                }
            };
            if let Some(event) = unclaimed {
                self.tell(event);
            }
        }
    }

    fn outage(&self) -> Option<String> {
        self.waits().outage.clone()
    }

    fn kept(&self, message: &OutboxMessage, why: &str) {
        let to = harmless(&message.recipient);
        self.screen.say(&format!(
            "to {to}: kept, and sent as soon as a replica can be reached"
        ));
        self.screen.say(&format!("  {}", harmless_lines(why)));
    }

    fn tell(&self, event: OutboxEvent) {
        match event {
            OutboxEvent::Sent { message, answer } => {
                self.sent(Some(answer.message_id));
                let number = lock(&self.state).number(answer.message_id);
                let (to, state) = (harmless(&message.recipient), show::sent(&answer));
                self.screen.say(&format!("[{number}] to {to}: {state}"));
            }
            OutboxEvent::Refused { message, error } => {
                self.sent(None);
                let (to, body) = (harmless(&message.recipient), harmless(&message.body));
                let why = harmless_lines(&error.to_string());
                self.screen.say(&format!("error: not sent to {to}: {why}"));
                self.screen.say(&format!("  it said: {body}"));
            }
            OutboxEvent::Paused(error) => {
                let why = harmless_lines(&error.to_string());
                self.screen.say(&format!("not sent, but kept: {why}"));
            }
            OutboxEvent::Spoilt { file, problem } => {
                let file = file.display().to_string();
                self.screen.say(&format!(
                    "{} is no message: {}",
                    harmless(&file),
                    harmless(&problem)
                ));
            }
            // Told by the client's own events.
            OutboxEvent::Waiting(_) => {}
        }
    }

    /// A message is under way no more. Shows what other devices sent in the meantime.
    fn sent(&self, message: Option<crate::ids::MessageId>) {
        let others = lock(&self.state).sent(message);
        for message in others {
            let line = listen::line(&message, &mut lock(&self.state));
            self.screen.say(&line);
        }
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_about(event: &OutboxEvent, id: RequestId) -> bool {
    match event {
        OutboxEvent::Sent { message, .. } | OutboxEvent::Refused { message, .. } => {
            message.id == id
        }
        _ => false,
    }
}
