//! The network breaks in two while clients send on both sides, and heals.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_client::{Client, Mode, PageRequest, SessionToken};
use examples::until;

use crate::network::{Network, Thread};
use crate::world::{PASSWORD, history, run};

/// In `available` mode both sides go on, and what either acknowledged is there once in the end.
#[test]
fn both_sides_go_on_and_become_one() {
    run(async {
        let Some(network) = Network::start(Mode::Available).await else {
            return;
        };
        let session = users(&network).await;
        let mut senders = Vec::new();
        // The leader is cut off, then a follower.
        for cut in [0, 2] {
            let others: Vec<u32> = (0..3).filter(|id| *id != cut).collect();
            let here = Sender::start(&network, cut, &[cut], &session);
            let there = Sender::start(&network, 1, &others, &session);
            here.goes_on(10).await;
            there.goes_on(10).await;
            network.cut(cut);
            network.in_view(&others).await;
            here.goes_on(20).await;
            there.goes_on(20).await;
            network.heal(cut);
            network.in_view(&[0, 1, 2]).await;
            here.goes_on(10).await;
            there.goes_on(10).await;
            senders.extend([here, there]);
        }
        verify(&network, &session, senders).await;
        network.finish();
    });
}

/// In `consistent` mode the smaller side stops: it acknowledges nothing, and shows nothing that might be old to those who
/// ask for what is new.
#[test]
fn the_smaller_side_stops() {
    run(async {
        let Some(network) = Network::start(Mode::Consistent).await else {
            return;
        };
        let session = users(&network).await;
        let mut senders = Vec::new();
        for cut in [0, 2] {
            let others: Vec<u32> = (0..3).filter(|id| *id != cut).collect();
            let here = Sender::start(&network, cut, &[cut], &session);
            let there = Sender::start(&network, 1, &others, &session);
            here.goes_on(10).await;
            there.goes_on(10).await;
            network.cut(cut);
            // Once a call has failed whatever was on its way has come back.
            here.fails(1).await;
            let acknowledged = here.acknowledged();
            there.goes_on(30).await;
            here.fails(1).await;
            assert_eq!(
                here.acknowledged(),
                acknowledged,
                "one of three acknowledged something"
            );
            no_linearizable_read(&network, cut, &session).await;
            network.heal(cut);
            let status = network.in_view(&[0, 1, 2]).await;
            assert!(!status.forced);
            here.goes_on(10).await;
            there.goes_on(10).await;
            senders.extend([here, there]);
        }
        verify(&network, &session, senders).await;
        network.finish();
    });
}

/// In `consistent` mode, cut three ways, nobody goes on. Once the network heals they find together with two ballots or three,
/// the first of which may begin before all have met again, not by following and losing one another again and again.
#[test]
fn cut_three_ways_they_find_together_at_once() {
    run(async {
        let Some(network) = Network::start(Mode::Consistent).await else {
            return;
        };
        let session = users(&network).await;
        let all = [0, 1, 2];
        let senders = all.map(|id| Sender::start(&network, id, &[id], &session));
        for _ in 0..3 {
            for sender in &senders {
                sender.goes_on(10).await;
            }
            let before = network.in_view(&all).await.epoch;
            for id in all {
                network.cut(id);
            }
            for sender in &senders {
                sender.fails(1).await;
            }
            for id in all {
                network.heal(id);
            }
            let healed = Instant::now();
            // Those who wait at the others have their own pauses between two tries.
            let again = senders.each_ref().map(async |sender| {
                sender.goes_on(1).await;
                healed.elapsed()
            });
            let [one, two, three] = again;
            let (one, two, three) = tokio::join!(one, two, three);
            let first = one.min(two).min(three);
            let after = network.in_view(&all).await.epoch;
            println!(
                "{first:?} after the network healed the first is acknowledged, all {:?} after; {} epochs",
                one.max(two).max(three),
                after - before
            );
            assert!(after - before <= 9, "from epoch {before} to {after}");
        }
        verify(&network, &session, senders.into()).await;
        network.finish();
    });
}

/// Somebody who sends without a pause at one end of the network, and remembers what was acknowledged.
struct Sender {
    record: Arc<Record>,
    thread: Thread,
}

#[derive(Default)]
struct Record {
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    tried: Mutex<BTreeSet<String>>,
    failures: AtomicUsize,
}

static SENDERS: AtomicUsize = AtomicUsize::new(0);

impl Sender {
    fn start(network: &Network, at: u32, replicas: &[u32], session: &SessionToken) -> Sender {
        let name = format!("sender {}", SENDERS.fetch_add(1, Ordering::Relaxed));
        let endpoints: Vec<String> = replicas.iter().map(|id| network.endpoint(*id)).collect();
        let record = Arc::new(Record::default());
        let (remember, session) = (Arc::clone(&record), session.clone());
        let thread = network.spawn_at(at, move || async move {
            let client = Client::builder()
                .endpoints(endpoints)
                .total_deadline(Duration::from_secs(3))
                .connect()
                .await
                .unwrap()
                .with_session(Some(session));
            for number in 0.. {
                if remember.stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = format!("{name}: {number}");
                remember.tried.lock().unwrap().insert(body.clone());
                match client.send_message("bob", &body).await {
                    Ok(_) => {
                        remember.acknowledged.lock().unwrap().insert(body);
                    }
                    Err(_) => {
                        remember.failures.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Sender { record, thread }
    }

    fn acknowledged(&self) -> usize {
        self.record.acknowledged.lock().unwrap().len()
    }

    async fn goes_on(&self, more: usize) {
        let target = self.acknowledged() + more;
        until("more is acknowledged", async || {
            Ok((self.acknowledged() >= target).then_some(()))
        })
        .await
        .unwrap();
    }

    async fn fails(&self, more: usize) {
        let failures = || self.record.failures.load(Ordering::Relaxed);
        let target = failures() + more;
        until("more has failed", async || {
            Ok((failures() >= target).then_some(()))
        })
        .await
        .unwrap();
    }
}

/// Alice, who sends from everywhere, and Bob.
async fn users(network: &Network) -> SessionToken {
    let client = Client::connect((0..3).map(|id| network.endpoint(id)))
        .await
        .unwrap();
    for name in ["bob", "alice"] {
        client.register(name, PASSWORD).await.unwrap();
    }
    client.login("alice", PASSWORD).await.unwrap();
    client.session_token().unwrap()
}

/// On every replica: what was acknowledged is there exactly once, and nothing else but what was tried.
async fn verify(network: &Network, session: &SessionToken, senders: Vec<Sender>) {
    let (mut acknowledged, mut tried) = (BTreeSet::new(), BTreeSet::new());
    for Sender { record, thread } in senders {
        record.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap();
        acknowledged.append(&mut record.acknowledged.lock().unwrap());
        tried.append(&mut record.tried.lock().unwrap());
    }
    let (index, hash) = network.same_state().await;
    println!(
        "{} acknowledged of {}; all replicas have state {hash} at index {index}",
        acknowledged.len(),
        tried.len()
    );
    for id in 0..3 {
        let client = Client::connect([network.endpoint(id)]).await.unwrap();
        let client = client.with_session(Some(session.clone()));
        let bodies = history(&client, "bob").await.unwrap();
        let found: BTreeSet<String> = bodies.iter().cloned().collect();
        assert_eq!(
            bodies.len(),
            found.len(),
            "replica {id} has something twice"
        );
        let missing: Vec<_> = acknowledged.difference(&found).collect();
        assert!(missing.is_empty(), "replica {id} lacks {missing:?}");
        let strange: Vec<_> = found.difference(&tried).collect();
        assert!(strange.is_empty(), "nobody sent {strange:?}");
    }
}

async fn no_linearizable_read(network: &Network, id: u32, session: &SessionToken) {
    let (endpoint, session) = (network.endpoint(id), session.clone());
    let thread = network.spawn_at(id, move || async move {
        let client = Client::builder()
            .endpoints([endpoint])
            .total_deadline(Duration::from_secs(3))
            .linearizable_reads()
            .connect()
            .await
            .unwrap()
            .with_session(Some(session));
        let read = client.list_history("bob", PageRequest::first(1)).await;
        let error = read.expect_err("nobody else confirmed that this is all");
        println!("cut off, replica {id} refuses a linearizable read: {error}");
    });
    tokio::task::spawn_blocking(|| thread.join().unwrap())
        .await
        .unwrap();
}
