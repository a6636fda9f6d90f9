//! Disks that lose power, and processes that die without it.
//!
//! What a process wrote is read by the next one, also where the first was killed before it flushed. What nobody has flushed
//! the power takes along when it goes, be it then or later: so who starts flushes what it finds before it tells of it.

mod rot;
mod store;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(super) use self::rot::Rotted;
pub(super) use self::store::SimStore;
use super::board::Board;
use super::ledger::{CommandId, command, command_id, payload_id};
use super::options;
use crate::branch::BranchTable;
use crate::disk_store::{CrashFolder, DiskStore, Fate};
use crate::memory_store::MemoryStore;
use crate::replica::Mutation;
use crate::store::{Durable, Identity, Persist, Store, StoreError};
use crate::types::{
    ClusterId, Entry, Epoch, Index, Member, Orphan, Payload, Position, ReplicaId, StoreUuid,
    ViewStart,
};

/// A command that no client of this cluster sends.
const NEVER_SENT: CommandId = CommandId::MAX;

/// One replica's disk. Its content is known even while no process has it open.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Content>>);

#[derive(Debug)]
struct Content {
    /// What a process reads from the disk, as far as is known.
    known: MemoryStore,
    /// What a loss of power may leave of it: a process was killed before its last write was flushed. Only where the log is
    /// in memory, files know it themselves.
    flushed: Option<MemoryStore>,
    /// The commands in the state's last checkpoint, whose entries the log may hold no more.
    state: BTreeSet<CommandId>,
    /// Nothing more fits on it.
    full: bool,
    /// What is on it cannot be read.
    rotten: bool,
    /// The write amid which the last process died: the disk has it wholly or not at all.
    undecided: Option<Persist>,
    /// What the log's files are on.
    files: Option<CrashFolder>,
    /// The power was lost since the files were opened: the mark that the last write was flushed may be gone with it.
    lost_power: bool,
    random: ChaCha8Rng,
}

impl Disk {
    /// An empty disk.
    pub(super) fn new(
        kind: options::Disk,
        cluster: ClusterId,
        replica: ReplicaId,
        seed: u64,
    ) -> Disk {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut identity = Identity {
            cluster,
            replica,
            store: StoreUuid(uuid::Uuid::from_u128(random.random())),
        };
        let files = (kind == options::Disk::Files).then(|| {
            let files = CrashFolder::new();
            let store = open(&files, identity).expect("an empty disk can be used");
            identity = store.identity();
            files
        });
        Disk(Arc::new(Mutex::new(Content {
            known: MemoryStore::new(identity),
            flushed: None,
            state: BTreeSet::new(),
            full: false,
            rotten: false,
            undecided: None,
            files,
            lost_power: false,
            random,
        })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is durable.
    pub(super) fn look<T>(&self, look: impl FnOnce(&MemoryStore) -> T) -> T {
        look(&self.content().known)
    }

    /// A disk with what this one holds, under a name of its own: what is left of a copy once it was put in place.
    pub(super) fn copy(&self, seed: u64) -> Disk {
        let content = self.content();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut known = content.known.clone();
        known.rename(StoreUuid(uuid::Uuid::from_u128(random.random())));
        Disk(Arc::new(Mutex::new(Content {
            known,
            flushed: None,
            state: content.state.clone(),
            full: false,
            rotten: false,
            undecided: None,
            files: None,
            lost_power: false,
            random,
        })))
    }

    /// A copy that belongs to a cluster of another name, which went on with it: nobody else has what was written then.
    pub(super) fn of_another_cluster(&self, seed: u64) -> Disk {
        let disk = self.copy(seed);
        let mut content = disk.content();
        let name = uuid::Uuid::from_u128(content.random.random());
        content.known.move_to(ClusterId(name));
        let durable = content.known.load().expect("memory does not fail");
        if let Some((_, newest)) = durable.view_starts.last() {
            let epoch = Epoch {
                number: durable.promised.number + 1,
                replica: durable.identity.replica,
                store: durable.identity.store,
            };
            let start = ViewStart {
                members: vec![epoch.replica],
                forced: true,
                ..newest.clone()
            };
            let payloads = [
                Payload::ViewStart(start),
                Payload::Command(command(NEVER_SENT, 8)),
            ];
            let behind = durable.branches.last_index() + 1..;
            let append = behind.zip(payloads).map(|(index, payload)| Entry {
                position: Position { epoch, index },
                payload,
            });
            let batch = Persist {
                promised: Some(epoch),
                append: append.collect(),
                ..Persist::default()
            };
            content.known.persist(&batch).expect("memory does not fail");
        }
        drop(content);
        disk
    }

    /// Whether it can be copied: not while nobody knows what is on it.
    pub(super) fn is_plain(&self) -> bool {
        let content = self.content();
        let is_settled = content.undecided.is_none() && content.flushed.is_none();
        content.files.is_none() && is_settled && !content.rotten
    }

    /// The name of the disk.
    pub(super) fn store(&self) -> StoreUuid {
        self.content().known.identity().store
    }

    /// Whether its own log says that it has the vote of a replica.
    pub(super) fn has_vote_of(&self, id: ReplicaId) -> bool {
        self.look(|store| {
            let known = store.newest_start().map(|start| &start.configuration);
            known.is_some_and(|known| known.votes(id, store.identity().store))
        })
    }

    /// The epochs of its log, and the members that it knows.
    pub(super) fn history(&self) -> (BranchTable, Vec<Member>) {
        self.look(|store| {
            let newest = store.newest_start();
            let members = newest.map(|start| start.configuration.members.clone());
            (store.branches().clone(), members.unwrap_or_default())
        })
    }

    /// The last entry that was dropped from its log.
    pub(super) fn compacted(&self) -> Index {
        self.look(|store| store.branches().last_index() - store.payloads().count() as u64)
    }

    /// Whether its log holds a position, or goes so far beyond it that its table does not tell.
    pub(super) fn holds(&self, position: Position) -> bool {
        let holds = |store: &MemoryStore| {
            let branches = store.branches();
            let oldest = branches.epochs().first().map_or(0, |(_, first)| *first);
            position.index < oldest || branches.holds(position)
        };
        self.content().possible().all(holds)
    }

    /// Whether it holds a command: in the log, among the orphans, or in the state.
    pub(super) fn has_command(&self, id: CommandId) -> bool {
        let has = |store: &MemoryStore| {
            let mut log = store.readable();
            let mut orphans = store.orphaned();
            log.any(|payload| payload_id(payload) == Some(id))
                || orphans.any(|command| command_id(command) == Some(id))
        };
        let content = self.content();
        content.state.contains(&id) || content.possible().all(has)
    }

    /// Everything that `has_command` is true for.
    pub(super) fn commands(&self) -> BTreeSet<CommandId> {
        let commands = |store: &MemoryStore| -> BTreeSet<CommandId> {
            let log = store.readable().filter_map(payload_id);
            let orphans = store.orphaned().filter_map(|it| command_id(it));
            log.chain(orphans).collect()
        };
        let content = self.content();
        let mut certain = commands(&content.known);
        if let Some(flushed) = &content.flushed {
            certain.retain(|id| commands(flushed).contains(id));
        }
        certain.extend(&content.state);
        certain
    }

    /// Those of its commands that it can hand over, whichever log is gone on from. What is damaged in the log may have its
    /// effect in the state: but should that log lose, no state gives single commands away.
    pub(super) fn hands_over(&self) -> BTreeSet<CommandId> {
        let mut commands = self.commands();
        for store in self.content().possible() {
            let readable: BTreeSet<_> = store.readable().filter_map(payload_id).collect();
            let logged = store.payloads().filter_map(payload_id);
            for damaged in logged.filter(|id| !readable.contains(id)) {
                commands.remove(&damaged);
            }
        }
        commands
    }

    /// The state has a new checkpoint.
    pub(super) fn keep_state(&self, commands: &[CommandId]) {
        self.content().state = commands.iter().copied().collect();
    }

    /// Puts other commands in the place of those in the state's last checkpoint, and returns these.
    pub(super) fn replace_state(&self, commands: BTreeSet<CommandId>) -> BTreeSet<CommandId> {
        std::mem::replace(&mut self.content().state, commands)
    }

    /// From now on every write fails for want of room; or there is room again.
    pub(super) fn fill(&self, full: bool) {
        self.content().full = full;
    }

    /// Rot of entries, where the log is in memory.
    pub(super) fn damage(&self, entries: RangeInclusive<Index>) {
        let content = &mut *self.content();
        if let Some(flushed) = &mut content.flushed {
            flushed.damage(entries.clone());
        }
        content.known.damage(entries);
    }

    /// Whether the log has the entry of a position, and it can be read.
    pub(super) fn can_read(&self, position: Position) -> bool {
        let index = position.index;
        let can_read = |store: &MemoryStore| {
            let is_there = || store.entries(index, index, usize::MAX).is_ok();
            store.branches().holds(position) && is_there()
        };
        self.content().possible().all(can_read)
    }

    /// From now on nothing on it can be read.
    pub(super) fn rot(&self) {
        self.content().rotten = true;
    }

    /// Opens the disk for a process of a replica.
    ///
    /// # Panics
    ///
    /// Where it does not hold what was written to it.
    pub(super) fn open(
        &self,
        board: Board,
        replica: ReplicaId,
        mutation: Option<Mutation>,
    ) -> Result<SimStore, StoreError> {
        let content = &mut *self.content();
        // The machine may have been without power since its last process died.
        if content.random.random_bool(0.2) {
            content.lose_power();
        }
        let identity = content.known.identity();
        if content.rotten {
            return Err(unreadable());
        }
        if identity.replica != replica {
            let foreign = Identity {
                replica,
                ..identity
            };
            let opened = content.files.as_ref().map(|files| open(files, foreign));
            assert!(
                !matches!(opened, Some(Ok(_))),
                "a replica takes the disk of another for its own"
            );
            return Err(StoreError::Foreign {
                path: PathBuf::from("simulated disk"),
                reason: "belongs to another replica".to_owned(),
            });
        }
        let flushes = mutation != Some(Mutation::StartDoesNotFlush);
        let store = content.files.clone().map(|files| {
            let opened = match flushes {
                true => open(&files, identity),
                false => files.without_flushes(|| open(&files, identity)),
            };
            let mut store = opened.expect("the log opens after a crash");
            let found = everything(&mut store);
            let undecided = content.undecided.take();
            if let Some(batch) = undecided.filter(|_| found != everything(&mut content.known)) {
                content.known.persist(&batch).expect("memory does not fail");
            }
            assert_eq!(
                found,
                everything(&mut content.known),
                "the log holds what was written"
            );
            Box::new(store)
        });
        content.undecided = None;
        content.lost_power = false;
        if flushes {
            content.flushed = None;
        }
        let flushed = content.flushed.as_ref().unwrap_or(&content.known);
        board.durable(flushed.promised(), flushed.branches());
        Ok(SimStore {
            disk: self.clone(),
            store,
            board,
            lowers_lineages: mutation != Some(Mutation::LineagesStay),
        })
    }

    /// What becomes of a process whose machine may have died with it, and is back at once.
    pub(super) fn draw_death(&self) -> Death {
        match self.content().random.random_bool(0.5) {
            true => Death::Killed,
            false => Death::PowerLoss,
        }
    }

    /// The process that had the disk open dies, alone or with its machine.
    pub(super) fn end(&self, death: Death) {
        let content = &mut *self.content();
        match death {
            Death::Killed => content.kill(),
            Death::PowerLoss => content.lose_power(),
        }
    }
}

/// What a process dies of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Death {
    /// What it wrote can be read, flushed or not.
    Killed,
    /// What nobody flushed may be gone.
    PowerLoss,
}

impl Content {
    /// What the disk holds after a loss of power: one of these.
    fn possible(&self) -> impl Iterator<Item = &MemoryStore> {
        [&self.known].into_iter().chain(&self.flushed)
    }

    fn kill(&mut self) {
        if let Some(files) = self.files.clone() {
            files.kill(self.fate());
        } else if let Some(batch) = self.undecided.take()
            && self.random.random_bool(0.5)
        {
            let before = self.known.clone();
            // A write fails where it would cut damaged entries, and then does nothing.
            if self.known.persist(&batch).is_ok() {
                self.flushed.get_or_insert(before);
            }
        }
    }

    fn lose_power(&mut self) {
        if let Some(files) = self.files.clone() {
            files.crash(self.fate());
            self.lost_power = true;
            return;
        }
        let undecided = self.undecided.take();
        match self.flushed.take() {
            Some(flushed) if self.random.random_bool(0.5) => self.known = flushed,
            _ => {
                if let Some(batch) = undecided
                    && self.random.random_bool(0.5)
                {
                    let _ = self.known.persist(&batch);
                }
            }
        }
    }

    /// Decides about each change to a file that was not flushed.
    fn fate(&mut self) -> impl FnMut(usize) -> Fate {
        let random = &mut self.random;
        let lost: f64 = random.random_range(0.0..1.2);
        move |bytes| match random.random_range(0.0..1.0) {
            roll if roll < lost => Fate::Lost,
            roll if roll < lost + 0.2 => Fate::Torn(random.random_range(0..=bytes / 512) * 512),
            _ => Fate::Kept,
        }
    }
}

fn unreadable() -> StoreError {
    StoreError::Damaged {
        path: PathBuf::from("simulated disk"),
        reason: "its checksums do not fit".to_owned(),
    }
}

fn open(files: &CrashFolder, identity: Identity) -> Result<DiskStore, StoreError> {
    DiskStore::open_in(
        files.connect(),
        "simulated disk",
        identity.cluster,
        identity.replica,
    )
}

/// All that a log tells, and which of its entries cannot be read.
fn everything(store: &mut dyn Store) -> (Durable, Vec<Entry>, Vec<Orphan>) {
    let mut durable = store.load().expect("the log can be loaded");
    let last = durable.branches.last_index();
    let mut next = durable.compacted.index + 1;
    let mut entries = Vec::new();
    // Only the newest of them are read at the opening.
    durable.damaged.clear();
    while next <= last {
        match store.entries(next, last, usize::MAX) {
            Ok(read) => {
                next += read.len() as u64;
                entries.extend(read);
            }
            Err(StoreError::DamagedEntries { entries, .. }) => {
                let damaged = next..=*entries.end();
                next = entries.end() + 1;
                match durable.damaged.last_mut() {
                    Some(before) if before.end() + 1 == *damaged.start() => {
                        *before = *before.start()..=*damaged.end();
                    }
                    _ => durable.damaged.push(damaged),
                }
            }
            Err(error) => panic!("the entries cannot be read: {error}"),
        }
    }
    let orphans = store
        .orphans(None, usize::MAX)
        .expect("the orphans can be read");
    (durable, entries, orphans)
}
