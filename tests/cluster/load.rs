//! Users who send, register, delete and read without a pause, and remember what they were promised.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chat_client::{Client, DeleteScope, MessageId, SubscribeOptions};
use examples::same_state_of;
use tokio::task::JoinHandle;

use crate::world::{PASSWORD, World, history, names};

/// What one user was promised.
#[derive(Default)]
pub(crate) struct Promised {
    /// Messages that were acknowledged and not deleted.
    kept: BTreeSet<String>,
    /// Messages whose deletion was acknowledged.
    deleted: BTreeSet<String>,
    /// Asked for, with an error for an answer: done or not, but not twice.
    unknown: BTreeSet<String>,
    /// Accounts that were acknowledged.
    registered: BTreeSet<String>,
    /// Accounts whose deletion was acknowledged.
    removed: BTreeSet<String>,
    /// When each acknowledgement came.
    pub(crate) acknowledged_at: Vec<Instant>,
}

/// One user at work.
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) peer: String,
    pub(crate) client: Client,
    pub(crate) promised: Arc<Mutex<Promised>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Work>,
    /// While it pauses.
    idle: Option<Work>,
}

/// All users at work.
pub(crate) struct Load {
    pub(crate) workers: Vec<Worker>,
}

impl Load {
    /// Two users who write to each other.
    pub(crate) async fn start(world: &World) -> Load {
        let mut workers = Vec::new();
        for name in ["alice", "bob"] {
            world.user(name).await;
        }
        for (name, peer) in [("alice", "bob"), ("bob", "alice")] {
            let client = world.client().await;
            client.login(name, PASSWORD).await.unwrap();
            workers.push(Worker::start(name, peer, client));
        }
        Load { workers }
    }

    /// From here on everybody listens, and hears of it when the replicas change.
    pub(crate) async fn listen(&self) {
        for worker in &self.workers {
            let options = SubscribeOptions::default();
            let mut events = worker.client.subscribe(options).await.unwrap();
            tokio::spawn(async move { while events.next().await.is_some() {} });
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.promised.lock().unwrap().acknowledged_at.len())
            .sum()
    }

    /// Waits until so many more operations are acknowledged: proof that the cluster serves.
    pub(crate) async fn goes_on(&self, more: usize) {
        let target = self.acknowledged() + more;
        let patience = Instant::now() + Duration::from_secs(30);
        while self.acknowledged() < target {
            assert!(
                Instant::now() < patience,
                "nothing was acknowledged for too long"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets everybody finish what they are at.
    pub(crate) async fn stop(&mut self) {
        for worker in &self.workers {
            worker.stop.store(true, Ordering::Relaxed);
        }
        for worker in &mut self.workers {
            worker.pause().await;
        }
    }

    /// On every replica: everything acknowledged is there exactly once, what was deleted is gone, and nothing is there that
    /// nobody asked for.
    pub(crate) async fn verify_everywhere(&self, world: &World) {
        let all: Vec<u32> = world.cluster.ids().collect();
        self.verify_on(world, &all).await;
    }

    /// The same on some of the replicas, which are all that there are.
    pub(crate) async fn verify_on(&self, world: &World, ids: &[u32]) {
        let (index, hash) = same_state_of(&world.cluster, ids).await.unwrap();
        for id in ids {
            self.verify_at(world, *id).await;
        }
        println!(
            "all replicas have state {hash} at index {index}: {} operations acknowledged",
            self.acknowledged()
        );
    }

    /// The same on one replica, in a pause of the load.
    pub(crate) async fn stop_and_go(&mut self, world: &World, id: u32) {
        self.stop().await;
        self.verify_at(world, id).await;
        self.go();
    }

    /// Goes on after a stop.
    pub(crate) fn go(&mut self) {
        for worker in &mut self.workers {
            worker.go();
        }
    }

    /// The same on one replica.
    pub(crate) async fn verify_at(&self, world: &World, id: u32) {
        for worker in &self.workers {
            let reader = world.at(id, &worker.client).await;
            // What this user was promised must be there, wherever it was promised.
            reader.set_read_token(worker.client.read_token());
            let promised = worker.promised.lock().unwrap().copy();
            let own = format!("{} ", worker.name);
            let conversation = history(&reader, &worker.peer).await.unwrap();
            let bodies: Vec<&String> = conversation
                .iter()
                .filter(|body| body.starts_with(&own))
                .collect();
            let found: BTreeSet<String> = bodies.iter().map(|body| (*body).clone()).collect();
            let who = format!("{} at replica {id}", worker.name);
            assert_eq!(bodies.len(), found.len(), "{who}: a message is there twice");
            let missing: Vec<_> = promised.kept.difference(&found).collect();
            assert!(
                missing.is_empty(),
                "{who}: acknowledged, and missing: {missing:?}"
            );
            let risen: Vec<_> = promised.deleted.intersection(&found).collect();
            assert!(
                risen.is_empty(),
                "{who}: deleted, and there again: {risen:?}"
            );
            let strange: Vec<_> = found
                .iter()
                .filter(|body| !promised.kept.contains(*body) && !promised.unknown.contains(*body))
                .collect();
            assert!(
                strange.is_empty(),
                "{who}: never sent, and there: {strange:?}"
            );

            let listed = names(&reader, &format!("{}-*", worker.name)).await.unwrap();
            let accounts: BTreeSet<String> = listed.iter().cloned().collect();
            assert_eq!(
                listed.len(),
                accounts.len(),
                "{who}: an account is there twice"
            );
            let missing: Vec<_> = promised.registered.difference(&accounts).collect();
            assert!(
                missing.is_empty(),
                "{who}: registered, and missing: {missing:?}"
            );
            let risen: Vec<_> = promised.removed.intersection(&accounts).collect();
            assert!(
                risen.is_empty(),
                "{who}: account deleted, and there again: {risen:?}"
            );
        }
    }
}

impl Worker {
    fn start(name: &str, peer: &str, client: Client) -> Worker {
        let promised = Arc::new(Mutex::new(Promised::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            name: name.to_owned(),
            peer: peer.to_owned(),
            client: client.clone(),
            promised: Arc::clone(&promised),
            mine: Vec::new(),
            round: 0,
        };
        let task = tokio::spawn(work.run(Arc::clone(&stop)));
        Worker {
            name: name.to_owned(),
            peer: peer.to_owned(),
            client,
            promised,
            stop,
            task,
            idle: None,
        }
    }

    async fn pause(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.idle.is_none() {
            self.idle = Some(
                (&mut self.task)
                    .await
                    .expect("the worker met nothing unexpected"),
            );
        }
    }

    fn go(&mut self) {
        if let Some(work) = self.idle.take() {
            self.stop.store(false, Ordering::Relaxed);
            self.task = tokio::spawn(work.run(Arc::clone(&self.stop)));
        }
    }
}

impl Promised {
    fn copy(&self) -> Promised {
        Promised {
            kept: self.kept.clone(),
            deleted: self.deleted.clone(),
            unknown: self.unknown.clone(),
            registered: self.registered.clone(),
            removed: self.removed.clone(),
            acknowledged_at: Vec::new(),
        }
    }
}

struct Work {
    name: String,
    peer: String,
    client: Client,
    promised: Arc<Mutex<Promised>>,
    /// Messages of the user that are not deleted yet.
    mine: Vec<(MessageId, String)>,
    round: u32,
}

impl Work {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Work {
        while !stop.load(Ordering::Relaxed) {
            self.round += 1;
            let round = self.round;
            match round % 25 {
                7 => self.register(round).await,
                12 | 19 => self.delete().await,
                16 => self.read().await,
                _ => self.send(round).await,
            }
        }
        self
    }

    async fn send(&mut self, round: u32) {
        let body = format!("{} says {round}", self.name);
        // Before the answer is there, it may be in the log already.
        self.promised.lock().unwrap().unknown.insert(body.clone());
        if let Ok(sent) = self.client.send_message(&self.peer, &body).await {
            let mut promised = self.promised.lock().unwrap();
            promised.unknown.remove(&body);
            promised.kept.insert(body.clone());
            promised.acknowledged_at.push(Instant::now());
            self.mine.push((sent.message_id, body));
        }
    }

    async fn delete(&mut self) {
        let Some((id, body)) = self.mine.pop() else {
            return;
        };
        {
            // From here on it may be gone or not.
            let mut promised = self.promised.lock().unwrap();
            promised.kept.remove(&body);
            promised.unknown.insert(body.clone());
        }
        if self
            .client
            .delete_messages(&[id], DeleteScope::ForBoth)
            .await
            .is_ok()
        {
            let mut promised = self.promised.lock().unwrap();
            promised.unknown.remove(&body);
            promised.deleted.insert(body);
            promised.acknowledged_at.push(Instant::now());
        }
    }

    async fn register(&mut self, round: u32) {
        let name = format!("{}-{round}", self.name);
        let other = self.client.with_session(None);
        if other.register(&name, PASSWORD).await.is_err() {
            return;
        }
        {
            let mut promised = self.promised.lock().unwrap();
            promised.registered.insert(name.clone());
            promised.acknowledged_at.push(Instant::now());
        }
        // Every other one goes again.
        if round.is_multiple_of(2) || other.login(&name, PASSWORD).await.is_err() {
            return;
        }
        self.promised.lock().unwrap().registered.remove(&name);
        if other.delete_account(PASSWORD).await.is_ok() {
            let mut promised = self.promised.lock().unwrap();
            promised.removed.insert(name);
            promised.acknowledged_at.push(Instant::now());
        }
    }

    /// One reads one's own writes, at whichever replica.
    async fn read(&mut self) {
        let Ok(conversation) = history(&self.client, &self.peer).await else {
            return;
        };
        let found: BTreeSet<String> = conversation.into_iter().collect();
        let promised = self.promised.lock().unwrap();
        let missing: Vec<_> = promised.kept.difference(&found).collect();
        assert!(
            missing.is_empty(),
            "{} does not see what it was promised: {missing:?}",
            self.name
        );
    }
}
