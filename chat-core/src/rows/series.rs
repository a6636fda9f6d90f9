//! Long series of records, in chunks.
//!
//! A row for each record would be a place of its own in the file for each message, on every replica: in a store of many
//! conversations, each checkpoint would write nearly as many pages as there were messages, and more with all that is
//! stored. So the newest records of a series stand in a row that is written with each message anyway, and only when that
//! is full they become a row of their own.

use std::ops::ControlFlow;

use super::{
    RowKey, Rows, Span,
    chunk::{Chunk, Record},
};
use crate::{
    message::Sequence,
    store::{KeyValue, Order},
};

/// Whose records they are, and where their older chunks are. The newest chunk is in a row that the callers have read and
/// will write.
pub(crate) trait Series {
    type Record: Record;
    type Key: RowKey<Value = Chunk<Self::Record>>;

    /// The key of the chunk that began with this record when it was written. It keeps the key when the record goes.
    fn key(&self, first: Sequence) -> Self::Key;

    /// Where all older chunks are.
    fn span(&self) -> Span;
}

/// A part of a series: what is between two sequences, both excluded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Between {
    pub(crate) after: Option<Sequence>,
    pub(crate) before: Option<Sequence>,
}

impl Between {
    fn contains(self, sequence: Sequence) -> bool {
        self.after.is_none_or(|after| after < sequence)
            && self.before.is_none_or(|before| sequence < before)
    }
}

impl<S: KeyValue> Rows<S> {
    /// Appends a record, whose sequence is greater than all before.
    pub(crate) fn append<Q: Series>(
        &mut self,
        series: &Q,
        newest: &mut Chunk<Q::Record>,
        sequence: Sequence,
        record: Q::Record,
    ) -> Result<(), S::Error> {
        if newest.is_full()
            && let Some(first) = newest.first()
        {
            self.insert(&series.key(first), &std::mem::take(newest))?;
        }
        newest.push(sequence, record);
        Ok(())
    }

    /// The record at a sequence.
    pub(crate) fn find<Q: Series>(
        &self,
        series: &Q,
        newest: &Chunk<Q::Record>,
        sequence: Sequence,
    ) -> Result<Option<Q::Record>, S::Error> {
        if newest.reaches(sequence) {
            return Ok(newest.get(sequence));
        }
        let older = self.chunk_around(series, sequence)?;
        Ok(older.and_then(|older| older.chunk.get(sequence)))
    }

    /// The record at a sequence, which another row points to.
    pub(crate) fn require_record<Q: Series>(
        &self,
        series: &Q,
        newest: &Chunk<Q::Record>,
        sequence: Sequence,
    ) -> Result<Q::Record, S::Error> {
        let record = self.find(series, newest, sequence)?;
        record.ok_or_else(|| self.missing(&series.key(sequence)))
    }

    /// Shows a part of a series until `visit` breaks.
    pub(crate) fn walk<Q: Series>(
        &self,
        series: &Q,
        newest: &Chunk<Q::Record>,
        between: Between,
        order: Order,
        mut visit: impl FnMut(Sequence, Q::Record) -> ControlFlow<()>,
    ) -> Result<(), S::Error> {
        let mut show = |chunk: &Chunk<Q::Record>| {
            let records = chunk.iter().filter(|(at, _)| between.contains(*at));
            let mut visit = |(at, record)| visit(at, record);
            match order {
                Order::Ascending => { records }.try_for_each(&mut visit),
                Order::Descending => records.rev().try_for_each(&mut visit),
            }
        };
        if order == Order::Descending && show(newest).is_break() {
            return Ok(());
        }
        // All older ones end where the newest chunk begins.
        let newest_holds_all = between.after.is_some_and(|after| newest.reaches(after));
        let mut flow = ControlFlow::Continue(());
        if !newest_holds_all {
            let mut span = series.span();
            if let Some(after) = between.after
                && let Some(older) = self.chunk_around(series, after)?
            {
                span = span.at_or_after(&older.key);
            }
            if let Some(before) = between.before {
                span = span.before(&series.key(before));
            }
            self.visit::<Q::Key>(&span, order, |_, chunk| {
                flow = show(&chunk);
                flow
            })?;
        }
        if order == Order::Ascending && flow.is_continue() {
            let _ = show(newest);
        }
        Ok(())
    }

    /// The first records of a part of a series, `most` at most.
    pub(crate) fn stretch<Q: Series>(
        &self,
        series: &Q,
        newest: &Chunk<Q::Record>,
        between: Between,
        most: usize,
    ) -> Result<Vec<(Sequence, Q::Record)>, S::Error> {
        let mut records = Vec::new();
        self.walk(series, newest, between, Order::Ascending, |at, record| {
            records.push((at, record));
            match records.len() < most {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        Ok(records)
    }

    /// The older chunk that holds the record at a sequence, if any does.
    fn chunk_around<Q: Series>(
        &self,
        series: &Q,
        sequence: Sequence,
    ) -> Result<Option<Older<Q>>, S::Error> {
        let span = series.span().up_to(&series.key(sequence));
        let last = self.list::<Q::Key>(&span, Order::Descending, 1)?;
        let last = last.into_iter().next();
        Ok(last.map(|(key, chunk)| Older { key, chunk }))
    }
}

/// A chunk that is not the newest, as it is stored.
struct Older<Q: Series> {
    key: Q::Key,
    chunk: Chunk<Q::Record>,
}

/// Changes to one series. Whoever changes many records mostly changes one beside the other: the older chunk that is being
/// changed is read once, and written when another one is, or at the end.
pub(crate) struct Edit<Q: Series> {
    series: Q,
    /// As it is stored, and as it is to be.
    open: Option<(Older<Q>, Chunk<Q::Record>)>,
}

impl<Q: Series> Edit<Q> {
    pub(crate) fn of(series: Q) -> Self {
        Self { series, open: None }
    }

    /// The record at a sequence.
    pub(crate) fn find<S: KeyValue>(
        &mut self,
        rows: &mut Rows<S>,
        newest: &Chunk<Q::Record>,
        sequence: Sequence,
    ) -> Result<Option<Q::Record>, S::Error> {
        if newest.reaches(sequence) {
            return Ok(newest.get(sequence));
        }
        let chunk = self.open(rows, sequence)?;
        Ok(chunk.and_then(|chunk| chunk.get(sequence)))
    }

    /// Writes over the record at a sequence or removes it. Says whether there was one.
    pub(crate) fn change<S: KeyValue>(
        &mut self,
        rows: &mut Rows<S>,
        newest: &mut Chunk<Q::Record>,
        sequence: Sequence,
        record: Option<Q::Record>,
    ) -> Result<bool, S::Error> {
        if newest.reaches(sequence) {
            return Ok(newest.set(sequence, record));
        }
        let chunk = self.open(rows, sequence)?;
        Ok(chunk.is_some_and(|chunk| chunk.set(sequence, record)))
    }

    /// Writes what is not written yet.
    pub(crate) fn finish<S: KeyValue>(&mut self, rows: &mut Rows<S>) -> Result<(), S::Error> {
        let Some((Older { key, chunk: before }, now)) = self.open.take() else {
            return Ok(());
        };
        match now.is_empty() {
            true => rows.remove(&key, &before),
            false => rows.replace(&key, &before, &now),
        }
    }

    /// The older chunk that holds the record at a sequence, if any does.
    fn open<S: KeyValue>(
        &mut self,
        rows: &mut Rows<S>,
        sequence: Sequence,
    ) -> Result<Option<&mut Chunk<Q::Record>>, S::Error> {
        let is_open = |(older, _): &(Older<Q>, _)| older.chunk.spans(sequence);
        if !self.open.as_ref().is_some_and(is_open) {
            self.finish(rows)?;
            let older = rows.chunk_around(&self.series, sequence)?;
            self.open = older.map(|older| {
                let now = older.chunk.clone();
                (older, now)
            });
        }
        Ok(self.open.as_mut().map(|(_, now)| now))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        rows::{
            account::AccountNumber,
            inbox::{Inbox, WaitingKey},
        },
        store::MemoryStore,
        values::id::MessageId,
    };

    fn id(number: u64) -> MessageId {
        MessageId::from_uuid(uuid::Uuid::from_u128(number.into()))
    }

    fn is_shown(
        rows: &Rows<MemoryStore>,
        newest: &Chunk<MessageId>,
        map: &BTreeMap<Sequence, MessageId>,
        between: Between,
        most: usize,
    ) -> Result<(), TestCaseError> {
        for order in [Order::Ascending, Order::Descending] {
            let mut shown = Vec::new();
            let Ok(()) = rows.walk(&INBOX, newest, between, order, |at, id| {
                shown.push((at, id));
                match shown.len() >= most {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            let mut expected: Vec<_> = map
                .iter()
                .map(|(at, id)| (*at, *id))
                .filter(|(at, _)| between.contains(*at))
                .collect();
            if order == Order::Descending {
                expected.reverse();
            }
            expected.truncate(most);
            prop_assert_eq!(shown, expected);
        }
        Ok(())
    }

    const INBOX: Inbox = Inbox(AccountNumber::new(7));

    proptest! {
        /// A series is a map, whatever is appended, changed, removed and looked for, and others' series do not show in it.
        #[test]
        fn it_is_a_map(writes in proptest::collection::vec((0_u64..120, 0..10_u8, 0_u64..120, 1..40_usize), 0..300)) {
            let mut rows = Rows::new(MemoryStore::new(), 0);
            for other in [6, 8] {
                let mut chunk = Chunk::default();
                for number in 0..40 {
                    let Ok(()) = rows.append(&Inbox(AccountNumber::new(other)), &mut chunk, Sequence::new(number), id(number));
                }
            }
            let others = rows.sum();
            let mut newest = Chunk::default();
            let mut map = BTreeMap::new();
            let mut next = 0;
            for (number, what, other, most) in writes {
                let at = Sequence::new(number);
                match what {
                    0..6 => {
                        next += 1 + number % 3;
                        let Ok(()) = rows.append(&INBOX, &mut newest, Sequence::new(next), id(number));
                        map.insert(Sequence::new(next), id(number));
                    }
                    6..8 => {
                        // Several beside each other, in one edit.
                        let mut edit = Edit::of(INBOX);
                        for at in (number..number + most as u64 / 4 + 1).map(Sequence::new) {
                            let Ok(held) = edit.find(&mut rows, &newest, at);
                            prop_assert_eq!(held, map.get(&at).copied());
                            let Ok(was_there) = edit.change(&mut rows, &mut newest, at, None);
                            prop_assert_eq!(was_there, map.remove(&at).is_some());
                            let Ok(held) = edit.find(&mut rows, &newest, at);
                            prop_assert_eq!(held, None);
                        }
                        let Ok(()) = edit.finish(&mut rows);
                    }
                    _ => {
                        let mut edit = Edit::of(INBOX);
                        for at in [at, Sequence::new(other), at] {
                            let Ok(was_there) = edit.change(&mut rows, &mut newest, at, Some(id(other)));
                            prop_assert_eq!(was_there, map.contains_key(&at));
                            map.entry(at).and_modify(|held| *held = id(other));
                        }
                        let Ok(()) = edit.finish(&mut rows);
                    }
                }
                let Ok(found) = rows.find(&INBOX, &newest, at);
                prop_assert_eq!(found, map.get(&at).copied());
                let other = Sequence::new(other);
                for (after, before) in [(None, None), (Some(at), None), (None, Some(at)), (Some(at), Some(other))] {
                    is_shown(&rows, &newest, &map, Between { after, before }, most)?;
                }
            }
            // Nothing is left of what was removed.
            let mut edit = Edit::of(INBOX);
            for at in map.into_keys() {
                let Ok(was_there) = edit.change(&mut rows, &mut newest, at, None);
                prop_assert!(was_there, "{:?} is gone", at);
            }
            let Ok(()) = edit.finish(&mut rows);
            let Ok(left) = rows.list::<WaitingKey>(&INBOX.span(), Order::Ascending, 1);
            prop_assert_eq!((left, newest.is_empty(), rows.sum()), (vec![], true, others));
        }
    }
}
