//! A great many accounts and messages, put into the folders of replicas that do not run.
//!
//! What is put in goes through the state machine that a replica has, as commands of its log, but neither through a network
//! nor through the log's disk: the log begins behind it, as it does on a replica that has compacted everything. The first
//! replica applies the commands; the others take its snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use bytes::Bytes;
use chat_core::password::{self, Params, Password, PasswordHash};
use chat_core::{
    AccountId, Applied, Body, Command, CommandBody, MessageId, Outcome as Effect, RequestId,
    Timestamp, Username,
};
use chat_replication::branch::BranchTable;
use chat_replication::disk_store::DiskStore;
use chat_replication::state_machine::StateMachine;
use chat_replication::store::{Persist, Reset, Store};
use chat_replication::types::{
    Configuration, Entry, Epoch, Member, Payload, Position, ReplicaId, StoreUuid, ViewStart,
};
use chat_server::config::{ClusterConfig, ReplicaConfig};
use chat_server::store::state::{ChatStateMachine, Response, StateSettings};
use uuid::Uuid;

use crate::Outcome;

/// Everybody's password. Its hash is the cheapest there is, so that logging in costs next to nothing.
pub const PASSWORD: &str = "correct horse battery staple";

/// Commands that are applied at once.
const BATCH: usize = 10_000;
/// Messages of one pair that are confirmed at once, as a client does that was away for a while.
const CONFIRMED: usize = 50;
/// Bytes in a piece of a snapshot, about.
const PIECE: usize = 1 << 20;
/// How long ago the first message was sent.
const AGE: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// What is put in.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Accounts, half of which are called `from-0`, `from-1` and so on and write, and half `to-0`, `to-1` and so on, each
    /// written to by the one of its number.
    pub accounts: u64,
    /// Messages, from each pair in turn. They have been delivered, but for the last few of each pair.
    pub messages: u64,
    /// Bytes of each message.
    pub body: usize,
}

impl Amount {
    /// About as many commands does it take.
    pub fn commands(&self) -> u64 {
        self.accounts + self.messages + self.messages / CONFIRMED as u64 + 1
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// Entries of the log that it would have taken.
    pub commands: u64,
    /// How long the first replica took to apply them.
    pub applying: Duration,
    /// How long the others took to take it over from there.
    pub copying: Duration,
}

/// Fills the folders of some replicas of a cluster that has not begun. `progress` hears how many commands are applied.
///
/// With fewer replicas than the cluster has, the others catch up from them once they are started.
///
/// # Errors
///
/// A folder holds data already, or the disk fails.
pub fn fill(
    cluster: &ClusterConfig,
    replicas: &[ReplicaId],
    amount: Amount,
    mut progress: impl FnMut(u64),
) -> Outcome<Filled> {
    let mut folders = Vec::new();
    for id in replicas {
        let replica = cluster
            .replica(*id)
            .ok_or_else(|| format!("the cluster file has no replica {id}"))?;
        folders.push(Folder::create(cluster, replica)?);
    }
    let Some((first, others)) = folders.split_first_mut() else {
        return Err("name at least one replica".into());
    };
    let epoch = Epoch {
        number: 1,
        replica: first.id,
        store: first.store.identity().store,
    };
    let view = ViewStart {
        members: replicas.to_vec(),
        configuration: configuration(cluster, first, others),
        forced: false,
        apply_version: first.machine.apply_version(),
    };
    let begun = std::time::Instant::now();
    let mut source = Source::new(&mut first.machine, epoch, view.clone(), amount)?;
    source.run(&mut progress)?;
    let last = source.last;
    first.machine.checkpoint()?;
    let applying = begun.elapsed();
    let reset = Reset {
        branches: BranchTable::from_parts(vec![(epoch, 1)], last)
            .ok_or("an epoch of no entries")?,
        newest: (1, view),
    };
    let begun = std::time::Instant::now();
    first.begin_log(&reset)?;
    for other in others {
        other.take_over(&first.machine, &reset)?;
    }
    Ok(Filled {
        commands: last,
        applying,
        copying: begun.elapsed(),
    })
}

/// A replica's files.
struct Folder {
    id: ReplicaId,
    store: DiskStore,
    machine: ChatStateMachine,
}

impl Folder {
    fn create(cluster: &ClusterConfig, replica: &ReplicaConfig) -> Outcome<Folder> {
        let folder: &Path = &replica.data_dir;
        fs::create_dir_all(folder)?;
        if DiskStore::identity_in(folder)?.is_some() {
            let error = format!(
                "{} holds data already; choose an empty folder",
                folder.display()
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, error).into());
        }
        // Memory for speed: nobody else is served meanwhile.
        let settings = StateSettings {
            checkpoint_bytes: 256 << 20,
            cache_bytes: 1 << 30,
        };
        Ok(Folder {
            id: replica.id,
            store: DiskStore::open(folder, cluster.id, replica.id)?,
            machine: ChatStateMachine::open(
                folder,
                cluster.id,
                replica.id,
                settings,
                Box::new(|_| {}),
            )?,
        })
    }

    /// The log begins behind the state.
    fn begin_log(&mut self, reset: &Reset) -> Outcome {
        self.store.persist(&Persist {
            promised: Some(reset.branches.last().epoch),
            reset: Some(reset.clone()),
            ..Persist::default()
        })?;
        Ok(())
    }

    fn take_over(&mut self, from: &ChatStateMachine, reset: &Reset) -> Outcome {
        let mut snapshot = from
            .snapshot()?
            .ok_or("there is no snapshot to take over")?;
        self.machine.begin_install(reset)?;
        while let Some(piece) = snapshot.next_chunk(PIECE)? {
            self.machine.install_chunk(&piece)?;
        }
        self.machine.finish_install()?;
        self.begin_log(reset)?;
        Ok(self.machine.settle_install()?)
    }
}

/// The members of the first view are those that are filled. Places are kept for the others, whose disks are not known yet.
fn configuration(cluster: &ClusterConfig, first: &Folder, others: &[Folder]) -> Configuration {
    let filled: BTreeMap<ReplicaId, StoreUuid> = std::iter::once(first)
        .chain(others)
        .map(|folder| (folder.id, folder.store.identity().store))
        .collect();
    let mut configuration = Configuration {
        mode: cluster.mode,
        ..Configuration::default()
    };
    for replica in &cluster.replicas {
        let store = filled.get(&replica.id).copied();
        configuration = configuration.with(Member {
            id: replica.id,
            store: store.unwrap_or_else(|| StoreUuid(Uuid::new_v4())),
            peer_address: replica.peer_address.to_string(),
            client_address: replica.client_address.to_string(),
        });
    }
    configuration
}

/// Makes commands and applies them.
struct Source<'a> {
    machine: &'a mut ChatStateMachine,
    epoch: Epoch,
    amount: Amount,
    /// The last entry made.
    last: u64,
    entries: Vec<Entry>,
    begin: u64,
    /// Who writes to whom, and what has not been confirmed.
    pairs: Vec<Pair>,
}

struct Pair {
    from: AccountId,
    to: AccountId,
    waiting: Vec<MessageId>,
}

impl Source<'_> {
    fn new(
        machine: &mut ChatStateMachine,
        epoch: Epoch,
        view: ViewStart,
        amount: Amount,
    ) -> Outcome<Source<'_>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut source = Source {
            machine,
            epoch,
            amount,
            last: 0,
            entries: Vec::with_capacity(BATCH),
            begin: u64::try_from(now.saturating_sub(AGE).as_millis())?,
            pairs: Vec::new(),
        };
        source.push(Payload::ViewStart(view))?;
        Ok(source)
    }

    fn run(&mut self, progress: &mut impl FnMut(u64)) -> Outcome {
        let password = cheapest_hash()?;
        for number in 0..(self.amount.accounts / 2).max(1) {
            let mut account = |name: String| -> Outcome<AccountId> {
                let name = Username::parse(&name)?;
                let request = self.request();
                let body = CommandBody::CreateAccount {
                    skeleton: name.skeleton(),
                    name,
                    password: password.clone(),
                };
                self.command(request, body)?;
                Ok(AccountId::derive(request))
            };
            let pair = Pair {
                from: account(format!("from-{number}"))?,
                to: account(format!("to-{number}"))?,
                waiting: Vec::new(),
            };
            self.pairs.push(pair);
            progress(self.last);
        }
        for number in 0..self.amount.messages {
            let at = usize::try_from(number)? % self.pairs.len();
            let (sender, recipient) = (self.pairs[at].from, self.pairs[at].to);
            let request = self.request();
            let body = CommandBody::Send {
                sender,
                recipient,
                body: Body::parse(&text(number, self.amount.body), Body::MAX_LIMIT)?,
            };
            self.command(request, body)?;
            let waiting = &mut self.pairs[at].waiting;
            waiting.push(MessageId::derive(sender, request));
            if waiting.len() == CONFIRMED {
                let body = CommandBody::MarkDelivered {
                    account: recipient,
                    messages: std::mem::take(waiting),
                };
                let request = self.request();
                self.command(request, body)?;
            }
            progress(self.last);
        }
        self.flush()
    }

    /// A moment between the first message and now.
    fn at(&self) -> Timestamp {
        let commands = u128::from(self.amount.commands().max(self.last));
        let since = AGE.as_millis() * u128::from(self.last) / commands;
        Timestamp::from_millis(self.begin + u64::try_from(since).unwrap_or(0))
    }

    fn request(&self) -> RequestId {
        // Spread as random numbers are, and the same each time.
        let mut random = [0; 10];
        let spread = self.last.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        random[..8].copy_from_slice(&spread.to_be_bytes());
        RequestId::from_parts(self.at(), random)
    }

    fn command(&mut self, request: RequestId, body: CommandBody) -> Outcome {
        let at = self.at();
        let command = Command { request, at, body };
        self.push(Payload::Command(Bytes::from(command.encode())))
    }

    fn push(&mut self, payload: Payload) -> Outcome {
        self.last += 1;
        self.entries.push(Entry {
            position: Position {
                epoch: self.epoch,
                index: self.last,
            },
            payload,
        });
        match self.entries.len() {
            BATCH => self.flush(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Outcome {
        for response in self.machine.apply(&self.entries)?.into_iter().flatten() {
            check(response)?;
        }
        self.entries.clear();
        Ok(self.machine.maintain()?)
    }
}

/// Everything that is put in takes effect.
fn check(response: Response) -> Outcome {
    match response {
        Response::Applied(Applied {
            result:
                Ok(
                    Effect::AccountCreated { .. }
                    | Effect::MessageSent { .. }
                    | Effect::MarkedDelivered { .. },
                ),
            ..
        }) => Ok(()),
        other => Err(format!("a command did not take effect: {other:?}").into()),
    }
}

fn cheapest_hash() -> Outcome<PasswordHash> {
    let cost = Params {
        memory: 8,
        passes: 1,
        lanes: 1,
    };
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    Ok(password::hash(&Password::parse(PASSWORD)?, &salt, &cost)?)
}

fn text(number: u64, size: usize) -> String {
    let mut text = format!("{number:016x} ");
    let letters = (b'a'..=b'z').map(char::from).cycle();
    let more = size.saturating_sub(text.len());
    text.extend(letters.skip((number % 26) as usize).take(more));
    text
}
