//! What applying costs, in memory: `cargo run --release -p chat-core --example throughput`.
//!
//! The figures are for one core and without a disk; they are meant to be compared with each other: what an operation
//! costs with few messages stored, and with many.

#![allow(clippy::print_stdout, reason = "the figures are what this is for")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measuring takes a clock"
)]

use std::{error::Error, hint::black_box, time::Instant};

use chat_core::{
    AccountId, AccountManager, Body, Command, CommandBody, HistoryFrom, MessageId, Outcome,
    RequestId, Timestamp, Username, password::PasswordHash,
};

const USERS: usize = 1_000;
const ROUNDS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::new()?;
    println!(
        "{:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}",
        "stored", "send", "encode", "decode", "deliver", "history", "inbox"
    );
    for stored in [10_000, 100_000, 300_000] {
        while bench.manager.stats().messages < stored {
            bench.send()?;
        }
        bench.measure()?;
    }
    Ok(())
}

struct Bench {
    manager: AccountManager,
    users: Vec<AccountId>,
    minted: u64,
    random: u64,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut bench = Self {
            manager: AccountManager::new(),
            users: Vec::new(),
            minted: 0,
            random: 1,
        };
        let password = PasswordHash::parse(
            "$argon2id$v=19$m=16,t=1,p=1$AQEBAQEBAQEBAQEBAQEBAQ$AQEBAQEBAQEBAQEBAQEBAQ",
        )?;
        for number in 0..USERS {
            let name = Username::parse(&format!("user.{number}"))?;
            let skeleton = name.skeleton();
            match bench.run(CommandBody::CreateAccount {
                name,
                skeleton,
                password: password.clone(),
            })? {
                Outcome::AccountCreated { account, .. } => bench.users.push(account),
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(bench)
    }

    /// Prints microseconds per operation; for deliveries, per message in batches of 100.
    fn measure(&mut self) -> Result<(), Box<dyn Error>> {
        let stored = self.manager.stats().messages;
        let mut sent = Vec::with_capacity(ROUNDS);
        let commands: Vec<Command> = (0..ROUNDS)
            .map(|_| self.letter())
            .collect::<Result<_, _>>()?;

        let start = Instant::now();
        let encoded: Vec<Vec<u8>> = commands.iter().map(Command::encode).collect();
        let encode = micros(start, ROUNDS);
        let start = Instant::now();
        for bytes in &encoded {
            black_box(Command::decode(bytes)?);
        }
        let decode = micros(start, ROUNDS);

        let start = Instant::now();
        for command in commands {
            let recipient = match &command.body {
                CommandBody::Send { recipient, .. } => *recipient,
                other => return Err(format!("{other:?}").into()),
            };
            let Ok(applied) = self.manager.apply(command);
            if let Outcome::MessageSent { message, .. } = applied.result? {
                sent.push((recipient, message));
            }
        }
        let send = micros(start, ROUNDS);

        sent.sort();
        let batches: Vec<(AccountId, Vec<MessageId>)> = sent
            .chunk_by(|one, other| one.0 == other.0)
            .map(|chunk| {
                (
                    chunk[0].0,
                    chunk.iter().map(|(_, message)| *message).collect(),
                )
            })
            .collect();
        let start = Instant::now();
        for (account, messages) in batches {
            self.run(CommandBody::MarkDelivered { account, messages })?;
        }
        let deliver = micros(start, ROUNDS);

        let start = Instant::now();
        for _ in 0..1_000 {
            let (one, other) = self.two();
            black_box(self.manager.history(one, other, HistoryFrom::Newest, 20)?);
        }
        let history = micros(start, 1_000);
        let start = Instant::now();
        for _ in 0..1_000 {
            let (one, _) = self.two();
            black_box(self.manager.inbox(one, None, 20)?);
        }
        let inbox = micros(start, 1_000);
        println!(
            "{stored:>10}  {send:>7.1} µs  {encode:>7.1} µs  {decode:>7.1} µs  {deliver:>7.1} µs  {history:>7.1} µs  {inbox:>7.1} µs"
        );
        Ok(())
    }

    fn send(&mut self) -> Result<(), Box<dyn Error>> {
        let command = self.letter()?;
        let Ok(applied) = self.manager.apply(command);
        applied.result?;
        Ok(())
    }

    fn letter(&mut self) -> Result<Command, Box<dyn Error>> {
        let (sender, recipient) = self.two();
        let body = Body::parse(
            "a message of about the length that people write to each other",
            Body::DEFAULT_LIMIT,
        )?;
        Ok(self.command(CommandBody::Send {
            sender,
            recipient,
            body,
        }))
    }

    fn run(&mut self, body: CommandBody) -> Result<Outcome, Box<dyn Error>> {
        let command = self.command(body);
        let Ok(applied) = self.manager.apply(command);
        Ok(applied.result?)
    }

    fn command(&mut self, body: CommandBody) -> Command {
        self.minted += 1;
        let at = Timestamp::from_millis(1_700_000_000_000 + self.minted / 10);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_be_bytes());
        Command {
            request: RequestId::from_parts(at, random),
            at,
            body,
        }
    }

    /// Two users, each of whom talks with about a dozen.
    fn two(&mut self) -> (AccountId, AccountId) {
        let one = self.next() as usize % USERS;
        let other = (one + 1 + self.next() as usize % 6) % USERS;
        if self.next().is_multiple_of(2) {
            (self.users[one], self.users[other])
        } else {
            (self.users[other], self.users[one])
        }
    }

    /// SplitMix64: the same figures are measured on the same work every time.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn micros(start: Instant, rounds: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e6 / rounds as f64
}
