//! What ends a replica, and what its owner learns of it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chat_replication::driver::{Options, Running, StartError, start};
use chat_replication::handle::{Handle, ProposeError};
use chat_replication::memory_store::MemoryStore;
use chat_replication::memory_transport::MemoryNetwork;
use chat_replication::store::{Durable, Identity, Persist, Persisted, Store, StoreError};
use chat_replication::types::{Entry, Index, Orphan, Position, ReplicaId, StoreUuid};

use crate::cluster::{CLUSTER, options, seeds_at};
use crate::kv::{Kv, put};

/// A disk that begins to fail when it is told to.
struct Failing {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
}

impl Store for Failing {
    fn load(&mut self) -> Result<Durable, StoreError> {
        self.store.load()
    }

    fn persist(&mut self, batch: &Persist) -> Result<Persisted, StoreError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Io {
                path: "some/log".into(),
                reason: "no space left on device".to_owned(),
            });
        }
        self.store.persist(batch)
    }

    fn entries(&self, from: Index, through: Index, max: usize) -> Result<Vec<Entry>, StoreError> {
        self.store.entries(from, through, max)
    }

    fn bytes_behind(&self, index: Index) -> Result<u64, StoreError> {
        self.store.bytes_behind(index)
    }

    fn orphans(&self, after: Option<Position>, max: usize) -> Result<Vec<Orphan>, StoreError> {
        self.store.orphans(after, max)
    }
}

/// A cluster of one.
pub(crate) struct Alone {
    pub(crate) handle: Handle<Option<String>>,
    pub(crate) running: Running,
    fails: Arc<AtomicBool>,
    /// Held by whoever reads the state.
    pub(crate) readers: Arc<Mutex<()>>,
}

pub(crate) async fn alone(change: impl FnOnce(&mut Options)) -> Alone {
    let fails = Arc::new(AtomicBool::new(false));
    let store = Failing {
        store: MemoryStore::new(Identity {
            cluster: CLUSTER,
            replica: ReplicaId(0),
            store: StoreUuid::default(),
        }),
        fails: Arc::clone(&fails),
    };
    let mut options = options(seeds_at(&["nowhere".to_owned()]));
    change(&mut options);
    let network = MemoryNetwork::new();
    let connect = |inbox, me: Identity| Ok::<_, io::Error>(network.connect(me.peer_id(), inbox));
    let machine = Kv::default();
    let readers = Arc::clone(&machine.readers);
    let (handle, running) = start(store, machine, options, connect, |_, _| {}).unwrap();
    let mut changes = handle.status_changes();
    changes.wait_for(|status| status.serves()).await.unwrap();
    Alone {
        handle,
        running,
        fails,
        readers,
    }
}

#[tokio::test]
async fn a_failed_write_ends_the_replica() {
    let Alone {
        handle,
        running,
        fails,
        ..
    } = alone(|_| {}).await;
    handle.propose(put("1", "a", "b")).await.unwrap();
    fails.store(true, Ordering::Relaxed);
    let lost = handle.propose(put("2", "a", "c")).await;
    assert_eq!(lost, Err(ProposeError::Stopped));
    let error = running.ended().await.unwrap_err().to_string();
    assert!(
        error.contains("some/log") && error.contains("no space left"),
        "{error}"
    );
    let after = handle.propose(put("3", "a", "d")).await;
    assert_eq!(after, Err(ProposeError::Stopped));
}

#[tokio::test]
async fn a_failed_state_machine_ends_the_replica() {
    let Alone {
        handle, running, ..
    } = alone(|_| {}).await;
    let lost = handle.propose(put("1", "full", "")).await;
    assert_eq!(lost, Err(ProposeError::Stopped));
    let error = running.ended().await.unwrap_err();
    assert_eq!(error.to_string(), "the map is full");
}

#[tokio::test]
async fn a_panic_ends_the_replica_and_not_the_process() {
    let Alone {
        handle, running, ..
    } = alone(|_| {}).await;
    let lost = handle.propose(put("1", "panic", "")).await;
    assert_eq!(lost, Err(ProposeError::Stopped));
    let error = running.ended().await.unwrap_err().to_string();
    assert!(
        error.starts_with("the state machine panicked: ") && error.contains("as asked"),
        "{error}"
    );
}

#[tokio::test]
async fn too_much_that_waits_is_refused() {
    let Alone {
        handle,
        running: _running,
        ..
    } = alone(|options| options.max_waiting = 2).await;
    let proposals = (0..50).map(|number| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.propose(put(&number.to_string(), "k", "v")).await })
    });
    let mut outcomes = Vec::new();
    for proposal in proposals.collect::<Vec<_>>() {
        outcomes.push(proposal.await.unwrap());
    }
    assert!(outcomes.iter().any(Result::is_ok));
    assert!(outcomes.contains(&Err(ProposeError::Overloaded)));
    // Its places are free again.
    handle.propose(put("last", "k", "v")).await.unwrap();
}

#[tokio::test]
async fn a_transport_that_cannot_be_made_is_told() {
    let store = MemoryStore::new(Identity {
        cluster: CLUSTER,
        replica: ReplicaId(0),
        store: StoreUuid::default(),
    });
    let connect = |_, _: Identity| {
        Err::<chat_replication::memory_transport::MemoryTransport, _>(io::Error::other(
            "the port is in use",
        ))
    };
    let started = start(
        store,
        Kv::default(),
        options(seeds_at(&["nowhere".to_owned()])),
        connect,
        |_, _| {},
    );
    let Err(StartError::Transport(error)) = started else {
        panic!("it started");
    };
    assert_eq!(error.to_string(), "the port is in use");
}
