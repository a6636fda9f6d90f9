//! What a peer may say. Every message passes here before anything else looks at it.
//!
//! A peer may be broken, or not a peer's program at all. What it says is checked against itself, and against what no honest
//! history reaches; whether it is true cannot be known here. So nothing that a peer says ends a replica, now or after its next
//! start, and nothing raises a promise to where no other can follow.

use crate::branch::BranchTable;
use crate::message::{Message, SnapshotChunk, Standing};
use crate::replica::Seed;
use crate::store::Durable;
use crate::types::{
    Configuration, Entry, Epoch, Index, Lineage, Mode, Payload, PeerId, Position, REMEMBERED,
    ReplicaId, ViewStart,
};

/// Replicas that a cluster may have. Each acknowledges everything, so that even ten are slow.
pub const MAX_MEMBERS: usize = 64;

/// Bytes of an address: a host name has 253 at most, and a port 6.
pub const MAX_ADDRESS: usize = 512;

/// The last index that a peer may name. A million entries in each second reach it after two thousand years.
pub const MAX_INDEX: Index = 1 << 56;

/// The last index of a snapshot: what it brings its receiver to at once leaves as much room behind it as before it.
const MAX_SNAPSHOT_INDEX: Index = MAX_INDEX / 2;

/// Epochs of a log: as many as fit into a message of 16 MiB, at 25 bytes each and with room for the rest.
pub const MAX_EPOCHS: usize = 500_000;

/// Bytes of one message of the application.
pub const MAX_CAST: usize = 1 << 20;

/// How many epochs a peer may be ahead when a replica starts.
///
/// A ballot adds as many as there are answers, three in most clusters. So that is a thousand million views that started while
/// this replica was away, or four years of ten in each second.
const LEAP: u64 = 1 << 32;

/// By how many epochs more with each tick. One that is further ahead is heard in the end: had the others been told the largest
/// number that they believe, once in each of their lives, this replica would follow after 64 ticks for each.
const EPOCHS_PER_TICK: u64 = 1 << 26;

/// The last epoch. Whoever told the largest number at each tick would need 21 years, at ticks of 10 ms.
const MAX_EPOCH: u64 = 1 << 62;

/// What is wrong with something, in words.
pub(super) type Checked = Result<(), &'static str>;

/// What one replica believes at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The greatest number of an epoch.
    horizon: u64,
    /// What views of this cluster need, once it has begun.
    mode: Option<Mode>,
}

fn ensure(holds: bool, otherwise: &'static str) -> Checked {
    holds.then_some(()).ok_or(otherwise)
}

/// In units of [`LEAP`], so that it is the same for all lives of a replica that nobody lied to.
pub(super) fn leaps(promised: Epoch) -> u64 {
    promised.number / LEAP
}

/// Whose word a message is. Where it names the disk itself, that is the one: a disk may have got another name meanwhile.
pub(super) fn speaker(mut from: PeerId, message: &Message) -> PeerId {
    from.store = match message {
        Message::PreBallotAnswer { standing, .. } | Message::Promise { standing, .. } => {
            standing.store
        }
        Message::Prepare { epoch, .. }
        | Message::Fetch { epoch, .. }
        | Message::Append { epoch, .. }
        | Message::Heartbeat { epoch, .. }
        | Message::HandOver { epoch, .. } => epoch.store,
        Message::SnapshotChunk(chunk) => chunk.epoch.store,
        Message::AppendAck { store, .. } | Message::HeartbeatAck { store, .. } => *store,
        Message::PreBallot { .. }
        | Message::Refuse { .. }
        | Message::Fetched { .. }
        | Message::Mend { .. }
        | Message::Mended { .. }
        | Message::Mismatch { .. }
        | Message::Orphans { .. }
        | Message::Cast(_)
        | Message::SnapshotAck { .. } => from.store,
    };
    from
}

impl Bounds {
    /// Those of a replica that started with a promise so many leaps above nothing, so many ticks ago.
    pub(super) fn new(leaps: u64, ticks: u64, mode: Option<Mode>) -> Bounds {
        let horizon = (leaps.saturating_add(2))
            .saturating_mul(LEAP)
            .saturating_add(ticks.saturating_mul(EPOCHS_PER_TICK));
        Bounds {
            horizon: horizon.min(MAX_EPOCH),
            mode,
        }
    }

    /// Whether a message makes sense, from this peer.
    pub(super) fn check(&self, from: PeerId, message: &Message) -> Checked {
        match message {
            Message::PreBallot { round: _ } => Ok(()),
            Message::PreBallotAnswer { round: _, standing } => self.standing(from, standing),
            Message::Prepare {
                epoch,
                members,
                ticket,
            } => {
                self.own(from, *epoch)?;
                self.epoch(ticket.unwrap_or_default())?;
                list(members)?;
                ensure(
                    members.contains(&from.replica),
                    "it starts a view without itself",
                )
            }
            Message::Promise { epoch, standing } => {
                self.epoch(*epoch)?;
                self.standing(from, standing)
            }
            Message::Refuse {
                epoch,
                promised,
                leader,
                leader_started: _,
            } => {
                self.epoch(*epoch)?;
                self.epoch(*promised)?;
                self.epoch(leader.unwrap_or_default())
            }
            Message::Fetch { epoch, after } => {
                self.own(from, *epoch)?;
                self.position(*after)
            }
            Message::Fetched {
                epoch,
                previous,
                entries,
                forced,
            } => {
                index(*forced)?;
                self.entries(*epoch, *previous, entries)
            }
            Message::Mend {
                from: first,
                through,
            } => {
                self.place(*first)?;
                index(*through)?;
                ensure(first.index <= *through, "it asks for no entries")
            }
            Message::Mended {
                from: first,
                entries,
                compacted,
            } => {
                self.place(*first)?;
                self.position(*compacted)?;
                index(first.index.saturating_add(entries.len() as Index))?;
                let in_order = (first.index..).zip(entries).all(|(index, entry)| {
                    (entry.position.epoch, entry.position.index) == (first.epoch, index)
                });
                ensure(in_order, "its entries are not those that were asked for")?;
                self.payloads(entries)
            }
            Message::Append {
                epoch,
                previous,
                entries,
                commit,
                forced,
            } => {
                self.own(from, *epoch)?;
                index(*commit)?;
                index(*forced)?;
                self.entries(*epoch, *previous, entries)
            }
            Message::AppendAck {
                epoch,
                store,
                verified,
            } => {
                self.epoch(*epoch)?;
                index(*verified)?;
                ensure(*store == from.store, "it speaks for another disk")
            }
            Message::Mismatch {
                epoch,
                branches,
                compacted,
            } => {
                self.epoch(*epoch)?;
                self.table(branches, *compacted)
            }
            Message::Heartbeat {
                epoch,
                started: _,
                members,
                commit,
                last,
                // Compared with what this replica has said.
                echo: _,
                // Compared with what is patience enough.
                stalled: _,
                // Said back.
                round: _,
                compact_to,
            } => {
                self.own(from, *epoch)?;
                list(members)?;
                ensure(
                    members.contains(&from.replica),
                    "it leads a view without itself",
                )?;
                index(*last)?;
                ensure(
                    compact_to <= commit && commit <= last,
                    "its log ends before what it has committed or dropped",
                )
            }
            Message::HeartbeatAck {
                epoch,
                store,
                // Echoed.
                sent: _,
                // Compared with what this replica has asked.
                round: _,
                verified,
                branches,
                compacted,
                wants_snapshot,
                // Believed, as that it lacks a state is.
                mends: _,
                progress,
            } => {
                self.epoch(*epoch)?;
                ensure(*store == from.store, "it speaks for another disk")?;
                match (verified, branches) {
                    (Some(verified), None) => index((*verified).max(*compacted))?,
                    (None, Some(branches)) => self.table(branches, *compacted)?,
                    _ => return Err("it does not say where it is, or does twice"),
                }
                index(wants_snapshot.unwrap_or(0))?;
                index(progress.applied)?;
                index(progress.orphans)
            }
            Message::HandOver { epoch, hold: _ } => self.own(from, *epoch),
            Message::Orphans { epoch, orphans } => {
                self.epoch(*epoch)?;
                let mut before = Position::default();
                for orphan in orphans {
                    self.lineage(orphan.origin, &orphan.lineage)?;
                    ensure(orphan.origin > before, "its orphans are in no order")?;
                    before = orphan.origin;
                }
                Ok(())
            }
            Message::Cast(bytes) => ensure(bytes.len() <= MAX_CAST, "it is too long"),
            Message::SnapshotChunk(chunk) => self.chunk(from, chunk),
            Message::SnapshotAck {
                epoch,
                // Names a transfer, or none.
                id: _,
                received: _,
            } => self.epoch(*epoch),
        }
    }

    fn epoch(&self, epoch: Epoch) -> Checked {
        ensure(
            epoch.number <= self.horizon,
            "its epoch is further ahead than any could be",
        )
    }

    /// The epoch of a candidate or leader, in whose name nobody else speaks.
    fn own(&self, from: PeerId, epoch: Epoch) -> Checked {
        self.epoch(epoch)?;
        ensure(
            (epoch.replica, epoch.store) == (from.replica, from.store),
            "it speaks for another leader",
        )
    }

    /// Somewhere in a log, or before it.
    fn position(&self, position: Position) -> Checked {
        match position == Position::default() {
            true => Ok(()),
            false => self.place(position),
        }
    }

    /// Where an entry stands. No epoch has the number 0, which is what a replica has promised that has promised nothing.
    fn place(&self, position: Position) -> Checked {
        self.epoch(position.epoch)?;
        index(position.index)?;
        ensure(
            position.index > 0 && position.epoch.number > 0,
            "an entry stands nowhere",
        )
    }

    /// Where a command was first appended, and what stood before it there.
    fn lineage(&self, origin: Position, lineage: &Lineage) -> Checked {
        self.place(origin)?;
        ensure(
            lineage.fits(origin),
            "what stood before a command contradicts where it stood",
        )
    }

    /// Entries of a leader's log, in order behind `previous`.
    fn entries(&self, epoch: Epoch, previous: Position, entries: &[Entry]) -> Checked {
        self.epoch(epoch)?;
        self.position(previous)?;
        let end = previous.index.saturating_add(entries.len() as Index);
        index(end)?;
        ensure(
            well_formed(epoch, previous, entries),
            "its entries do not follow each other",
        )?;
        self.payloads(entries)
    }

    fn payloads(&self, entries: &[Entry]) -> Checked {
        for entry in entries {
            match &entry.payload {
                Payload::Command(_) => {}
                Payload::Reproposed {
                    origin, lineage, ..
                } => self.lineage(*origin, lineage)?,
                Payload::ViewStart(start) => self.view_start(start)?,
            }
        }
        Ok(())
    }

    /// A log in outline, of which the beginning may be gone.
    fn table(&self, branches: &BranchTable, compacted: Index) -> Checked {
        ensure(
            branches.is_sound() && branches.epochs().len() <= MAX_EPOCHS,
            "its branch table contradicts itself",
        )?;
        ensure(
            compacted <= branches.last_index(),
            "more of its log is gone than there was",
        )?;
        let first = branches.epochs().first();
        ensure(
            first.is_none_or(|(epoch, _)| epoch.number > 0),
            "its log begins in no epoch",
        )?;
        self.epoch(branches.dropped().epoch)?;
        index(branches.dropped().index)?;
        self.position(branches.last())
    }

    fn view_start(&self, start: &ViewStart) -> Checked {
        let Configuration {
            members,
            mode,
            removed,
            absent,
            base,
            away,
        } = &start.configuration;
        ensure(
            self.mode.is_none_or(|known| known == *mode),
            "it changes what a view needs",
        )?;
        ensure(
            !members.is_empty() && members.len() <= MAX_MEMBERS && removed.len() <= REMEMBERED,
            "its configuration has too few or too many replicas",
        )?;
        ensure(
            members.windows(2).all(|pair| pair[0].id < pair[1].id),
            "its configuration is in no order",
        )?;
        let short = |address: &String| address.len() <= MAX_ADDRESS;
        ensure(
            members
                .iter()
                .chain(removed)
                .all(|member| short(&member.peer_address) && short(&member.client_address)),
            "its addresses are too long",
        )?;
        ensure(
            absent.len() <= REMEMBERED && base.len() <= MAX_MEMBERS && away.len() <= MAX_MEMBERS,
            "too many are away from its configuration",
        )?;
        let ticks = away.iter().map(|(_, ticks)| *ticks);
        let most = absent.iter().map(|it| it.holds).chain(ticks).max();
        index(most.unwrap_or(0))?;
        list(&start.members)?;
        ensure(
            start
                .members
                .iter()
                .all(|id| start.configuration.member(*id).is_some()),
            "its view has members that its configuration lacks",
        )
    }

    fn standing(&self, from: PeerId, standing: &Standing) -> Checked {
        let Standing {
            store,
            promised,
            branches,
            compacted,
            newest,
            in_view,
            leader,
            // Versions are compared, no more.
            apply_version: _,
            state_lost: _,
            damaged,
            // Believed, as that it has no state is.
            mends: _,
        } = standing;
        ensure(*store == from.store, "it speaks for another disk")?;
        self.epoch(*promised)?;
        self.epoch(leader.unwrap_or_default())?;
        self.table(branches, *compacted)?;
        ensure(
            *damaged <= branches.last_index(),
            "its log ends before what is damaged of it",
        )?;
        ensure(
            branches.last().epoch <= *promised,
            "its log is of an epoch that it has not promised",
        )?;
        ensure(
            newest.is_some() == (branches.last_index() > 0),
            "its log does not begin with a view",
        )?;
        if let Some(start) = newest {
            self.view_start(start)?;
        }
        ensure(
            in_view.is_none_or(|epoch| branches.first_of(epoch).is_some()),
            "it is in a view that its log does not hold",
        )
    }

    fn chunk(&self, from: PeerId, chunk: &SnapshotChunk) -> Checked {
        self.own(from, chunk.epoch)?;
        ensure(!chunk.bytes.is_empty(), "a piece of a snapshot is empty")?;
        let end = chunk.offset.checked_add(chunk.bytes.len() as u64);
        ensure(
            end.is_some_and(|end| end <= MAX_INDEX),
            "its snapshot has no end",
        )?;
        ensure(
            chunk.reset.is_some() == (chunk.offset == 0),
            "its snapshot does not say of what it is",
        )?;
        let Some(reset) = &chunk.reset else {
            return Ok(());
        };
        let (begins, start) = &reset.newest;
        self.table(&reset.branches, 0)?;
        self.view_start(start)?;
        let newest = reset.branches.epochs().last();
        ensure(
            newest.is_some_and(|(epoch, first)| first == begins && *epoch <= chunk.epoch)
                && reset.branches.last_index() <= MAX_SNAPSHOT_INDEX,
            "its snapshot is of no log",
        )
    }
}

fn index(index: Index) -> Checked {
    ensure(index <= MAX_INDEX, "its log is longer than any could be")
}

/// Members of a view.
fn list(members: &[ReplicaId]) -> Checked {
    ensure(
        !members.is_empty()
            && members.len() <= MAX_MEMBERS
            && members.windows(2).all(|pair| pair[0] < pair[1]),
        "its list of members is none",
    )
}

/// Entries of a leader's log: in order behind `previous`, none above the leader's epoch, each epoch beginning with its
/// view start.
fn well_formed(epoch: Epoch, previous: Position, entries: &[Entry]) -> bool {
    let mut last = previous;
    previous.epoch <= epoch
        && entries.iter().all(|entry| {
            let next = entry.position;
            let begins = next.epoch > last.epoch;
            let in_order = next.index == last.index + 1
                && (next.epoch == last.epoch || begins)
                && next.epoch <= epoch
                && next.epoch.number > 0
                && begins == matches!(entry.payload, Payload::ViewStart(_));
            last = next;
            in_order
        })
}

/// Whether a replica can be known to the others by these addresses.
pub(super) fn fits(seed: &Seed) -> bool {
    seed.peer_address.len() <= MAX_ADDRESS && seed.client_address.len() <= MAX_ADDRESS
}

/// Whether a replica can start from what its disk holds: programs before this one believed any number.
pub(crate) fn check_durable(durable: &Durable) -> Result<(), String> {
    let promised = durable.promised.max(durable.branches.last().epoch);
    if promised.number > MAX_EPOCH || durable.branches.last_index() > MAX_INDEX {
        return Err(format!(
            "it holds the epoch {promised} and {} entries, which no history reaches: a peer has told it so. Move the data \
             folder away and start the replica with an empty one, to be brought forward by the others; if all of them say \
             this, restore the newest backup",
            durable.branches.last_index()
        ));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
