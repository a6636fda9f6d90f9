//! Delivered and read: sets of messages that only grow.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use super::{
    AccountManager, Call, Fault, Origin, Party,
    open::{OpenConversation, OpenInbox},
};
use crate::{
    command::Command,
    event::EventKind,
    lineage::Placed,
    message::Sequence,
    outcome::{Outcome, Progress},
    rejection::Rejection,
    rows::{
        account::AccountNumber,
        conversation::{Pair, Side},
        identity::{Identity, IdentityKey},
        message::{MarkKind, MessageEntry, MessageKey, Place, Stored},
        series::Between,
        stood::StoodKey,
    },
    store::KeyValue,
    values::{
        id::{AccountId, MessageId},
        time::Timestamp,
    },
};

/// How many messages one [`ReadThrough`](crate::CommandBody::ReadThrough) looks at.
const READ_THROUGH_LIMIT: usize = 4_096;

/// What a [`ReadThrough`](crate::CommandBody::ReadThrough) came to.
struct Stretch {
    /// How many messages were unread.
    count: u32,
    /// Everything up to here counts as read.
    reached: Sequence,
    progress: Progress,
    /// Everything up to the message was read, and nothing else.
    is_whole: bool,
    /// The messages that were unread, if the command was proposed again.
    seen: Vec<MessageId>,
}

impl Stretch {
    /// What subscribers hear. That everything was read is said only where it is true.
    fn events(
        &self,
        by: AccountId,
        peer: AccountId,
        message: MessageId,
        at: Timestamp,
    ) -> Vec<EventKind> {
        match (self.is_whole, self.progress) {
            (true, Progress::Done) => vec![EventKind::ReadThrough {
                by,
                peer,
                message,
                at,
            }],
            (true, Progress::More) => Vec::new(),
            (false, _) => {
                let parts = self.seen.chunks(Command::MAX_BATCH);
                let read = |messages: &[MessageId]| EventKind::Read {
                    by,
                    messages: messages.into(),
                    at,
                };
                parts.map(read).collect()
            }
        }
    }
}

/// Messages that were marked, by who sent them.
type BySender = BTreeMap<AccountNumber, Vec<MessageId>>;

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn mark_delivered(
        &mut self,
        call: &mut Call,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.party_to_batch(call, account, messages)?;
        let marked = self.mark(call, &party, messages, MarkKind::Delivered)?;
        let count = count(&marked);
        for (sender, messages) in marked {
            if let Some(sender) = self.active_id(sender)? {
                call.emit(
                    sender,
                    EventKind::Delivered {
                        by: account,
                        messages: messages.into(),
                        at: call.at,
                    },
                );
            }
        }
        Ok(Outcome::MarkedDelivered { count })
    }

    pub(super) fn mark_read(
        &mut self,
        call: &mut Call,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.party_to_batch(call, account, messages)?;
        let marked = self.mark(call, &party, messages, MarkKind::Read)?;
        let count = count(&marked);
        let all: Arc<[MessageId]> = marked.values().flatten().copied().collect();
        if !all.is_empty() {
            call.emit(
                account,
                EventKind::Read {
                    by: account,
                    messages: all,
                    at: call.at,
                },
            );
        }
        for (sender, messages) in marked {
            if let Some(sender) = self.active_id(sender)? {
                call.emit(
                    sender,
                    EventKind::Read {
                        by: account,
                        messages: messages.into(),
                        at: call.at,
                    },
                );
            }
        }
        Ok(Outcome::MarkedRead {
            count,
            progress: Progress::Done,
        })
    }

    pub(super) fn read_through(
        &mut self,
        call: &mut Call,
        account: AccountId,
        peer: AccountId,
        message: MessageId,
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.author(call, account)?;
        let not_found = Fault::Rejected(Rejection::MessageNotFound { message });
        let pair = match self.rows.read(&IdentityKey(peer))? {
            _ if peer == AccountId::SYSTEM => Pair::of(party.number, AccountNumber::SYSTEM),
            Some(Identity::Known { number, .. }) => Pair::of(party.number, number),
            Some(Identity::Gone) | None => return Err(not_found),
        };
        let nothing = Outcome::MarkedRead {
            count: 0,
            progress: Progress::Done,
        };
        let target = match self.rows.read(&MessageKey(message))? {
            Some(
                MessageEntry::Stored(Stored { place, .. })
                | MessageEntry::Deleted {
                    place: Some(place), ..
                },
            ) => {
                if Pair::of(place.sender, place.recipient) != pair {
                    return Err(not_found);
                }
                place.sequence
            }
            Some(MessageEntry::Deleted { place: None, .. }) => return Ok(nothing),
            // Which messages stand before it is not known either: only this one can be remembered as read.
            Some(MessageEntry::Awaited(marks)) => {
                self.await_message(call, message, Some(marks), account, MarkKind::Read)?;
                return Ok(nothing);
            }
            None => {
                self.await_message(call, message, None, account, MarkKind::Read)?;
                return Ok(nothing);
            }
        };

        let side = pair.side(party.number);
        let Some(mut open) = self.find_conversation(pair)? else {
            return Ok(nothing);
        };
        if pair.is_with_oneself() {
            return Ok(nothing);
        }
        let was_read = target <= open.row.side(side).read_through;
        if was_read && !call.is_reproposed() {
            return Ok(nothing);
        }
        let stretch = self.read_stretch(call, &mut open, side, target, message)?;
        let counts = open.row.side_mut(side);
        counts.count_read(stretch.count);
        counts.read_through = stretch.reached;
        self.close_conversation(open)?;
        if was_read && stretch.seen.is_empty() {
            return Ok(nothing);
        }
        let listeners = [Some(account), self.active_id(pair.peer(side))?];
        for listener in listeners.into_iter().flatten() {
            for kind in stretch.events(account, peer, message, call.at) {
                call.emit(listener, kind);
            }
        }
        Ok(Outcome::MarkedRead {
            count: stretch.count,
            progress: stretch.progress,
        })
    }

    /// Goes through a conversation from where `reader` has read to, up to `target`. What is read needs no delivery any more.
    ///
    /// Where the command is proposed again, it reads what stood up to its message on the branch that it comes from. Messages
    /// that stand in between on this branch, and that its author never saw, stay as they are: what counts as read in one
    /// stretch ends before the first of them, and what was seen behind it is marked one by one.
    fn read_stretch(
        &mut self,
        call: &Call,
        open: &mut OpenConversation,
        reader: Side,
        target: Sequence,
        named: MessageId,
    ) -> Result<Stretch, S::Error> {
        let pair = open.pair;
        let read_through = open.row.side(reader).read_through;
        let behind = Sequence::new(target.number().saturating_add(1));
        let between = Between {
            after: Some(read_through),
            // What stood before the message there may stand behind it here.
            before: (!call.is_reproposed()).then_some(behind),
        };
        let newest = &open.row.newest;
        let entries = self
            .rows
            .stretch(&pair, newest, between, READ_THROUGH_LIMIT)?;
        let reached = match entries.last() {
            Some((last, _)) if entries.len() == READ_THROUGH_LIMIT => target.min(*last),
            _ => target,
        };
        let mut stretch = Stretch {
            count: 0,
            reached: reached.max(read_through),
            progress: match reached < target {
                true => Progress::More,
                false => Progress::Done,
            },
            is_whole: true,
            seen: Vec::new(),
        };
        let through = self.place_there(call, target, named)?;
        let mut inbox = self.open_inbox(pair.account(reader))?;
        for (sequence, entry) in entries {
            if entry.sender() == reader || entry.is_marked_read() {
                continue;
            }
            let place = self.place_there(call, sequence, entry.id())?;
            // Where it is not known what stood before the message, the command reads the one that it names.
            let was_seen = entry.id() == named || place.is_some() && place <= through;
            if !was_seen && sequence < target && stretch.is_whole {
                stretch.is_whole = false;
                stretch.reached = Sequence::new(sequence.number() - 1);
            }
            if !was_seen {
                continue;
            }
            let is_unread = open.row.is_unread(&pair, entry, sequence, reader);
            stretch.count += u32::from(is_unread);
            if is_unread && call.is_reproposed() {
                stretch.seen.push(entry.id());
            }
            if !entry.is_delivered() {
                self.take_from_inbox(&mut inbox, sequence)?;
            }
            if !entry.is_delivered() || sequence > stretch.reached {
                self.set_entry(open, sequence, Some(entry.read()))?;
            }
            stretch.is_whole &= sequence <= target;
        }
        self.close_inbox(inbox)?;
        Ok(stretch)
    }

    /// Where a message stands on the branch that a command comes from, if it stood there before.
    pub(super) fn place_there(
        &self,
        call: &Call,
        sequence: Sequence,
        message: MessageId,
    ) -> Result<Option<Sequence>, S::Error> {
        let Origin::Reproposed(lineage) = &call.origin else {
            return Ok(Some(sequence));
        };
        let mut placed = Placed {
            place: sequence,
            stood: Vec::new(),
        };
        if sequence > lineage.fork
            && let Some(known) = self.rows.read(&StoodKey(message))?
        {
            placed.stood = known.stood;
        }
        Ok(lineage.place_of(&placed))
    }

    fn party_to_batch(
        &mut self,
        call: &Call,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Party, Fault<S::Error>> {
        check_batch(messages)?;
        self.author(call, account)
    }

    /// Marks each message whose recipient is `party`, and says which of them were not marked before.
    fn mark(
        &mut self,
        call: &Call,
        party: &Party,
        messages: &[MessageId],
        kind: MarkKind,
    ) -> Result<BySender, S::Error> {
        let mut marked = BySender::new();
        let mut conversations = BTreeMap::new();
        let mut inbox = self.open_inbox(party.number)?;
        for message in messages.iter().copied() {
            match self.rows.read_once(&MessageKey(message))? {
                Some(MessageEntry::Stored(Stored { place, .. }))
                    if place.recipient == party.number && place.sender != party.number =>
                {
                    let open = match conversations.entry(place.sender) {
                        btree_map::Entry::Occupied(open) => open.into_mut(),
                        btree_map::Entry::Vacant(none) => {
                            let pair = Pair::of(place.sender, place.recipient);
                            none.insert(self.open_conversation(pair)?)
                        }
                    };
                    if self.mark_one(open, &mut inbox, place, kind)? {
                        marked.entry(place.sender).or_default().push(message);
                    }
                }
                // Somebody else's message, one's own, or one that is gone.
                Some(MessageEntry::Stored(_) | MessageEntry::Deleted { .. }) => {}
                Some(MessageEntry::Awaited(marks)) => {
                    self.await_message(call, message, Some(marks), party.id, kind)?;
                }
                None => self.await_message(call, message, None, party.id, kind)?,
            }
        }
        for open in conversations.into_values() {
            self.close_conversation(open)?;
        }
        self.close_inbox(inbox)?;
        Ok(marked)
    }

    /// Marks a message. Says whether it was not marked before.
    fn mark_one(
        &mut self,
        open: &mut OpenConversation,
        inbox: &mut OpenInbox,
        place: Place,
        kind: MarkKind,
    ) -> Result<bool, S::Error> {
        let sequence = place.sequence;
        let entry = self.entry(open, sequence)?;
        let pair = open.pair;
        let reader = pair.side(place.recipient);
        let (marked, is_news) = match kind {
            MarkKind::Read => {
                let is_unread = open.row.is_unread(&pair, entry, sequence, reader);
                let counts = open.row.side_mut(reader);
                counts.count_read(u32::from(is_unread));
                let is_read = entry.is_marked_read() || sequence <= counts.read_through;
                (entry.read(), !is_read)
            }
            _ => (entry.delivered(), !entry.is_delivered()),
        };
        if !entry.is_delivered() && !entry.is_deleted_by(reader) {
            self.take_from_inbox(inbox, sequence)?;
        }
        if marked != entry {
            self.set_entry(open, sequence, Some(marked))?;
        }
        Ok(is_news)
    }
}

/// Refuses a batch that would take too long.
pub(super) fn check_batch<E>(messages: &[MessageId]) -> Result<(), Fault<E>> {
    match messages.len() {
        0..=Command::MAX_BATCH => Ok(()),
        count => Err(Fault::Rejected(Rejection::BatchTooLarge { count })),
    }
}

fn count(marked: &BySender) -> u32 {
    marked.values().map(|messages| messages.len() as u32).sum()
}
