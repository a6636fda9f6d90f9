//! Who catches up takes no more memory, and no more reads from disk, than it must.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use chat_replication::driver::{Running, start};
use chat_replication::handle::Handle;
use chat_replication::memory_store::MemoryStore;
use chat_replication::memory_transport::MemoryNetwork;
use chat_replication::message::Message;
use chat_replication::store::{Durable, Identity, Persist, Persisted, Store, StoreError};
use chat_replication::transport::Transport;
use chat_replication::types::{Entry, Index, Member, Orphan, Position, ReplicaId, StoreUuid};
use tokio::time::sleep;
use uuid::Uuid;

use crate::cluster::{CLUSTER, options, propose, seeds_at};
use crate::kv::{Kv, put};

/// What a transport keeps for one peer.
const QUEUE: usize = 32 << 20;
/// Bytes that the network carries in a second.
const RATE: usize = 48 << 20;
const COMMANDS: usize = 1024;
const BYTES: usize = 64 << 10;

#[derive(Default)]
struct Gauge {
    sent: AtomicUsize,
    dropped: AtomicUsize,
    queued: AtomicUsize,
    most_queued: AtomicUsize,
    read: AtomicUsize,
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.payload.len()).sum()
}

/// A network that is slower than a disk, and keeps no more for a peer than gRPC does.
struct Slow {
    queue: mpsc::Sender<(ReplicaId, Message, usize)>,
    gauge: Arc<Gauge>,
}

impl Transport for Slow {
    fn send(&mut self, to: ReplicaId, message: Message) {
        let bytes = match &message {
            Message::Append { entries, .. } | Message::Fetched { entries, .. } => bytes_of(entries),
            _ => 0,
        };
        if self.gauge.queued.load(Relaxed) + bytes > QUEUE {
            self.gauge.dropped.fetch_add(bytes, Relaxed);
            return;
        }
        self.gauge.sent.fetch_add(bytes, Relaxed);
        let queued = self.gauge.queued.fetch_add(bytes, Relaxed) + bytes;
        self.gauge.most_queued.fetch_max(queued, Relaxed);
        let _ = self.queue.send((to, message, bytes));
    }

    fn peers_changed(&mut self, _: &[Member]) {}

    fn renamed(&mut self, _: StoreUuid) {}
}

/// A disk that counts what is read from it.
struct Counting {
    store: MemoryStore,
    gauge: Arc<Gauge>,
}

impl Store for Counting {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.store.load()
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        self.store.persist(batch)
    }

    fn entries(&self, from: Index, through: Index, max: usize) -> Result<Vec<Entry>, StoreError> {
        let entries = self.store.entries(from, through, max)?;
        self.gauge.read.fetch_add(bytes_of(&entries), Relaxed);
        Ok(entries)
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        self.store.bytes_behind(index)
    }

    fn orphans(&self, after: Option<Position>, max: usize) -> Result<Vec<Orphan>, StoreError> {
        self.store.orphans(after, max)
    }
}

fn begin(
    id: u32,
    network: &MemoryNetwork,
    gauge: &Arc<Gauge>,
) -> (Handle<Option<String>>, Running) {
    let me = ReplicaId(id);
    let store = Counting {
        store: MemoryStore::new(Identity {
            cluster: CLUSTER,
            replica: me,
            store: StoreUuid(Uuid::from_u128(u128::from(id) + 1)),
        }),
        gauge: Arc::clone(gauge),
    };
    let seeds = seeds_at(&["first".to_owned(), "second".to_owned()]);
    let (network, gauge) = (network.clone(), Arc::clone(gauge));
    let connect = move |inbox, me: Identity| {
        let mut inner = network.connect(me.peer_id(), inbox);
        let (queue, messages) = mpsc::channel::<(ReplicaId, Message, usize)>();
        let delivered = Arc::clone(&gauge);
        std::thread::spawn(move || {
            for (to, message, bytes) in messages {
                std::thread::sleep(Duration::from_micros((bytes * 1_000_000 / RATE) as u64));
                delivered.queued.fetch_sub(bytes, Relaxed);
                inner.send(to, message);
            }
        });
        Ok::<_, std::io::Error>(Slow { queue, gauge })
    };
    start(store, Kv::default(), options(seeds), connect, |_, _| {}).unwrap()
}

async fn wait(what: &str, until: impl Fn() -> bool) {
    for _ in 0..6000 {
        if until() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

/// A replica that missed 1,024 commands of 64 KiB was once sent all of them at once. Half did not fit into the queue of the
/// transport, and was read again; and so was what a slow network had not carried within a quarter of a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_commands_are_read_and_sent_about_once() {
    let network = MemoryNetwork::new();
    let gauges: [Arc<Gauge>; 3] = Default::default();
    let (leader, _first) = begin(0, &network, &gauges[0]);
    let (other, second) = begin(1, &network, &gauges[1]);
    wait("a view of two", || {
        leader.status().view.len() == 2 && other.status().view.len() == 2
    })
    .await;
    second.halt().await.unwrap();
    wait("a view of one", || leader.status().view.len() == 1).await;

    let value = "v".repeat(BYTES);
    let handles = [leader.clone()];
    for number in 0..COMMANDS {
        propose(&handles, put(&number.to_string(), "key", &value)).await;
    }
    let (read, sent) = (gauges[0].read.load(Relaxed), gauges[0].sent.load(Relaxed));
    let (behind, _second) = begin(1, &network, &gauges[2]);
    wait("it has caught up", || {
        let last = leader.status().last.index;
        last > COMMANDS as u64 && behind.status().applied == last && leader.status().view.len() == 2
    })
    .await;

    let gauge = &gauges[0];
    let needed = COMMANDS * BYTES;
    let (read, sent) = (
        gauge.read.load(Relaxed) - read,
        gauge.sent.load(Relaxed) - sent,
    );
    let most = gauge.most_queued.load(Relaxed);
    assert_eq!(gauge.dropped.load(Relaxed), 0);
    assert!(
        sent >= needed && sent <= needed * 5 / 4,
        "sent {sent} of {needed}"
    );
    assert!(read <= needed * 5 / 4, "read {read} of {needed}");
    assert!(most <= 10 << 20, "{most} bytes on their way at once");
}
