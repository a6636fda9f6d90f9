//! What a schedule came to.

use std::collections::BTreeMap;
use std::fmt;

use super::options::{Disk, Profile, SimOptions};
use crate::types::Mode;

/// What happened in a schedule that went well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Which faults it had.
    pub profile: Profile,
    /// What a view needed.
    pub mode: Mode,
    /// How many replicas.
    pub replicas: u32,
    /// Their disks.
    pub disk: Disk,
    /// How often each kind of fault was injected, and each other thing worth counting happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Virtual time, in microseconds.
    pub time: u64,
    /// A hash of the whole trace: equal for the same seed.
    pub trace: u64,
}

/// A rule that was broken in a schedule. Its text tells the seed, how to repeat it, and what happened until then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The schedule's seed.
    pub seed: u64,
    /// Its frame.
    pub options: SimOptions,
    /// Which faults it had.
    pub profile: Profile,
    /// What a view needed.
    pub mode: Mode,
    /// What was broken.
    pub violation: String,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "seed {} ({}, {:?}): {}",
            self.seed, self.profile, self.mode, self.violation
        )?;
        writeln!(f, "to repeat it:")?;
        write!(
            f,
            "  cargo run --release --example simulate -- --seed {}",
            self.seed
        )?;
        if let Some(profile) = self.options.profile {
            write!(f, " --profile {profile}")?;
        }
        if let Some(mode) = self.options.mode {
            write!(f, " --mode {}", format!("{mode:?}").to_lowercase())?;
        }
        if let Some(mutation) = self.options.mutation {
            write!(f, " --mutation {mutation:?}")?;
        }
        if self.options.steps != SimOptions::default().steps {
            write!(f, " --steps {}", self.options.steps)?;
        }
        writeln!(f)
    }
}

impl std::error::Error for Failure {}
