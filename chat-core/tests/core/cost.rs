//! What an operation costs in rows, and that it does not grow with what is stored.

use std::{
    cell::Cell,
    ops::{Bound, ControlFlow},
};

use chat_core::{
    AccountId, AccountManager, Command, CommandBody, DeleteScope, HistoryFrom, KeyValue,
    MemoryStore, OpenError, Pattern, RequestId, Timestamp,
    store::{CorruptRow, Order},
};

use crate::world::{START, World, create, delete, delivered, read, write};

/// Counts what is asked of it.
#[derive(Clone, Default)]
struct Counting {
    rows: MemoryStore,
    reads: Cell<u64>,
    writes: Cell<u64>,
    scanned: Cell<u64>,
}

impl KeyValue for Counting {
    type Error = std::convert::Infallible;

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error> {
        self.reads.set(self.reads.get() + 1);
        self.rows.read(key)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Self::Error> {
        self.writes.set(self.writes.get() + 1);
        self.rows.put(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Self::Error> {
        self.writes.set(self.writes.get() + 1);
        self.rows.delete(key)
    }

    fn scan(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Self::Error> {
        self.rows.scan(range, order, &mut |key, value| {
            self.scanned.set(self.scanned.get() + 1);
            visit(key, value)
        })
    }

    fn corrupt(&self, row: CorruptRow) -> Self::Error {
        panic!("{row}")
    }
}

#[derive(Debug, PartialEq)]
struct Cost {
    reads: u64,
    writes: u64,
    scanned: u64,
}

struct Counted {
    manager: AccountManager<Counting>,
    minted: u64,
}

impl Counted {
    fn new() -> Self {
        Self {
            manager: AccountManager::open(Counting::default()).unwrap(),
            minted: 0,
        }
    }

    fn cost<T>(&mut self, work: impl FnOnce(&mut AccountManager<Counting>) -> T) -> Cost {
        let counters =
            |store: &Counting| [store.reads.get(), store.writes.get(), store.scanned.get()];
        let before = counters(self.manager.store());
        work(&mut self.manager);
        let after = counters(self.manager.store());
        Cost {
            reads: after[0] - before[0],
            writes: after[1] - before[1],
            scanned: after[2] - before[2],
        }
    }

    fn command(&mut self, body: CommandBody) -> Command {
        self.minted += 1;
        let at = Timestamp::from_millis(START.as_millis() + self.minted);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.minted.to_be_bytes());
        Command {
            request: RequestId::from_parts(at, random),
            at,
            body,
        }
    }

    fn run(&mut self, body: CommandBody) -> (RequestId, Cost) {
        let command = self.command(body);
        let request = command.request;
        let cost = self.cost(|manager| {
            let Ok(applied) = manager.apply(command);
            applied.result.unwrap();
        });
        (request, cost)
    }

    fn register(&mut self, name: &str) -> AccountId {
        AccountId::derive(self.run(create(name)).0)
    }
}

/// The cost of each operation with this many messages stored.
fn costs(stored: usize) -> Vec<(&'static str, Cost)> {
    let mut counted = Counted::new();
    let [ada, bob] = ["ada", "bob"].map(|name| counted.register(name));
    let others: Vec<_> = (0..stored / 40)
        .map(|number| counted.register(&format!("user{number}")))
        .collect();
    for number in 0..stored {
        let (from, to) = if number % 2 == 0 {
            (ada, bob)
        } else {
            (others[number % others.len()], ada)
        };
        counted.run(write(from, to, "filler"));
    }
    counted.run(write(ada, bob, "in front"));
    let mut costs = Vec::new();
    let (request, cost) = counted.run(write(ada, bob, "measured"));
    costs.push(("send", cost));
    let message = chat_core::MessageId::derive(ada, request);
    costs.push(("deliver", counted.run(delivered(bob, &[message])).1));
    costs.push(("read", counted.run(read(bob, &[message])).1));
    costs.push((
        "delete",
        counted.run(delete(bob, &[message], DeleteScope::ForMe)).1,
    ));
    costs.push((
        "inbox",
        counted.cost(|manager| manager.inbox(bob, None, 10).map(|page| page.items.len())),
    ));
    costs.push((
        "history",
        counted.cost(|manager| {
            manager
                .history(ada, bob, HistoryFrom::Newest, 10)
                .map(|_| ())
        }),
    ));
    costs.push((
        "conversations",
        counted.cost(|manager| manager.conversations(ada, None, 1).map(|_| ())),
    ));
    let pattern = Pattern::parse("ad*").unwrap();
    costs.push((
        "accounts",
        counted.cost(|manager| manager.accounts(&pattern, None, 10).map(|_| ())),
    ));
    costs.push(("state hash", counted.cost(|manager| manager.state_hash())));
    let front = write(others[0], ada, "to the front");
    costs.push(("send to the front", counted.run(front).1));
    costs.push((
        "delete account",
        counted.run(CommandBody::DeleteAccount { account: bob }).1,
    ));
    costs
}

/// So many messages of a conversation share a row.
const TOGETHER: usize = 8;

#[test]
fn no_operation_costs_more_when_more_is_stored() {
    // Conversations that have as far to go until their next row is full.
    let (few, many) = (costs(26 * 2 * TOGETHER), costs(625 * 2 * TOGETHER));
    for (few, many) in few.iter().zip(&many) {
        assert_eq!(few, many);
    }
}

#[test]
fn a_message_is_four_rows() {
    let (_, send) = &costs(400)[0];
    assert_eq!(
        send.writes, 4,
        "itself, its conversation, its inbox, the counters"
    );
    assert_eq!(
        send.scanned, 0,
        "what is at the front of a list is known from the message before"
    );
    // Where debug assertions are on, a row is read once more when it is written, to see that it held what was said.
    let checked = if cfg!(debug_assertions) { 3 } else { 0 };
    assert_eq!(
        send.reads,
        4 + checked,
        "its id, its request, its conversation and its inbox"
    );
}

#[test]
fn what_becomes_old_costs_two_rows_for_many_messages() {
    let mut counted = Counted::new();
    let [ada, bob] = ["ada", "bob"].map(|name| counted.register(name));
    counted.run(write(ada, bob, "the first lists the conversation"));
    for _ in 0..5 {
        let writes = (0..TOGETHER).map(|_| counted.run(write(ada, bob, "hello")).1.writes);
        assert_eq!(writes.sum::<u64>(), 4 * TOGETHER as u64 + 2);
    }
}

#[test]
fn a_list_looks_only_at_names_that_start_as_the_pattern_does() {
    let mut counted = Counted::new();
    for number in 0..50 {
        counted.register(&format!("aa{number}"));
        counted.register(&format!("ba{number}"));
        counted.register(&format!("ca{number}"));
    }
    let pattern = Pattern::parse("ba4*").unwrap();
    for after in [None, Some("aa0"), Some("ba1"), Some("ba4")] {
        let after = after.map(crate::world::name);
        let mut listed = 0;
        let cost = counted.cost(|manager| {
            let Ok(page) = manager.accounts(&pattern, after.as_ref(), 100);
            listed = page.items.len();
        });
        let expected = if after == Some(crate::world::name("ba4")) {
            10
        } else {
            11
        };
        assert_eq!(
            (listed, cost.scanned),
            (expected, expected as u64),
            "{after:?}"
        );
    }
}

#[test]
fn opening_reads_one_row() {
    let mut world = World::new();
    let ada = world.register("ada");
    for _ in 0..100 {
        world.send(ada, ada, "x");
    }
    let store = Counting {
        rows: world.manager.clone().into_store(),
        ..Counting::default()
    };
    let manager = AccountManager::open(store).unwrap();
    assert_eq!(
        (manager.store().reads.get(), manager.store().scanned.get()),
        (1, 0)
    );
    assert_eq!(manager.state_hash(), world.manager.state_hash());
}

/// Fails after so many operations, or when something else wrote to it.
struct Failing {
    rows: MemoryStore,
    left: Cell<u32>,
}

impl Failing {
    fn spend(&self) -> Result<(), String> {
        let left = self.left.get().checked_sub(1).ok_or("the disk is gone")?;
        self.left.set(left);
        Ok(())
    }
}

impl KeyValue for Failing {
    type Error = String;

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.spend()?;
        let Ok(value) = self.rows.read(key);
        Ok(value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.spend()?;
        let Ok(()) = self.rows.put(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), String> {
        self.spend()?;
        let Ok(()) = self.rows.delete(key);
        Ok(())
    }

    fn scan(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), String> {
        self.spend()?;
        let Ok(()) = self.rows.scan(range, order, visit);
        Ok(())
    }

    fn corrupt(&self, row: CorruptRow) -> String {
        row.to_string()
    }
}

#[test]
fn a_store_that_fails_is_an_error_and_no_refusal() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    world.send(bob, ada, "hello");
    let command = world.command(write(ada, bob, "hello"));
    let mut failures = 0;
    for left in 1.. {
        let store = Failing {
            rows: world.manager.clone().into_store(),
            left: Cell::new(left),
        };
        let mut manager = AccountManager::open(store).unwrap();
        match manager.apply(command.clone()) {
            Err(error) => assert_eq!(error, "the disk is gone"),
            Ok(applied) => {
                applied.result.unwrap();
                break;
            }
        }
        failures += 1;
    }
    assert!(failures > 10);
}

#[test]
fn rows_that_nobody_wrote_are_reported_with_their_key() {
    let mut world = World::new();
    let ada = world.register("ada");
    let mut rows = world.manager.clone().into_store();
    let Ok(()) = rows.put(&[0x02, 0, 0, 0, 1], &[0xff]);
    let store = Failing {
        rows,
        left: Cell::new(1_000),
    };
    let manager = AccountManager::open(store).unwrap();
    let found = manager.account_by_name(&crate::world::name("ada"));
    assert!(found.unwrap_err().contains("[02, 00, 00, 00, 01]"));
    assert!(manager.account(ada).is_ok(), "other rows are fine");

    let mut rows = MemoryStore::new();
    let Ok(()) = rows.put(&[0], &[0xff; 3]);
    let broken = AccountManager::open(Failing {
        rows,
        left: Cell::new(10),
    });
    assert!(
        matches!(broken.err(), Some(OpenError::Store(error)) if error.contains("cannot be read"))
    );
}

#[test]
fn a_format_of_the_future_is_not_opened() {
    let mut world = World::new();
    world.register("ada");
    let mut rows = world.manager.into_store();
    let Ok(value) = rows.read(&[0]);
    let mut value = value.unwrap();
    value[0] = 99;
    let Ok(()) = rows.put(&[0], &value);
    assert_eq!(
        AccountManager::open(rows).err(),
        Some(OpenError::UnknownFormat { found: 99 })
    );
}
