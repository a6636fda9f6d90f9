//! What replicas say to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::branch::BranchTable;
use crate::store::Reset;
use crate::types::{Entry, Epoch, Index, Orphan, Position, ReplicaId, StoreUuid, ViewStart};

/// Where a replica stands, as told before and with a promise.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Its disk.
    pub store: StoreUuid,
    /// The highest epoch that it promised or accepted.
    pub promised: Epoch,
    /// Its log, in outline.
    pub branches: BranchTable,
    /// Entries up to this index are gone: nobody can be brought forward from before it, nor can it be cut below it.
    pub compacted: Index,
    /// The newest view start in its log.
    pub newest: Option<ViewStart>,
    /// The view that it is in, if it is in one.
    pub in_view: Option<Epoch>,
    /// The live leader or candidate that it knows of, itself included.
    pub leader: Option<Epoch>,
    /// The version of its state machine.
    pub apply_version: u32,
    /// It has no state and no log to rebuild one from: it waits for a snapshot.
    pub state_lost: bool,
    /// The last entry of its log that is damaged, 0 where none is: it holds that one and those before it, as far as its word
    /// counts, but can neither give all of them to others nor be cut below it.
    pub damaged: Index,
    /// Damaged entries are not in its state: until they are mended it can serve nobody.
    pub mends: bool,
}

/// A message between two replicas of one cluster. Any of them may be lost, repeated, delayed or reordered.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Asks where the receiver stands. Changes nothing there.
    PreBallot {
        /// Tells this question's answers from those of an earlier one.
        round: u64,
    },
    /// Answers a [`Message::PreBallot`].
    PreBallotAnswer {
        /// The question's.
        round: u64,
        /// Where the sender stands.
        standing: Box<Standing>,
    },
    /// Asks for the promise to acknowledge nothing below an epoch.
    Prepare {
        /// The epoch of the view to be.
        epoch: Epoch,
        /// The members that the view will have: exactly these, or it is abandoned.
        members: Vec<ReplicaId>,
        /// The epoch of the leader that handed leadership over to the sender, if one did.
        ticket: Option<Epoch>,
    },
    /// The promise, durable.
    Promise {
        /// The epoch promised.
        epoch: Epoch,
        /// Where the sender stands, as durable as the promise.
        standing: Box<Standing>,
    },
    /// The sender takes nothing of this epoch.
    Refuse {
        /// The epoch refused.
        epoch: Epoch,
        /// What the sender promised.
        promised: Epoch,
        /// The live leader or candidate that it holds to instead.
        leader: Option<Epoch>,
        /// Whether that one leads a started view.
        leader_started: bool,
    },
    /// A candidate asks the donor for the log behind a position.
    Fetch {
        /// The candidate's epoch.
        epoch: Epoch,
        /// The last position that both hold.
        after: Position,
    },
    /// Answers a [`Message::Fetch`].
    Fetched {
        /// The candidate's epoch.
        epoch: Epoch,
        /// The position before the first entry.
        previous: Position,
        /// Entries in order.
        entries: Vec<Entry>,
        /// Where the newest forced view start stands that the sender's log still has; 0 where there is none.
        forced: Index,
    },
    /// The leader's entries for a follower or learner.
    Append {
        /// The leader's epoch.
        epoch: Epoch,
        /// The position before the first entry.
        previous: Position,
        /// Entries in order; none to repeat where the receiver should stand.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
        /// Where the newest forced view start stands that the leader's log still has; 0 where there is none. Of a branch
        /// that parts from it before then, anything may have been acknowledged.
        forced: Index,
    },
    /// Everything up to `verified` is on the sender's disk and equals the leader's log.
    AppendAck {
        /// The leader's epoch.
        epoch: Epoch,
        /// The sender's disk.
        store: StoreUuid,
        /// The last index that was verified and is durable.
        verified: Index,
    },
    /// The sender's log does not hold the `previous` position of an append, or cannot be cut where the entries differ.
    Mismatch {
        /// The leader's epoch.
        epoch: Epoch,
        /// The sender's log, in outline.
        branches: BranchTable,
        /// Entries up to this index are gone from it.
        compacted: Index,
    },
    /// The leader or candidate is there.
    Heartbeat {
        /// Its epoch.
        epoch: Epoch,
        /// Whether its view has started.
        started: bool,
        /// The view's members.
        members: Vec<ReplicaId>,
        /// The leader's commit index.
        commit: Index,
        /// The leader's last index.
        last: Index,
        /// The newest `sent` that the leader has from the receiver: what shows the receiver that it is heard.
        echo: u64,
        /// Ticks for which the leader has been waiting for its oldest entry to commit, or for its view to start.
        stalled: u64,
        /// Counts what the leader wants confirmed: the acknowledgement repeats it.
        round: u64,
        /// Every configured replica has the entries up to this index: who has verified as much can drop them.
        compact_to: Index,
    },
    /// Answers a [`Message::Heartbeat`].
    HeartbeatAck {
        /// The leader's epoch.
        epoch: Epoch,
        /// The sender's disk.
        store: StoreUuid,
        /// The sender's ticks.
        sent: u64,
        /// That of the heartbeat: the sender still followed when it came.
        round: u64,
        /// What [`Message::AppendAck`] says; absent while nothing is verified in this epoch.
        verified: Option<Index>,
        /// The sender's log in outline, while nothing is verified in this epoch.
        branches: Option<BranchTable>,
        /// Entries up to this index are gone from the sender's log.
        compacted: Index,
        /// The sender's state is lost and its log does not go back to the beginning: it needs a snapshot, of this index
        /// or a later one.
        wants_snapshot: Option<Index>,
        /// The sender's log has damaged entries that its state does not show.
        mends: bool,
        /// How far the sender's state machine is.
        progress: AppliedReport,
    },
    /// The leader takes no more proposals and wants the receiver to lead: good for one Prepare.
    HandOver {
        /// The leader's epoch: the ticket.
        epoch: Epoch,
        /// For how many ticks the receiver is to keep it, whoever is preferred.
        hold: u64,
    },
    /// Commands that were cut from the sender's log, to be proposed again.
    Orphans {
        /// The leader's epoch.
        epoch: Epoch,
        /// In the order of their origins.
        orphans: Vec<Orphan>,
    },
    /// Asks for entries of one epoch in the place of damaged ones, whatever sender and receiver do.
    Mend {
        /// The first of them.
        from: Position,
        /// Index of the last.
        through: Index,
    },
    /// Answers a [`Message::Mend`]: as many of the entries as a message has room for.
    Mended {
        /// The first one asked for.
        from: Position,
        /// Entries in order; none where the sender does not have the first.
        entries: Vec<Entry>,
        /// The last position whose entry is gone from the sender's log, or cannot be read and is in its state.
        compacted: Position,
    },
    /// The application's own message, best effort.
    Cast(Bytes),
    /// A piece of a snapshot of the leader's state.
    SnapshotChunk(Box<SnapshotChunk>),
    /// How much of a snapshot the sender has.
    SnapshotAck {
        /// The leader's epoch.
        epoch: Epoch,
        /// The transfer.
        id: u64,
        /// Its first bytes, so many, are written down. None at all where the sender knows nothing of the transfer.
        received: u64,
    },
}

/// A piece of a snapshot.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The transfer: drawn by the leader, and another one each time that it begins anew.
    pub id: u64,
    /// With the first piece: what the log is once the snapshot has taken its place.
    pub reset: Option<Reset>,
    /// Bytes of the snapshot before this piece.
    pub offset: u64,
    /// The piece.
    pub bytes: Bytes,
    /// With the last piece: the checksum of all of them (XXH3, 128 bits).
    pub checksum: Option<u128>,
}

/// How far a replica's state machine is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct AppliedReport {
    /// The last applied index.
    pub applied: Index,
    /// The state's hash there.
    pub state_hash: u128,
    /// Commands that wait to be committed again.
    pub orphans: u64,
}
