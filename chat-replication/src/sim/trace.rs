//! The story of a schedule, line by line.

use std::collections::VecDeque;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keeps the last lines, and a hash of all.
#[derive(Debug)]
pub(super) struct Trace {
    lines: VecDeque<String>,
    /// None are kept, nor made, where this is 0.
    keep: usize,
    hash: u64,
}

impl Trace {
    pub(super) fn new(keep: usize) -> Trace {
        Trace {
            lines: VecDeque::new(),
            keep,
            hash: 0,
        }
    }

    pub(super) fn line(&mut self, time: u64, what: fmt::Arguments<'_>) {
        if self.keep == 0 {
            return;
        }
        let line = format!("{:>5}.{:03} ms  {what}", time / 1000, time % 1000);
        self.hash = xxh3_64_with_seed(line.as_bytes(), self.hash);
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
