//! Who waits for which command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use crate::branch::BranchTable;
use crate::handle::{Committed, ProposeError};
use crate::replica::ProposalId;
use crate::types::{Entry, Index, Position};

/// Bounds what waits for an answer: commands on their way, and their bytes.
#[derive(Debug)]
pub(crate) struct Room {
    commands: AtomicUsize,
    bytes: AtomicUsize,
    max_commands: usize,
    max_bytes: usize,
}

impl Room {
    pub(crate) fn new(max_commands: usize, max_bytes: usize) -> Arc<Room> {
        Arc::new(Room {
            commands: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            max_commands,
            max_bytes,
        })
    }

    /// A place for a command, until it is dropped; `None` where too much waits already.
    pub(crate) fn enter(self: &Arc<Room>, bytes: usize) -> Option<Place> {
        // The place is made first, so that its drop gives back what was counted in vain.
        let place = Place {
            room: Arc::clone(self),
            bytes,
        };
        let commands = self.commands.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // A command that is larger than the whole room may pass alone.
        let fits = before == 0 || before.saturating_add(bytes) <= self.max_bytes;
        (commands < self.max_commands && fits).then_some(place)
    }
}

/// One command's place in a [`Room`].
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.commands.fetch_sub(1, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The way back to a proposer. Dropped without an answer, it says that the replica has stopped.
#[derive(Debug)]
pub struct Answer<R> {
    sender: oneshot::Sender<Result<Committed<R>, ProposeError>>,
    place: Option<Place>,
}

impl<R> Answer<R> {
    pub(crate) fn new(
        sender: oneshot::Sender<Result<Committed<R>, ProposeError>>,
        place: Option<Place>,
    ) -> Answer<R> {
        Answer { sender, place }
    }

    pub(super) fn give(self, outcome: Result<Committed<R>, ProposeError>) {
        // Whoever hears the answer may count on the room.
        drop(self.place);
        // A proposer that no longer waits has decided so.
        let _ = self.sender.send(outcome);
    }
}

/// The answers owed, by what is known of the command.
pub(super) struct Proposals<R> {
    next: u64,
    /// Handed to the replica, which has not said yet what it does with them.
    proposed: BTreeMap<ProposalId, Answer<R>>,
    /// In the log, not handed to apply yet.
    appended: BTreeMap<Index, (Position, Answer<R>)>,
}

impl<R> Proposals<R> {
    pub(super) fn new() -> Proposals<R> {
        Proposals {
            next: 0,
            proposed: BTreeMap::new(),
            appended: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.proposed.is_empty() && self.appended.is_empty()
    }

    pub(super) fn add(&mut self, answer: Answer<R>) -> ProposalId {
        let id = ProposalId(self.next);
        self.next += 1;
        self.proposed.insert(id, answer);
        id
    }

    pub(super) fn appended(&mut self, id: ProposalId, position: Position) {
        let Some(answer) = self.proposed.remove(&id) else {
            return;
        };
        if let Some((_, older)) = self.appended.insert(position.index, (position, answer)) {
            // The log was cut there before another command took the place.
            older.give(Err(ProposeError::Unknown));
        }
    }

    pub(super) fn refuse(&mut self, id: ProposalId, error: ProposeError) {
        if let Some(answer) = self.proposed.remove(&id) {
            answer.give(Err(error));
        }
    }

    /// Answers those whose place the log no longer holds. A log that holds an entry holds all before it.
    pub(super) fn cut(&mut self, branches: &BranchTable) {
        while let Some(newest) = self.appended.last_entry() {
            if branches.holds(newest.get().0) {
                return;
            }
            newest.remove().1.give(Err(ProposeError::Unknown));
        }
    }

    /// What becomes of any of them is not known here.
    pub(super) fn give_up(&mut self) {
        self.skip(Index::MAX - 1);
        for answer in std::mem::take(&mut self.proposed).into_values() {
            answer.give(Err(ProposeError::Unknown));
        }
    }

    /// Answers those whose commands a snapshot holds: what came of them is not known here.
    pub(super) fn skip(&mut self, through: Index) {
        let later = self.appended.split_off(&(through + 1));
        for (_, answer) in std::mem::replace(&mut self.appended, later).into_values() {
            answer.give(Err(ProposeError::Unknown));
        }
    }

    /// Those who wait for one of these entries, each with its place among them.
    pub(super) fn take(&mut self, entries: &[Entry]) -> Vec<(usize, Answer<R>)> {
        let Some(last) = entries.last() else {
            return Vec::new();
        };
        if self.appended.is_empty() {
            return Vec::new();
        }
        let first = entries[0].position.index;
        let later = self.appended.split_off(&(last.position.index + 1));
        let mut taken = Vec::new();
        for (index, (position, answer)) in std::mem::replace(&mut self.appended, later) {
            let at = index
                .checked_sub(first)
                .and_then(|at| usize::try_from(at).ok());
            match at.filter(|at| entries[*at].position == position) {
                Some(at) => taken.push((at, answer)),
                None => answer.give(Err(ProposeError::Unknown)),
            }
        }
        taken
    }
}
