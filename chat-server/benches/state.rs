//! What it costs to apply the log to the state on the disk, checkpoints included.

#![allow(
    missing_docs,
    reason = "the macros of criterion make functions without"
)]

use chat_core::{
    AccountId, Body, Command, CommandBody, Outcome, RequestId, Timestamp, Username,
    password::{self, Params, Password},
};
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{ClusterId, Entry, Epoch, Payload, Position, ReplicaId};
use chat_server::store::state::{ChatStateMachine, Response, StateSettings};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;

const BODY: &str = "a hundred bytes of chat, as people write them to each other all day long, on phones and on computers";

/// A state in a folder, and whoever writes its log.
struct Service {
    machine: ChatStateMachine,
    accounts: Vec<AccountId>,
    last: Position,
    count: u64,
    /// Closed and removed last.
    _folder: tempfile::TempDir,
}

impl Service {
    fn of(accounts: usize) -> Service {
        let folder = tempfile::tempdir().expect("there is room");
        let machine = ChatStateMachine::open(
            folder.path(),
            ClusterId(Uuid::from_u128(1)),
            ReplicaId(0),
            StateSettings::default(),
            Box::new(|_| {}),
        );
        let mut service = Service {
            machine: machine.expect("the folder is new"),
            accounts: Vec::new(),
            last: Position {
                epoch: Epoch {
                    number: 1,
                    ..Epoch::default()
                },
                index: 0,
            },
            count: 0,
            _folder: folder,
        };
        let cheap = Params {
            memory: 16,
            passes: 1,
            lanes: 1,
        };
        let password = Password::parse("correct horse battery staple").expect("it is long enough");
        let password =
            password::hash(&password, &[7; 16], &cheap).expect("the parameters are sound");
        for number in 0..accounts {
            let name = Username::parse(&format!("user{number}")).expect("it is a name");
            let create = service.command(CommandBody::CreateAccount {
                skeleton: name.skeleton(),
                name,
                password: password.clone(),
            });
            match service.apply(vec![create]).pop() {
                Some(Outcome::AccountCreated { account, .. }) => service.accounts.push(account),
                other => panic!("{other:?}"),
            }
        }
        service
    }

    fn command(&mut self, body: CommandBody) -> Command {
        self.count += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.count.to_be_bytes());
        let at = Timestamp::from_millis(1_700_000_000_000 + self.count);
        Command {
            request: RequestId::from_parts(at, random),
            at,
            body,
        }
    }

    /// From one account to the one beside it, in turn; and who that is.
    fn send(&mut self) -> (Command, AccountId) {
        let pair = self.count as usize % (self.accounts.len() / 2);
        let (sender, recipient) = (self.accounts[2 * pair], self.accounts[2 * pair + 1]);
        let body = Body::parse(BODY, Body::DEFAULT_LIMIT).expect("it is short");
        let send = self.command(CommandBody::Send {
            sender,
            recipient,
            body,
        });
        (send, recipient)
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let entries: Vec<Entry> = commands
            .iter()
            .map(|command| {
                self.last.index += 1;
                Entry {
                    position: self.last,
                    payload: Payload::Command(command.encode().into()),
                }
            })
            .collect();
        let responses = self.machine.apply(&entries).expect("the disk is well");
        self.machine.maintain().expect("the disk is well");
        let outcome = |response| match response {
            Some(Response::Applied(applied)) => applied.result.expect("nothing is wrong with it"),
            other => panic!("{other:?}"),
        };
        responses.into_iter().map(outcome).collect()
    }
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state");
    const BATCH: usize = 100;
    group.throughput(Throughput::Elements(BATCH as u64));
    for accounts in [128, 20_000] {
        let mut service = Service::of(accounts);
        let pairs = accounts / 2;
        group.bench_function(format!("{BATCH} sends, {pairs} pairs"), |bencher| {
            bencher.iter(|| {
                let sends = (0..BATCH).map(|_| service.send().0).collect();
                service.apply(sends)
            });
        });
        group.bench_function(
            format!("{BATCH} sends and their deliveries, {pairs} pairs"),
            |bencher| {
                bencher.iter(|| {
                    let (sends, recipients): (Vec<_>, Vec<_>) =
                        (0..BATCH).map(|_| service.send()).unzip();
                    let sent = service.apply(sends).into_iter().zip(recipients);
                    let delivered = sent
                        .map(|(outcome, account)| {
                            let Outcome::MessageSent { message, .. } = outcome else {
                                panic!("{outcome:?}");
                            };
                            service.command(CommandBody::MarkDelivered {
                                account,
                                messages: vec![message],
                            })
                        })
                        .collect::<Vec<_>>();
                    service.apply(delivered)
                });
            },
        );
    }
}

criterion_group!(benches, apply);
criterion_main!(benches);
