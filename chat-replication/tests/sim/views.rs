//! A link that is up and down for ever: thousands of views.

use std::collections::{BTreeMap, VecDeque};

use chat_replication::memory_store::MemoryStore;
use chat_replication::message::Message;
use chat_replication::replica::{Outgoing, Replica, Seed, Settings};
use chat_replication::store::{Identity, Store};
use chat_replication::types::{ClusterId, PeerId, ReplicaId, StoreUuid};
use uuid::Uuid;

/// A message of a table of 1,024 epochs, with room to spare: the transport takes 16 MiB.
const MOST: usize = 128 << 10;

fn settings() -> Settings {
    Settings {
        heartbeat: 2,
        suspect: 20,
        view_timeout: 40,
        ballot: 5,
        recovery_grace: 200,
        rejoin: 5,
        hand_back: 10,
        hand_over: 10,
        change: 100,
        ..Settings::default()
    }
}

/// Three replicas on a network without delay, and one of them behind a bad link.
struct Cluster {
    replicas: BTreeMap<ReplicaId, (Replica, MemoryStore)>,
    cut: bool,
    random: u64,
    largest: usize,
}

impl Cluster {
    fn new() -> Cluster {
        let seed = |id: u32| Seed {
            id: ReplicaId(id),
            peer_address: format!("replica-{id}.example.org:7500"),
            client_address: format!("replica-{id}.example.org:7400"),
        };
        let replica = |id: u32| {
            let mut store = MemoryStore::new(Identity {
                cluster: ClusterId::default(),
                replica: ReplicaId(id),
                store: StoreUuid(Uuid::from_u128(u128::MAX - u128::from(id))),
            });
            let durable = store.load().unwrap();
            let replica = Replica::new(durable, (0..3).map(seed).collect(), 1, settings());
            (ReplicaId(id), (replica, store))
        };
        Cluster {
            replicas: (0..3).map(replica).collect(),
            cut: false,
            random: 1,
            largest: 0,
        }
    }

    fn passes(&self, from: ReplicaId, to: ReplicaId) -> bool {
        !self.cut || (from != ReplicaId(2) && to != ReplicaId(2))
    }

    fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            for (replica, _) in self.replicas.values_mut() {
                self.random = self.random.wrapping_mul(6_364_136_223_846_793_005) + 1;
                replica.tick(self.random);
            }
            self.settle();
        }
    }

    /// What a driver does, until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut sent: VecDeque<(PeerId, ReplicaId, Message)> = VecDeque::new();
            for (replica, store) in self.replicas.values_mut() {
                let me = replica.identity().peer_id();
                let commit = replica.commit();
                if let Some(position) = replica.branches().position_at(commit) {
                    replica.applied(commit, 0);
                    replica.checkpointed(position);
                }
                if replica.branches().epochs().len() > replica.settings().max_epochs {
                    replica.compact(commit);
                }
                let ready = replica.ready();
                let persisted = store.persist(&ready.persist).unwrap();
                replica.persisted(persisted);
                for (to, outgoing) in ready.messages.into_iter().chain(ready.after) {
                    let message = match outgoing {
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
                            entries: match previous.index < through {
                                true => store
                                    .entries(previous.index + 1, through, usize::MAX)
                                    .unwrap(),
                                false => Vec::new(),
                            },
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
                            entries: store
                                .entries(previous.index + 1, through, usize::MAX)
                                .unwrap(),
                            forced,
                        },
                        Outgoing::Snapshot { .. } => panic!("nobody was away for long"),
                        Outgoing::Mended { .. } => panic!("no entry was damaged"),
                        Outgoing::Orphans { .. } => continue,
                    };
                    sent.push_back((me, to, message));
                }
            }
            if sent.is_empty() {
                return;
            }
            for (from, to, message) in sent {
                let bytes = postcard::to_stdvec(&message).unwrap().len();
                self.largest = self.largest.max(bytes);
                if self.passes(from.replica, to) {
                    let (replica, _) = self.replicas.get_mut(&to).unwrap();
                    replica.receive(from, message);
                }
            }
        }
    }
}

/// Each view is an epoch more in every branch table, and a table travels in each answer to a question. After a year of a bad
/// link it did not fit into a message, and nobody could lead any more.
#[test]
fn thousands_of_views_are_no_larger_than_a_few() {
    let mut cluster = Cluster::new();
    cluster.run(50);
    let mut epochs = 0;
    for _ in 0..2500 {
        cluster.cut = true;
        cluster.run(25);
        cluster.cut = false;
        cluster.run(15);
        let (leader, _) = &cluster.replicas[&ReplicaId(0)];
        epochs = epochs.max(leader.branches().epochs().len());
    }
    cluster.run(300);
    let (leader, _) = &cluster.replicas[&ReplicaId(0)];
    let led = leader.leads().expect("the first leads");
    println!(
        "epoch {led}, at most {epochs} epochs in a table, the largest message has {} bytes",
        cluster.largest
    );
    assert!(led.number > 4000, "{led} is not thousands of views");
    assert!(
        epochs <= settings().max_epochs + 16,
        "{epochs} epochs in a table"
    );
    assert!(
        cluster.largest <= MOST,
        "a message of {} bytes",
        cluster.largest
    );
    for (replica, store) in cluster.replicas.values_mut() {
        assert_eq!(replica.in_view(), Some(led));
        let durable = store.load().unwrap();
        assert_eq!(durable.branches, *replica.branches());
        assert!(durable.view_starts.len() <= settings().max_epochs + 16);
    }
}
