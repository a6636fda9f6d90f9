//! What the terminal interface knows: events go in, requests come out, and the view draws what is left. Knows neither
//! network, clock nor terminal.

mod cluster;
mod commands;
mod composer;
mod conversation;
mod keys;
mod line;
mod message;
mod overlay;
mod scrolling;
mod searching;
mod timeline;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::events::ClientEvent;
use crate::ids::RequestId;
use crate::outbox::{OutboxEvent, OutboxMessage};
use crate::subscription::Event;
use crate::types::{Account, Message, PageRequest};
use conversation::side;
use timeline::Arrival;

pub use line::{Line, LineState, Side, StoredOn};

pub(in crate::cli::tui) use cluster::{Cluster, Link};
pub(in crate::cli::tui) use composer::Composer;
pub(in crate::cli::tui) use conversation::{Conversation, Scroll};
pub(in crate::cli::tui) use line::Place;
pub(in crate::cli::tui) use message::{Effect, Focus, Input, Me};
pub(in crate::cli::tui) use overlay::{
    Accounts, Doomed, Field, Login, LoginState, Overlay, Picker, Searching,
};
pub(in crate::cli::tui) use timeline::History;

use super::super::show;
use super::super::text::harmless_lines;

/// How many messages of the past are fetched at a time.
pub(in crate::cli::tui) const PAGE: u32 = 100;
/// How long a passing word stays, in seconds.
const NOTICE_STAYS: u32 = 8;
/// The state of the cluster and who is online are asked for so often, in seconds.
const ASK_EVERY: u32 = 5;

#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) struct Model {
    pub(in crate::cli::tui) me: Option<Me>,
    pub(in crate::cli::tui) conversations: Vec<Conversation>,
    /// Which of the conversations is open.
    pub(in crate::cli::tui) current: Option<usize>,
    pub(in crate::cli::tui) composer: Composer,
    pub(in crate::cli::tui) overlay: Overlay,
    pub(in crate::cli::tui) cluster: Cluster,
    /// A passing word, and for how many seconds more.
    pub(in crate::cli::tui) notice: Option<(String, u32)>,
    /// Columns and rows.
    pub(in crate::cli::tui) size: (u16, u16),
    focus: Focus,
    ticks: u32,
    /// Grows with each change of a number of unread messages.
    changes: u64,
    /// Whether these are being asked for already.
    asking_status: bool,
    asking_conversations: bool,
    /// Drafts by conversation.
    drafts: BTreeMap<String, String>,
}

impl Model {
    pub(in crate::cli::tui) fn new(size: (u16, u16)) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// The same in a window of another size.
    pub(in crate::cli::tui) fn in_size(&self, size: (u16, u16)) -> Self {
        Self {
            size,
            ..self.clone()
        }
    }

    /// Takes in what happened, and says what is to be done.
    pub(in crate::cli::tui) fn update(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = match input {
            Input::Key(key) => self.key(key),
            Input::Paste(text) => self.pasted(&text),
            Input::Resize(columns, rows) => {
                self.size = (columns, rows);
                Vec::new()
            }
            Input::Focus(focus) => {
                self.focus = focus;
                Vec::new()
            }
            Input::Tick => self.tick(),
            Input::Event(event) => self.event(event),
            Input::StreamEnded(error) => self.stream_ended(error.as_ref()),
            Input::Client(event) => self.client_event(&event),
            Input::Outbox(event) => self.outbox_event(event),
            Input::Opened { me, waiting } => self.opened(me, &waiting),
            Input::LoginFailed(error) => {
                self.login_failed(&error);
                Vec::new()
            }
            Input::LoggedOut => self.logged_out(),
            Input::Status(result) => {
                self.asking_status = false;
                if let Ok(status) = result {
                    self.cluster.learn(&status);
                    if status.leader.is_some() {
                        self.serves_again();
                    }
                }
                Vec::new()
            }
            Input::Conversations { as_of, result } => self.conversations_loaded(as_of, result),
            Input::History { peer, result } => self.history_loaded(&peer, result),
            Input::Accounts { filter, result } => {
                self.accounts_listed(&filter, result);
                Vec::new()
            }
            Input::MarkedRead { peer, result } => {
                // Said again at the next occasion.
                if result.is_err()
                    && let Some(conversation) = self.named(&peer)
                {
                    conversation.told_read = None;
                }
                Vec::new()
            }
            Input::Put {
                recipient,
                body,
                result,
            } => {
                self.put(&recipient, &body, result);
                Vec::new()
            }
            Input::Deleted { what, result } => {
                match result {
                    // The event tells the same, perhaps later.
                    Ok(()) => self.deleted(&[what]),
                    Err(error) => self.say(&error.to_string()),
                }
                Vec::new()
            }
        };
        effects.extend(self.mark_read());
        effects
    }

    pub(in crate::cli::tui) fn open(&self) -> Option<&Conversation> {
        self.conversations.get(self.current?)
    }

    fn open_mut(&mut self) -> Option<&mut Conversation> {
        self.conversations.get_mut(self.current?)
    }

    /// How many messages wait to be sent.
    pub(in crate::cli::tui) fn waiting(&self) -> usize {
        let lines = self.conversations.iter().flat_map(|c| c.timeline.lines());
        lines.filter(|(_, l)| l.state == LineState::Pending).count()
    }

    /// A passing word for the user.
    pub(in crate::cli::tui) fn say(&mut self, text: &str) {
        let text = harmless_lines(text).replace('\n', " ");
        self.notice = Some((text, NOTICE_STAYS));
    }

    fn opened(&mut self, me: Me, waiting: &[OutboxMessage]) -> Vec<Effect> {
        let size = self.size;
        let cluster = std::mem::take(&mut self.cluster);
        *self = Self {
            cluster,
            ..Self::new(size)
        };
        self.me = Some(me);
        for message in waiting {
            let at = self.index_of_name(&message.recipient);
            self.conversations[at].timeline.outgoing(message);
        }
        let mut effects = vec![Effect::Subscribe];
        effects.extend(self.ask_status());
        effects.extend(self.reload());
        effects
    }

    fn logged_out(&mut self) -> Vec<Effect> {
        let size = self.size;
        let cluster = std::mem::take(&mut self.cluster);
        *self = Self {
            cluster,
            overlay: Overlay::Login(Login::default()),
            ..Self::new(size)
        };
        Vec::new()
    }

    fn login_failed(&mut self, error: &Error) {
        if let Overlay::Login(login) = &mut self.overlay {
            login.state = LoginState::Failed(harmless_lines(&error.to_string()));
            login.password.clear();
        }
    }

    fn tick(&mut self) -> Vec<Effect> {
        self.ticks += 1;
        if let Some((_, left)) = &mut self.notice {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.notice = None;
            }
        }
        let mut effects = Vec::new();
        let is_time = self.ticks.is_multiple_of(ASK_EVERY);
        if is_time || self.cluster.link == Link::Waiting {
            effects.extend(self.ask_status());
        }
        if is_time && self.cluster.link == Link::Connected {
            effects.extend(self.reload());
        }
        // What could not be fetched while nobody could be reached is fetched now.
        if self.cluster.link == Link::Connected {
            effects.extend(self.want_history());
        }
        effects
    }

    fn reload(&mut self) -> Option<Effect> {
        let is_wanted =
            self.me.is_some() && !std::mem::replace(&mut self.asking_conversations, true);
        is_wanted.then_some(Effect::LoadConversations {
            as_of: self.changes,
        })
    }

    fn ask_status(&mut self) -> Option<Effect> {
        (!std::mem::replace(&mut self.asking_status, true)).then_some(Effect::AskStatus)
    }

    /// A call was answered, so that nobody needs to wait any more.
    fn serves_again(&mut self) {
        if self.cluster.link == Link::Waiting && self.cluster.node.is_some() {
            self.cluster.link = Link::Connected;
        }
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        let Some(me) = self.me.clone() else {
            return Vec::new();
        };
        match event {
            Event::Connected { replica_id, leader } => {
                self.cluster.node = Some(replica_id);
                self.cluster.link = Link::Connected;
                if let Some(leader) = leader {
                    self.cluster.led_by(&leader);
                }
                let effects = [self.ask_status(), self.reload(), self.want_history()];
                return effects.into_iter().flatten().collect();
            }
            Event::Reset => {
                for conversation in &mut self.conversations {
                    conversation.timeline.forget_history();
                }
                let effects = [self.reload(), self.want_history()];
                return effects.into_iter().flatten().collect();
            }
            Event::MessageReceived(message) | Event::MessageSent(message) => {
                self.arrived(&me, &message);
            }
            Event::MessagesDelivered {
                messages,
                recipient,
            } => {
                let at = self.index_of(&recipient);
                self.conversations[at]
                    .timeline
                    .advance(&messages, &LineState::Delivered);
            }
            Event::MessagesRead { messages, reader } if reader.id == me.id => {
                for conversation in &mut self.conversations {
                    if messages.iter().any(|id| conversation.timeline.has(*id)) {
                        conversation.timeline.read_through(&messages, Side::Theirs);
                    }
                }
                return self.reload().into_iter().collect();
            }
            Event::MessagesRead { messages, reader } => {
                let at = self.index_of(&reader);
                self.conversations[at]
                    .timeline
                    .read_through(&messages, Side::Mine);
            }
            Event::MessagesDeleted { messages, peer } => {
                let at = self.index_of(&peer);
                self.conversations[at].timeline.delete(&messages);
                return self.reload().into_iter().collect();
            }
            Event::PeerDeleted(peer) => {
                let at = self.index_of(&peer);
                self.conversations[at].deleted = true;
                self.say(&format!("{} has deleted the account", peer.name));
            }
            Event::Notice(text) => self.say(&text),
            Event::LeaderChanged(leader) => {
                self.cluster.led_by(&leader);
                self.say(&format!("replica {} leads now", leader.replica_id));
                return self.ask_status().into_iter().collect();
            }
            Event::SessionClosed { reason } => {
                self.say(&format!("the session was ended: {reason}"));
            }
        }
        Vec::new()
    }

    fn arrived(&mut self, me: &Me, message: &Message) {
        let side = side(me.id, message);
        let peer = match side {
            Side::Mine => &message.recipient,
            Side::Theirs => &message.sender,
        };
        let at = self.index_of(peer);
        let is_open = self.current == Some(at);
        let conversation = &mut self.conversations[at];
        conversation.learn(peer);
        let arrival = conversation.timeline.put(message, side);
        if arrival == Arrival::Known {
            return;
        }
        if is_open && !conversation.is_at_bottom() {
            conversation.below += 1;
        }
        let unread = side == Side::Theirs && !message.read;
        let is_seen = is_open && conversation.is_at_bottom() && self.focus == Focus::Here;
        if !unread || is_seen {
            conversation.counted_through = conversation.counted_through.max(message.sequence);
            return;
        }
        if is_open {
            conversation.divider.get_or_insert(message.sequence);
        }
        if message.sequence > conversation.counted_through {
            conversation.counted_through = message.sequence;
            conversation.unread += 1;
            self.changes += 1;
            conversation.changed_at = self.changes;
        }
    }

    fn deleted(&mut self, ids: &[crate::ids::MessageId]) {
        for conversation in &mut self.conversations {
            if ids.iter().any(|id| conversation.timeline.has(*id)) {
                conversation.timeline.delete(ids);
            }
        }
    }

    fn stream_ended(&mut self, error: Option<&Error>) -> Vec<Effect> {
        self.cluster.link = Link::Connecting;
        self.cluster.node = None;
        match error {
            Some(error) if error.is_transient() => {
                self.cluster.link = Link::Waiting;
                vec![Effect::Subscribe]
            }
            // Only a new login mends it. What waits to be sent is kept.
            error => {
                let why = error.map_or("the session was ended".into(), ToString::to_string);
                let name = self.me.take().map(|me| me.name).unwrap_or_default();
                let mut login = Login {
                    state: LoginState::Failed(format!("{}; log in again", harmless_lines(&why))),
                    field: Field::Password,
                    ..Login::default()
                };
                login.name.set(&name);
                self.overlay = Overlay::Login(login);
                Vec::new()
            }
        }
    }

    fn client_event(&mut self, event: &ClientEvent) -> Vec<Effect> {
        match event {
            ClientEvent::ReplicaSwitched { from, to, resent } => {
                self.say(&show::switch(from, to, *resent));
                self.ask_status().into_iter().collect()
            }
            ClientEvent::Waiting { .. } => {
                self.cluster.link = Link::Waiting;
                Vec::new()
            }
            ClientEvent::LeaderChanged(leader) => {
                self.cluster.led_by(leader);
                self.ask_status().into_iter().collect()
            }
        }
    }

    fn outbox_event(&mut self, event: OutboxEvent) -> Vec<Effect> {
        match event {
            OutboxEvent::Sent { message, answer } => {
                self.serves_again();
                let at = self.index_of_outgoing(&message);
                let is_open = self.current == Some(at);
                let conversation = &mut self.conversations[at];
                conversation.keep_edge(
                    |timeline| timeline.sent(&message, &answer),
                    message.id,
                    answer.sequence,
                );
                if !is_open {
                    conversation.go_to_bottom();
                }
            }
            OutboxEvent::Refused { message, error } => {
                let at = self.index_of_outgoing(&message);
                let reason = harmless_lines(&error.to_string()).replace('\n', " ");
                self.conversations[at].timeline.refused(message.id, reason);
            }
            OutboxEvent::Waiting(_) => self.cluster.link = Link::Waiting,
            OutboxEvent::Paused(error) => {
                self.say(&format!("not sent, but kept: {error}"));
            }
            OutboxEvent::Spoilt { file, problem } => {
                self.say(&format!("{} is no message: {problem}", file.display()));
            }
        }
        Vec::new()
    }

    fn put(&mut self, recipient: &str, body: &str, result: Result<OutboxMessage, String>) {
        let at = self.index_of_name(recipient);
        match result {
            Ok(message) => {
                let conversation = &mut self.conversations[at];
                conversation.timeline.outgoing(&message);
                conversation.divider = None;
                conversation.go_to_bottom();
            }
            Err(problem) => {
                self.say(&problem);
                if self.composer.is_empty() {
                    self.composer.set(body);
                }
            }
        }
    }

    fn conversations_loaded(
        &mut self,
        as_of: u64,
        result: Result<Vec<crate::types::Conversation>, Error>,
    ) -> Vec<Effect> {
        self.asking_conversations = false;
        let Ok(loaded) = result else {
            return Vec::new();
        };
        for one in loaded {
            let at = self.index_of(&one.peer);
            let conversation = &mut self.conversations[at];
            conversation.learn(&one.peer);
            // An event that came since the question was asked knows better.
            if conversation.changed_at <= as_of {
                conversation.unread = one.unread;
                let last = one.last_message.map_or(0, |m| m.sequence);
                conversation.counted_through = conversation.counted_through.max(last);
            }
        }
        if self.current.is_none() && !self.conversations.is_empty() {
            return self.switch_to(0);
        }
        Vec::new()
    }

    fn history_loaded(
        &mut self,
        peer: &str,
        result: Result<crate::types::Page<Message>, Error>,
    ) -> Vec<Effect> {
        let Some(me) = self.me.clone() else {
            return Vec::new();
        };
        let Some(conversation) = self.named(peer) else {
            return Vec::new();
        };
        match result {
            Ok(page) => {
                conversation.timeline.loaded(&page, |m| side(me.id, m));
                conversation.divide();
                conversation.wants_divider = false;
                self.search_on()
            }
            // A peer that was never written to has no history, and one that does not exist is told of when written to.
            Err(error) => {
                conversation.timeline.loading_failed();
                if !error.is_transient() {
                    conversation.timeline.loaded(&no_messages(), |_| Side::Mine);
                }
                Vec::new()
            }
        }
    }

    fn accounts_listed(&mut self, filter: &str, result: Result<Vec<Account>, Error>) {
        let Overlay::Picker(picker) = &mut self.overlay else {
            return;
        };
        // An answer to what was typed before is of no use, unless there is none yet.
        if picker.filter.text() != filter && matches!(picker.accounts, Accounts::Found(_)) {
            return;
        }
        picker.accounts = match result {
            Ok(mut accounts) => {
                accounts.sort_by(|a, b| (!a.online, &a.name).cmp(&(!b.online, &b.name)));
                Accounts::Found(accounts)
            }
            Err(error) => Accounts::Failed(harmless_lines(&error.to_string()).replace('\n', " ")),
        };
        picker.chosen = 0;
    }

    /// Asks for the newest page of the open conversation, if it is not there.
    fn want_history(&mut self) -> Option<Effect> {
        let conversation = self.open_mut()?;
        match conversation.timeline.history() {
            History::Unknown => conversation.want_more(),
            _ => None,
        }
    }

    /// Tells the service what was read: the newest message of the open conversation, while it is in view.
    fn mark_read(&mut self) -> Option<Effect> {
        let is_shown = self.me.is_some()
            && self.focus == Focus::Here
            && !matches!(self.overlay, Overlay::Login(_) | Overlay::Help);
        let changes = self.changes + 1;
        let conversation = self.open_mut().filter(|c| is_shown && c.is_at_bottom())?;
        let (_, through, state) = conversation.timeline.last_received()?;
        let is_told = conversation.told_read == Some(through);
        if *state == LineState::Read && conversation.unread == 0 || is_told {
            return None;
        }
        conversation.told_read = Some(through);
        conversation.unread = 0;
        conversation.changed_at = changes;
        let peer = conversation.address();
        self.changes = changes;
        Some(Effect::MarkRead { peer, through })
    }

    /// Opens a conversation.
    fn switch_to(&mut self, at: usize) -> Vec<Effect> {
        if at >= self.conversations.len() {
            return Vec::new();
        }
        if let Some(before) = self.current.filter(|before| *before != at) {
            let draft = self.composer.text().to_owned();
            self.drafts
                .insert(self.conversations[before].address(), draft);
            self.composer.clear();
            self.conversations[before].divider = None;
        }
        if self.current != Some(at) {
            let conversation = &mut self.conversations[at];
            conversation.go_to_bottom();
            conversation.wants_divider = conversation.unread > 0;
            conversation.divide();
            let draft = self.drafts.remove(&conversation.address());
            self.composer.set(&draft.unwrap_or_default());
        }
        self.current = Some(at);
        self.want_history().into_iter().collect()
    }

    /// The conversation with an account, begun if there is none.
    fn index_of(&mut self, account: &Account) -> usize {
        if let Some(at) = self.conversations.iter().position(|c| c.is_with(account)) {
            self.conversations[at].id = Some(account.id);
            return at;
        }
        self.conversations.push(Conversation::of(account));
        self.conversations.len() - 1
    }

    /// The conversation with whoever has a name, begun if there is none.
    fn index_of_name(&mut self, name: &str) -> usize {
        if let Some(at) = self.conversations.iter().position(|c| c.address() == name) {
            return at;
        }
        self.conversations.push(Conversation::with(name));
        self.conversations.len() - 1
    }

    fn index_of_outgoing(&mut self, message: &OutboxMessage) -> usize {
        let place = Place::Outgoing(message.id);
        let has = |c: &Conversation| c.timeline.line(place).is_some();
        match self.conversations.iter().position(has) {
            Some(at) => at,
            None => self.index_of_name(&message.recipient),
        }
    }

    fn named(&mut self, address: &str) -> Option<&mut Conversation> {
        self.conversations
            .iter_mut()
            .find(|c| c.address() == address)
    }
}

impl Conversation {
    /// Asks for the next page of the past.
    pub(in crate::cli::tui) fn want_more(&mut self) -> Option<Effect> {
        let token = self.timeline.load_more()?;
        Some(Effect::LoadHistory {
            peer: self.address(),
            page: PageRequest { size: PAGE, token },
        })
    }

    /// Changes the timeline; where the line at the lower edge gets another place by it, the edge goes along.
    fn keep_edge(
        &mut self,
        change: impl FnOnce(&mut timeline::Timeline),
        request: RequestId,
        sequence: u64,
    ) {
        change(&mut self.timeline);
        if let Scroll::At { place, .. } = &mut self.scroll
            && *place == Place::Outgoing(request)
            && sequence > 0
        {
            *place = Place::Stored(sequence);
        }
    }
}

fn no_messages() -> crate::types::Page<Message> {
    crate::types::Page {
        items: Vec::new(),
        next: None,
    }
}
