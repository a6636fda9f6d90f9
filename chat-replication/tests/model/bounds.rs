//! How much may happen.

use chat_replication::replica::Mutation;
use chat_replication::types::Mode;

/// Where the exploration begins. What leads there is the one schedule in which nothing goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// Empty disks.
    Empty,
    /// The first view has started with all replicas.
    Bootstrapped,
    /// The first replica died, the others went on, and it has just been started again.
    SecondLeads,
}

/// Everything that is explored.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) replicas: usize,
    pub(crate) mode: Mode,
    pub(crate) begin: Begin,
    pub(crate) crashes: u8,
    pub(crate) restarts: u8,
    /// How often a timer fires, all replicas together; the first of a process is for nothing.
    pub(crate) ticks: u8,
    pub(crate) commands: u8,
    pub(crate) cuts: u8,
    /// Who may be cut off.
    pub(crate) cut_at: &'static [usize],
    /// Timers fire only at replicas with at most so many messages on their way to any other; where there is none, only
    /// when nothing at all is on its way.
    pub(crate) flight: Option<usize>,
    /// The news that a replica is gone may overtake what it had sent.
    pub(crate) late: bool,
    /// The preferred replica is given back its leadership.
    pub(crate) hands_back: bool,
    pub(crate) mutation: Option<Mutation>,
}

impl Bounds {
    /// Nothing goes wrong but what is added.
    pub(crate) const fn new(replicas: usize, mode: Mode) -> Bounds {
        Bounds {
            replicas,
            mode,
            begin: Begin::Bootstrapped,
            crashes: 0,
            restarts: 0,
            ticks: 0,
            commands: 1,
            cuts: 0,
            cut_at: &[0, 1, 2],
            flight: None,
            late: false,
            hands_back: false,
            mutation: None,
        }
    }

    /// Whether histories cannot part.
    pub(crate) fn one_history(&self) -> bool {
        self.mode == Mode::Consistent || self.cuts == 0
    }
}
