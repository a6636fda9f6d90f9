//! What a replica wants done.

use std::fmt;

use super::absence::AwayFor;
use super::force::ForceRefusal;
use super::membership::{ChangeId, ChangeRefusal};
use crate::message::Message;
use crate::store::Persist;
use crate::types::{Epoch, Index, Position, ReplicaId};

/// Names a proposal between its `propose` and its fate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProposalId(pub u64);

/// Names a read that must be linearizable between its `read` and its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);

/// Everything that a replica wants done since the last time, to be done in the order of the fields.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ready {
    /// Messages that may leave before anything is durable.
    pub messages: Vec<(ReplicaId, Outgoing)>,
    /// What to write, in one durable transaction.
    pub persist: Persist,
    /// Messages that must not leave before that is durable.
    pub after: Vec<(ReplicaId, Outgoing)>,
    /// Where proposals were appended.
    pub appended: Vec<(ProposalId, Position)>,
    /// Proposals that were not, and never will be, appended here.
    pub refused: Vec<(ProposalId, Refusal)>,
    /// Reads that were confirmed: whoever has applied up to the index may answer them.
    pub reads: Vec<(ReadId, Index)>,
    /// Reads that this replica cannot confirm, since it does not lead.
    pub reads_refused: Vec<ReadId>,
    /// Changes of membership that were made, or not.
    pub changes: Vec<(ChangeId, Result<(), ChangeRefusal>)>,
    /// What became of an operator's order to force a view, once that is known.
    pub forced: Option<Result<(), ForceRefusal>>,
    /// What happened, for logs and traces.
    pub notes: Vec<Note>,
}

impl Ready {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.persist.is_empty()
            && self.after.is_empty()
            && self.appended.is_empty()
            && self.refused.is_empty()
            && self.reads.is_empty()
            && self.reads_refused.is_empty()
            && self.changes.is_empty()
            && self.forced.is_none()
            && self.notes.is_empty()
    }
}

/// Why a proposal was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// This replica does not lead.
    NotLeader,
    /// Too much is waiting.
    Overloaded,
}

/// A message, or one that the driver completes with entries from the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Outgoing {
    /// Goes as it is.
    Message(Message),
    /// [`Message::Append`]s with the entries behind `previous` up to `through`; one without entries where there are none.
    /// [`Replica::sent`](super::Replica::sent) takes how far that came.
    Append {
        /// The leader's epoch.
        epoch: Epoch,
        /// Stands before the first entry.
        previous: Position,
        /// The last entry to send.
        through: Index,
        /// Once so many bytes of entries are sent, the rest waits.
        room: usize,
        /// The leader's commit index.
        commit: Index,
        /// The newest forced view start of the log.
        forced: Index,
    },
    /// A [`Message::Fetched`] with entries behind `previous`, as many as fit into one, and none behind `through`: the
    /// candidate asks for the next.
    Fetched {
        /// The candidate's epoch.
        epoch: Epoch,
        /// Stands before the first entry.
        previous: Position,
        /// The last entry to send.
        through: Index,
        /// The newest forced view start of the log.
        forced: Index,
    },
    /// A [`Message::Mended`] with as many entries from `from` up to `through` as it has room for.
    Mended {
        /// The first one.
        from: Position,
        /// The last one.
        through: Index,
        /// The last position whose entry is gone.
        compacted: Position,
    },
    /// A snapshot of the state, unless one is on its way already.
    Snapshot {
        /// The leader's epoch.
        epoch: Epoch,
        /// An older one than of this index is of no use.
        at_least: Index,
    },
    /// [`Message::Orphans`] with the first orphans of the store. To oneself: as if they had arrived.
    Orphans {
        /// The leader's epoch.
        epoch: Epoch,
    },
}

/// Something worth a line in a log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Note {
    /// A peer is suspected to be dead.
    Suspected {
        /// The peer.
        peer: ReplicaId,
        /// Whether its machine answered that nothing listens there.
        refused: bool,
    },
    /// A view is being started.
    Preparing {
        /// Its epoch.
        epoch: Epoch,
        /// Its members to be.
        members: Vec<ReplicaId>,
    },
    /// The view was given up.
    Abandoned {
        /// Its epoch.
        epoch: Epoch,
        /// Why.
        why: &'static str,
    },
    /// A view has started and this replica leads it.
    Leading {
        /// Its epoch.
        epoch: Epoch,
        /// Its members.
        members: Vec<ReplicaId>,
        /// Started without replicas that the rules wait for.
        forced: bool,
    },
    /// This replica follows a leader or candidate.
    Following {
        /// Its epoch.
        epoch: Epoch,
    },
    /// The leader is gone.
    LeaderLost {
        /// Its epoch.
        epoch: Epoch,
    },
    /// This replica no longer leads.
    SteppedDown {
        /// The epoch it led.
        epoch: Epoch,
        /// Why.
        why: &'static str,
    },
    /// The log held entries of a losing branch; they were cut, and commands among them kept as orphans.
    Reconciled {
        /// The last position that the branches have in common.
        ancestor: Position,
        /// How many entries were cut.
        cut: u64,
    },
    /// The losing branch knew other replicas: changes of membership are lost with it, or are to come again.
    ChangesLost {
        /// Which replicas it knew otherwise.
        replicas: Vec<ReplicaId>,
    },
    /// The state is lost, and the log does not go back to the beginning: it takes a snapshot.
    StateLost,
    /// The state was found to be damaged: it begins anew, from a snapshot or from the log.
    StateDamaged {
        /// What of it.
        damage: String,
    },
    /// A damaged state is whole again, from the log.
    Rebuilt {
        /// What it shows.
        index: Index,
    },
    /// Entries of the log are damaged: others are asked for them.
    EntriesDamaged {
        /// The first of them.
        first: Index,
        /// The last of them.
        last: Index,
    },
    /// All damaged entries are whole again.
    EntriesMended,
    /// An operator has given damaged entries up.
    EntriesGivenUp {
        /// The first of them.
        first: Index,
        /// The last of them.
        last: Index,
    },
    /// A snapshot of the leader's state has taken the place of this replica's.
    Installed {
        /// What it shows.
        position: Position,
        /// How many entries of a losing branch were cut.
        cut: u64,
    },
    /// A configured replica came back with another disk.
    NewDisk {
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica is removed because it was away past a limit.
    AwayTooLong {
        /// The replica.
        replica: ReplicaId,
        /// Which limit it was.
        why: AwayFor,
    },
    /// This replica was removed because it was away for too long. It has handed over what it held, and comes back as a
    /// new one.
    Renewed,
    /// A peer says what makes no sense, and it is ignored.
    Ignored {
        /// The peer.
        peer: ReplicaId,
        /// What is wrong with it.
        why: &'static str,
        /// How often it did since this was noted last.
        times: u64,
    },
    /// The leader drains, to hand over.
    HandingOver {
        /// To whom.
        to: ReplicaId,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Suspected {
                peer,
                refused: true,
            } => write!(f, "replica {peer} is gone: its connection was refused"),
            Note::Suspected {
                peer,
                refused: false,
            } => write!(f, "replica {peer} is silent"),
            Note::Preparing { epoch, members } => {
                write!(f, "starting view {epoch} of {}", List(members))
            }
            Note::Abandoned { epoch, why } => write!(f, "gave up view {epoch}: {why}"),
            Note::Leading {
                epoch,
                members,
                forced: false,
            } => write!(f, "leading view {epoch} of {}", List(members)),
            Note::Leading {
                epoch,
                members,
                forced: true,
            } => {
                write!(
                    f,
                    "leading view {epoch} of {}, without replicas that may hold newer commands",
                    List(members)
                )
            }
            Note::Following { epoch } => write!(f, "following {epoch}"),
            Note::LeaderLost { epoch } => write!(f, "lost the leader of {epoch}"),
            Note::SteppedDown { epoch, why } => write!(f, "no longer leading {epoch}: {why}"),
            Note::Reconciled { ancestor, cut } => {
                write!(f, "cut {cut} entries of a losing branch behind {ancestor}")
            }
            Note::ChangesLost { replicas } => write!(
                f,
                "the losing branch knew replicas {} otherwise; look at the list of replicas, and add or remove again \
                 what is missing",
                List(replicas)
            ),
            Note::StateLost => write!(
                f,
                "the state is lost and the log does not hold all of it; waiting for a snapshot from another replica"
            ),
            Note::StateDamaged { damage } => write!(
                f,
                "the state is damaged ({damage}); this replica answers nothing until it has another one, from a replica \
                 that leads or from its own log"
            ),
            Note::Rebuilt { index } => {
                write!(f, "the state is whole again, from the log up to {index}")
            }
            Note::EntriesDamaged { first, last } => write!(
                f,
                "entries {first} to {last} of the log are damaged; the other replicas are asked for them"
            ),
            Note::EntriesMended => write!(f, "all damaged entries of the log are whole again"),
            Note::EntriesGivenUp { first, last } => write!(
                f,
                "damaged entries among {first} to {last} of the log are given up; what else stands there is committed again"
            ),
            Note::Installed { position, cut: 0 } => {
                write!(f, "took a snapshot of the leader's state at {position}")
            }
            Note::Installed { position, cut } => write!(
                f,
                "took a snapshot of the leader's state at {position}, and cut {cut} entries of a losing branch"
            ),
            Note::NewDisk { replica } => {
                write!(
                    f,
                    "replica {replica} has another disk; it is taken in once it has caught up"
                )
            }
            Note::AwayTooLong { replica, why } => write!(
                f,
                "removing replica {replica}: {why}; it is added again by itself when it is back"
            ),
            Note::Renewed => write!(
                f,
                "this replica was removed while it was away; it has handed over what it held, and comes back as a new one"
            ),
            Note::Ignored { peer, why, times } => write!(
                f,
                "ignored {times} messages of replica {peer}, the last since {why}; see that it runs the same program as the \
                 others, and who else can reach the peers' port"
            ),
            Note::HandingOver { to } => write!(f, "handing leadership over to replica {to}"),
        }
    }
}

struct List<'a>(&'a [ReplicaId]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}
