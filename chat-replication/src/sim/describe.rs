//! Messages in few words.

use std::fmt;

use crate::message::{Message, Standing};
use crate::types::{Entry, Payload, ReplicaId};

/// Kinds of messages after which trouble is worth making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    PreBallotAnswer,
    Prepare,
    Promise,
    /// An append that brings a view start.
    Start,
    Append,
    AppendAck,
    Fetch,
    Fetched,
    HandOver,
    Orphans,
    Heartbeat,
    Mismatch,
    Snapshot,
    Other,
}

pub(super) fn kind(message: &Message) -> Kind {
    match message {
        Message::PreBallotAnswer { .. } => Kind::PreBallotAnswer,
        Message::Prepare { .. } => Kind::Prepare,
        Message::Promise { .. } => Kind::Promise,
        Message::Append { entries, .. } => match entries.last().map(|entry| &entry.payload) {
            Some(Payload::ViewStart(_)) => Kind::Start,
            Some(_) => Kind::Append,
            None => Kind::Other,
        },
        Message::AppendAck { .. } => Kind::AppendAck,
        Message::Fetch { .. } => Kind::Fetch,
        Message::Fetched { .. } => Kind::Fetched,
        Message::HandOver { .. } => Kind::HandOver,
        Message::Orphans { .. } => Kind::Orphans,
        Message::Heartbeat { .. } => Kind::Heartbeat,
        Message::Mismatch { .. } => Kind::Mismatch,
        Message::SnapshotChunk(_) => Kind::Snapshot,
        _ => Kind::Other,
    }
}

/// A message as a trace shows it.
pub(super) struct Brief<'a>(pub(super) &'a Message);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Message::PreBallot { round } => write!(f, "PreBallot #{round}"),
            Message::PreBallotAnswer { round, standing } => {
                write!(f, "PreBallotAnswer #{round} {}", Stands(standing))
            }
            Message::Prepare {
                epoch,
                members,
                ticket,
                ..
            } => {
                write!(f, "Prepare {epoch} of {}", Ids(members))?;
                match ticket {
                    Some(ticket) => write!(f, " by ticket {ticket}"),
                    None => Ok(()),
                }
            }
            Message::Promise { epoch, standing } => {
                write!(f, "Promise {epoch} {}", Stands(standing))
            }
            Message::Refuse {
                epoch,
                promised,
                leader,
                leader_started,
            } => {
                write!(f, "Refuse {epoch}, promised {promised}")?;
                match leader {
                    Some(leader) if *leader_started => write!(f, ", leader {leader}"),
                    Some(leader) => write!(f, ", candidate {leader}"),
                    None => Ok(()),
                }
            }
            Message::Fetch { epoch, after } => write!(f, "Fetch {epoch} after {after}"),
            Message::Fetched {
                epoch,
                previous,
                entries,
                ..
            } => write!(f, "Fetched {epoch} after {previous} {}", Entries(entries)),
            Message::Append {
                epoch,
                previous,
                entries,
                commit,
                ..
            } => {
                write!(
                    f,
                    "Append {epoch} after {previous} {} commit {commit}",
                    Entries(entries)
                )
            }
            Message::AppendAck {
                epoch, verified, ..
            } => write!(f, "AppendAck {epoch} {verified}"),
            Message::Mismatch {
                epoch, branches, ..
            } => {
                write!(f, "Mismatch {epoch}, last {}", branches.last())
            }
            Message::Heartbeat {
                epoch,
                started,
                members,
                commit,
                last,
                echo,
                stalled,
                round: _,
                compact_to: _,
            } => {
                let started = if *started { "" } else { " not started" };
                write!(
                    f,
                    "Heartbeat {epoch}{started} of {} commit {commit} last {last} echo {echo} stalled {stalled}",
                    Ids(members)
                )
            }
            Message::HeartbeatAck {
                epoch,
                sent,
                verified,
                progress,
                ..
            } => write!(
                f,
                "HeartbeatAck {epoch} sent {sent} verified {verified:?} applied {} orphans {}",
                progress.applied, progress.orphans
            ),
            Message::HandOver { epoch, .. } => write!(f, "HandOver {epoch}"),
            Message::Orphans { epoch, orphans } => write!(f, "Orphans {epoch} ({})", orphans.len()),
            Message::Mend { from, through } => write!(f, "Mend {from} to {through}"),
            Message::Mended {
                from,
                entries,
                compacted,
            } => write!(
                f,
                "Mended {from} {} compacted {compacted}",
                Entries(entries)
            ),
            Message::Cast(bytes) => write!(f, "Cast ({} bytes)", bytes.len()),
            Message::SnapshotChunk(chunk) => {
                write!(f, "SnapshotChunk {} from {}", chunk.epoch, chunk.offset)?;
                match &chunk.reset {
                    Some(reset) => write!(f, " at {}", reset.branches.last()),
                    None => Ok(()),
                }
            }
            Message::SnapshotAck {
                epoch, received, ..
            } => {
                write!(f, "SnapshotAck {epoch} {received}")
            }
        }
    }
}

struct Stands<'a>(&'a Standing);

impl fmt::Display for Stands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = self.0;
        write!(f, "at {}", standing.branches.last())?;
        if let Some(epoch) = standing.in_view {
            write!(f, " in {epoch}")?;
        }
        if let Some(epoch) = standing.leader {
            write!(f, " leader {epoch}")?;
        }
        write!(f, " promised {}", standing.promised)
    }
}

struct Entries<'a>(&'a [Entry]);

impl fmt::Display for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => write!(f, "nothing"),
            [only] => write!(f, "[{}]", only.position),
            [first, .., last] => write!(f, "[{}..{}]", first.position, last.position),
        }
    }
}

/// Replicas as a trace shows them.
pub(super) struct Ids<'a>(pub(super) &'a [ReplicaId]);

impl fmt::Display for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}
