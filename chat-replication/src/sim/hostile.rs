//! A peer that says anything: what a broken program, or somebody in its place, may send.
//!
//! What makes no sense is refused at the gate whoever says it. What makes sense is believed of a member, so of that only such
//! lies are told here that an honest history could have held as well: an epoch that was promised or begun, and that nobody
//! leads. Who was removed, who is nobody, and who speaks in the receiver's own name may tell any lie at all.

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::branch::BranchTable;
use crate::message::{AppliedReport, Message, SnapshotChunk, Standing};
use crate::store::Reset;
use crate::types::{
    Entry, Epoch, Index, Lineage, Mode, Orphan, Payload, PeerId, Position, ReplicaId, ViewStart,
};

/// Whose word it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Liar {
    /// It has a vote, or may get one.
    Member,
    /// Nobody is to listen.
    Nobody,
}

/// What a liar knows of the cluster.
pub(super) struct Knowledge<'a> {
    /// What was really said lately, and by whom.
    pub(super) said: &'a [(PeerId, Message)],
    /// The greatest epoch that anybody promised.
    pub(super) promised: Epoch,
    /// Where the receiver's log ends.
    pub(super) last: Position,
    /// All replicas.
    pub(super) replicas: Vec<ReplicaId>,
}

/// Numbers that are on the edge of something.
fn number(random: &mut ChaCha8Rng) -> u64 {
    let near = random.random_range(0..3);
    match random.random_range(0..6) {
        0 => near,
        1 => u64::MAX - near,
        2 => (1 << 62) - 1 + near,
        3 => (1 << 56) - 1 + near,
        4 => 1 << random.random_range(0..64),
        _ => random.random(),
    }
}

/// One message that was never meant, from this peer; or from another, where that one has really said it, or nearly.
pub(super) fn lie(
    from: PeerId,
    liar: Liar,
    known: &Knowledge<'_>,
    random: &mut ChaCha8Rng,
) -> (PeerId, Message) {
    if liar == Liar::Nobody && random.random_bool(0.5) {
        return (from, claim(from, known, random));
    }
    let real = match known.said.len() {
        0 => None,
        count => Some(known.said[random.random_range(0..count)].clone()),
    };
    match (random.random_range(0..10), real) {
        (0..3, _) => (from, leap(from, known, random)),
        // Again, much later, and to somebody else.
        (3..5, Some(real)) => real,
        (_, Some((speaker, message))) => {
            let speaker = match liar {
                Liar::Member => speaker,
                Liar::Nobody => from,
            };
            (speaker, spoilt(speaker, message, random))
        }
        (_, None) => (from, nonsense(from, random)),
    }
}

/// An epoch of the liar's own that nobody leads, as far ahead as is believed.
fn ahead(from: PeerId, known: &Knowledge<'_>, random: &mut ChaCha8Rng) -> Epoch {
    let bits = random.random_range(24..33);
    // So far that the one in whose name it is does not begin the same epoch.
    let leap = (1 << 20) + random.random_range(0..1_u64 << bits);
    Epoch {
        number: known.promised.number.saturating_add(leap),
        replica: from.replica,
        store: from.store,
    }
}

/// Some of the replicas, the liar among them.
fn some(from: PeerId, known: &Knowledge<'_>, random: &mut ChaCha8Rng) -> Vec<ReplicaId> {
    let mut members = known.replicas.clone();
    members.retain(|id| *id == from.replica || random.random_bool(0.5));
    members
}

/// What an honest candidate may say that dies of it.
fn leap(from: PeerId, known: &Knowledge<'_>, random: &mut ChaCha8Rng) -> Message {
    let epoch = ahead(from, known, random);
    match random.random_range(0..4) {
        0 => Message::Prepare {
            epoch,
            members: some(from, known, random),
            ticket: None,
        },
        1 => Message::Refuse {
            epoch: known.promised,
            promised: epoch,
            leader: None,
            leader_started: false,
        },
        2 => heartbeat(epoch, some(from, known, random), 0),
        _ => Message::Append {
            epoch,
            previous: Position::default(),
            entries: Vec::new(),
            commit: 0,
            forced: 0,
        },
    }
}

fn heartbeat(epoch: Epoch, members: Vec<ReplicaId>, commit: Index) -> Message {
    Message::Heartbeat {
        epoch,
        started: true,
        members,
        commit,
        last: commit,
        echo: 0,
        stalled: 0,
        round: 0,
        compact_to: commit,
    }
}

/// What would do harm if it counted.
fn claim(from: PeerId, known: &Knowledge<'_>, random: &mut ChaCha8Rng) -> Message {
    let epoch = ahead(from, known, random);
    let entry = |payload| Entry {
        position: Position {
            epoch: known.last.epoch,
            index: known.last.index + 1,
        },
        payload,
    };
    // No client has sent that.
    let command = Bytes::from_static(b"a lie");
    match random.random_range(0..8) {
        0 => heartbeat(epoch, known.replicas.clone(), 0),
        1 => heartbeat(epoch, known.replicas.clone(), known.last.index + 1),
        2 => Message::Append {
            epoch,
            previous: known.last,
            entries: vec![entry(Payload::Command(command))],
            commit: known.last.index + 1,
            forced: 0,
        },
        3 => Message::Prepare {
            epoch,
            members: vec![from.replica],
            ticket: Some(known.promised),
        },
        4 => Message::AppendAck {
            epoch: known.promised,
            store: from.store,
            verified: known.last.index,
        },
        5 => Message::HeartbeatAck {
            epoch: known.promised,
            store: from.store,
            sent: 1,
            round: u64::MAX,
            verified: Some(known.last.index),
            branches: None,
            compacted: 0,
            wants_snapshot: None,
            mends: false,
            // That it has nothing to hand over it may say of itself.
            progress: AppliedReport {
                orphans: 1,
                ..AppliedReport::default()
            },
        },
        6 => Message::Promise {
            epoch: known.promised,
            standing: Box::new(Standing {
                store: from.store,
                promised: epoch,
                branches: BranchTable::default(),
                compacted: 0,
                newest: None,
                in_view: None,
                leader: None,
                apply_version: 1,
                state_lost: false,
                damaged: 0,
                mends: false,
            }),
        },
        _ => Message::Cast(command),
    }
}

/// A real message with something in it that no honest peer says.
fn spoilt(from: PeerId, mut message: Message, random: &mut ChaCha8Rng) -> Message {
    let far = |epoch: &mut Epoch, random: &mut ChaCha8Rng| {
        let bits = random.random_range(1..62);
        epoch.number = u64::MAX - random.random_range(0..1_u64 << bits);
    };
    let bad = number(random) | 1 << 57;
    let roll = random.random_range(0..6);
    match &mut message {
        Message::PreBallotAnswer { standing, .. } | Message::Promise { standing, .. } => {
            spoil_standing(standing, roll, random);
        }
        Message::Prepare { epoch, members, .. } => match roll {
            0..3 => far(epoch, random),
            3 => members.clear(),
            _ => members.extend(members.clone()),
        },
        Message::Refuse {
            promised, leader, ..
        } => match (roll, leader) {
            (0..3, Some(leader)) => far(leader, random),
            _ => far(promised, random),
        },
        Message::Append {
            epoch,
            previous,
            entries,
            commit,
            ..
        } => match (roll, entries.last_mut()) {
            (0, _) => far(epoch, random),
            (1, _) => previous.index = bad,
            (2, _) => *commit = bad,
            (3, Some(last)) => last.position.index += 1 + random.random_range(0..2),
            (4, Some(last)) => spoil_entry(last, random),
            (_, Some(last)) => far(&mut last.position.epoch, random),
            (_, None) => far(&mut previous.epoch, random),
        },
        Message::Fetched {
            epoch, previous, ..
        } => match roll {
            0..3 => far(epoch, random),
            _ => previous.index = bad,
        },
        Message::Mend { from, through } => match roll {
            0..2 => far(&mut from.epoch, random),
            2..4 => *through = bad,
            _ => *through = from.index - 1,
        },
        Message::Mended {
            from,
            entries,
            compacted,
        } => match (roll, entries.last_mut()) {
            (0, _) => far(&mut from.epoch, random),
            (1, _) => compacted.index = bad,
            (2 | 3, Some(last)) => last.position.index += 1 + random.random_range(0..2),
            (_, Some(last)) => spoil_entry(last, random),
            (_, None) => from.index = bad,
        },
        Message::Fetch { epoch, after } => match roll {
            0..3 => far(epoch, random),
            _ => after.index = bad,
        },
        Message::AppendAck {
            epoch, verified, ..
        } => match roll {
            0..3 => far(epoch, random),
            _ => *verified = bad,
        },
        Message::Mismatch {
            branches,
            compacted,
            ..
        } => match roll {
            0..3 => *branches = spoilt_table(branches, random),
            _ => *compacted = bad,
        },
        Message::Heartbeat {
            epoch,
            members,
            commit,
            last,
            compact_to,
            ..
        } => match roll {
            0..2 => far(epoch, random),
            2 => members.clear(),
            3 => *last = bad,
            4 => *commit = *last + 1,
            _ => *compact_to = bad,
        },
        Message::HeartbeatAck {
            epoch,
            verified,
            branches,
            wants_snapshot,
            progress,
            ..
        } => match roll {
            0 => far(epoch, random),
            1 => (*verified, *branches) = (None, None),
            2 => {
                (*verified, *branches) = (None, Some(spoilt_table(&BranchTable::default(), random)))
            }
            3 => *verified = Some(bad),
            4 => *wants_snapshot = Some(bad),
            _ => progress.applied = bad,
        },
        Message::HandOver { epoch, .. } => far(epoch, random),
        Message::Orphans { epoch, orphans } => match (roll, orphans.first().cloned()) {
            (0..3, Some(orphan)) => orphans.push(orphan),
            _ => far(epoch, random),
        },
        Message::SnapshotChunk(chunk) => spoil_chunk(chunk, roll, random),
        Message::SnapshotAck { epoch, .. } => far(epoch, random),
        Message::PreBallot { .. } | Message::Cast(_) => return nonsense(from, random),
    }
    message
}

fn spoilt_table(table: &BranchTable, random: &mut ChaCha8Rng) -> BranchTable {
    let mut epochs = table.epochs().to_vec();
    let mut last = table.last_index();
    match (random.random_range(0..4), epochs.first().copied()) {
        (0, Some(first)) => epochs.push(first),
        (1, Some((epoch, _))) => epochs[0] = (epoch, 0),
        (2, Some(_)) => last = 0,
        _ => last = number(random) | 1 << 57,
    }
    unsound(epochs, last)
}

/// A branch table as it comes from somebody who does not care.
fn unsound(epochs: Vec<(Epoch, Index)>, last: Index) -> BranchTable {
    let parts =
        postcard::to_stdvec(&(epochs, last, Position::default())).expect("it can be encoded");
    postcard::from_bytes(&parts).expect("any parts are decoded")
}

fn spoil_standing(standing: &mut Standing, roll: u32, random: &mut ChaCha8Rng) {
    match roll {
        0 | 1 => standing.promised.number = u64::MAX - random.random_range(0..9),
        2 => standing.branches = spoilt_table(&standing.branches, random),
        3 => standing.compacted = standing.branches.last_index() + 1,
        4 => match &mut standing.newest {
            Some(start) => spoil_start(start, random),
            None => standing.in_view = Some(standing.promised),
        },
        _ => standing.store.0 = uuid::Uuid::from_u128(random.random()),
    }
}

fn spoil_start(start: &mut ViewStart, random: &mut ChaCha8Rng) {
    match random.random_range(0..5) {
        0 => start.members.clear(),
        1 => start.configuration.members.clear(),
        2 => {
            start.configuration.mode = match start.configuration.mode {
                Mode::Available => Mode::Consistent,
                Mode::Consistent => Mode::Available,
            }
        }
        3 => start.members.push(ReplicaId(1000)),
        _ => {
            let again = start.configuration.members.clone();
            start.configuration.members.extend(again);
        }
    }
}

fn spoil_entry(entry: &mut Entry, random: &mut ChaCha8Rng) {
    match &mut entry.payload {
        Payload::ViewStart(start) => spoil_start(start, random),
        Payload::Command(_) => entry.position.epoch = Epoch::default(),
        Payload::Reproposed { origin, .. } => origin.epoch.number = u64::MAX,
    }
}

fn spoil_chunk(chunk: &mut SnapshotChunk, roll: u32, random: &mut ChaCha8Rng) {
    match (roll, &mut chunk.reset) {
        (0, Some(Reset { branches, .. })) => *branches = spoilt_table(branches, random),
        (1, Some(Reset { newest, .. })) => newest.0 += 1,
        (2, Some(Reset { newest, .. })) => spoil_start(&mut newest.1, random),
        (3, _) => chunk.bytes = Bytes::new(),
        (4, _) => chunk.epoch.number = u64::MAX,
        _ => (chunk.offset, chunk.reset) = (u64::MAX - random.random_range(0..9), None),
    }
}

/// Numbers from the edges, wherever there are any. Such is refused, or harmless.
fn nonsense(from: PeerId, random: &mut ChaCha8Rng) -> Message {
    let mine = Epoch {
        number: u64::MAX - random.random_range(0..1 << 20),
        replica: from.replica,
        store: from.store,
    };
    let place = Position {
        epoch: mine,
        index: number(random),
    };
    match random.random_range(0..5) {
        0 => Message::PreBallot {
            round: number(random),
        },
        1 => Message::Append {
            epoch: mine,
            previous: place,
            entries: Vec::new(),
            commit: number(random),
            forced: number(random),
        },
        2 => Message::HandOver {
            epoch: mine,
            hold: number(random),
        },
        3 => Message::Orphans {
            epoch: mine,
            orphans: vec![Orphan {
                origin: place,
                lineage: Lineage::default(),
                command: Bytes::new(),
            }],
        },
        _ => Message::Fetch {
            epoch: mine,
            after: place,
        },
    }
}
