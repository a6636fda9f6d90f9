//! What the status line tells of the cluster.

use crate::cluster::{ClusterStatus, Leader};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) struct Cluster {
    /// The replica that serves the stream.
    pub(in crate::cli::tui) node: Option<u32>,
    pub(in crate::cli::tui) leader: Option<u32>,
    pub(in crate::cli::tui) epoch: Option<u64>,
    /// How many replicas are in the view, and how many are configured. Unknown while there is no view.
    pub(in crate::cli::tui) live: Option<(usize, usize)>,
    pub(in crate::cli::tui) link: Link,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::tui) enum Link {
    #[default]
    Connecting,
    Connected,
    /// Nobody can serve at the moment.
    Waiting,
}

impl Cluster {
    pub(super) fn learn(&mut self, status: &ClusterStatus) {
        // While nobody leads, nobody is in a view, whoever is alive.
        let live = status.replicas.iter().filter(|r| r.in_view).count();
        self.live = (live > 0).then_some((live, status.replicas.len()));
        match &status.leader {
            Some(leader) => self.led_by(leader),
            None => self.leader = None,
        }
    }

    /// Of two words about the leader, the one of the higher epoch is the later one.
    pub(super) fn led_by(&mut self, leader: &Leader) {
        if self.epoch.is_none_or(|epoch| epoch <= leader.epoch) {
            (self.leader, self.epoch) = (Some(leader.replica_id), Some(leader.epoch));
        }
    }

    /// Whether fewer replicas keep what is sent than should.
    pub(in crate::cli::tui) fn is_degraded(&self) -> bool {
        self.live.is_some_and(|(live, of)| live < of)
    }
}
