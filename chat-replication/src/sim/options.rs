//! What a simulated schedule is like.

use std::fmt;

use crate::replica::Mutation;
use crate::types::Mode;

/// Which faults a schedule has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Profile {
    /// None: messages are delayed, reordered and repeated, and leadership is transferred, no more.
    Calm,
    /// Processes die and come back, and the system says so: connections are refused, or the machine is silent. Messages
    /// are lost now and then. Nobody is suspected without cause.
    Crashes,
    /// All replicas die at once, and come back in any order; otherwise as [`Profile::Crashes`].
    Outages,
    /// Replicas are added and removed, leadership is transferred, disks are lost and replaced; otherwise as
    /// [`Profile::Crashes`].
    Members,
    /// Links are cut, in both directions or one, between some or all.
    Partitions,
    /// Somebody says anything to the replicas, in the name of members, of those who were removed and of nobody; and as
    /// [`Profile::Members`], but no disk is lost.
    Hostile,
    /// All of the others, and processes that are paused, disks that stall, and replicas that are suspected falsely.
    Everything,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Profile; 7] = [
        Profile::Calm,
        Profile::Crashes,
        Profile::Outages,
        Profile::Members,
        Profile::Partitions,
        Profile::Hostile,
        Profile::Everything,
    ];

    /// Whether a replica that lives, and is heard, may be taken for dead.
    pub(super) fn suspects_falsely(self) -> bool {
        matches!(
            self,
            Profile::Partitions | Profile::Hostile | Profile::Everything
        )
    }

    /// Whether processes die.
    pub(super) fn crashes(self) -> bool {
        matches!(
            self,
            Profile::Crashes
                | Profile::Outages
                | Profile::Members
                | Profile::Hostile
                | Profile::Everything
        )
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Calm => "calm",
            Profile::Crashes => "crashes",
            Profile::Outages => "outages",
            Profile::Members => "members",
            Profile::Partitions => "partitions",
            Profile::Hostile => "hostile",
            Profile::Everything => "everything",
        })
    }
}

/// What disks are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Disk {
    /// [`MemoryStore`](crate::memory_store::MemoryStore): quick, and a write happens wholly or not at all. One whose process
    /// is killed before the flush can be read all the same, and is gone if the power goes before the next start.
    Memory,
    /// [`DiskStore`](crate::disk_store::DiskStore) on a [`CrashDisk`](crate::disk_store::CrashDisk) and a
    /// [`CrashFolder`](crate::disk_store::CrashFolder), which lose and tear what was not flushed.
    Files,
}

/// A schedule's frame. What is `None` is drawn from the seed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SimOptions {
    /// Which faults there are.
    pub profile: Option<Profile>,
    /// How many replicas there are, at least one.
    pub replicas: Option<u32>,
    /// What their disks are.
    pub disk: Option<Disk>,
    /// What a view needs.
    pub mode: Option<Mode>,
    /// How many faults are injected, 12 by default.
    pub steps: u32,
    /// A rule that all replicas break.
    pub mutation: Option<Mutation>,
    /// How many lines of the trace are kept for a failure, 2,000 by default.
    pub trace_lines: usize,
}

impl SimOptions {
    /// Schedules in which a broken rule matters.
    pub fn against(mutation: Mutation) -> SimOptions {
        use Mutation as M;
        let (mode, profile) = match mutation {
            M::MinorityIsEnough => (Some(Mode::Consistent), Some(Profile::Partitions)),
            M::ForgetsDamaged => (Some(Mode::Consistent), Some(Profile::Crashes)),
            M::ReadsUnconfirmed => (Some(Mode::Consistent), Some(Profile::Everything)),
            M::WipedDiskVotes | M::RemovedLeads => (Some(Mode::Consistent), Some(Profile::Members)),
            M::DropsOrphans
            | M::OrphansByMark
            | M::OrphansOnce
            | M::OrphansTooEarly
            | M::ForgetsLineage
            | M::LineagesStay
            | M::NewerAlwaysStays
            | M::DropsWithoutMajority => (Some(Mode::Available), Some(Profile::Partitions)),
            M::OldVersionJoins | M::CandidateTellsCommit => {
                (Some(Mode::Available), Some(Profile::Everything))
            }
            M::DropsForcedCuts => (Some(Mode::Consistent), Some(Profile::Everything)),
            M::BelievesAnything | M::RemovedSpeaks => (None, Some(Profile::Hostile)),
            M::UnnamedStaysInView | M::TakesOldDisks => {
                (Some(Mode::Available), Some(Profile::Members))
            }
            M::RestartStaysInView | M::AdoptsReplayedView | M::NeverWaits | M::StartBeforeSync => {
                (Some(Mode::Available), Some(Profile::Crashes))
            }
            _ => (None, Some(Profile::Crashes)),
        };
        let disk = match mutation {
            // What it breaks is how the files are opened.
            M::StartDoesNotFlush => Some(Disk::Files),
            _ => None,
        };
        SimOptions {
            profile,
            disk,
            mode,
            mutation: Some(mutation),
            ..SimOptions::default()
        }
    }
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            profile: None,
            replicas: None,
            disk: None,
            mode: None,
            steps: 12,
            mutation: None,
            trace_lines: 2000,
        }
    }
}
