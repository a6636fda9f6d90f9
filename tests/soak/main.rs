//! Two users, each with a program over the library and with the terminal interface, write at random while replicas are
//! killed, stopped and started at random. Each message was displayed by each of the four once, in the conversation's order.
//!
//! `CHAT_SOAK_SECONDS` says for how long, 20 unless told; `CHAT_SOAK_SEED` repeats the choices of another run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where something does not hold, and tells what it measured"
)]

mod chaos;
mod display;
mod library;
mod screen;

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::time::Duration;

use chat_client::{Client, PageRequest};
use examples::{LocalCluster, in_view, same_state, until};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use display::{Display, Seat};

const PASSWORD: &str = "correct horse battery staple";

/// How long each pause between two messages is, in milliseconds.
const PAUSE: std::ops::Range<u64> = 20..400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_each_message_is_displayed_once_and_in_order() {
    let seed = from_environment("CHAT_SOAK_SEED").unwrap_or_else(rand::random);
    let length = Duration::from_secs(from_environment("CHAT_SOAK_SECONDS").unwrap_or(20));
    println!("CHAT_SOAK_SEED={seed}, {} s", length.as_secs());

    let dir = TempDir::new().unwrap();
    let program = env!("CARGO_BIN_EXE_test-chat-server");
    let mut cluster = LocalCluster::create(program, &dir.path().join("cluster"), 3).unwrap();
    cluster.start_all().unwrap();
    in_view(&cluster, &[0, 1, 2]).await.unwrap();
    let seats = seats(&cluster, dir.path()).await;

    let end = Instant::now() + length;
    let writers: Vec<Display> = seats.iter().map(|seat| seat.display.clone()).collect();
    let writing = tokio::spawn(write(writers, ChaCha8Rng::seed_from_u64(seed), end));
    let losses = chaos::until(&mut cluster, ChaCha8Rng::seed_from_u64(!seed), end).await;
    let written = writing.await.unwrap();
    println!("{} messages, {losses}", written.len());

    chaos::heal(&mut cluster).unwrap();
    in_view(&cluster, &[0, 1, 2]).await.unwrap();
    let everything = until("everybody displays everything", async || {
        seats.iter().for_each(|seat| seat.display.check());
        let is_complete = |seat: &Seat| seat.display.count() >= written.len();
        Ok(seats.iter().all(is_complete).then_some(()))
    });
    if let Err(problem) = everything.await {
        let history = history(&cluster, "alice", "bob").await;
        println!("{problem}");
        tell("the history", &written, &history);
        for seat in seats {
            let name = seat.display.name.clone();
            println!("{name}, settled: {}", seat.display.is_settled());
            tell(&name, &written, &seat.leave().await);
        }
        panic!("not everything was displayed");
    }
    same_state(&cluster).await.unwrap();

    let history = history(&cluster, "alice", "bob").await;
    assert_eq!(history.len(), written.len(), "each message is there once");
    assert_eq!(history.iter().cloned().collect::<BTreeSet<_>>(), written);
    for seat in seats {
        let name = seat.display.name.clone();
        assert_eq!(seat.leave().await, history, "what {name} displayed");
    }
    for id in cluster.ids() {
        let log = cluster.log(id);
        assert!(!log.contains("panicked"), "replica {id} panicked:\n{log}");
    }
}

/// What somebody lacks.
fn tell(who: &str, written: &BTreeSet<String>, shown: &[String]) {
    let missing: Vec<_> = written
        .iter()
        .filter(|body| !shown.contains(body))
        .collect();
    println!(
        "{who} has {} of {} and lacks {missing:?}",
        shown.len(),
        written.len()
    );
}

/// Alice and Bob, each at two programs.
async fn seats(cluster: &LocalCluster, dir: &Path) -> Vec<Seat> {
    for name in ["alice", "bob"] {
        let client = Client::connect(cluster.endpoints()).await.unwrap();
        client.register(name, PASSWORD).await.unwrap();
    }
    let mut seats = Vec::new();
    for (name, peer) in [("alice", "bob"), ("bob", "alice")] {
        let root = dir.join(format!("{name}-library"));
        let (client, account) = log_in(cluster, name).await;
        seats.push(library::sit_down(client, account, peer, root).await);
        let root = dir.join(format!("{name}-screen"));
        let (client, account) = log_in(cluster, name).await;
        seats.push(screen::sit_down(client, account, peer, root).await);
    }
    seats
}

async fn log_in(cluster: &LocalCluster, name: &str) -> (Client, chat_client::Account) {
    let client = Client::connect(cluster.endpoints()).await.unwrap();
    let logged_in = client.login(name, PASSWORD).await.unwrap();
    (client, logged_in.account)
}

/// Writes at random. Returns what was written.
async fn write(writers: Vec<Display>, mut random: ChaCha8Rng, end: Instant) -> BTreeSet<String> {
    let mut written = BTreeSet::new();
    while Instant::now() < end {
        let writer = &writers[random.random_range(0..writers.len())];
        let body = format!("#{} of {}#", written.len(), writer.name);
        writer.write(&body);
        written.insert(body);
        // Sometimes several at once.
        if random.random_range(0..4) > 0 {
            sleep(Duration::from_millis(random.random_range(PAUSE))).await;
        }
    }
    written
}

/// The bodies of a conversation, oldest first.
async fn history(cluster: &LocalCluster, name: &str, peer: &str) -> Vec<String> {
    let (client, _) = log_in(cluster, name).await;
    let mut bodies = Vec::new();
    let mut request = Some(PageRequest::first(500));
    while let Some(page) = request {
        let page = client.list_history(peer, page).await.unwrap();
        bodies.extend(page.items.iter().map(|message| message.body.clone()));
        request = page.next_request(500);
    }
    bodies.reverse();
    bodies
}

fn from_environment(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| {
        panic!("{name} is `{value}`; it is to be a whole number");
    }))
}
