//! What is known of a call besides what it asks for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chat_core::{Session, Timestamp};
use chat_replication::types::Position;
use tokio::time::Instant;

use crate::app::session::SessionToken;
use crate::app::throttle::Peer;
use crate::app::throttle::Whose;

/// Asks a replica not to pass the call on, but to say who leads. Calls that were passed on carry it, so that none is
/// passed on twice.
pub(crate) const NO_PROXY: &str = "x-chat-no-proxy";
/// Asks for a read that shows everything that anybody was told before the call.
pub(crate) const LINEARIZABLE: &str = "x-chat-linearizable";

/// How long a call waits for something that should be there in a moment: a leader, or news from it.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a call of a caller that names no deadline may wait for the replicas to agree.
const LONGEST: Duration = Duration::from_secs(10);
/// Kept back from the caller's deadline, so that the answer arrives before it.
const MARGIN: Duration = Duration::from_millis(20);

/// Who passes a write on to the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proxying {
    /// The replica that is asked.
    Wanted,
    /// Nobody: the caller goes to the leader itself.
    Declined,
}

/// What a read shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    /// What this replica has, but nothing older than what the caller has seen.
    Local,
    /// Everything that anybody was told before the call.
    Linearizable,
}

/// Who asks, how, and until when.
#[derive(Debug)]
pub(crate) struct Context {
    /// Absent where there is none, or one that was never issued.
    pub(crate) session: Option<SessionToken>,
    pub(crate) read_token: Option<Vec<u8>>,
    pub(crate) proxying: Proxying,
    pub(crate) reading: Reading,
    /// When the caller gives up.
    pub(crate) deadline: Option<Instant>,
    /// Who is at the other end of the connection.
    pub(crate) from: Option<Peer>,
    /// What the session's last check has found.
    pub(crate) checked: Checked,
}

/// A session that is good in the state as of a position. In that state it stays so until its time is over, and is not looked
/// up again: each call asks at least twice.
#[derive(Default, Debug)]
pub(crate) struct Checked(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    at: Position,
    session: Session,
    /// Looked up by this very call, a moment ago.
    just_now: bool,
}

impl Checked {
    pub(crate) fn good(&self, at: Position, now: Timestamp) -> Option<Session> {
        let known = self.known();
        let known = known.as_ref().filter(|known| known.at == at)?;
        (now < known.session.expires_at).then(|| known.session.clone())
    }

    pub(crate) fn note(&self, at: Position, session: &Session) {
        *self.known() = Some(Known {
            at,
            session: session.clone(),
            just_now: false,
        });
    }

    /// What was noted before the call is carried out holds for its first attempt, whatever the state's position is by then.
    pub(crate) fn note_just_now(&self) {
        if let Some(known) = &mut *self.known() {
            known.just_now = true;
        }
    }

    /// The session, for that first attempt.
    pub(crate) fn just_now(&self, now: Timestamp) -> Option<Session> {
        let mut known = self.known();
        let known = known.as_mut()?;
        let is_good = std::mem::take(&mut known.just_now) && now < known.session.expires_at;
        is_good.then(|| known.session.clone())
    }

    /// It is looked up again in every case.
    pub(crate) fn was_long_ago(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Context {
    /// For a read of the replica's own operator.
    pub(crate) fn linearizable() -> Context {
        Context {
            session: None,
            read_token: None,
            proxying: Proxying::Wanted,
            reading: Reading::Linearizable,
            deadline: None,
            from: None,
            checked: Checked::default(),
        }
    }

    /// Whose account it is that the call says to be of.
    pub(crate) fn claimed(&self) -> Option<Whose> {
        let session = self.session.as_ref()?;
        Some(Whose::Account(session.account))
    }

    /// When an answer must be on its way, so that it arrives before the caller gives up.
    pub(crate) fn last_moment(&self) -> Instant {
        let longest = Instant::now() + LONGEST;
        match self
            .deadline
            .and_then(|deadline| deadline.checked_sub(MARGIN))
        {
            Some(deadline) => deadline.min(longest),
            None => longest,
        }
    }

    /// When to stop waiting for something that should be there in a moment.
    pub(crate) fn patience(&self) -> Instant {
        let patience = Instant::now() + PATIENCE;
        match self
            .deadline
            .and_then(|deadline| deadline.checked_sub(MARGIN))
        {
            Some(deadline) => deadline.min(patience),
            None => patience,
        }
    }
}
