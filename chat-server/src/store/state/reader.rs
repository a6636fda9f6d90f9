//! Queries beside apply.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use chat_core::{AccountManager, Stats};
use chat_replication::types::Position;

use super::error::StateError;
use super::key_value::StateStore;
use super::overlay::Checkpoint;
use super::snapshot::Snapshot;

/// What apply and queries share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Absent once an operation failed half-way: what is left is not to be served.
    pub(super) manager: Option<AccountManager<StateStore>>,
    /// The last entry whose effects the state shows.
    pub(super) applied: Position,
    /// The last one whose effects it has shown. Where the state has gone back, to go over to another history, it comes past
    /// this with the start of the view that won, whose epoch is a later one.
    pub(super) shown: Position,
    /// The file that was found at the start was damaged, and nobody has been told yet: an empty one is in its place.
    pub(super) found_damaged: bool,
    pub(super) path: PathBuf,
}

impl Shared {
    pub(super) fn manager(&self) -> Result<&AccountManager<StateStore>, StateError> {
        self.manager.as_ref().ok_or_else(|| StateError::Stopped {
            path: self.path.clone(),
        })
    }

    /// Nobody is shown less than what was shown before, nor anything of a file that is damaged.
    fn check_shown(&self) -> Result<(), StateError> {
        self.manager()?.store().check_faultless()?;
        match self.applied >= self.shown && !self.found_damaged {
            true => Ok(()),
            false => Err(StateError::GoneBack {
                path: self.path.clone(),
            }),
        }
    }

    /// The state as it is now, whatever is applied meanwhile.
    pub(super) fn view(&mut self) -> Result<View, StateError> {
        let applied = self.applied;
        let manager = self.manager_mut()?;
        let store = manager.store_mut().view();
        Ok(View {
            manager: manager.over(store),
            applied,
        })
    }

    pub(super) fn manager_mut(&mut self) -> Result<&mut AccountManager<StateStore>, StateError> {
        self.manager.as_mut().ok_or_else(|| StateError::Stopped {
            path: self.path.clone(),
        })
    }
}

/// The state at one position, which nothing changes any more.
pub(super) struct View {
    pub(super) manager: AccountManager<StateStore>,
    pub(super) applied: Position,
}

/// Looks at the applied state from any thread. Cheap to clone.
///
/// Queries run beside each other and beside apply. Those that find what they need in memory share a lock with apply, for as
/// long as that takes; those that read the file, which may take as long as the disk likes, do so without one, in a view of
/// the state as it was when they began. So apply never waits for a disk that only a query needs.
#[derive(Clone)]
pub struct StateReader {
    shared: Arc<RwLock<Shared>>,
}

impl StateReader {
    pub(super) fn new(shared: Arc<RwLock<Shared>>) -> StateReader {
        StateReader { shared }
    }

    /// Runs a query. The position is the last entry whose effects it sees, all of them and nothing beyond.
    ///
    /// It is begun once more, in a view, where it turns out that it needs the file. One that looks at much is begun there at
    /// once by [`StateReader::view`].
    ///
    /// # Errors
    ///
    /// [`StateError::GoneBack`] while the state is older than what was shown before.
    pub fn query<T>(
        &self,
        query: impl Fn(&AccountManager<StateStore>, Position) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        {
            let shared = read(&self.shared);
            shared.check_shown()?;
            match query(shared.manager()?, shared.applied) {
                Err(StateError::NotInMemory) => {}
                answered => return answered,
            }
        }
        self.view(query)
    }

    /// Runs a query that looks at much.
    ///
    /// # Errors
    ///
    /// As [`StateReader::query`].
    pub fn view<T>(
        &self,
        query: impl FnOnce(&AccountManager<StateStore>, Position) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let view = {
            let mut shared = write(&self.shared);
            shared.check_shown()?;
            shared.view()?
        };
        query(&view.manager, view.applied)
    }

    /// How much there is, also while the state is older than what was shown before.
    pub fn stats(&self) -> Result<(Stats, Position), StateError> {
        let shared = read(&self.shared);
        Ok((shared.manager()?.stats(), shared.applied))
    }

    /// The state as it is now, to be read while it goes on.
    ///
    /// # Errors
    ///
    /// As [`StateReader::query`].
    pub fn snapshot(&self) -> Result<Snapshot, StateError> {
        let View { manager, applied } = {
            let mut shared = write(&self.shared);
            shared.check_shown()?;
            shared.view()?
        };
        let now = Checkpoint {
            applied,
            state_hash: manager.state_hash().as_u128(),
        };
        Ok(Snapshot::over(manager.into_store(), now))
    }

    /// The last entry whose effects queries see.
    pub fn applied(&self) -> Position {
        read(&self.shared).applied
    }
}

impl fmt::Debug for StateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateReader")
            .field("applied", &self.applied())
            .finish_non_exhaustive()
    }
}

/// A query that panicked changed nothing, and apply handles its own panics: a poisoned lock means nothing here.
pub(super) fn read(shared: &RwLock<Shared>) -> RwLockReadGuard<'_, Shared> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(shared: &RwLock<Shared>) -> RwLockWriteGuard<'_, Shared> {
    shared.write().unwrap_or_else(PoisonError::into_inner)
}

/// The lock, if it is free or about to be: those who hold it do not wait for anything.
pub(super) fn try_write(shared: &RwLock<Shared>) -> Option<RwLockWriteGuard<'_, Shared>> {
    for _ in 0..SPINS {
        match shared.try_write() {
            Ok(locked) => return Some(locked),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
        }
    }
    None
}

/// A few microseconds: as long as a query takes that is in memory.
const SPINS: u32 = 200;
