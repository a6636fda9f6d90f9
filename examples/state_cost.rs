//! What a message costs the state of one replica: `cargo run --release --example state_cost`.
//!
//! Sends are applied as fast as they can be. The figures are processor time of the thread that applies and of the one
//! that writes checkpoints, which a busy machine blurs less than the clock, and what the file grew by.

#![allow(clippy::print_stdout, reason = "the figures are what this is for")]
#![allow(clippy::unwrap_used, reason = "nothing here is worth going on without")]

use std::{fs, path::Path};

use chat_core::{
    AccountId, Body, Command, CommandBody, Outcome, RequestId, Timestamp, Username,
    password::{self, Params, Password},
};
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{ClusterId, Entry, Epoch, Payload, Position, ReplicaId};
use chat_server::store::state::{ChatStateMachine, Response, STATE_FILE, StateSettings, compact};
use uuid::Uuid;

const BODY: &str = "a hundred bytes of chat, as people write them to each other all day long, on phones and on computers";
/// Looking at the clock takes as long as a few messages.
const BATCH: usize = 1024;

const CLUSTER: ClusterId = ClusterId(Uuid::from_u128(1));
const REPLICA: ReplicaId = ReplicaId(0);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let messages: usize = arguments
        .next()
        .map_or(500_000, |count| count.parse().unwrap());
    println!(
        "{:>8} {:>10} {:>16} {:>16} {:>14} {:>14}",
        "pairs", "delivered", "apply ns/msg", "checkpoint ns", "file B/msg", "written B/msg"
    );
    for (pairs, is_delivered) in [(64, false), (64, true), (10_000, false), (10_000, true)] {
        measure(pairs, messages, is_delivered);
    }
    println!("resident at most: {} MiB", peak_memory() >> 20);
}

fn measure(pairs: usize, messages: usize, is_delivered: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::of(folder.path(), pairs * 2);
    service.machine.checkpoint().unwrap();
    let file = folder.path().join(STATE_FILE);
    let written_before = written();
    let checkpoint_before = thread_time("checkpoint");
    let mut applying = 0;
    for _ in 0..messages / BATCH {
        let (sends, recipients): (Vec<_>, Vec<_>) = (0..BATCH).map(|_| service.send()).unzip();
        let entries = service.entries(sends);
        let (outcomes, time) = service.apply(&entries);
        applying += time;
        if is_delivered {
            let delivered = outcomes.iter().zip(recipients).map(|(sent, account)| {
                let Outcome::MessageSent { message, .. } = sent else {
                    panic!("{sent:?}");
                };
                (account, *message)
            });
            let commands = delivered
                .map(|(account, message)| {
                    service.command(CommandBody::MarkDelivered {
                        account,
                        messages: vec![message],
                    })
                })
                .collect();
            let entries = service.entries(commands);
            applying += service.apply(&entries).1;
        }
    }
    service.machine.checkpoint().unwrap();
    let (checkpoint, written) = (thread_time("checkpoint"), written());
    drop(service);
    // A file grows by leaps: what it takes shows without its slack.
    compact(folder.path(), CLUSTER, REPLICA).unwrap();
    let count = messages as u64;
    println!(
        "{pairs:>8} {is_delivered:>10} {:>16} {:>16} {:>14} {:>14}",
        applying / count,
        (checkpoint - checkpoint_before) / count,
        fs::metadata(&file).unwrap().len() / count,
        (written - written_before) / count,
    );
}

struct Service {
    machine: ChatStateMachine,
    accounts: Vec<AccountId>,
    last: Position,
    count: u64,
}

impl Service {
    fn of(folder: &Path, accounts: usize) -> Service {
        let machine = ChatStateMachine::open(
            folder,
            CLUSTER,
            REPLICA,
            StateSettings::default(),
            Box::new(|_| {}),
        );
        let mut service = Service {
            machine: machine.unwrap(),
            accounts: Vec::new(),
            last: Position {
                epoch: Epoch {
                    number: 1,
                    ..Epoch::default()
                },
                index: 0,
            },
            count: 0,
        };
        let cheap = Params {
            memory: 16,
            passes: 1,
            lanes: 1,
        };
        let password = Password::parse("correct horse battery staple").unwrap();
        let password = password::hash(&password, &[7; 16], &cheap).unwrap();
        for number in 0..accounts {
            let name = Username::parse(&format!("user{number}")).unwrap();
            let create = service.command(CommandBody::CreateAccount {
                skeleton: name.skeleton(),
                name,
                password: password.clone(),
            });
            let entries = service.entries(vec![create]);
            match service.apply(&entries).0.pop() {
                Some(Outcome::AccountCreated { account, .. }) => service.accounts.push(account),
                other => panic!("{other:?}"),
            }
        }
        service
    }

    fn command(&mut self, body: CommandBody) -> Command {
        self.count += 1;
        // Scattered, as random bits are.
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let at = Timestamp::from_millis(1_700_000_000_000 + self.count / 64);
        Command {
            request: RequestId::from_parts(at, random),
            at,
            body,
        }
    }

    /// From one account to the one beside it, the pairs in no order; and who that is.
    fn send(&mut self) -> (Command, AccountId) {
        let pair = (self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let pair = pair % (self.accounts.len() / 2);
        let (sender, recipient) = (self.accounts[2 * pair], self.accounts[2 * pair + 1]);
        let body = Body::parse(BODY, Body::DEFAULT_LIMIT).unwrap();
        let send = self.command(CommandBody::Send {
            sender,
            recipient,
            body,
        });
        (send, recipient)
    }

    fn entries(&mut self, commands: Vec<Command>) -> Vec<Entry> {
        let entry = |command: Command| {
            self.last.index += 1;
            Entry {
                position: self.last,
                payload: Payload::Command(command.encode().into()),
            }
        };
        commands.into_iter().map(entry).collect()
    }

    /// What came of the entries, and for how many nanoseconds this thread worked.
    fn apply(&mut self, entries: &[Entry]) -> (Vec<Outcome>, u64) {
        let before = own_time();
        let responses = self.machine.apply(entries).unwrap();
        self.machine.maintain().unwrap();
        let time = own_time() - before;
        let outcome = |response| match response {
            Some(Response::Applied(applied)) => applied.result.unwrap(),
            other => panic!("{other:?}"),
        };
        (responses.into_iter().map(outcome).collect(), time)
    }
}

/// For how many nanoseconds this thread has run.
fn own_time() -> u64 {
    run_time(Path::new("/proc/thread-self"))
}

/// For how many nanoseconds the threads of a name that still run have run.
fn thread_time(name: &str) -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let threads = threads.map(|thread| thread.unwrap().path());
    threads
        .filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name))
        .map(|path| run_time(&path))
        .sum()
}

fn run_time(thread: &Path) -> u64 {
    let stat = fs::read_to_string(thread.join("schedstat")).unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// How many bytes this process has handed to the disk.
fn written() -> u64 {
    field("/proc/self/io", "wchar:")
}

fn peak_memory() -> u64 {
    field("/proc/self/status", "VmHWM:") << 10
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
