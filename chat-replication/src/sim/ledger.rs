//! The state that simulated replicas keep: which commands took effect, in which order.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::state_machine::{InstallError, SnapshotReader, StateMachine};
use crate::store::Reset;
use crate::types::{Entry, Payload, Position};

/// Names a command, however often it is proposed.
pub(super) type CommandId = u64;

/// A command of so many bytes, at least those of its id.
pub(super) fn command(id: CommandId, bytes: usize) -> Bytes {
    let mut command = vec![0x5a; bytes.max(8)];
    command[..8].copy_from_slice(&id.to_be_bytes());
    Bytes::from(command)
}

/// The id of a command, `None` for bytes that no client sent.
pub(super) fn command_id(command: &[u8]) -> Option<CommandId> {
    let id = command.first_chunk::<8>()?;
    command[8..]
        .iter()
        .all(|byte| *byte == 0x5a)
        .then(|| u64::from_be_bytes(*id))
}

/// The id of the command in a payload that has one.
pub(super) fn payload_id(payload: &Payload) -> Option<CommandId> {
    match payload {
        Payload::Command(command) | Payload::Reproposed { command, .. } => command_id(command),
        Payload::ViewStart(_) => None,
    }
}

/// The effects of the commands up to one entry. A command that was proposed twice takes effect once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Effects {
    applied: Position,
    order: Vec<CommandId>,
    place: BTreeMap<CommandId, u64>,
    hash: u128,
    /// By which version commands take effect now, and where that began.
    version: u32,
    versions: Vec<(u64, u32)>,
}

/// The state machine: effects in memory, and a checkpoint of them that a crash leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ledger {
    now: Effects,
    checkpoint: Effects,
    /// A snapshot that is coming in.
    installing: Option<(Reset, Vec<u8>)>,
    /// One that is here, and the log may not know.
    unsettled: Option<Reset>,
    /// Rot was found in it.
    spoiled: bool,
    /// How many versions its software is past the first.
    upgrades: u32,
}

/// The effects of one checkpoint, told in pieces: the commands in order.
struct Telling {
    position: Position,
    versions: Vec<(u64, u32)>,
    order: std::vec::IntoIter<CommandId>,
    begun: bool,
}

impl SnapshotReader for Telling {
    fn position(&self) -> Position {
        self.position
    }

    /// Pieces are small, so that there are many.
    fn next_chunk(&mut self, _: usize) -> Result<Option<Bytes>, Box<dyn Error + Send + Sync>> {
        if !std::mem::replace(&mut self.begun, true) {
            let mut head = b"commands".to_vec();
            head.extend((self.versions.len() as u64).to_be_bytes());
            for (place, version) in &self.versions {
                head.extend(place.to_be_bytes());
                head.extend(u64::from(*version).to_be_bytes());
            }
            return Ok(Some(Bytes::from(head)));
        }
        let piece: Vec<u8> = self
            .order
            .by_ref()
            .take(16)
            .flat_map(CommandId::to_be_bytes)
            .collect();
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}

impl Effects {
    /// From here on commands take effect by another version.
    fn change_to(&mut self, version: u32) {
        if self.version != version {
            self.version = version;
            self.versions.push((self.order.len() as u64, version));
        }
    }

    /// Each version chains commands in its own way, so that those who apply by different ones end up different.
    fn take(&mut self, id: CommandId) -> u64 {
        let place = self.order.len() as u64;
        *self.place.entry(id).or_insert_with(|| {
            self.order.push(id);
            let mut chained = [0; 28];
            chained[..16].copy_from_slice(&self.hash.to_be_bytes());
            chained[16..24].copy_from_slice(&id.to_be_bytes());
            chained[24..].copy_from_slice(&self.version.to_be_bytes());
            self.hash = xxh3_128(&chained);
            place
        })
    }
}

impl Ledger {
    /// What is left of it after a crash.
    pub(super) fn crashed(self) -> Ledger {
        Ledger {
            now: self.checkpoint.clone(),
            checkpoint: self.checkpoint,
            installing: None,
            unsettled: self.unsettled,
            spoiled: self.spoiled,
            upgrades: self.upgrades,
        }
    }

    /// Rot: what it holds on disk is worth nothing from now on, and it says so.
    pub(super) fn spoil(&mut self) {
        self.checkpoint = Effects::default();
        self.installing = None;
        self.unsettled = None;
        self.spoiled = true;
    }

    /// The same state under software of this version, from 1 on.
    pub(super) fn run_by(mut self, version: u32) -> Ledger {
        self.upgrades = version - 1;
        self
    }

    /// The commands that took effect, in order.
    pub(super) fn order(&self) -> &[CommandId] {
        &self.now.order
    }

    /// Those of them that a crash leaves.
    pub(super) fn checkpointed(&self) -> &[CommandId] {
        &self.checkpoint.order
    }

    /// When a command took effect: how many did before.
    pub(super) fn place(&self, id: CommandId) -> Option<u64> {
        self.now.place.get(&id).copied()
    }
}

impl StateMachine for Ledger {
    /// How many commands took effect before this one.
    type Response = u64;
    type Error = Infallible;

    fn apply_version(&self) -> u32 {
        1 + self.upgrades
    }

    fn applied(&self) -> Position {
        self.now.applied
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<Vec<Option<u64>>, Infallible> {
        let known = self.apply_version();
        let now = &mut self.now;
        let apply = |entry: &Entry| {
            assert_eq!(
                entry.position.index,
                now.applied.index + 1,
                "entries are applied one after the other"
            );
            assert!(
                entry.position.epoch >= now.applied.epoch,
                "epochs never go back"
            );
            now.applied = entry.position;
            if let Payload::ViewStart(start) = &entry.payload {
                assert!(
                    start.apply_version <= known,
                    "only what the software knows is applied"
                );
                now.change_to(start.apply_version);
                return None;
            }
            let id = payload_id(&entry.payload).expect("only what clients sent is applied");
            Some(now.take(id))
        };
        Ok(entries.iter().map(apply).collect())
    }

    fn maintain(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn roll_back(&mut self, keep: &dyn Fn(Position) -> bool) -> Result<(), Infallible> {
        if !keep(self.checkpoint.applied) {
            self.checkpoint = Effects::default();
        }
        self.now = self.checkpoint.clone();
        Ok(())
    }

    fn damage(&self) -> Option<String> {
        self.spoiled.then(|| "rot".to_owned())
    }

    fn start_over(&mut self) -> Result<(), Infallible> {
        self.now = Effects::default();
        self.checkpoint = Effects::default();
        self.spoiled = false;
        Ok(())
    }

    fn state_hash(&self) -> u128 {
        self.now.hash
    }

    fn checkpoint(&mut self) -> Result<(), Infallible> {
        self.checkpoint = self.now.clone();
        Ok(())
    }

    fn durable(&self) -> Position {
        self.checkpoint.applied
    }

    fn snapshot(&self) -> Result<Option<Box<dyn SnapshotReader>>, Infallible> {
        let Effects {
            applied,
            order,
            versions,
            ..
        } = self.checkpoint.clone();
        Ok((applied.index > 0).then(|| -> Box<dyn SnapshotReader> {
            Box::new(Telling {
                position: applied,
                versions,
                order: order.into_iter(),
                begun: false,
            })
        }))
    }

    fn begin_install(&mut self, reset: &Reset) -> Result<(), Infallible> {
        self.installing = Some((reset.clone(), Vec::new()));
        Ok(())
    }

    fn install_chunk(&mut self, chunk: &[u8]) -> Result<(), InstallError<Infallible>> {
        if let Some((_, bytes)) = &mut self.installing {
            bytes.extend_from_slice(chunk);
        }
        Ok(())
    }

    fn finish_install(&mut self) -> Result<(), InstallError<Infallible>> {
        let unreadable = || InstallError::Unreadable("it is not whole".to_owned());
        let (reset, bytes) = self.installing.take().ok_or_else(unreadable)?;
        let numbers = bytes.strip_prefix(b"commands").ok_or_else(unreadable)?;
        let (numbers, rest) = numbers.as_chunks::<8>();
        let mut numbers = numbers.iter().copied().map(u64::from_be_bytes);
        let changes = numbers.next().filter(|_| rest.is_empty());
        let mut versions = Vec::new();
        for _ in 0..changes.ok_or_else(unreadable)? {
            let place = numbers.next().ok_or_else(unreadable)?;
            let version = numbers.next().and_then(|it| u32::try_from(it).ok());
            versions.push((place, version.ok_or_else(unreadable)?));
        }
        let mut effects = Effects {
            applied: reset.branches.last(),
            ..Effects::default()
        };
        let mut changes = versions.into_iter().peekable();
        for (place, id) in (0..).zip(numbers) {
            while let Some((_, version)) = changes.next_if(|(at, _)| *at <= place) {
                effects.change_to(version);
            }
            effects.take(id);
        }
        changes.for_each(|(_, version)| effects.change_to(version));
        self.now = effects.clone();
        self.checkpoint = effects;
        self.unsettled = Some(reset);
        Ok(())
    }

    fn unsettled(&self) -> Option<Reset> {
        self.unsettled.clone()
    }

    fn settle_install(&mut self) -> Result<(), Infallible> {
        self.unsettled = None;
        Ok(())
    }
}
