//! A state machine for what fits into memory: implement [`Application`], and [`WholeState`] does the rest.
//!
//! The state is saved whole, now and then, by way of a new file that takes the old one's place; the log replays what came
//! after. Right for some ten thousand rows. An application whose state is as large as its disk implements
//! [`StateMachine`] itself.

mod file;
mod snapshot;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::error;
use xxhash_rust::xxh3::Xxh3Default;

use crate::state_machine::{InstallError, SnapshotReader, StateMachine};
use crate::store::Reset;
use crate::types::{Entry, Payload, Position};

/// Commands between two saves, by default.
const SAVE_EVERY: usize = 10_000;

/// What is replicated: a value, and how commands change it.
///
/// The default value is the state before the first command.
pub trait Application: Serialize + DeserializeOwned + Default + Send + 'static {
    /// What a command's proposer gets back.
    type Response: Send + 'static;

    /// Applies a command. Must depend on nothing but the state and the command: no clock, no random number, no order of
    /// a hash map, or the replicas come to differ. A command whose outcome was not learned is proposed again: one that
    /// must take effect once carries an id, and the state remembers it.
    fn apply(&mut self, command: &[u8]) -> Self::Response;
}

/// The command made [`Application::apply`] panic. It has no effect, on any replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the command made the application panic; it has no effect")]
pub struct Quarantined;

/// The state cannot be read or written.
#[derive(Debug, Error)]
pub enum WholeStateError {
    /// The disk refuses.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{path} is damaged or of another program ({reason}); restore it, or move the whole folder away so that this \
         replica takes its state from the others"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The application's value cannot be encoded.
    #[error("the state cannot be encoded: {0}")]
    Encode(postcard::Error),
}

/// The state of an [`Application`], replicated.
pub struct WholeState<A> {
    folder: Option<PathBuf>,
    save_every: usize,
    application: A,
    applied: Position,
    hash: u128,
    /// The commands since `saved`, so that one which panics half-way can be undone.
    since: Vec<Bytes>,
    saved: Saved,
    incoming: Option<(Reset, Vec<u8>)>,
}

/// What a crash leaves.
#[derive(Clone, Serialize, Deserialize, Default)]
struct Saved {
    applied: Position,
    hash: u128,
    application: Bytes,
    unsettled: Option<Reset>,
}

impl<A: Application> WholeState<A> {
    /// A state that ends with this process.
    pub fn in_memory() -> Self {
        WholeState {
            folder: None,
            save_every: SAVE_EVERY,
            application: A::default(),
            applied: Position::default(),
            hash: 0,
            since: Vec::new(),
            saved: Saved::default(),
            incoming: None,
        }
    }

    /// Opens the state in the file `state` of a folder, which is made if it is not there.
    pub fn open(folder: &Path) -> Result<Self, WholeStateError> {
        let mut state = WholeState {
            folder: Some(folder.to_owned()),
            ..WholeState::in_memory()
        };
        if let Some(saved) = file::read(folder)? {
            state.application = decode(&saved.application).map_err(|reason| {
                let path = folder.join(file::NAME);
                WholeStateError::Damaged { path, reason }
            })?;
            (state.applied, state.hash) = (saved.applied, saved.hash);
            state.saved = saved;
        }
        Ok(state)
    }

    /// Saves after so many commands; 10,000 by default.
    pub fn save_every(mut self, commands: usize) -> Self {
        self.save_every = commands.max(1);
        self
    }

    /// The value, with everything that was applied.
    pub fn application(&self) -> &A {
        &self.application
    }

    fn apply_one(&mut self, command: Bytes) -> Result<A::Response, Quarantined> {
        let applied = catch_unwind(AssertUnwindSafe(|| self.application.apply(&command)));
        let mut hasher = Xxh3Default::new();
        hasher.update(&self.hash.to_le_bytes());
        hasher.update(&command);
        self.hash = hasher.digest128();
        let Ok(response) = applied else {
            error!("a command made the application panic; it has no effect");
            self.forget_half_a_command();
            return Err(Quarantined);
        };
        self.since.push(command);
        Ok(response)
    }

    /// The value as it was before the command that panicked, which may have done half of its work.
    fn forget_half_a_command(&mut self) {
        self.application = self.saved_application();
        for command in &self.since {
            self.application.apply(command);
        }
    }

    fn saved_application(&self) -> A {
        match self.saved.application.is_empty() {
            true => A::default(),
            false => decode(&self.saved.application).expect("it was decoded or encoded before"),
        }
    }

    fn save(&mut self, saved: Saved) -> Result<(), WholeStateError> {
        if let Some(folder) = &self.folder {
            file::write(folder, &saved)?;
        }
        self.saved = saved;
        Ok(())
    }
}

fn decode<A: Application>(bytes: &[u8]) -> Result<A, String> {
    postcard::from_bytes(bytes).map_err(|error| error.to_string())
}

impl<A: Application> StateMachine for WholeState<A> {
    type Response = Result<A::Response, Quarantined>;
    type Error = WholeStateError;

    fn applied(&self) -> Position {
        self.applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Option<Self::Response>>, WholeStateError> {
        let mut responses = Vec::with_capacity(entries.len());
        for entry in entries {
            responses.push(match &entry.payload {
                Payload::Command(command) | Payload::Reproposed { command, .. } => {
                    Some(self.apply_one(command.clone()))
                }
                Payload::ViewStart(_) => None,
            });
            self.applied = entry.position;
        }
        Ok(responses)
    }

    fn maintain(&mut self) -> Result<(), WholeStateError> {
        match self.since.len() >= self.save_every {
            true => self.checkpoint(),
            false => Ok(()),
        }
    }

    fn roll_back(&mut self, keep: &dyn Fn(Position) -> bool) -> Result<(), WholeStateError> {
        if !keep(self.saved.applied) {
            self.save(Saved::default())?;
        }
        self.application = self.saved_application();
        (self.applied, self.hash) = (self.saved.applied, self.saved.hash);
        self.since.clear();
        Ok(())
    }

    /// Of the commands, in their order: it tells histories apart, not an application that is not deterministic.
    fn state_hash(&self) -> u128 {
        self.hash
    }

    fn checkpoint(&mut self) -> Result<(), WholeStateError> {
        let encoded = postcard::to_allocvec(&self.application).map_err(WholeStateError::Encode)?;
        self.save(Saved {
            applied: self.applied,
            hash: self.hash,
            application: encoded.into(),
            unsettled: self.saved.unsettled.clone(),
        })?;
        self.since.clear();
        Ok(())
    }

    fn durable(&self) -> Position {
        self.saved.applied
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, WholeStateError> {
        if self.saved.applied.index == 0 {
            return Ok(None);
        }
        let (position, hash) = (self.saved.applied, self.saved.hash);
        let reader = snapshot::Reader::new(position, hash, self.saved.application.clone());
        Ok(Some(Box::new(reader)))
    }

    fn begin_install(&mut self, reset: &Reset) -> Result<(), WholeStateError> {
        self.incoming = Some((reset.clone(), Vec::new()));
        Ok(())
    }

    fn install_chunk(&mut self, chunk: &[u8]) -> Result<(), InstallError<WholeStateError>> {
        match &mut self.incoming {
            Some((_, bytes)) => bytes.extend_from_slice(chunk),
            None => return Err(InstallError::Unreadable("none was begun".into())),
        }
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), InstallError<WholeStateError>> {
        let Some((reset, bytes)) = mem::take(&mut self.incoming) else {
            return Err(InstallError::Unreadable("none was begun".into()));
        };
        let (hash, encoded) = snapshot::take_apart(bytes.into())?;
        let application = decode(&encoded).map_err(InstallError::Unreadable)?;
        self.save(Saved {
            applied: reset.branches.last(),
            hash,
            application: encoded,
            unsettled: Some(reset),
        })?;
        self.application = application;
        (self.applied, self.hash) = (self.saved.applied, hash);
        self.since.clear();
        Ok(())
    }

    fn unsettled(&self) -> Option<Reset> {
        self.saved.unsettled.clone()
    }

    fn settle_install(&mut self) -> Result<(), WholeStateError> {
        let settled = Saved {
            unsettled: None,
            ..self.saved.clone()
        };
        self.save(settled)
    }
}
