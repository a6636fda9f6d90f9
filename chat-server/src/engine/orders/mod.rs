//! Operators' orders, carried out by the leader, whichever replica is asked.

pub(crate) mod word;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chat_core::{Applied, Rejection};
use chat_replication::handle::{Handle, OrderError, ProposeError};
use chat_replication::replica::{MembershipChange, Seed};
use chat_replication::status::Status;
use chat_replication::types::ReplicaId;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::info;

use self::word::{Fate, Order, Refusal, Sealed, Word};
use crate::clock;
use crate::engine::words::Told;
use crate::store::state::Response;

/// How long an order waits for a leader, or for leadership to change hands.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two attempts while nothing is heard of a change.
const PAUSE: Duration = Duration::from_millis(100);
/// After this long without an answer a peer is asked again: the question or the answer may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// An order that was not answered for so long is given up. A leader takes less, also where it waits for a replica to join.
const UNANSWERED: Duration = Duration::from_secs(120);
/// How long an answer is kept for those who ask again.
const KEPT: Duration = Duration::from_secs(60);

/// Carries orders out, here or at the leader.
pub(crate) struct Orders {
    handle: Handle<Response>,
    /// Orders of this replica's operator that another one was asked to carry out.
    asked: Mutex<BTreeMap<u64, oneshot::Sender<Fate>>>,
    /// Orders of other replicas' operators, by who asked.
    given: Mutex<BTreeMap<(ReplicaId, u64), Given>>,
}

enum Given {
    UnderWay,
    Settled(Fate, Instant),
}

impl Orders {
    pub(crate) fn new(handle: Handle<Response>) -> Arc<Orders> {
        Arc::new(Orders {
            handle,
            asked: Mutex::default(),
            given: Mutex::default(),
        })
    }

    /// Has an order carried out, and returns once it is.
    pub(crate) async fn carry_out(&self, order: &Order) -> Result<(), Refusal> {
        let mut changes = self.handle.status_changes();
        let mut give_up = None;
        loop {
            let status = Arc::clone(&changes.borrow_and_update());
            check_may_ask(&status, order)?;
            let fate = match status.leader {
                Some(leader) if leader == status.identity.replica => self.lead(order).await,
                Some(leader) => self.ask(leader, order).await,
                None => Fate::NotLeader,
            };
            match fate {
                Fate::Done => return Ok(()),
                Fate::Refused(refusal) => return Err(refusal),
                Fate::NotLeader => {}
            }
            if Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + PATIENCE) {
                return Err(Refusal::Later(format!(
                    "no replica leads ({}); see that enough of the others run and can be reached, then try again",
                    self.handle.status().waiting_for
                )));
            }
            let _ = timeout(PAUSE, changes.changed()).await;
        }
    }

    /// Answers what peers ask, and hears their answers, until the replica ends.
    pub(crate) async fn run(self: Arc<Self>, mut told: mpsc::Receiver<Told>) {
        while let Some((from, bytes)) = told.recv().await {
            // An operator has power over the members only, by any of which his orders come.
            let status = self.handle.status();
            if !status.configuration.votes(from.replica, from.store) {
                continue;
            }
            let from = from.replica;
            match Word::decode(&bytes) {
                Some(Word::Ask { id, order }) => self.take(from, id, order),
                Some(Word::Answer { id, fate }) => {
                    if let Some(waiting) = lock(&self.asked).remove(&id) {
                        // The operator may have gone away.
                        let _ = waiting.send(fate);
                    }
                }
                None => {}
            }
        }
    }

    /// Carries out what a peer asks for, once however often it asks.
    fn take(self: &Arc<Self>, from: ReplicaId, id: u64, order: Order) {
        let mut given = lock(&self.given);
        given.retain(|_, given| match given {
            Given::UnderWay => true,
            Given::Settled(_, at) => at.elapsed() < KEPT,
        });
        match given.get(&(from, id)) {
            Some(Given::UnderWay) => {}
            Some(Given::Settled(fate, _)) => {
                let fate = fate.clone();
                self.handle.cast(from, Word::Answer { id, fate }.seal());
            }
            None => {
                given.insert((from, id), Given::UnderWay);
                let orders = Arc::clone(self);
                tokio::spawn(async move {
                    let fate = orders.lead(&order).await;
                    let settled = Given::Settled(fate.clone(), Instant::now());
                    lock(&orders.given).insert((from, id), settled);
                    orders.handle.cast(from, Word::Answer { id, fate }.seal());
                });
            }
        }
    }

    /// Asks the leader to carry an order out.
    async fn ask(&self, leader: ReplicaId, order: &Order) -> Fate {
        let id = u64::from_be_bytes(clock::random());
        let (waiting, mut answered) = oneshot::channel();
        lock(&self.asked).insert(id, waiting);
        let _forget = Forget { orders: self, id };
        let me = self.handle.status().identity.replica;
        let give_up = Instant::now() + UNANSWERED;
        let mut changes = self.handle.status_changes();
        loop {
            let order = order.clone();
            self.handle.cast(leader, Word::Ask { id, order }.seal());
            tokio::select! {
                fate = &mut answered => return fate.unwrap_or(Fate::NotLeader),
                _ = changes.wait_for(|status| status.leader != Some(leader)) => return Fate::NotLeader,
                () = sleep_until(give_up) => return Fate::Refused(Refusal::Later(format!(
                    "replica {leader} leads, and has not answered; see that replica {me} is still part of the cluster, and \
                     give the order to another one if not"
                ))),
                () = sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Carries an order out, as the leader.
    async fn lead(&self, order: &Order) -> Fate {
        info!(?order, "an operator's order");
        match order {
            Order::Add {
                replica,
                peer_address,
                client_address,
            } => {
                let seed = Seed {
                    id: *replica,
                    peer_address: peer_address.clone(),
                    client_address: client_address.clone(),
                };
                self.change(MembershipChange::Add(seed), *replica).await
            }
            Order::Remove { replica, destroyed } => {
                if self.handle.status().leader == Some(*replica) {
                    return self.give_up_leadership(*replica).await;
                }
                let change = match destroyed {
                    true => MembershipChange::RemoveDestroyed(*replica),
                    false => MembershipChange::Remove(*replica),
                };
                self.change(change, *replica).await
            }
            Order::Transfer(to) => self.transfer(*to).await,
            Order::Propose(command) => self.propose(command).await,
        }
    }

    async fn propose(&self, command: &Sealed) -> Fate {
        let committed = match self
            .handle
            .propose(Bytes::copy_from_slice(&command.0))
            .await
        {
            Ok(committed) => committed,
            // Whoever leads is asked again, which has no second effect.
            Err(ProposeError::NotLeader { .. } | ProposeError::Unknown) => return Fate::NotLeader,
            Err(error) => return Fate::Refused(Refusal::Later(error.to_string())),
        };
        Fate::Refused(match committed.response {
            Response::Applied(Applied { result: Ok(_), .. }) => return Fate::Done,
            Response::Applied(Applied {
                result: Err(rejection),
                ..
            }) => match &rejection {
                Rejection::NameTaken { .. } | Rejection::NameConfusable { .. } => {
                    Refusal::Taken(rejection.to_string())
                }
                Rejection::StaleCredential => Refusal::Later(
                    "the account's owner has changed the password at this moment; try again"
                        .to_owned(),
                ),
                _ => Refusal::Impossible(rejection.to_string()),
            },
            Response::Undecodable { .. } | Response::Quarantined => Refusal::Impossible(
                "the command had no effect; see that all replicas have the same version".to_owned(),
            ),
        })
    }

    async fn change(&self, change: MembershipChange, replica: ReplicaId) -> Fate {
        match self.handle.change_members(change).await {
            Ok(()) => Fate::Done,
            Err(error) => refused(error, replica),
        }
    }

    async fn transfer(&self, to: ReplicaId) -> Fate {
        let status = self.handle.status();
        if status.leader == Some(to) {
            return Fate::Done;
        }
        if status.configuration.member(to).is_none() {
            return refused(OrderError::Unknown, to);
        }
        if let Err(error) = self.handle.transfer_leadership(to).await {
            return refused(error, to);
        }
        match self.until(|status| status.leader == Some(to)).await {
            true => Fate::Done,
            false => Fate::Refused(Refusal::Later(format!(
                "replica {to} has not taken over within {} s; `chat-server replica list` shows who leads",
                PATIENCE.as_secs()
            ))),
        }
    }

    /// The leader is to be removed, which another one has to do.
    async fn give_up_leadership(&self, me: ReplicaId) -> Fate {
        let status = self.handle.status();
        if status.configuration.members.len() == 1 {
            return refused(OrderError::Last, me);
        }
        let Some(next) = status.view.iter().copied().find(|id| *id != me) else {
            return Fate::Refused(Refusal::Later(format!(
                "replica {me} leads, and no other replica is in its view and could take over; start the others first"
            )));
        };
        match self.transfer(next).await {
            // Whoever leads now is asked next.
            Fate::Done => Fate::NotLeader,
            other => other,
        }
    }

    /// Waits for what the status should show in a moment. Says whether it does.
    async fn until(&self, shown: impl Fn(&Status) -> bool) -> bool {
        let mut changes: watch::Receiver<Arc<Status>> = self.handle.status_changes();
        let until = Instant::now() + PATIENCE;
        let shown = timeout_at(until, changes.wait_for(|status| shown(status))).await;
        matches!(shown, Ok(Ok(_)))
    }
}

/// Whoever is no member does not know the others' leader yet, or is not listened to by it any more.
fn check_may_ask(status: &Status, order: &Order) -> Result<(), Refusal> {
    let (me, store) = (status.identity.replica, status.identity.store);
    let known = &status.configuration;
    let elsewhere = "give the order to a replica that is part of the cluster, on its machine";
    match order {
        Order::Add { replica, .. } if *replica == me && status.leader.is_none() => Err(
            Refusal::Impossible(format!("replica {me} cannot add itself; {elsewhere}")),
        ),
        _ if known.has_removed(store) => Err(Refusal::Impossible(format!(
            "replica {me} was removed from the cluster, and the others take no orders from it; {elsewhere}"
        ))),
        _ if !known.members.is_empty() && !known.votes(me, store) => Err(Refusal::Impossible(
            format!("replica {me} is not part of the cluster with this data folder; {elsewhere}"),
        )),
        _ => Ok(()),
    }
}

/// Nobody waits for the answer any more.
struct Forget<'a> {
    orders: &'a Orders,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.orders.asked).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(error: OrderError, replica: ReplicaId) -> Fate {
    Fate::Refused(match error {
        OrderError::NotLeader { .. } => return Fate::NotLeader,
        OrderError::Unknown => Refusal::NotFound(format!(
            "the cluster has no replica {replica}; `chat-server replica list` shows those it has"
        )),
        OrderError::Taken => Refusal::Taken(format!(
            "replica {replica} is part of the cluster at another address; choose another id, or remove that one first"
        )),
        error @ OrderError::Beyond => Refusal::Impossible(error.to_string()),
        OrderError::Unreachable => Refusal::Later(format!(
            "replica {replica} was not reached; start it with an empty data folder, see that the leader can connect to \
             its peer address, then try again"
        )),
        OrderError::NotInView => Refusal::Later(format!(
            "replica {replica} is not in the view; start it, wait until `chat-server replica list` shows it there, then \
             try again"
        )),
        OrderError::TooFew => Refusal::Later(
            "too few of the other replicas can be reached; start them, or replace their disks, then try again".to_owned(),
        ),
        OrderError::Last => Refusal::Impossible(format!(
            "replica {replica} is the last one; without it there is no cluster"
        )),
        error @ (OrderError::Busy | OrderError::Stopped) => Refusal::Later(error.to_string()),
        error @ (OrderError::Leads | OrderError::NotForced(_)) => Refusal::Impossible(error.to_string()),
    })
}
