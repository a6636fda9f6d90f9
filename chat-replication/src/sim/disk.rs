//! Disks that lose power.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::board::{Board, CrashPoint};
use super::options;
use crate::memory_store::MemoryStore;
use crate::redb_store::{CrashDisk, Fate, RedbStore};
use crate::store::{Durable, Identity, Persist, Persisted, Store, StoreError};
use crate::types::{ClusterId, Entry, Index, Orphan, Position, ReplicaId, StoreUuid};

/// One replica's disk. Its content is known even while no process has it open.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Content>>);

#[derive(Debug)]
struct Content {
    /// What the disk holds, as far as is known.
    known: MemoryStore,
    /// What a crash left undecided: redb has it wholly or not at all.
    undecided: Option<Persist>,
    /// Those of the log and of its archive.
    redb: Option<[CrashDisk; 2]>,
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
        let redb = (kind == options::Disk::Redb).then(|| {
            let disk = [CrashDisk::new(), CrashDisk::new()];
            let store = open(&disk, identity).expect("an empty disk can be used");
            identity = store.identity();
            disk
        });
        Disk(Arc::new(Mutex::new(Content {
            known: MemoryStore::new(identity),
            undecided: None,
            redb,
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

    /// Opens the disk for a process.
    ///
    /// # Panics
    ///
    /// Where it does not hold what was written to it.
    pub(super) fn open(&self, board: Board) -> SimStore {
        let mut content = self.content();
        let redb = content.redb.clone().map(|disk| {
            let identity = content.known.load().expect("memory does not fail").identity;
            let mut store = open(&disk, identity).expect("the log opens after a crash");
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
        let durable = content.known.load().expect("memory does not fail");
        board.durable(durable.promised, &durable.branches);
        drop(content);
        SimStore {
            disk: self.clone(),
            redb,
            board,
        }
    }

    /// The process that had the disk open dies.
    pub(super) fn crash(&self) {
        let content = &mut *self.content();
        for disk in content.redb.iter().flatten() {
            let random = &mut content.random;
            let lost: f64 = random.random_range(0.0..1.2);
            disk.crash(|bytes| match random.random_range(0.0..1.0) {
                roll if roll < lost => Fate::Lost,
                roll if roll < lost + 0.2 => Fate::Torn(random.random_range(0..=bytes / 512) * 512),
                _ => Fate::Kept,
            });
        }
    }
}

fn open(disks: &[CrashDisk; 2], identity: Identity) -> Result<RedbStore, StoreError> {
    let [log, archive] = disks;
    RedbStore::open_with_backends(
        log.backend(),
        archive.backend(),
        "simulated disk",
        identity.cluster,
        identity.replica,
    )
}

fn everything(store: &mut dyn Store) -> (Durable, Vec<Entry>, Vec<Orphan>) {
    let durable = store.load().expect("the log can be loaded");
    let last = durable.branches.last_index();
    let entries = store
        .entries(durable.compacted.index + 1, last, usize::MAX)
        .expect("the entries can be read");
    let orphans = store
        .orphans(None, usize::MAX)
        .expect("the orphans can be read");
    (durable, entries, orphans)
}

/// A disk that a process has open.
#[derive(Debug)]
pub(super) struct SimStore {
    disk: Disk,
    redb: Option<Box<RedbStore>>,
    board: Board,
}

impl SimStore {
    fn power_is_gone() -> StoreError {
        StoreError::Io {
            path: PathBuf::from("simulated disk"),
            reason: "the power is gone".to_owned(),
        }
    }

    /// The batch reaches the disk, or does not, and nobody hears of it.
    fn fail_amid(&mut self, batch: &Persist) {
        let content = &mut *self.disk.content();
        match (&mut self.redb, &content.redb) {
            (Some(store), Some(disks)) => {
                let disk = &disks[content.random.random_range(0..8usize) / 7];
                disk.fail_after(content.random.random_range(0..12));
                // Even one that returned in time is undecided to the dead process.
                let _ = store.persist(batch);
                content.undecided = Some(batch.clone());
            }
            _ => {
                if content.random.random_bool(0.5) {
                    content.known.persist(batch).expect("memory does not fail");
                }
            }
        }
    }

    fn write(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        let content = &mut *self.disk.content();
        if let Some(store) = &mut self.redb {
            store.persist(batch)?;
        }
        let persisted = content.known.persist(batch)?;
        let durable = content.known.load()?;
        self.board.durable(durable.promised, &durable.branches);
        self.board.wrote(batch.clone());
        Ok(persisted)
    }
}

impl Store for SimStore {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.disk.content().known.load()
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        if self.board.is_dead() {
            return Err(SimStore::power_is_gone());
        }
        match self.board.take_crash_point() {
            Some(CrashPoint::Before) => {}
            Some(CrashPoint::Amid) => self.fail_amid(batch),
            Some(CrashPoint::After) => {
                self.write(batch)?;
            }
            None => return self.write(batch),
        }
        self.board.kill();
        Err(SimStore::power_is_gone())
    }

    fn entries(
        &self,
        from: Index,
        through: Index,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        match &self.redb {
            Some(store) => store.entries(from, through, max_bytes),
            None => self.disk.content().known.entries(from, through, max_bytes),
        }
    }

    fn orphans(
        &self,
        after: Option<Position>,
        max_bytes: usize,
    ) -> Result<Vec<Orphan>, StoreError> {
        match &self.redb {
            Some(store) => store.orphans(after, max_bytes),
            None => self.disk.content().known.orphans(after, max_bytes),
        }
    }
}
