//! Readers that a slow disk holds up, and nobody else.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use chat_core::{AccountId, HistoryFrom};
use chat_replication::disk_store::CrashDisk;
use chat_replication::state_machine::StateMachine;
use chat_replication::types::{Entry, Payload, Position};
use redb::StorageBackend;

use super::support::*;
use crate::store::state::reader::{View, write};
use crate::store::state::{ChatStateMachine, StateError, StateReader};

/// The name of the thread whose reads are held.
const HELD: &str = "held";
/// Nothing here takes so long unless it waits for what is held.
const PATIENCE: Duration = Duration::from_secs(20);

/// A disk that holds the reads of one thread until it is told to go on.
#[derive(Debug)]
struct Slow<B> {
    disk: B,
    holds: Arc<AtomicBool>,
    reading: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl<B: StorageBackend> StorageBackend for Slow<B> {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if thread::current().name() == Some(HELD) && self.holds.swap(false, Ordering::SeqCst) {
            self.reading.lock().unwrap().send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(offset, data)
    }
}

struct Rig {
    machine: ChatStateMachine,
    commands: Commands,
    ada: AccountId,
    last: Position,
    holds: Arc<AtomicBool>,
    reading: Receiver<()>,
    go_on: Sender<()>,
}

impl Rig {
    /// A state with a history of notes that only the file has.
    fn new(notes: u64) -> Rig {
        let disk = CrashDisk::new();
        let mut commands = Commands::new(1);
        let (ada, register) = commands.register("ada");
        let last = Position {
            epoch: epoch(1),
            index: 0,
        };
        let mut rig = Rig {
            machine: open_on(&disk).unwrap(),
            commands,
            ada,
            last,
            holds: Arc::default(),
            reading: channel().1,
            go_on: channel().0,
        };
        rig.apply(&register);
        (0..notes).for_each(|_| rig.write());
        rig.machine.checkpoint().unwrap();
        // Another process, which has read nothing yet.
        let (reading, go_on) = (channel(), channel());
        let slow = Slow {
            disk: disk.backend(),
            holds: Arc::clone(&rig.holds),
            reading: Mutex::new(reading.0),
            go_on: Mutex::new(go_on.1),
        };
        let machine = ChatStateMachine::open_with_backend(
            slow,
            "slow disk",
            CLUSTER,
            REPLICA,
            SMALL,
            quiet(),
        );
        Rig {
            machine: machine.unwrap(),
            reading: reading.1,
            go_on: go_on.0,
            ..rig
        }
    }

    fn entry(&mut self, command: &chat_core::Command) -> Entry {
        self.last.index += 1;
        Entry {
            position: self.last,
            payload: Payload::Command(command.encode().into()),
        }
    }

    fn apply(&mut self, command: &chat_core::Command) {
        let entry = self.entry(command);
        self.machine.apply(&[entry]).unwrap();
    }

    fn write(&mut self) {
        let send = self.commands.send(self.ada, self.ada, "a note to myself");
        self.apply(&send);
    }

    /// Begins to read, and waits until the disk holds that up.
    fn hold<T: Send + 'static>(
        &self,
        read: impl FnOnce(StateReader) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        self.holds.store(true, Ordering::SeqCst);
        let reader = self.machine.reader();
        let held = thread::Builder::new().name(HELD.to_owned());
        let held = held.spawn(move || read(reader)).unwrap();
        let reading = self.reading.recv_timeout(PATIENCE);
        reading.expect("the reader reads the file");
        held
    }
}

fn notes(reader: &StateReader, of: AccountId) -> Result<(usize, u64), StateError> {
    reader.query(|manager, at| {
        let page = manager.history(of, of, HistoryFrom::Newest, 1000)?;
        Ok((page.items.len(), at.index))
    })
}

/// Whatever takes longer than it should is held up.
fn in_time<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let (done, is_done) = channel();
        let work = scope.spawn(move || {
            let result = work();
            done.send(()).unwrap();
            result
        });
        if is_done.recv_timeout(PATIENCE).is_err() {
            // The scope would wait for ever.
            std::process::abort();
        }
        work.join().unwrap()
    })
}

/// A query held the state's lock while it read the file. Apply waited for it, and with it whoever waited for apply.
#[test]
fn a_reader_that_waits_for_the_disk_stops_nobody() {
    // More than the few pages that a start looks at.
    let mut rig = Rig::new(600);
    let ada = rig.ada;
    let held = rig.hold(move |reader| notes(&reader, ada).unwrap());
    in_time(|| {
        for round in 1..=300 {
            rig.write();
            rig.machine.maintain().unwrap();
            if round % 50 == 0 {
                let expected = (600 + round, 601 + round as u64);
                assert_eq!(notes(&rig.machine.reader(), ada).unwrap(), expected);
            }
        }
        rig.machine.checkpoint().unwrap();
    });
    rig.go_on.send(()).unwrap();
    assert_eq!(held.join().unwrap(), (600, 601), "the state as it began");
    assert_sound(&rig.machine);
}

/// The thread that speaks with the peers applies only what need not wait.
#[test]
fn nothing_is_applied_at_once_while_somebody_has_the_lock() {
    let mut rig = Rig::new(1);
    let send = rig.commands.send(rig.ada, rig.ada, "a note to myself");
    let entry = rig.entry(&send);
    let shared = Arc::clone(&rig.machine.shared);
    {
        let _reads = shared.read().unwrap();
        let applied = in_time(|| {
            rig.machine
                .try_apply(std::slice::from_ref(&entry))
                .is_some()
        });
        assert!(!applied);
    }
    let applied = rig.machine.try_apply(&[entry]).expect("the lock is free");
    assert_eq!(applied.unwrap().len(), 1);
    assert_eq!(rig.machine.applied(), rig.last);
}

/// After a merge of histories the state was shown as it was at its last checkpoint, without what had been shown before.
#[test]
fn a_state_that_went_back_is_not_shown_until_it_is_as_far_again() {
    let mut rig = Rig::new(10);
    let (reader, ada) = (rig.machine.reader(), rig.ada);
    assert_eq!(notes(&reader, ada).unwrap().0, 10);
    for _ in 0..5 {
        rig.write();
    }
    rig.machine.roll_back(&|_| true).unwrap();
    // The other history has the same first entries, then the start of a later view.
    rig.last = rig.machine.applied();
    let is_gone = |reader: &StateReader| {
        let refused = [
            reader.query(|_, _| Ok(())).unwrap_err(),
            reader.view(|_, _| Ok(())).unwrap_err(),
            reader.snapshot().unwrap_err(),
        ];
        refused
            .iter()
            .all(|error| matches!(error, StateError::GoneBack { .. }))
    };
    assert!(is_gone(&reader));
    rig.write();
    assert!(is_gone(&reader), "it is not as far yet");
    assert_eq!(reader.stats().unwrap().0.messages, 11);
    rig.last.epoch = epoch(2);
    rig.write();
    assert_eq!(notes(&reader, ada).unwrap().0, 12);
    let View { applied, .. } = write(&rig.machine.shared).view().unwrap();
    assert_eq!(applied, rig.last);
}
