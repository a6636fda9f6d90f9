//! What replication costs beside disks and networks: a step of the protocol on three replicas, and a commit of the log.

#![allow(
    missing_docs,
    reason = "the macros of criterion make functions without"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use chat_replication::disk_store::DiskStore;
use chat_replication::memory_store::MemoryStore;
use chat_replication::message::Message;
use chat_replication::replica::{Outgoing, ProposalId, Replica, Seed, Settings};
use chat_replication::store::{Identity, Persist, Persisted, Store};
use chat_replication::types::{
    ClusterId, Configuration, Entry, Epoch, Index, Payload, Position, ReplicaId, StoreUuid,
    ViewStart,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uuid::Uuid;

fn command() -> Bytes {
    Bytes::from_static(&[7; 160])
}

/// Three replicas whose disks are maps, and whose messages arrive at once.
struct Cluster {
    replicas: BTreeMap<ReplicaId, (Replica, MemoryStore)>,
    proposals: u64,
    ticks: u64,
}

impl Cluster {
    fn start() -> Cluster {
        let ids = [0, 1, 2].map(ReplicaId);
        let seeds = ids.map(|id| Seed {
            id,
            peer_address: format!("peer{id}"),
            client_address: format!("client{id}"),
        });
        let replica = |id: ReplicaId| {
            let mut store = MemoryStore::new(Identity {
                cluster: ClusterId::default(),
                replica: id,
                store: StoreUuid(Uuid::from_u128(u128::from(id.0) + 1)),
            });
            let durable = store.load().expect("memory does not fail");
            let replica = Replica::new(durable, seeds.to_vec(), 1, Settings::default());
            (id, (replica, store))
        };
        let mut cluster = Cluster {
            replicas: ids.into_iter().map(replica).collect(),
            proposals: 0,
            ticks: 0,
        };
        while cluster.leader().leads().is_none() {
            cluster.ticks += 1;
            for (replica, _) in cluster.replicas.values_mut() {
                replica.tick(cluster.ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            cluster.settle();
        }
        cluster
    }

    fn leader(&mut self) -> &mut Replica {
        &mut self
            .replicas
            .get_mut(&ReplicaId(0))
            .expect("there is one")
            .0
    }

    /// Proposes so many commands at once, and goes on until they are committed.
    fn commit(&mut self, commands: u64) {
        for _ in 0..commands {
            self.proposals += 1;
            let id = ProposalId(self.proposals);
            self.leader().propose(id, command());
        }
        let wanted = self.leader().branches().last_index();
        self.settle();
        assert_eq!(self.leader().commit(), wanted, "nobody is missing");
    }

    fn settle(&mut self) {
        loop {
            let mut sent = Vec::new();
            for (replica, store) in self.replicas.values_mut() {
                loop {
                    let ready = replica.ready();
                    if ready.is_empty() {
                        break;
                    }
                    if !ready.persist.is_empty() {
                        let persisted =
                            store.persist(&ready.persist).expect("memory does not fail");
                        replica.persisted(persisted);
                    } else {
                        replica.persisted(Persisted { orphans: 0 });
                    }
                    let me = replica.identity().peer_id();
                    for (to, outgoing) in ready.messages.into_iter().chain(ready.after) {
                        sent.push((me, to, whole(outgoing, store)));
                    }
                }
            }
            if sent.is_empty() {
                return;
            }
            for (from, to, message) in sent {
                let (replica, _) = self.replicas.get_mut(&to).expect("there are three");
                replica.receive(from, message);
            }
        }
    }
}

/// What the driver does: puts the entries into messages that have some.
fn whole(outgoing: Outgoing, store: &MemoryStore) -> Message {
    let entries = |previous: Position, through: Index| match previous.index < through {
        true => store
            .entries(previous.index + 1, through, usize::MAX)
            .expect("they are there"),
        false => Vec::new(),
    };
    match outgoing {
        Outgoing::Message(message) => message,
        Outgoing::Append {
            epoch,
            previous,
            through,
            commit,
            forced,
            ..
        } => Message::Append {
            epoch,
            previous,
            entries: entries(previous, through),
            commit,
            forced,
        },
        Outgoing::Fetched {
            epoch,
            previous,
            through,
            forced,
        } => Message::Fetched {
            epoch,
            previous,
            entries: entries(previous, through),
            forced,
        },
        Outgoing::Snapshot { .. } | Outgoing::Orphans { .. } | Outgoing::Mended { .. } => {
            unreachable!("nobody was away, and nothing was damaged")
        }
    }
}

fn replica(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replica");
    for batch in [1, 100] {
        let mut cluster = Cluster::start();
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("commit on three, {batch} at once"), |bencher| {
            bencher.iter(|| cluster.commit(batch));
        });
    }
}

fn log(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log");
    for batch in [1, 10, 100, 1000] {
        let folder = tempfile::tempdir().expect("there is room");
        let cluster = ClusterId(Uuid::from_u128(1));
        let mut store =
            DiskStore::open(folder.path(), cluster, ReplicaId(0)).expect("the folder is new");
        let epoch = Epoch {
            number: 1,
            ..Epoch::default()
        };
        let mut last = 0;
        let mut append = |payloads: Vec<Payload>| {
            let entries = payloads.into_iter().map(|payload| {
                last += 1;
                let position = Position { epoch, index: last };
                Entry { position, payload }
            });
            let batch = Persist {
                append: entries.collect(),
                ..Persist::default()
            };
            store.persist(&batch).expect("the disk is well")
        };
        append(vec![Payload::ViewStart(ViewStart {
            members: vec![ReplicaId(0)],
            configuration: Configuration::default(),
            forced: false,
            apply_version: 1,
        })]);
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("a durable commit of {batch}"), |bencher| {
            bencher.iter(|| append((0..batch).map(|_| Payload::Command(command())).collect()));
        });
    }
}

criterion_group!(benches, replica, log);
criterion_main!(benches);
