//! What is counted while the load runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::Error;

/// Latencies in microseconds, up to an hour, to three digits.
pub(super) type Latencies = Histogram<u64>;

pub(super) struct Stats {
    started: Instant,
    inner: Mutex<Measured>,
}

/// What a run came to.
#[derive(Clone)]
pub(super) struct Measured {
    pub(super) acknowledgement: Latencies,
    pub(super) delivery: Latencies,
    /// The numbers of messages by pair.
    pub(super) acknowledged: Vec<BTreeSet<u64>>,
    /// Sent, with an error for an answer: there or not, but not twice.
    pub(super) unknown: Vec<BTreeSet<u64>>,
    /// Received by recipients that were online, and how many came twice.
    pub(super) delivered: Vec<BTreeSet<u64>>,
    pub(super) repeated: u64,
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// Open loop: messages that could not even begin, because too many were under way.
    pub(super) held_back: u64,
    pub(super) longest_gap: Duration,
    pub(super) took: Duration,
    last_answer: Instant,
}

impl Stats {
    pub(super) fn start(pairs: usize) -> Self {
        let started = Instant::now();
        Self {
            started,
            inner: Mutex::new(Measured {
                acknowledgement: latencies(),
                delivery: latencies(),
                acknowledged: vec![BTreeSet::new(); pairs],
                unknown: vec![BTreeSet::new(); pairs],
                delivered: vec![BTreeSet::new(); pairs],
                repeated: 0,
                failures: BTreeMap::new(),
                held_back: 0,
                longest_gap: Duration::ZERO,
                took: Duration::ZERO,
                last_answer: started,
            }),
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// A message was answered that was to leave at `due`.
    pub(super) fn answered(&self, pair: usize, number: u64, due: Instant, error: Option<&Error>) {
        let now = Instant::now();
        self.with(|measured| match error {
            None => {
                record(&mut measured.acknowledgement, now - due);
                measured.acknowledged[pair].insert(number);
                measured.longest_gap = measured.longest_gap.max(now - measured.last_answer);
                measured.last_answer = now;
            }
            Some(error) => {
                measured.unknown[pair].insert(number);
                *measured.failures.entry(kind(error)).or_default() += 1;
            }
        });
    }

    /// A recipient got a message that was to leave so long after the start.
    pub(super) fn received(&self, pair: usize, number: u64, due: Duration) {
        let latency = self.started.elapsed().saturating_sub(due);
        self.with(|measured| match measured.delivered[pair].insert(number) {
            true => record(&mut measured.delivery, latency),
            false => measured.repeated += 1,
        });
    }

    pub(super) fn held_back(&self) {
        self.with(|measured| measured.held_back += 1);
    }

    /// Nothing more is sent.
    pub(super) fn sent_all(&self) {
        let now = Instant::now();
        self.with(|measured| {
            measured.took = now - self.started;
            measured.longest_gap = measured.longest_gap.max(now - measured.last_answer);
        });
    }

    /// How many messages that were acknowledged have not reached these recipients.
    pub(super) fn missing(&self, online: &[usize]) -> usize {
        self.with(|measured| {
            let missing = |pair: &usize| {
                let sent = &measured.acknowledged[*pair];
                sent.difference(&measured.delivered[*pair]).count()
            };
            online.iter().map(missing).sum()
        })
    }

    pub(super) fn measured(&self) -> Measured {
        self.with(|measured| measured.clone())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Measured) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are in order")
}

fn record(latencies: &mut Latencies, latency: Duration) {
    latencies.saturating_record(
        u64::try_from(latency.as_micros())
            .unwrap_or(u64::MAX)
            .max(1),
    );
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Timeout(_) => "timeout",
        Error::Unavailable(_) | Error::NothingListens(_) => "unavailable",
        _ => "refused",
    }
}
