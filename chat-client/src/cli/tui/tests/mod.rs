//! The model and its screens, without network and terminal.
#![allow(clippy::unwrap_used)]

mod hostile;
mod keys;
mod lines;
mod screens;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use uuid::Uuid;

use super::model::{Effect, Input, Me, Model};
use super::view;
use crate::cluster::{ClusterStatus, Leader, Mode, ReplicaStatus, Role};
use crate::ids::{MessageId, PageToken, RequestId};
use crate::outbox::{OutboxEvent, OutboxMessage};
use crate::subscription::Event;
use crate::timestamp::Timestamp;
use crate::types::{Account, Conversation, DeliveryState, Durability, Message, Page, Sent};

/// 2026-11-21 09:00:00 UTC.
const NINE: i64 = 1_795_251_600_000;

/// A user at a window.
pub(super) struct User {
    pub(super) model: Model,
    /// What the model asked for and nobody has looked at.
    pub(super) effects: Vec<Effect>,
}

impl User {
    /// Alice, connected, in a window of this size.
    pub(super) fn at(size: (u16, u16)) -> Self {
        let mut user = Self {
            model: Model::new(size),
            effects: Vec::new(),
        };
        let me = Me {
            id: account("alice").id,
            name: "alice".into(),
        };
        let waiting = Vec::new();
        user.gets(Input::Opened { me, waiting });
        user.happens(Event::Connected {
            replica_id: 0,
            leader: Some(leader(0, 3)),
        });
        user.gets(Input::Status(Ok(status(0, 3, 3))));
        user.effects.clear();
        user
    }

    /// In a conversation with Bob whose past is there.
    pub(super) fn with_bob(size: (u16, u16), past: Vec<Message>) -> Self {
        let mut user = Self::at(size);
        user.lists(vec![("bob", 0)]);
        user.loads("bob", past, None);
        user.effects.clear();
        user
    }

    pub(super) fn gets(&mut self, input: Input) {
        let effects = self.model.update(input);
        self.effects.extend(effects);
    }

    pub(super) fn happens(&mut self, event: Event) {
        self.gets(Input::Event(event));
    }

    pub(super) fn receives(&mut self, message: Message) {
        self.happens(Event::MessageReceived(message));
    }

    pub(super) fn lists(&mut self, conversations: Vec<(&str, u64)>) {
        let conversation = |(name, unread)| Conversation {
            peer: account(name),
            unread,
            last_message: None,
        };
        let result = Ok(conversations.into_iter().map(conversation).collect());
        self.gets(Input::Conversations {
            as_of: 1_000,
            result,
        });
    }

    /// The past of a conversation, oldest first.
    pub(super) fn loads(&mut self, peer: &str, mut past: Vec<Message>, next: Option<&str>) {
        past.reverse();
        let next = next.map(|token| PageToken(token.to_owned()));
        let peer = peer.to_owned();
        let result = Ok(Page { items: past, next });
        self.gets(Input::History { peer, result });
    }

    pub(super) fn presses(&mut self, key: KeyCode, modifiers: KeyModifiers) {
        self.gets(Input::Key(KeyEvent::new(key, modifiers)));
    }

    pub(super) fn key(&mut self, key: KeyCode) {
        self.presses(key, KeyModifiers::NONE);
    }

    pub(super) fn control(&mut self, key: char) {
        self.presses(KeyCode::Char(key), KeyModifiers::CONTROL);
    }

    pub(super) fn types(&mut self, text: &str) {
        for c in text.chars() {
            self.key(KeyCode::Char(c));
        }
    }

    /// Writes and sends; the outbox takes it under this number.
    pub(super) fn sends(&mut self, number: u64, text: &str) -> OutboxMessage {
        self.types(text);
        self.key(KeyCode::Enter);
        let Some(Effect::Put { recipient, body }) = self.effects.pop() else {
            panic!("nothing was sent");
        };
        let message = OutboxMessage {
            id: request(number),
            recipient: recipient.clone(),
            body: body.clone(),
            written: at(number),
        };
        let result = Ok(message.clone());
        self.gets(Input::Put {
            recipient,
            body,
            result,
        });
        message
    }

    pub(super) fn is_answered(&mut self, message: &OutboxMessage, number: u64) {
        let answer = Sent {
            message_id: id(number),
            sequence: number,
            state: DeliveryState::Delivering,
            durability: Durability {
                durable_on: 3,
                replicas: 3,
            },
            sent: at(number),
        };
        let message = message.clone();
        self.gets(Input::Outbox(OutboxEvent::Sent { message, answer }));
    }

    /// The window as it looks, without the spaces at the ends of its rows.
    pub(super) fn screen(&self) -> String {
        let (width, height) = self.model.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| view::draw(&self.model, frame))
            .unwrap();
        let view = terminal.backend().to_string();
        // Each row stands in quotes, and behind it what wide characters hide.
        let rows = view.lines().map(|row| {
            let row = &row[1..row.rfind('"').unwrap()];
            let row = row.split("\" Hidden by").next().unwrap();
            row.replace('\u{a0}', " ").trim_end().to_owned()
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    pub(super) fn sees(&self, expected: &str) {
        let screen = self.screen();
        let (screen, expected) = (screen.trim_matches('\n'), expected.trim_matches('\n'));
        assert!(
            screen == expected,
            "expected\n{expected}\n\nfound\n{screen}\n"
        );
    }

    /// The bodies in the open conversation.
    pub(super) fn bodies(&self) -> Vec<&str> {
        let open = self.model.open().unwrap();
        open.timeline
            .lines()
            .map(|(_, line)| line.body.as_str())
            .collect()
    }
}

pub(super) fn account(name: &str) -> Account {
    let number = name
        .bytes()
        .fold(7u128, |n, b| n.wrapping_mul(31).wrapping_add(u128::from(b)));
    Account {
        id: Uuid::from_u128(number).into(),
        name: name.to_owned(),
        online: name == "bob",
        created: Timestamp::from_unix_ms(0),
        deleted: false,
    }
}

/// A minute after nine for each number.
pub(super) fn at(number: u64) -> Timestamp {
    Timestamp::from_unix_ms(NINE + 60_000 * number as i64)
}

/// An id whose time is that of its number.
pub(super) fn id(number: u64) -> MessageId {
    uuid(number, 1).into()
}

pub(super) fn request(number: u64) -> RequestId {
    uuid(number, 2).into()
}

fn uuid(number: u64, kind: u8) -> Uuid {
    let millis = at(number).as_unix_ms() as u64;
    uuid::Builder::from_unix_timestamp_millis(millis, &[kind; 10]).into_uuid()
}

pub(super) fn message(number: u64, from: &str, to: &str, body: &str) -> Message {
    Message {
        id: id(number),
        sequence: number,
        sender: account(from),
        recipient: account(to),
        body: body.to_owned(),
        sent: at(number),
        delivered: false,
        read: false,
    }
}

pub(super) fn from_bob(number: u64, body: &str) -> Message {
    message(number, "bob", "alice", body)
}

pub(super) fn from_me(number: u64, body: &str) -> Message {
    message(number, "alice", "bob", body)
}

pub(super) fn read(message: Message) -> Message {
    Message {
        delivered: true,
        read: true,
        ..message
    }
}

pub(super) fn leader(replica_id: u32, epoch: u64) -> Leader {
    Leader {
        replica_id,
        client_address: String::new(),
        epoch,
    }
}

pub(super) fn status(leads: u32, epoch: u64, live: usize) -> ClusterStatus {
    let replica = |id: u32| ReplicaStatus {
        replica_id: id,
        client_address: String::new(),
        peer_address: String::new(),
        role: Role::Follower,
        in_view: (id + 3 - leads) % 3 < live as u32,
        durable_index: 0,
        commit_index: 0,
        applied_index: 0,
        lag: 0,
        state_hash: String::new(),
        orphans: 0,
    };
    ClusterStatus {
        cluster_id: String::new(),
        replica_id: leads,
        leader: Some(leader(leads, epoch)),
        epoch,
        replicas: (0..3).map(replica).collect(),
        waiting_for: String::new(),
        accounts: 0,
        messages: 0,
        mode: Mode::Available,
        forced: false,
    }
}
