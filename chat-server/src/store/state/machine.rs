//! chat-core as a replicated state machine.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, RwLock, RwLockWriteGuard};

use chat_core::{
    APPLY_VERSION, AccountManager, Applied, Command, Event, Lineage, OpenError, ROW_FORMAT,
    Sequence,
};
use chat_replication::disk_store::file::{Fault, forget_aside, set_aside};
use chat_replication::state_machine::{InstallError, Responses, SnapshotReader, StateMachine};
use chat_replication::store::Reset;
use chat_replication::types::{self, ClusterId, Entry, Epoch, Payload, Position, ReplicaId};
use redb::StorageBackend;
use tracing::{error, warn};
use xxhash_rust::xxh3::xxh3_128;

use super::error::StateError;
use super::file::StateFile;
use super::flusher::Flusher;
use super::incoming::{Incoming, Unreadable};
use super::key_value::StateStore;
use super::overlay::Checkpoint;
use super::reader::{Shared, StateReader, read, try_write, write};
use super::snapshot::Snapshot;

/// Entries that are applied under one lock: what a query may have to wait for.
const BATCH: usize = 64;

/// While a checkpoint is written the overlay may grow to so many times its usual size before apply waits.
const OVERLAY_FACTOR: usize = 4;

/// How much memory the state takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateSettings {
    /// A checkpoint begins when the rows that are only in memory take so many bytes; 16 MiB by default.
    pub checkpoint_bytes: usize,
    /// So many bytes of the file are kept in memory; 64 MiB by default.
    pub cache_bytes: usize,
}

impl Default for StateSettings {
    fn default() -> StateSettings {
        StateSettings {
            checkpoint_bytes: 16 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug)]
pub enum Response {
    /// chat-core has applied or rejected it.
    Applied(Applied),
    /// Its bytes are no command: the same on every replica.
    Undecodable {
        /// Why.
        reason: String,
    },
    /// It made chat-core panic, and had no effect: the same on every replica.
    Quarantined,
}

/// What a batch of entries did. Entries that a restart applies again are told again.
#[derive(Clone, Debug)]
pub struct AppliedBatch {
    /// The last entry of the batch. Queries see it already.
    pub applied: Position,
    /// What happened, in order, each with the entry that made it happen.
    pub events: Vec<(Position, Event)>,
    /// How the batch goes on from the one before.
    pub continuity: Continuity,
}

/// How a batch of entries goes on from the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Continuity {
    /// Right behind it.
    Unbroken,
    /// A snapshot took the place of entries in between, and nobody was told what they did; or the state went back to go
    /// over to another history, in which what was told need not have happened.
    Skipped,
}

/// Is told of each batch, on the thread that applies. Must not block.
pub type Publisher = Box<dyn FnMut(AppliedBatch) + Send>;

/// The state machine of the chat service. See the [module](super) for how it lies on the disk.
pub struct ChatStateMachine {
    pub(super) shared: Arc<RwLock<Shared>>,
    pub(super) file: Arc<StateFile>,
    flusher: Flusher,
    pub(super) settings: StateSettings,
    publish: Publisher,
    /// How the next batch goes on from the last one.
    continuity: Continuity,
    /// What the file stands for.
    durable: Position,
    incoming: Option<Incoming>,
    unsettled: Option<Reset>,
    owner: (ClusterId, ReplicaId),
    /// The file that was found at the start was damaged, and is set aside already.
    found_damaged: Option<String>,
    /// What was told of the state that was given up last.
    told: Position,
}

impl ChatStateMachine {
    /// Opens `state.redb` in a data folder, or creates it. A damaged one is set aside, and [`StateMachine::damage`] says so.
    pub fn open_or_begin_anew(
        folder: &Path,
        cluster: ClusterId,
        replica: ReplicaId,
        settings: StateSettings,
        publish: Publisher,
    ) -> Result<ChatStateMachine, StateError> {
        let open = || StateFile::open(folder, settings.cache_bytes, cluster, replica);
        let opened = open().and_then(|file| Opened::of(Arc::new(file)));
        let (opened, found_damaged) = match opened {
            Ok(opened) => (opened, None),
            Err(StateError::Damaged { path, reason }) => {
                set_aside(&path).map_err(|fault| StateError::explain(fault, &path))?;
                (Opened::of(Arc::new(open()?))?, Some(reason))
            }
            Err(error) => return Err(error),
        };
        let mut machine = ChatStateMachine::with(opened, (cluster, replica), settings, publish)?;
        write(&machine.shared).found_damaged = found_damaged.is_some();
        machine.found_damaged = found_damaged;
        Ok(machine)
    }

    /// Opens `state.redb` in a data folder, or creates it.
    pub fn open(
        folder: &Path,
        cluster: ClusterId,
        replica: ReplicaId,
        settings: StateSettings,
        publish: Publisher,
    ) -> Result<ChatStateMachine, StateError> {
        let file = StateFile::open(folder, settings.cache_bytes, cluster, replica)?;
        let opened = Opened::of(Arc::new(file))?;
        ChatStateMachine::with(opened, (cluster, replica), settings, publish)
    }

    /// The same over a storage of the caller's, which `label` names in messages.
    pub fn open_with_backend(
        backend: impl StorageBackend,
        label: &str,
        cluster: ClusterId,
        replica: ReplicaId,
        settings: StateSettings,
        publish: Publisher,
    ) -> Result<ChatStateMachine, StateError> {
        let file =
            StateFile::open_with_backend(backend, label, settings.cache_bytes, cluster, replica)?;
        let opened = Opened::of(Arc::new(file))?;
        ChatStateMachine::with(opened, (cluster, replica), settings, publish)
    }

    fn with(
        opened: Opened,
        owner: (ClusterId, ReplicaId),
        settings: StateSettings,
        publish: Publisher,
    ) -> Result<ChatStateMachine, StateError> {
        let Opened {
            file,
            unsettled,
            manager,
            applied,
        } = opened;
        let flusher = flusher_of(&file)?;
        let shared = Shared {
            manager: Some(manager),
            applied,
            shown: applied,
            found_damaged: false,
            path: file.path().to_owned(),
        };
        Ok(ChatStateMachine {
            shared: Arc::new(RwLock::new(shared)),
            file,
            flusher,
            settings,
            publish,
            continuity: Continuity::Unbroken,
            durable: applied,
            incoming: None,
            unsettled,
            owner,
            found_damaged: None,
            told: Position::default(),
        })
    }

    /// Looks at the state from other threads. The file stays open until the last reader is gone.
    pub fn reader(&self) -> StateReader {
        StateReader::new(Arc::clone(&self.shared))
    }

    /// Whether a checkpoint is being written.
    pub fn is_writing_checkpoint(&self) -> bool {
        self.flusher.is_busy()
    }

    fn begin_checkpoint(&mut self) -> Result<(), StateError> {
        let mut shared = write(&self.shared);
        let applied = shared.applied;
        let manager = shared.manager_mut()?;
        let checkpoint = Checkpoint {
            applied,
            state_hash: manager.state_hash().as_u128(),
        };
        let frozen = manager.store_mut().freeze(checkpoint);
        drop(shared);
        self.flusher.write(frozen);
        Ok(())
    }

    fn end_checkpoint(&mut self, written: Result<(), StateError>) -> Result<(), StateError> {
        written?;
        self.durable = self.file.checkpoint()?.applied;
        // Nobody waits while the file is read.
        let base = StateStore::base_of(&self.file)?;
        let thawed = write(&self.shared).manager_mut()?.store_mut().thaw(base);
        if let Some(frozen) = thawed {
            self.flusher.free(frozen);
        }
        self.forget_damaged();
        Ok(())
    }

    /// What was set aside is of no use any more once the state durably shows as much again.
    fn forget_damaged(&self) {
        let shown = read(&self.shared).shown;
        if shown != Position::default() && self.durable >= shown {
            remove_aside(&self.file);
        }
    }

    /// After an error of a damaged file there is another way than to stop.
    fn is_damaged(&self) -> bool {
        self.damage().is_some()
    }

    fn finish_checkpoint(&mut self) -> Result<(), StateError> {
        match self.flusher.wait() {
            Some(written) => self.end_checkpoint(written),
            None => Ok(()),
        }
    }

    pub(super) fn overlay_bytes(&self) -> Result<usize, StateError> {
        Ok(read(&self.shared).manager()?.store().overlay_bytes())
    }

    /// Applies entries under one lock, and tells of them.
    fn apply_batch(
        &mut self,
        mut shared: RwLockWriteGuard<'_, Shared>,
        batch: &[Entry],
        responses: &mut Vec<Option<Response>>,
    ) -> Result<(), StateError> {
        let mut events = Vec::new();
        shared.manager_mut()?.store_mut().tidy();
        for entry in batch {
            let response = match apply_entry(&mut shared, entry) {
                Ok(response) => response,
                Err(error) => {
                    drop(shared);
                    return self.stop_on_error(Err(error));
                }
            };
            if let Some(Response::Applied(applied)) = &response {
                let told = applied.events.iter();
                events.extend(told.map(|event| (entry.position, event.clone())));
            }
            responses.push(response);
        }
        let applied = shared.applied;
        shared.shown = shared.shown.max(applied);
        drop(shared);
        if applied < self.told {
            // All this was told once, before the state was given up.
            return Ok(());
        }
        (self.publish)(AppliedBatch {
            applied,
            events,
            continuity: std::mem::replace(&mut self.continuity, Continuity::Unbroken),
        });
        Ok(())
    }

    /// The state is another from now on, that of the file.
    fn replace(&mut self, manager: AccountManager<StateStore>, applied: Position) {
        let mut shared = write(&self.shared);
        let old = shared.manager.replace(manager);
        shared.applied = applied;
        drop(shared);
        // Outside of the lock, since it may be large.
        drop(old);
        self.durable = applied;
    }

    fn take_rows(&mut self, piece: &[u8]) -> Result<(), InstallError<StateError>> {
        let incoming = self.incoming.as_mut().ok_or_else(not_begun)?;
        incoming.take(piece).map_err(unreadable)?;
        if let Some(rows) = incoming.batch() {
            self.file.write_incoming(&rows)?;
        }
        Ok(())
    }

    fn adopt_incoming(&mut self) -> Result<(), InstallError<StateError>> {
        let mut incoming = self.incoming.take().ok_or_else(not_begun)?;
        self.file.write_incoming(&incoming.rest())?;
        let (checkpoint, reset) = incoming.finish().map_err(unreadable)?;
        let store = StateStore::over(Arc::clone(&self.file), self.file.incoming()?)?;
        let manager = AccountManager::open(store).map_err(|error| match error {
            OpenError::Store(error) => InstallError::Failed(error),
            error @ OpenError::UnknownFormat { .. } => InstallError::Unreadable(error.to_string()),
        })?;
        if manager.state_hash().as_u128() != checkpoint.state_hash {
            return Err(unreadable(Unreadable("its hash is not that of its rows")));
        }
        drop(manager);
        // A checkpoint of the old state must not be written over the new one.
        self.finish_checkpoint()?;
        self.file.adopt_incoming(&checkpoint, &reset)?;
        let (manager, applied) = at_checkpoint(&self.file)?;
        self.unsettled = Some(reset);
        self.replace(manager, applied);
        (self.publish)(AppliedBatch {
            applied,
            events: Vec::new(),
            continuity: Continuity::Skipped,
        });
        Ok(())
    }

    /// A snapshot that makes no sense is no failure of this replica's own.
    fn stop_on_failure(
        &mut self,
        result: Result<(), InstallError<StateError>>,
    ) -> Result<(), InstallError<StateError>> {
        match result {
            Err(InstallError::Failed(error)) => self.stop_on_error(Err(error)).map_err(Into::into),
            Err(error) => {
                self.incoming = None;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// After an error nothing is served any more: what was being applied may be there in part.
    fn stop_on_error<T>(&mut self, result: Result<T, StateError>) -> Result<T, StateError> {
        // One that is damaged is not served either, and begins anew.
        if result.is_err() && !self.is_damaged() {
            write(&self.shared).manager = None;
        }
        result
    }
}

impl StateMachine for ChatStateMachine {
    type Response = Response;
    type Error = StateError;

    fn apply_version(&self) -> u32 {
        APPLY_VERSION
    }

    fn applied(&self) -> Position {
        read(&self.shared).applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Option<Response>>, StateError> {
        let mut responses = Vec::with_capacity(entries.len());
        let shared = Arc::clone(&self.shared);
        for batch in entries.chunks(BATCH) {
            self.apply_batch(write(&shared), batch, &mut responses)?;
        }
        Ok(responses)
    }

    fn try_apply(&mut self, entries: &[Entry]) -> Option<Responses<Response, StateError>> {
        let shared = Arc::clone(&self.shared);
        let locked = try_write(&shared).filter(|_| entries.len() <= BATCH)?;
        let mut responses = Vec::with_capacity(entries.len());
        let applied = self.apply_batch(locked, entries, &mut responses);
        Some(applied.map(|()| responses))
    }

    fn maintain(&mut self) -> Result<(), StateError> {
        // Whoever looks at the state may have met it.
        self.file.check_faultless()?;
        let mut result = match self.flusher.poll() {
            Some(written) => self.end_checkpoint(written),
            None => Ok(()),
        };
        if result.is_ok() {
            result = self.overlay_bytes().and_then(|bytes| {
                match bytes / self.settings.checkpoint_bytes.max(1) {
                    0 => Ok(()),
                    OVERLAY_FACTOR.. if self.flusher.is_busy() => self.finish_checkpoint(),
                    _ if self.flusher.is_busy() => Ok(()),
                    _ => self.begin_checkpoint(),
                }
            });
        }
        self.stop_on_error(result)
    }

    fn roll_back(&mut self, keep: &dyn Fn(Position) -> bool) -> Result<(), StateError> {
        // Queries go on seeing the old branch until the state goes back, and none after that until it is as far again.
        let result = self.finish_checkpoint().and_then(|()| {
            let checkpoint = self.file.checkpoint()?.applied;
            if checkpoint != Position::default() && !keep(checkpoint) {
                self.file.clear()?;
            }
            at_checkpoint(&self.file)
        });
        let (manager, applied) = self.stop_on_error(result)?;
        self.unsettled = self.unsettled.take().filter(|_| applied.index > 0);
        self.replace(manager, applied);
        self.continuity = Continuity::Skipped;
        Ok(())
    }

    fn damage(&self) -> Option<String> {
        match self.file.fault() {
            Some(Fault::Damaged(reason)) => Some(reason.clone()),
            Some(Fault::Io(_) | Fault::InUse) => None,
            None => self.found_damaged.clone(),
        }
    }

    fn start_over(&mut self) -> Result<(), StateError> {
        let was_found_at_start = self.found_damaged.take().is_some();
        write(&self.shared).found_damaged = false;
        if was_found_at_start && self.file.fault().is_none() {
            // It is another file already.
            return Ok(());
        }
        let (cluster, replica) = self.owner;
        let file = Arc::new(self.file.replace(cluster, replica)?);
        let opened = Opened::of(Arc::clone(&file))?;
        // Dropped, the old one ends what it is writing.
        self.flusher = flusher_of(&file)?;
        self.file = file;
        self.incoming = None;
        self.unsettled = None;
        let mut shared = write(&self.shared);
        shared.shown = shared.shown.max(shared.applied);
        let shown = shared.shown;
        drop(shared);
        self.told = shown;
        self.replace(opened.manager, opened.applied);
        // Streams end: nobody is served here for a while. What comes behind is told as ever.
        (self.publish)(AppliedBatch {
            applied: shown,
            events: Vec::new(),
            continuity: Continuity::Skipped,
        });
        self.continuity = Continuity::Unbroken;
        Ok(())
    }

    fn state_hash(&self) -> u128 {
        match &read(&self.shared).manager {
            Some(manager) => manager.state_hash().as_u128(),
            None => 0,
        }
    }

    fn checkpoint(&mut self) -> Result<(), StateError> {
        let result = self.finish_checkpoint().and_then(|()| {
            if self.file.checkpoint()?.applied == self.applied() {
                return Ok(());
            }
            self.begin_checkpoint()?;
            self.finish_checkpoint()
        });
        self.stop_on_error(result)
    }

    fn durable(&self) -> Position {
        self.durable
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, StateError> {
        let snapshot = Snapshot::of(&self.file)?;
        Ok(snapshot.map(|snapshot| -> Box<dyn SnapshotReader> { Box::new(snapshot) }))
    }

    fn begin_install(&mut self, reset: &Reset) -> Result<(), StateError> {
        self.incoming = Some(Incoming::new(reset.clone()));
        let result = self.file.discard_incoming();
        self.stop_on_error(result)
    }

    fn install_chunk(&mut self, chunk: &[u8]) -> Result<(), InstallError<StateError>> {
        let result = self.take_rows(chunk);
        self.stop_on_failure(result)
    }

    fn finish_install(&mut self) -> Result<(), InstallError<StateError>> {
        let result = self.adopt_incoming();
        self.stop_on_failure(result)
    }

    fn unsettled(&self) -> Option<Reset> {
        self.unsettled.clone()
    }

    fn settle_install(&mut self) -> Result<(), StateError> {
        if self.unsettled.is_none() {
            return Ok(());
        }
        let result = self.file.settle();
        self.stop_on_error(result)?;
        self.unsettled = None;
        remove_aside(&self.file);
        Ok(())
    }
}

fn unreadable(reason: Unreadable) -> InstallError<StateError> {
    InstallError::Unreadable(reason.0.to_owned())
}

fn not_begun() -> InstallError<StateError> {
    unreadable(Unreadable("its beginning is missing"))
}

/// A file that was opened, and the state that it holds.
struct Opened {
    file: Arc<StateFile>,
    unsettled: Option<Reset>,
    manager: AccountManager<StateStore>,
    applied: Position,
}

impl Opened {
    fn of(file: Arc<StateFile>) -> Result<Opened, StateError> {
        // What is left of one that the last process did not finish taking in.
        file.discard_incoming()?;
        let unsettled = file.unsettled()?;
        let (manager, applied) = at_checkpoint(&file)?;
        Ok(Opened {
            file,
            unsettled,
            manager,
            applied,
        })
    }
}

fn flusher_of(file: &Arc<StateFile>) -> Result<Flusher, StateError> {
    Flusher::start(Arc::clone(file)).map_err(|error| StateError::Io {
        path: file.path().to_owned(),
        reason: error.to_string(),
    })
}

/// A whole state has taken the place of the one that was set aside, if one was.
fn remove_aside(file: &StateFile) {
    if let Err(fault) = forget_aside(file.path()) {
        warn!(
            ?fault,
            "a damaged state that was set aside cannot be removed"
        );
    }
}

/// The state that the file holds.
fn at_checkpoint(
    file: &Arc<StateFile>,
) -> Result<(AccountManager<StateStore>, Position), StateError> {
    let checkpoint = file.checkpoint()?;
    let mut manager = open_manager(file, StateStore::new(Arc::clone(file))?)?;
    if manager.state_hash().as_u128() != checkpoint.state_hash
        && checkpoint != Checkpoint::default()
    {
        let reason = "its hash is not that of its checkpoint".to_owned();
        return Err(file.failed(Fault::Damaged(reason)));
    }
    manager.store_mut().share();
    Ok((manager, checkpoint.applied))
}

/// What to do about rows that this version does not read.
fn another_format(found: u32) -> String {
    match found < ROW_FORMAT {
        true => format!(
            "was written by an older version (its rows have format {found}, this version reads {ROW_FORMAT}); install that \
             version again, or move the data folder away and let this replica take the state from one that runs this \
             version"
        ),
        false => format!(
            "was written by a newer version (its rows have format {found}, this version reads {ROW_FORMAT}); install that \
             version again"
        ),
    }
}

fn open_manager(
    file: &StateFile,
    store: StateStore,
) -> Result<AccountManager<StateStore>, StateError> {
    AccountManager::open(store).map_err(|error| match error {
        OpenError::Store(error) => error,
        OpenError::UnknownFormat { found } => StateError::Foreign {
            path: file.path().to_owned(),
            reason: another_format(found),
        },
    })
}

fn apply_entry(shared: &mut Shared, entry: &Entry) -> Result<Option<Response>, StateError> {
    assert_eq!(
        entry.position.index,
        shared.applied.index + 1,
        "entries are applied in order"
    );
    let response = match &entry.payload {
        Payload::ViewStart(_) => None,
        Payload::Command(bytes) => Some(apply_command(
            shared,
            entry.position,
            bytes,
            AccountManager::apply,
        )?),
        Payload::Reproposed {
            origin,
            lineage,
            command,
        } => {
            let lineage = lineage_of(*origin, lineage);
            Some(apply_command(
                shared,
                entry.position,
                command,
                |manager, command| manager.apply_reproposed(command, lineage),
            )?)
        }
    };
    shared.applied = entry.position;
    Ok(response)
}

/// What chat-core is told of where a command stood: its places are the log's indexes.
pub(super) fn lineage_of(origin: Position, known: &types::Lineage) -> Lineage {
    let epochs = known.epochs.iter();
    Lineage {
        fork: Sequence::new(known.fork),
        epochs: epochs
            .map(|(epoch, first)| (name_of(*epoch), Sequence::new(*first)))
            .collect(),
        at: Sequence::new(origin.index),
    }
}

/// Epochs are told apart by 28 bytes. The hash is stored, so it must never become another.
fn name_of(epoch: Epoch) -> u128 {
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&epoch.number.to_be_bytes());
    bytes[8..12].copy_from_slice(&epoch.replica.0.to_be_bytes());
    bytes[12..].copy_from_slice(epoch.store.0.as_bytes());
    xxh3_128(&bytes)
}

fn apply_command(
    shared: &mut Shared,
    position: Position,
    bytes: &[u8],
    apply: impl FnOnce(&mut AccountManager<StateStore>, Command) -> Result<Applied, StateError>,
) -> Result<Response, StateError> {
    let command = match Command::decode(bytes) {
        Ok(command) => command,
        Err(reason) => {
            warn!(%position, %reason, "an entry of the log is no command");
            return Ok(Response::Undecodable {
                reason: reason.to_string(),
            });
        }
    };
    let request = command.request;
    let place = Sequence::new(position.index);
    match isolated(shared, |manager| {
        manager.advance(place);
        apply(manager, command)
    })? {
        Some(applied) => Ok(Response::Applied(applied)),
        None => {
            error!(%position, %request, "a command made apply panic; it has no effect. Please report this");
            Ok(Response::Quarantined)
        }
    }
}

/// Runs one command so that a panic within leaves no trace; `None` where it panicked.
///
/// The same rows make the same command panic on every replica. The file's own failures are errors, not panics, so that
/// a damaged disk is never taken for that.
pub(super) fn isolated(
    shared: &mut Shared,
    command: impl FnOnce(&mut AccountManager<StateStore>) -> Result<Applied, StateError>,
) -> Result<Option<Applied>, StateError> {
    let manager = shared.manager_mut()?;
    manager.store_mut().begin();
    match catch_unwind(AssertUnwindSafe(|| command(manager))) {
        Ok(Ok(applied)) => {
            manager.store_mut().commit();
            Ok(Some(applied))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let manager = shared.manager.take().expect("it was there a moment ago");
            let mut store = manager.into_store();
            store.roll_back();
            // What the manager keeps beside the rows may be half-way: it is read again, as part of the command.
            store.begin();
            let mut manager = AccountManager::open(store).map_err(|error| match error {
                OpenError::Store(error) => error,
                OpenError::UnknownFormat { .. } => StateError::Stopped {
                    path: shared.path.clone(),
                },
            })?;
            manager.store_mut().commit();
            shared.manager = Some(manager);
            Ok(None)
        }
    }
}

impl fmt::Debug for ChatStateMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStateMachine")
            .field("applied", &self.applied())
            .field("settings", &self.settings)
            .field("writing_checkpoint", &self.flusher.is_busy())
            .finish_non_exhaustive()
    }
}
