//! A log of chat commands, and machines that apply it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use chat_core::password::{self, Params, Password};
use chat_core::{
    AccountId, AccountManager, Body, Command, CommandBody, DeleteScope, MessageId, RequestId,
    Sequence, Timestamp, Username,
};
use chat_replication::disk_store::CrashDisk;
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{
    ClusterId, Configuration, Entry, Epoch, Lineage, Payload, Position, ReplicaId, StoreUuid,
    ViewStart,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::store::state::machine::lineage_of;
use crate::store::state::reader::{View, write};
use crate::store::state::{AppliedBatch, ChatStateMachine, Publisher, StateError, StateSettings};

pub(super) const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(3));
pub(super) const REPLICA: ReplicaId = ReplicaId(2);

/// Checkpoints after a few kilobytes, so that short tests have many.
pub(super) const SMALL: StateSettings = StateSettings {
    checkpoint_bytes: 4000,
    cache_bytes: 1 << 20,
};

pub(super) fn quiet() -> Publisher {
    Box::new(|_| {})
}

pub(super) fn open(folder: &Path) -> Result<ChatStateMachine, StateError> {
    ChatStateMachine::open(folder, CLUSTER, REPLICA, SMALL, quiet())
}

pub(super) fn open_on(disk: &CrashDisk) -> Result<ChatStateMachine, StateError> {
    ChatStateMachine::open_with_backend(
        disk.backend(),
        "simulated disk",
        CLUSTER,
        REPLICA,
        SMALL,
        quiet(),
    )
}

/// A publisher that keeps what it is told.
pub(super) fn recorder() -> (Publisher, Arc<Mutex<Vec<AppliedBatch>>>) {
    let batches = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&batches);
    (
        Box::new(move |batch| kept.lock().unwrap().push(batch)),
        batches,
    )
}

pub(super) fn epoch(number: u64) -> Epoch {
    Epoch {
        number,
        replica: ReplicaId(0),
        store: StoreUuid(Uuid::from_u128(1)),
    }
}

/// Mints commands; the same seed, the same commands.
pub(super) struct Commands {
    random: ChaCha8Rng,
    now: u64,
    accounts: Vec<AccountId>,
    messages: Vec<(AccountId, AccountId, MessageId)>,
    sent: Vec<Command>,
}

impl Commands {
    pub(super) fn new(seed: u64) -> Commands {
        Commands {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: 1_700_000_000_000,
            accounts: Vec::new(),
            messages: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn command(&mut self, body: impl FnOnce(RequestId) -> CommandBody) -> Command {
        self.now += 1;
        let at = Timestamp::from_millis(self.now);
        let request = RequestId::from_parts(at, self.random.random());
        let command = Command {
            request,
            at,
            body: body(request),
        };
        self.sent.push(command.clone());
        command
    }

    pub(super) fn register(&mut self, name: &str) -> (AccountId, Command) {
        let cheap = Params {
            memory: 8,
            passes: 1,
            lanes: 1,
        };
        let password =
            password::hash(&Password::parse("correct horse").unwrap(), &[7; 16], &cheap).unwrap();
        let name = Username::parse(name).unwrap();
        let command = self.command(|_| CommandBody::CreateAccount {
            skeleton: name.skeleton(),
            name,
            password,
        });
        let account = AccountId::derive(command.request);
        self.accounts.push(account);
        (account, command)
    }

    pub(super) fn send(&mut self, sender: AccountId, recipient: AccountId, text: &str) -> Command {
        let body = Body::parse(text, Body::DEFAULT_LIMIT).unwrap();
        let command = self.command(|_| CommandBody::Send {
            sender,
            recipient,
            body,
        });
        self.messages.push((
            sender,
            recipient,
            MessageId::derive(sender, command.request),
        ));
        command
    }

    /// Something that users do.
    pub(super) fn any(&mut self) -> Command {
        if self.accounts.len() < 4 {
            let name = format!("user{}", self.accounts.len());
            return self.register(&name).1;
        }
        let account = self.accounts[self.random.random_range(0..self.accounts.len())];
        let peer = self.accounts[self.random.random_range(0..self.accounts.len())];
        let message = (!self.messages.is_empty())
            .then(|| self.messages[self.random.random_range(0..self.messages.len())]);
        match (self.random.random_range(0..10), message) {
            (0, Some((_, recipient, message))) => self.command(|_| CommandBody::MarkDelivered {
                account: recipient,
                messages: vec![message],
            }),
            (1, Some((_, recipient, message))) => self.command(|_| CommandBody::MarkRead {
                account: recipient,
                messages: vec![message],
            }),
            (2, Some((sender, _, message))) => self.command(|_| CommandBody::DeleteMessages {
                account: sender,
                messages: vec![message],
                scope: DeleteScope::ForBoth,
            }),
            // A client repeats itself.
            (3, _) => self.sent[self.random.random_range(0..self.sent.len())].clone(),
            // A name that is taken.
            (4, _) => self.register("user0").1,
            _ => self.send(account, peer, "Lorem ipsum dolor sit amet"),
        }
    }

    /// A log of so many entries behind `last`, in an epoch of its own.
    pub(super) fn log(&mut self, last: Position, count: u64) -> Vec<Entry> {
        let epoch = epoch(last.epoch.number + 1);
        let entry = |index: u64, payload| Entry {
            position: Position { epoch, index },
            payload,
        };
        let start = ViewStart {
            members: vec![REPLICA],
            configuration: Configuration::default(),
            forced: false,
            apply_version: 1,
        };
        let mut log = vec![entry(last.index + 1, Payload::ViewStart(start))];
        for number in 1..count {
            let command = self.any().encode().into();
            let payload = match self.random.random_range(0..20) {
                0 => Payload::Command(vec![0xff; 9].into()),
                1 => Payload::Reproposed {
                    origin: Position::default(),
                    lineage: Lineage::default(),
                    command,
                },
                _ => Payload::Command(command),
            };
            log.push(entry(last.index + 1 + number, payload));
        }
        log
    }
}

/// The hash of a state in memory that has applied a log.
pub(super) fn hash_in_memory(log: &[Entry]) -> u128 {
    let mut manager = AccountManager::new();
    for entry in log {
        manager.advance(Sequence::new(entry.position.index));
        let Ok(_) = match &entry.payload {
            Payload::ViewStart(_) => continue,
            Payload::Command(bytes) => match Command::decode(bytes) {
                Ok(command) => manager.apply(command),
                Err(_) => continue,
            },
            Payload::Reproposed {
                origin,
                lineage,
                command,
            } => {
                let command = Command::decode(command).unwrap();
                manager.apply_reproposed(command, lineage_of(*origin, lineage))
            }
        };
    }
    manager.state_hash().as_u128()
}

/// Applies what of the log is behind the machine's position.
pub(super) fn catch_up(machine: &mut ChatStateMachine, log: &[Entry]) {
    let applied = machine.applied().index as usize;
    machine.apply(&log[applied..]).unwrap();
}

/// Whether the rows that can be read are those that the hash was kept up over.
pub(super) fn assert_sound(machine: &ChatStateMachine) {
    // Also where it has gone back.
    let View { manager, .. } = write(&machine.shared).view().unwrap();
    let found = manager.recompute_state_hash().unwrap();
    assert_eq!(found, manager.state_hash());
}
