//! Sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::crowd::{Crowd, Presence};
use super::stats::{Measured, Stats};
use crate::cli::args::BenchArgs;
use crate::cli::progress;
use crate::client::Client;
use crate::error::Error;
use crate::sending::MessageSender;
use crate::subscription::{Event, SubscribeOptions, Subscription};

/// In the open loop, as many messages may be under way. Beyond that the measurement would be of this machine's memory.
const MOST_UNDER_WAY: usize = 20_000;

/// How long the last deliveries are waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// How messages leave.
#[derive(Clone)]
enum Way {
    Call(Client),
    Stream(MessageSender),
}

/// A place to send from and to: a client with a pair's session.
#[derive(Clone)]
struct Line {
    way: Way,
    pair: usize,
    recipient: String,
}

struct Load {
    stats: Arc<Stats>,
    numbers: AtomicU64,
    size: usize,
}

/// Runs the whole load, and waits for its last answers and deliveries.
pub(super) async fn run(crowd: &Crowd, args: &BenchArgs) -> Result<Measured, Error> {
    let subscriptions = subscribe(crowd).await?;
    let online: Vec<usize> = subscriptions.iter().map(|(pair, _)| *pair).collect();
    // Measured from here on, when everybody listens.
    let stats = Arc::new(Stats::start(crowd.pairs.len()));
    let mut listeners = JoinSet::new();
    for (pair, events) in subscriptions {
        listeners.spawn(listen(pair, events, Arc::clone(&stats)));
    }
    let load = Arc::new(Load {
        stats: Arc::clone(&stats),
        numbers: AtomicU64::new(0),
        size: args.size as usize,
    });
    let end = Instant::now() + args.duration;
    let bar = progress::bar(args.duration.as_secs().max(1), "seconds");
    let clock = tokio::spawn(show_time(bar.clone()));
    match args.rate {
        None => closed_loop(crowd, args, &load, end).await,
        Some(rate) => open_loop(crowd, args, &load, rate, end).await,
    }
    stats.sent_all();
    clock.abort();
    bar.finish_and_clear();
    let patience = Instant::now() + PATIENCE;
    while stats.missing(&online) > 0 && Instant::now() < patience {
        sleep(Duration::from_millis(20)).await;
    }
    Ok(stats.measured())
}

/// Subscribes those who are to be online, each told by its pair.
async fn subscribe(crowd: &Crowd) -> Result<Vec<(usize, Subscription)>, Error> {
    let mut subscriptions = Vec::new();
    for (at, pair) in crowd.pairs.iter().enumerate() {
        if pair.presence == Presence::Online {
            let events = pair
                .recipient
                .subscribe(SubscribeOptions::default())
                .await?;
            subscriptions.push((at, events));
        }
    }
    Ok(subscriptions)
}

async fn listen(pair: usize, mut events: Subscription, stats: Arc<Stats>) {
    while let Some(Ok(event)) = events.next().await {
        if let Event::MessageReceived(message) = event
            && let Some((number, due)) = read_body(&message.body)
        {
            stats.received(pair, number, due);
        }
    }
}

async fn closed_loop(crowd: &Crowd, args: &BenchArgs, load: &Arc<Load>, end: Instant) {
    let mut senders = JoinSet::new();
    for (at, client) in crowd.clients.iter().enumerate() {
        let lines = lines(crowd, args, at, client);
        for offset in 0..args.in_flight as usize {
            let (load, lines) = (Arc::clone(load), lines.clone());
            senders.spawn(async move {
                for line in lines.iter().cycle().skip(offset % lines.len()) {
                    if Instant::now() >= end {
                        break;
                    }
                    load.send(line, Instant::now()).await;
                }
            });
        }
    }
    senders.join_all().await;
}

/// Each message has its moment, whether or not those before it were answered: so a stall of the cluster is met by as many
/// messages as its users would have sent.
async fn open_loop(crowd: &Crowd, args: &BenchArgs, load: &Arc<Load>, rate: u32, end: Instant) {
    let lines: Vec<Line> = crowd
        .clients
        .iter()
        .enumerate()
        .flat_map(|(at, client)| lines(crowd, args, at, client))
        .collect();
    let room = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for (n, line) in lines.iter().cycle().enumerate() {
        let due = started + Duration::from_secs_f64(n as f64 / f64::from(rate));
        if due >= end {
            break;
        }
        sleep_until(due.into()).await;
        while senders.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            load.stats.held_back();
            continue;
        };
        let (load, line) = (Arc::clone(load), line.clone());
        senders.spawn(async move {
            load.send(&line, due).await;
            drop(permit);
        });
    }
    senders.join_all().await;
}

/// What one client sends on: each pair in turn, or its share of them where there are more pairs than clients.
fn lines(crowd: &Crowd, args: &BenchArgs, at: usize, client: &Client) -> Vec<Line> {
    let (clients, pairs) = (crowd.clients.len(), crowd.pairs.len());
    let first = at % pairs;
    (first..pairs)
        .step_by(clients.min(pairs))
        .map(|pair| {
            let sender = client.with_session(crowd.pairs[pair].sender.session_token());
            Line {
                way: match args.stream {
                    true => Way::Stream(sender.message_sender()),
                    false => Way::Call(sender),
                },
                pair,
                recipient: crowd.pairs[pair].recipient_name.clone(),
            }
        })
        .collect()
}

impl Load {
    async fn send(&self, line: &Line, due: Instant) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let micros = (due.saturating_duration_since(self.stats.started())).as_micros();
        let head = format!("{number} {micros} ");
        let body = format!("{head}{}", "x".repeat(self.size.saturating_sub(head.len())));
        let result = match &line.way {
            Way::Call(client) => client.send_message(&line.recipient, &body).await,
            Way::Stream(sender) => sender.send(&line.recipient, &body).await.await,
        };
        self.stats
            .answered(line.pair, number, due, result.as_ref().err());
    }
}

/// The number of a message, and how long after the start it was to leave.
pub(super) fn read_body(body: &str) -> Option<(u64, Duration)> {
    let mut words = body.split(' ');
    let number = words.next()?.parse().ok()?;
    let micros = words.next()?.parse().ok()?;
    Some((number, Duration::from_micros(micros)))
}

async fn show_time(bar: ProgressBar) {
    loop {
        sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
}
