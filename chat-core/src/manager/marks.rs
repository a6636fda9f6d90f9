//! Delivered and read: sets of messages that only grow.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use super::{
    AccountManager, Call, Fault, Party,
    open::{OpenConversation, OpenInbox},
};
use crate::{
    command::Command,
    event::EventKind,
    message::Sequence,
    outcome::{Outcome, Progress},
    rejection::Rejection,
    rows::{
        account::AccountNumber,
        conversation::{Pair, Side},
        identity::{Identity, IdentityKey},
        message::{MarkKind, MessageEntry, MessageKey, Place, Stored},
        series::Between,
    },
    store::KeyValue,
    values::id::{AccountId, MessageId},
};

/// How many messages one [`ReadThrough`](crate::CommandBody::ReadThrough) looks at.
const READ_THROUGH_LIMIT: usize = 4_096;

/// Messages that were marked, by who sent them.
type BySender = BTreeMap<AccountNumber, Vec<MessageId>>;

impl<S: KeyValue> AccountManager<S> {
    pub(super) fn mark_delivered(
        &mut self,
        call: &mut Call,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Outcome, Fault<S::Error>> {
        let party = self.party_to_batch(account, messages)?;
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
        let party = self.party_to_batch(account, messages)?;
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
        let party = self.active(account)?;
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
        if pair.is_with_oneself() || target <= open.row.side(side).read_through {
            return Ok(nothing);
        }
        let (count, reached) = self.read_stretch(&mut open, side, target)?;
        let counts = open.row.side_mut(side);
        counts.unread -= count;
        counts.read_through = reached;
        self.close_conversation(open)?;
        if reached < target {
            return Ok(Outcome::MarkedRead {
                count,
                progress: Progress::More,
            });
        }
        for listener in [Some(account), self.active_id(pair.peer(side))?]
            .into_iter()
            .flatten()
        {
            call.emit(
                listener,
                EventKind::ReadThrough {
                    by: account,
                    peer,
                    message,
                    at: call.at,
                },
            );
        }
        Ok(Outcome::MarkedRead {
            count,
            progress: Progress::Done,
        })
    }

    /// Goes through a conversation from where `reader` has read to, up to `target`. Says how many messages were unread
    /// and how far it came. What is read needs no delivery any more.
    fn read_stretch(
        &mut self,
        open: &mut OpenConversation,
        reader: Side,
        target: Sequence,
    ) -> Result<(u32, Sequence), S::Error> {
        let pair = open.pair;
        let between = Between {
            after: Some(open.row.side(reader).read_through),
            before: Some(Sequence::new(target.number().saturating_add(1))),
        };
        let newest = &open.row.newest;
        let stretch = self
            .rows
            .stretch(&pair, newest, between, READ_THROUGH_LIMIT)?;
        let reached = match stretch.last() {
            Some((last, _)) if stretch.len() == READ_THROUGH_LIMIT => *last,
            _ => target,
        };
        let mut inbox = self.open_inbox(pair.account(reader))?;
        let mut count = 0;
        for (sequence, entry) in stretch {
            count += u32::from(open.row.is_unread(&pair, entry, sequence, reader));
            if entry.sender() != reader && !entry.is_delivered() {
                self.take_from_inbox(&mut inbox, sequence)?;
                self.set_entry(open, sequence, Some(entry.read()))?;
            }
        }
        self.close_inbox(inbox)?;
        Ok((count, reached))
    }

    fn party_to_batch(
        &mut self,
        account: AccountId,
        messages: &[MessageId],
    ) -> Result<Party, Fault<S::Error>> {
        check_batch(messages)?;
        self.correspondent(account)
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
                counts.unread -= u32::from(is_unread);
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
