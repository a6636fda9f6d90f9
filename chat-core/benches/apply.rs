//! What a command costs: its encoding, and its effect on a state in memory.

#![allow(
    missing_docs,
    reason = "the macros of criterion make functions without"
)]

use std::hint::black_box;

use chat_core::{
    AccountId, AccountManager, Body, Command, CommandBody, MessageId, Outcome, RequestId,
    Timestamp, Username,
    password::{self, Params, Password},
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const BODY: &str = "a hundred bytes of chat, as people write them to each other all day long, on phones and on computers";

/// A state with so many accounts, and whoever makes commands for it.
struct Service {
    manager: AccountManager,
    accounts: Vec<AccountId>,
    count: u64,
}

impl Service {
    fn of(accounts: usize) -> Service {
        let cheap = Params {
            memory: 16,
            passes: 1,
            lanes: 1,
        };
        let password = Password::parse("correct horse battery staple").expect("it is long enough");
        let password =
            password::hash(&password, &[7; 16], &cheap).expect("the parameters are sound");
        let mut service = Service {
            manager: AccountManager::new(),
            accounts: Vec::new(),
            count: 0,
        };
        for number in 0..accounts {
            let name = Username::parse(&format!("user{number}")).expect("it is a name");
            let create = service.command(CommandBody::CreateAccount {
                skeleton: name.skeleton(),
                name,
                password: password.clone(),
            });
            let Ok(applied) = service.manager.apply(create);
            match applied.result {
                Ok(Outcome::AccountCreated { account, .. }) => service.accounts.push(account),
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

    /// From one of the first accounts to the one beside it, in turn.
    fn send(&mut self) -> Command {
        let pair = self.count as usize % (self.accounts.len() / 2);
        let body = Body::parse(BODY, Body::DEFAULT_LIMIT).expect("it is short");
        self.command(CommandBody::Send {
            sender: self.accounts[2 * pair],
            recipient: self.accounts[2 * pair + 1],
            body,
        })
    }

    fn apply(&mut self, command: Command) -> Outcome {
        let Ok(applied) = self.manager.apply(command);
        applied.result.expect("nothing is wrong with it")
    }
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    let send = Service::of(2).send();
    let bytes = send.encode();
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode a send", |bencher| {
        bencher.iter(|| black_box(&send).encode())
    });
    group.bench_function("decode a send", |bencher| {
        bencher.iter(|| Command::decode(black_box(&bytes)));
    });
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(1));
    for accounts in [128, 20_000] {
        let mut service = Service::of(accounts);
        group.bench_function(format!("a send, {} pairs", accounts / 2), |bencher| {
            bencher.iter(|| {
                let send = service.send();
                service.apply(send)
            });
        });
        group.bench_function(
            format!("a send and its delivery, {} pairs", accounts / 2),
            |bencher| {
                bencher.iter(|| {
                    let send = service.send();
                    let CommandBody::Send { recipient, .. } = send.body else {
                        unreachable!("it is a send");
                    };
                    let message: MessageId = match service.apply(send) {
                        Outcome::MessageSent { message, .. } => message,
                        other => panic!("{other:?}"),
                    };
                    let delivered = service.command(CommandBody::MarkDelivered {
                        account: recipient,
                        messages: vec![message],
                    });
                    service.apply(delivered)
                });
            },
        );
    }
}

/// Somebody comes back to whom two have written meanwhile.
fn backlog(criterion: &mut Criterion) {
    let mut service = Service::of(4);
    let [first, second, recipient, _] = service.accounts[..] else {
        unreachable!("there are four accounts");
    };
    let mut messages = Vec::new();
    for (sender, _) in [first, second]
        .into_iter()
        .cycle()
        .zip(0..10 * Command::MAX_BATCH)
    {
        let body = Body::parse(BODY, Body::DEFAULT_LIMIT).expect("it is short");
        let send = service.command(CommandBody::Send {
            sender,
            recipient,
            body,
        });
        match service.apply(send) {
            Outcome::MessageSent { message, .. } => messages.push(message),
            other => panic!("{other:?}"),
        }
    }
    messages.truncate(Command::MAX_BATCH);
    let delivered = service.command(CommandBody::MarkDelivered {
        account: recipient,
        messages,
    });
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(Command::MAX_BATCH as u64));
    group.bench_function("deliveries of a backlog, many at once", |bencher| {
        bencher.iter_batched(
            || (service.manager.clone(), delivered.clone()),
            |(mut manager, delivered)| manager.apply(delivered).map(|_| manager),
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, codec, apply, backlog);
criterion_main!(benches);
