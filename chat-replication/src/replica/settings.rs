//! The protocol's times and limits.

use crate::types::Mode;

/// Times, in ticks, and limits of a [`Replica`](super::Replica). All replicas of a cluster should have the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// Between two heartbeats of a leader.
    pub heartbeat: u64,
    /// Silence after which a peer is suspected to be dead. A refused connection is evidence at once.
    pub suspect: u64,
    /// A candidate that has not started its view by then is taken for dead.
    pub view_timeout: u64,
    /// How much later each next-preferred replica begins to look for a leader itself.
    pub stagger: u64,
    /// Between two rounds of a pre-ballot that has to wait.
    pub ballot: u64,
    /// How long a replica without a leader waits for members of the last view, before it goes on without them.
    pub recovery_grace: u64,
    /// How long a member that lagged must have kept up before it is taken back.
    pub rejoin: u64,
    /// How long the preferred replica must have been in the view before leadership is handed to it.
    pub hand_back: u64,
    /// How long leadership that an operator transferred stays there, whoever is preferred.
    pub hold: u64,
    /// How long a replica that is to be added may be unreachable, and one that is to be removed indispensable.
    pub change: u64,
    /// How long a leader that handed over waits for the successor to begin.
    pub hand_over: u64,
    /// Entries that a replica may miss and still be a member of a new view. One that misses more catches up first.
    pub catch_up_limit: u64,
    /// Entries sent to one peer and not confirmed yet.
    pub window: u64,
    /// Bytes of entries sent to one peer and not confirmed yet; an entry that is larger goes alone. Less than what the
    /// transport keeps for one peer, or what was read from the disk is dropped there and read again: the bandwidth times
    /// the round trip, 1 Gbit/s × 60 ms being 8 MiB.
    pub window_bytes: usize,
    /// Entries appended by a leader and not committed yet; beyond it proposals are refused.
    pub max_uncommitted: u64,
    /// Entries at the end of the log that are kept although every other has them, for those who are away for a moment.
    pub log_keep: u64,
    /// Entries beyond which a replica that is away is not waited for, where a view needs a majority: they are dropped, and
    /// that replica takes a snapshot.
    pub log_cap: u64,
    /// Bytes of the log that are kept for a replica that is away. Past that it is removed by itself, and added again when
    /// it is back; so for it as for the next two limits.
    pub absent_bytes: u64,
    /// Ticks for which a replica may be away, counted while others serve.
    pub absent_ticks: u64,
    /// Views that may start without a replica that is away.
    pub absent_views: u64,
    /// Epochs that a branch table has once entries were dropped: more are kept only for a replica that is away.
    pub max_epochs: usize,
    /// What views of a new cluster need. A cluster that has begun keeps its own.
    pub mode: Mode,
}

impl Default for Settings {
    /// For ticks of 10 ms: heartbeats every 50 ms, suspicion after 1 s, a grace of 10 s; a replica may be away for 7 days,
    /// or 4 GiB.
    fn default() -> Self {
        Settings {
            heartbeat: 5,
            suspect: 100,
            view_timeout: 200,
            stagger: 3,
            ballot: 10,
            recovery_grace: 1000,
            rejoin: 200,
            hand_back: 200,
            hold: 6000,
            change: 3000,
            hand_over: 50,
            catch_up_limit: 4096,
            window: 1024,
            window_bytes: 8 << 20,
            max_uncommitted: 65_536,
            log_keep: 10_000,
            log_cap: 200_000,
            absent_bytes: 4 << 30,
            absent_ticks: 7 * 24 * 3600 * 100,
            absent_views: 4096,
            max_epochs: 1024,
            mode: Mode::Available,
        }
    }
}
