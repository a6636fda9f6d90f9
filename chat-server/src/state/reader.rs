//! Queries beside apply.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chat_core::AccountManager;
use chat_replication::types::Position;

use super::error::StateError;
use super::overlay::Checkpoint;
use super::snapshot::Snapshot;
use super::store::StateStore;

/// What apply and queries share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Absent once an operation failed half-way: what is left is not to be served.
    pub(super) manager: Option<AccountManager<StateStore>>,
    /// The last entry whose effects the state shows.
    pub(super) applied: Position,
    pub(super) path: PathBuf,
}

impl Shared {
    pub(super) fn manager(&self) -> Result<&AccountManager<StateStore>, StateError> {
        self.manager.as_ref().ok_or_else(|| StateError::Stopped {
            path: self.path.clone(),
        })
    }

    pub(super) fn manager_mut(&mut self) -> Result<&mut AccountManager<StateStore>, StateError> {
        self.manager.as_mut().ok_or_else(|| StateError::Stopped {
            path: self.path.clone(),
        })
    }
}

/// Looks at the applied state from any thread. Queries run beside each other; they wait for the batch that is being
/// applied, never for a checkpoint. Cheap to clone.
///
/// Queries block for as long as the disk takes to read a few pages.
#[derive(Clone)]
pub struct StateReader {
    shared: Arc<RwLock<Shared>>,
}

impl StateReader {
    pub(super) fn new(shared: Arc<RwLock<Shared>>) -> StateReader {
        StateReader { shared }
    }

    /// Runs a query. The position is the last entry whose effects it sees, all of them and nothing beyond.
    pub fn query<T>(
        &self,
        query: impl FnOnce(&AccountManager<StateStore>, Position) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let shared = read(&self.shared);
        query(shared.manager()?, shared.applied)
    }

    /// The state as it is now, to be read while it goes on. Apply waits for as long as copying takes what no checkpoint
    /// holds: tens of milliseconds at worst.
    pub fn snapshot(&self) -> Result<Snapshot, StateError> {
        let shared = read(&self.shared);
        let manager = shared.manager()?;
        let now = Checkpoint {
            applied: shared.applied,
            state_hash: manager.state_hash().as_u128(),
        };
        Ok(Snapshot::over(manager.store().copy(), now))
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
