//! One call: attempt after attempt until somebody answers or the deadline has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::backoff::Backoff;
use super::pool::{Purpose, ReplicaIndex};
use super::verdict::{self, Setback, SetbackKind, Verdict};
use super::{Channel, Net, State};
use crate::endpoint::Endpoint;
use crate::error::{Error, GaveUp};
use crate::events::{ClientEvent, Resent};
use crate::ids::RequestId;

/// What one attempt works with.
pub(crate) struct Attempt {
    pub(crate) channel: Channel,
    pub(crate) deadline: Duration,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    pub(crate) replica: ReplicaIndex,
}

/// The course of one call.
struct Course {
    purpose: Purpose,
    started: Instant,
    /// Asked in this round.
    tried: BTreeSet<ReplicaIndex>,
    /// Lost in the course of this call, or just before it.
    lost: BTreeSet<ReplicaIndex>,
    /// What became of the last attempt at each.
    outcomes: BTreeMap<ReplicaIndex, (SetbackKind, String)>,
    /// The least patience that anybody asked for in this round.
    retry_after: Option<Duration>,
    backoff: Backoff,
    told_waiting: bool,
}

impl Net {
    /// Tries `attempt` at one replica after the other. Each attempt has its own deadline; who refuses or resets the
    /// connection is left at once. Between full rounds there is a pause. `lost_before` is a replica whose loss is the
    /// cause of this call.
    ///
    /// # Errors
    /// The first final answer, or what was tried when the total deadline passed.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        purpose: Purpose,
        request_id: Option<RequestId>,
        lost_before: Option<ReplicaIndex>,
        attempt: F,
    ) -> Result<Answer<T>, Error>
    where
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let mut course = Course::new(purpose, lost_before);
        loop {
            let Some(replica) = self.state().pool.next(purpose, &course.tried) else {
                self.end_round(&mut course, request_id).await?;
                continue;
            };
            let left = self
                .settings
                .total_deadline
                .saturating_sub(course.started.elapsed());
            if left.is_zero() {
                return Err(self.give_up(&course, request_id));
            }
            let deadline = self.settings.attempt_deadline.min(left);
            let running = attempt(Attempt {
                channel: self.channel(replica),
                deadline,
            });
            let setback = match timeout(deadline, running).await {
                Ok(Ok(value)) => {
                    self.succeed(replica, &course);
                    return Ok(Answer { value, replica });
                }
                Ok(Err(status)) => match verdict::judge(&status) {
                    Verdict::Next(setback) => setback,
                    Verdict::Final(error) => {
                        // A refusal is an answer, too.
                        self.succeed(replica, &course);
                        return Err(error);
                    }
                },
                Err(_) => verdict::silent(deadline),
            };
            self.set_back(&mut course, replica, setback);
        }
    }

    /// One attempt at one replica, for questions about that very replica.
    pub(crate) async fn ask<T, F, Fut>(&self, replica: ReplicaIndex, attempt: F) -> Result<T, Error>
    where
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let mut course = Course::new(Purpose::Read, None);
        let deadline = self.settings.attempt_deadline;
        let running = attempt(Attempt {
            channel: self.channel(replica),
            deadline,
        });
        let setback = match timeout(deadline, running).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(status)) => match verdict::judge(&status) {
                Verdict::Next(setback) => setback,
                Verdict::Final(error) => return Err(error),
            },
            Err(_) => verdict::silent(deadline),
        };
        course
            .outcomes
            .insert(replica, (setback.kind, setback.text));
        Err(self.give_up(&course, None))
    }

    fn succeed(&self, replica: ReplicaIndex, course: &Course) {
        let resent = match course.purpose {
            Purpose::Message => Resent::Message,
            Purpose::Read | Purpose::Write | Purpose::Stream => Resent::Nothing,
        };
        // Told before anybody else can note something, so that observers see one order.
        let mut state = self.state();
        let switches = state
            .pool
            .answered(replica, &course.lost, &course.tried, resent);
        for switch in switches {
            let (from, to, resent) = (switch.from, switch.to, switch.resent);
            self.emit(ClientEvent::ReplicaSwitched { from, to, resent });
        }
    }

    fn set_back(&self, course: &mut Course, replica: ReplicaIndex, setback: Setback) {
        course.tried.insert(replica);
        if setback.kind.is_loss() {
            course.lost.insert(replica);
            self.state().pool.lost(replica);
        }
        if let Some(leader) = &setback.leader {
            self.follow(leader);
        }
        course.retry_after = match (course.retry_after, setback.retry_after) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        course
            .outcomes
            .insert(replica, (setback.kind, setback.text));
    }

    /// Everybody was asked: pause, or give up.
    async fn end_round(
        &self,
        course: &mut Course,
        request_id: Option<RequestId>,
    ) -> Result<(), Error> {
        let elapsed = course.started.elapsed();
        // They will not be others in a moment.
        if course.all(SetbackKind::Untrusted) {
            return Err(self.give_up(course, request_id));
        }
        if course.all(SetbackKind::Refused)
            && self
                .settings
                .refusal_patience
                .is_some_and(|patience| elapsed >= patience)
        {
            return Err(self.give_up(course, request_id));
        }
        let pause = course
            .backoff
            .next(rand::random())
            .max(course.retry_after.unwrap_or_default());
        if elapsed + pause >= self.settings.total_deadline {
            return Err(self.give_up(course, request_id));
        }
        if !course.told_waiting && elapsed >= self.settings.attempt_deadline {
            course.told_waiting = true;
            self.emit(ClientEvent::Waiting {
                attempts: self.outcomes(course),
            });
        }
        sleep(pause).await;
        course.tried.clear();
        course.retry_after = None;
        Ok(())
    }

    fn give_up(&self, course: &Course, request_id: Option<RequestId>) -> Error {
        let gave_up = GaveUp {
            attempts: self.outcomes(course),
            after: course.started.elapsed(),
            request_id,
        };
        let any = |kind| course.outcomes.values().any(|(k, _)| *k == kind);
        if course.all(SetbackKind::Refused) {
            Error::NothingListens(gave_up)
        } else if course.all(SetbackKind::Untrusted) {
            Error::Untrusted(gave_up)
        } else if any(SetbackKind::Silent) && !any(SetbackKind::Busy) {
            Error::Timeout(gave_up)
        } else {
            Error::Unavailable(gave_up)
        }
    }

    fn outcomes(&self, course: &Course) -> Vec<(Endpoint, String)> {
        let State { pool, .. } = &*self.state();
        let outcomes = course.outcomes.iter();
        outcomes
            .map(|(&i, (_, text))| (pool.endpoint(i).clone(), text.clone()))
            .collect()
    }
}

impl Course {
    fn new(purpose: Purpose, lost_before: Option<ReplicaIndex>) -> Self {
        Self {
            purpose,
            started: Instant::now(),
            tried: BTreeSet::new(),
            lost: lost_before.into_iter().collect(),
            outcomes: BTreeMap::new(),
            retry_after: None,
            backoff: Backoff::new(),
            told_waiting: false,
        }
    }

    /// Whether every attempt ended so.
    fn all(&self, end: SetbackKind) -> bool {
        !self.outcomes.is_empty() && self.outcomes.values().all(|(kind, _)| *kind == end)
    }
}
