//! What nobody else may call, for the fuzzer.

pub use crate::disk_store::fuzz_entry as log_entry;
use crate::memory_store::MemoryStore;
use crate::replica::{Replica, Seed, Settings};
use crate::store::{Identity, Persisted, Store};
use crate::types::{ClusterId, PeerId, ReplicaId, StoreUuid};

/// What a peer sends: it is decoded, and a replica hears it and lives on.
pub fn peer_message(bytes: &[u8]) {
    let Some(message) = crate::grpc::fuzz_message(bytes) else {
        return;
    };
    let mut store = MemoryStore::new(Identity {
        cluster: ClusterId::default(),
        replica: ReplicaId(0),
        store: StoreUuid::default(),
    });
    let durable = store.load().expect("memory does not fail");
    let seed = |id| Seed {
        id: ReplicaId(id),
        peer_address: String::new(),
        client_address: String::new(),
    };
    let seeds = vec![seed(0), seed(1)];
    let mut replica = Replica::new(durable, seeds, 1, Settings::default());
    // Its disk has the name that is found first.
    let from = PeerId {
        replica: ReplicaId(1),
        store: StoreUuid::default(),
    };
    for _ in 0..8 {
        replica.tick(1);
        replica.receive(from, message.clone());
        let ready = replica.ready();
        let persisted = match ready.persist.is_empty() {
            true => Persisted { orphans: 0 },
            false => store.persist(&ready.persist).expect("memory does not fail"),
        };
        replica.persisted(persisted);
    }
}
