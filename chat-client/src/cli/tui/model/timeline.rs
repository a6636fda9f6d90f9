//! The messages of one conversation, each once and in the conversation's order.

use std::collections::BTreeMap;

use super::line::{Line, LineState, Place, Side};
use crate::ids::{MessageId, PageToken, RequestId};
use crate::outbox::OutboxMessage;
use crate::types::{Message, Page, Sent};

/// How many states and deletions are remembered of messages that are not shown yet.
const MOST_EARLY: usize = 4_096;

#[derive(Clone, Debug, Default)]
pub(in crate::cli::tui) struct Timeline {
    stored: BTreeMap<u64, Line>,
    places: BTreeMap<MessageId, u64>,
    outgoing: BTreeMap<RequestId, Line>,
    /// Own messages that came as events and may be one of those under way: shown once the answer has told.
    held: Vec<Message>,
    /// Events about messages that are not there yet; none stands for a deletion.
    early: BTreeMap<MessageId, Option<LineState>>,
    history: History,
}

/// How much of the past is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum History {
    #[default]
    Unknown,
    /// Asked for; what was known before comes back if nothing is answered.
    Loading(Box<History>),
    /// Everything from this sequence on, and where the earlier messages are.
    From(u64, PageToken),
    Complete,
}

/// What became of a message that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli::tui) enum Arrival {
    New,
    Known,
}

impl Timeline {
    /// The lines from the oldest to the newest. Those that stand before a gap are left out until the gap is filled.
    pub(in crate::cli::tui) fn lines(&self) -> impl DoubleEndedIterator<Item = (Place, &Line)> {
        let stored = self.stored.range(self.floor()..);
        let outgoing = self.outgoing.iter();
        stored
            .map(|(s, l)| (Place::Stored(*s), l))
            .chain(outgoing.map(|(r, l)| (Place::Outgoing(*r), l)))
    }

    /// The lines from one upwards, itself included.
    pub(in crate::cli::tui) fn upwards(&self, from: Place) -> impl Iterator<Item = (Place, &Line)> {
        let (top, waiting) = match from {
            Place::Stored(sequence) => (sequence, None),
            Place::Outgoing(request) => (u64::MAX, Some(request)),
        };
        let floor = self.floor().min(top);
        let waiting = waiting.map(|request| self.outgoing.range(..=request).rev());
        waiting
            .into_iter()
            .flatten()
            .map(|(r, l)| (Place::Outgoing(*r), l))
            .chain(
                self.stored
                    .range(floor..=top)
                    .rev()
                    .map(|(s, l)| (Place::Stored(*s), l)),
            )
    }

    /// The lines below one.
    pub(in crate::cli::tui) fn below(&self, place: Place) -> impl Iterator<Item = (Place, &Line)> {
        let (from, after) = match place {
            Place::Stored(sequence) => (sequence.saturating_add(1).max(self.floor()), None),
            Place::Outgoing(request) => (u64::MAX, Some(request)),
        };
        let outgoing = self.outgoing.iter();
        self.stored
            .range(from..)
            .map(|(s, l)| (Place::Stored(*s), l))
            .chain(
                outgoing
                    .filter(move |(r, _)| after.is_none_or(|after| **r > after))
                    .map(|(r, l)| (Place::Outgoing(*r), l)),
            )
    }

    pub(in crate::cli::tui) fn last(&self) -> Option<Place> {
        self.lines().next_back().map(|(place, _)| place)
    }

    pub(in crate::cli::tui) fn line(&self, place: Place) -> Option<&Line> {
        match place {
            Place::Stored(sequence) => self.stored.get(&sequence),
            Place::Outgoing(request) => self.outgoing.get(&request),
        }
    }

    /// The newest message of the other party.
    pub(in crate::cli::tui) fn last_received(&self) -> Option<(u64, MessageId, &LineState)> {
        let theirs = |(s, l): (&u64, &'_ Line)| (l.side == Side::Theirs).then_some((*s, l.id?));
        let (sequence, id) = self.stored.iter().rev().find_map(theirs)?;
        Some((sequence, id, &self.stored[&sequence].state))
    }

    /// The oldest message of the other party that was not read.
    pub(in crate::cli::tui) fn first_unread(&self) -> Option<u64> {
        self.stored
            .range(self.floor()..)
            .find(|(_, l)| l.side == Side::Theirs && l.state != LineState::Read)
            .map(|(s, _)| *s)
    }

    pub(in crate::cli::tui) fn history(&self) -> &History {
        &self.history
    }

    /// The page to ask for next; none where everything is there or is being asked for.
    pub(in crate::cli::tui) fn load_more(&mut self) -> Option<Option<PageToken>> {
        let token = match &self.history {
            History::Unknown => None,
            History::From(_, token) => Some(token.clone()),
            History::Loading(_) | History::Complete => return None,
        };
        let before = std::mem::take(&mut self.history);
        self.history = History::Loading(Box::new(before));
        Some(token)
    }

    pub(in crate::cli::tui) fn loading_failed(&mut self) {
        if let History::Loading(before) = std::mem::take(&mut self.history) {
            self.history = *before;
        }
    }

    /// Events may have been missed: the newest page is to be asked for again.
    pub(in crate::cli::tui) fn forget_history(&mut self) {
        self.history = History::Unknown;
    }

    /// Takes in a page of the past, newest first.
    pub(in crate::cli::tui) fn loaded(
        &mut self,
        page: &Page<Message>,
        side: impl Fn(&Message) -> Side,
    ) {
        let before = match std::mem::take(&mut self.history) {
            History::Loading(before) => *before,
            other => other,
        };
        let oldest = page.items.iter().map(|m| m.sequence).min();
        if before == History::Unknown {
            self.drop_what_is_gone(page);
        }
        for message in &page.items {
            self.put(message, side(message));
        }
        self.history = match (&page.next, oldest) {
            (None, _) => History::Complete,
            // A page may be empty and not be the last.
            (Some(next), oldest) => {
                let floor = match &before {
                    History::From(floor, _) => *floor,
                    _ => u64::MAX,
                };
                History::From(oldest.unwrap_or(floor).min(floor), next.clone())
            }
        };
    }

    /// Takes in a message from an event or a page. An own one that may be under way waits for its answer.
    pub(in crate::cli::tui) fn put(&mut self, message: &Message, side: Side) -> Arrival {
        if self.early.get(&message.id) == Some(&None) {
            return Arrival::Known;
        }
        if side == Side::Mine
            && !self.places.contains_key(&message.id)
            && self.may_be_outgoing(message)
        {
            if !self.held.iter().any(|m| m.id == message.id) {
                self.held.push(message.clone());
            }
            return Arrival::Known;
        }
        self.place(
            message.id,
            message.sequence,
            Line::of_message(message, side),
        )
    }

    /// A message was put into the outbox.
    pub(in crate::cli::tui) fn outgoing(&mut self, message: &OutboxMessage) {
        self.outgoing
            .entry(message.id)
            .or_insert_with(|| Line::of_outbox(message));
    }

    /// The outbox has sent a message.
    pub(in crate::cli::tui) fn sent(&mut self, message: &OutboxMessage, answer: &Sent) {
        self.outgoing.remove(&message.id);
        // Nothing is left of one that was deleted before the answer came.
        if answer.sequence > 0 {
            let line = Line {
                id: Some(answer.message_id),
                side: Side::Mine,
                body: message.body.clone(),
                sent: answer.sent,
                state: LineState::Stored(Some(answer.durability.into())),
            };
            self.place(answer.message_id, answer.sequence, line);
        }
        self.release();
    }

    /// The service refuses a message.
    pub(in crate::cli::tui) fn refused(&mut self, request: RequestId, reason: String) {
        if let Some(line) = self.outgoing.get_mut(&request) {
            line.state = LineState::Refused(reason);
        }
        self.release();
    }

    /// Removes a message that the service refused.
    pub(in crate::cli::tui) fn drop_refused(&mut self, request: RequestId) {
        if let Some(Line {
            state: LineState::Refused(_),
            ..
        }) = self.outgoing.get(&request)
        {
            self.outgoing.remove(&request);
        }
    }

    /// Notes how far messages have come.
    pub(in crate::cli::tui) fn advance(&mut self, ids: &[MessageId], state: &LineState) {
        for id in ids {
            match self.places.get(id).and_then(|s| self.stored.get_mut(s)) {
                Some(line) => line.advance(state.clone()),
                None => self.note_early(*id, Some(state.clone())),
            }
        }
    }

    /// Everything on one side up to these messages was read.
    pub(in crate::cli::tui) fn read_through(&mut self, ids: &[MessageId], side: Side) {
        self.advance(ids, &LineState::Read);
        let Some(through) = ids.iter().filter_map(|id| self.places.get(id)).max() else {
            return;
        };
        for line in self.stored.range_mut(..=through).map(|(_, line)| line) {
            if line.side == side {
                line.advance(LineState::Read);
            }
        }
    }

    /// Whether the message is in this conversation.
    pub(in crate::cli::tui) fn has(&self, id: MessageId) -> bool {
        self.places.contains_key(&id)
    }

    pub(in crate::cli::tui) fn delete(&mut self, ids: &[MessageId]) {
        for id in ids {
            if let Some(place) = self.places.remove(id) {
                self.stored.remove(&place);
            }
            self.held.retain(|message| message.id != *id);
            self.note_early(*id, None);
        }
    }

    /// The newest page tells, too, which messages are not there any more.
    fn drop_what_is_gone(&mut self, page: &Page<Message>) {
        let sequences: Vec<u64> = page.items.iter().map(|m| m.sequence).collect();
        let (Some(oldest), Some(newest)) = (sequences.iter().min(), sequences.iter().max()) else {
            return;
        };
        let gone: Vec<u64> = self
            .stored
            .range(oldest..=newest)
            .map(|(sequence, _)| *sequence)
            .filter(|sequence| !sequences.contains(sequence))
            .collect();
        for sequence in gone {
            if let Some(id) = self.stored.remove(&sequence).and_then(|line| line.id) {
                self.places.remove(&id);
            }
        }
    }

    fn place(&mut self, id: MessageId, sequence: u64, mut line: Line) -> Arrival {
        match self.early.get(&id) {
            Some(None) => return Arrival::Known,
            Some(Some(state)) => line.advance(state.clone()),
            None => {}
        }
        // Histories that were merged may have moved it.
        let arrival = match self.places.insert(id, sequence) {
            Some(before) => {
                if let Some(known) = self.stored.remove(&before) {
                    line.advance(known.state);
                }
                Arrival::Known
            }
            None => Arrival::New,
        };
        if let Some(other) = self.stored.insert(sequence, line)
            && let Some(other) = other.id.filter(|other| *other != id)
        {
            self.places.remove(&other);
        }
        arrival
    }

    /// Whether the event of an own message may tell of one whose answer is not there yet. The id of a message is never older
    /// than the request that sent it.
    fn may_be_outgoing(&self, message: &Message) -> bool {
        self.outgoing.iter().any(|(request, line)| {
            line.state == LineState::Pending
                && line.body == message.body
                && millis(message.id.as_uuid()) >= millis(request.as_uuid())
        })
    }

    fn release(&mut self) {
        for message in std::mem::take(&mut self.held) {
            self.put(&message, Side::Mine);
        }
    }

    fn note_early(&mut self, id: MessageId, state: Option<LineState>) {
        let noted = self.early.entry(id).or_insert_with(|| state.clone());
        // A deletion is the last word.
        if noted.is_some() && (state.is_none() || state > *noted) {
            *noted = state;
        }
        // The smallest ids are the oldest.
        if self.early.len() > MOST_EARLY {
            self.early.pop_first();
        }
    }

    fn floor(&self) -> u64 {
        match &self.history {
            History::From(floor, _) => *floor,
            History::Loading(before) => match **before {
                History::From(floor, _) => floor,
                _ => 0,
            },
            History::Unknown | History::Complete => 0,
        }
    }
}

/// The time in an id of version 7; that of others counts as later than everything.
fn millis(id: uuid::Uuid) -> u64 {
    match id.get_version_num() {
        7 => id.as_u64_pair().0 >> 16,
        _ => u64::MAX,
    }
}
