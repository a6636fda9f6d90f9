//! A simulated machine: a disk, and sometimes a process.

use std::collections::VecDeque;
use std::time::Duration;

use super::client::{Owed, OwedOrder, OwedRead};
use super::disk::Disk;
use super::ledger::{CommandId, Ledger};
use super::process::Process;
use crate::driver::{Clock, Order, OrderAnswer, ReadAnswer};
use crate::message::Message;
use crate::types::{PeerId, ReplicaId};

/// A microsecond of virtual time.
pub(super) type Time = u64;

/// A tick of the replicas, before their clocks' skew.
pub(super) const TICK: Time = 10_000;

pub(super) struct Node {
    pub(super) id: ReplicaId,
    pub(super) disk: Disk,
    /// Which version of the software is installed, from 1 on.
    pub(super) version: u32,
    /// What the state machine keeps while no process runs.
    pub(super) ledger: Ledger,
    pub(super) run: Option<Run>,
    /// How many runs there were.
    pub(super) runs: u32,
    /// When each finished run died.
    pub(super) deaths: Vec<Time>,
    /// An operator has it not started again for now.
    pub(super) held_down: bool,
    /// A copy of its disk and its state that somebody made.
    pub(super) backup: Option<(Disk, Ledger)>,
    /// The machine itself is dead: nobody refuses connections for it.
    pub(super) silent: bool,
    /// How its clock runs, in thousandths of real time.
    pub(super) pace: u64,
    /// How far it was set forward.
    pub(super) ahead: Time,
    /// How much slower its disk is than usual.
    pub(super) slowness: u64,
    /// Its next write takes so much longer.
    pub(super) stall: Time,
}

/// A process and what it has before it.
pub(super) struct Run {
    pub(super) process: Process,
    pub(super) clock: Clock,
    pub(super) inputs: VecDeque<Arrived>,
    /// Until then it is writing.
    pub(super) busy_until: Time,
    /// Time that it wrote for since it last looked at its clock.
    pub(super) wrote_for: Time,
    pub(super) paused: bool,
    /// When it is to be woken next.
    pub(super) wake_at: Option<Time>,
    /// Its state machine is to be given time.
    pub(super) applying: bool,
    pub(super) owed: Vec<Owed>,
    /// Reads that wait for an answer.
    pub(super) reads: Vec<OwedRead>,
    /// What operators wait for.
    pub(super) orders: Vec<OwedOrder>,
    pub(super) ticks: u64,
}

/// What a process finds in its queue.
pub(super) enum Arrived {
    Message(PeerId, Box<Message>),
    Connected(ReplicaId),
    Refused(ReplicaId),
    Proposal {
        command: CommandId,
        bytes: usize,
        owed: Owing,
    },
    Read(ReadAnswer),
    Order(Order, OrderAnswer),
}

/// The far end of an attempt.
pub(super) type Owing = tokio::sync::oneshot::Sender<
    Result<crate::handle::Committed<u64>, crate::handle::ProposeError>,
>;

impl Node {
    pub(super) fn is_up(&self) -> bool {
        self.run.is_some()
    }

    /// The time that this machine's clock shows.
    pub(super) fn local(&self, time: Time) -> Duration {
        Duration::from_micros(time * self.pace / 1000 + self.ahead)
    }

    /// When the machine's clock will show a time; never too early.
    pub(super) fn global(&self, local: Duration) -> Time {
        let micros = u64::try_from(local.as_micros()).unwrap_or(u64::MAX / 1000);
        (micros.saturating_sub(self.ahead) * 1000).div_ceil(self.pace)
    }

    /// Whether a message that was to leave at a time did, given that the run may have died before.
    pub(super) fn lived(&self, run: u32, time: Time) -> bool {
        self.deaths
            .get(run as usize - 1)
            .is_none_or(|death| time <= *death)
    }
}
