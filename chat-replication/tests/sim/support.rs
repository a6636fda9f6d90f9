//! Many seeds at once.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use chat_replication::sim::{Failure, Report, SimOptions, run};

/// The value of an environment variable, if it is set.
pub(crate) fn variable<T: std::str::FromStr<Err: Debug>>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{name}={value}: {error:?}")),
    )
}

/// What seeds came to, added up.
#[derive(Default)]
pub(crate) struct Total {
    pub(crate) seeds: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        for (what, times) in &report.counts {
            *self.counts.entry(what).or_default() += times;
        }
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

/// Runs seeds on all cores until one fails; the failure of the lowest seed that was run, or what all came to.
pub(crate) fn run_all(
    seeds: std::ops::Range<u64>,
    options: &SimOptions,
) -> Result<Total, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    let failure: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match run(seed, options) {
                        Ok(report) => total.lock().unwrap().add(&report),
                        Err(found) => {
                            failed.store(true, Ordering::Relaxed);
                            let mut first = failure.lock().unwrap();
                            if first.as_ref().is_none_or(|first| first.seed > found.seed) {
                                *first = Some(found);
                            }
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap() {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner().unwrap()),
    }
}
