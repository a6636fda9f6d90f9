use chat_core::{CloseReason, EventKind, SessionId};
use chat_replication::types::{Epoch, ReplicaId, StoreUuid};
use uuid::Uuid;

use super::*;

const QUEUE: usize = 100;

fn account(number: u128) -> AccountId {
    AccountId::from_uuid(Uuid::from_u128(number))
}

fn at(epoch: u64, index: u64) -> Position {
    let epoch = Epoch {
        number: epoch,
        replica: ReplicaId(0),
        store: StoreUuid(Uuid::nil()),
    };
    Position { epoch, index }
}

/// A batch of one entry with one event for each of these accounts.
fn batch(applied: Position, accounts: &[u128]) -> AppliedBatch {
    let event = |number: &u128| Event {
        account: account(*number),
        kind: EventKind::SessionClosed {
            session: SessionId::from_uuid(Uuid::nil()),
            reason: CloseReason::LoggedOut,
        },
    };
    AppliedBatch {
        applied,
        events: accounts
            .iter()
            .map(|number| (applied, event(number)))
            .collect(),
        continuity: Continuity::Unbroken,
    }
}

fn points(events: &[Arc<Told>]) -> Vec<(u64, u64, u32)> {
    let point = |told: &Arc<Told>| {
        let ResumePoint { position, number } = told.point;
        (position.epoch.number, position.index, number)
    };
    events.iter().map(point).collect()
}

/// Goes on behind a point of the history that is told of now.
fn resume(hub: &Arc<Hub>, from: ResumePoint) -> Subscription {
    let resumed = hub.resume(account(1), (from, hub.history()), QUEUE);
    resumed.expect("it was told up to there")
}

fn is_disconnected(subscription: &mut Subscription) -> bool {
    subscription
        .disconnected
        .try_recv()
        .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
}

fn drain(subscription: &mut Subscription) -> Vec<(u64, u64, u32)> {
    let mut events = Vec::new();
    while let Ok(told) = subscription.live.try_recv() {
        events.push(told);
    }
    points(&events)
}

#[test]
fn events_go_to_their_account_alone_and_are_numbered_within_an_entry() {
    let hub = Arc::new(Hub::new(Position::default()));
    let mut ada = hub.subscribe(account(1), QUEUE);
    let mut bob = hub.subscribe(account(2), QUEUE);
    hub.publish(batch(at(1, 1), &[1, 2, 1]));
    assert_eq!(drain(&mut ada), [(1, 1, 1), (1, 1, 3)]);
    assert_eq!(drain(&mut bob), [(1, 1, 2)]);
    assert_eq!(*hub.applied().borrow(), at(1, 1));
}

#[test]
fn a_stream_goes_on_behind_the_last_event_without_gap_or_repetition() {
    let hub = Arc::new(Hub::new(Position::default()));
    for index in 1..=5 {
        hub.publish(batch(at(1, index), &[1, 1]));
    }
    let from = ResumePoint {
        position: at(1, 3),
        number: 1,
    };
    let mut resumed = resume(&hub, from);
    hub.publish(batch(at(2, 6), &[1]));
    let missed = resumed.missed.take().expect("kept");
    assert_eq!(
        points(&missed),
        [(1, 3, 2), (1, 4, 1), (1, 4, 2), (1, 5, 1), (1, 5, 2)]
    );
    assert_eq!(drain(&mut resumed), [(2, 6, 1)]);
}

#[test]
fn a_token_from_before_the_memory_begins_is_too_old() {
    let hub = Arc::new(Hub::new(at(1, 10)));
    let before = ResumePoint::behind(at(1, 9));
    assert!(resume(&hub, before).missed.is_none());
    let exactly = ResumePoint::behind(at(1, 10));
    assert!(resume(&hub, exactly).missed.is_some());
}

/// Subscribers of a branch that lost went on as if its events had happened.
#[test]
fn where_the_state_goes_back_everybody_begins_anew() {
    let hub = Arc::new(Hub::new(Position::default()));
    let mut ada = hub.subscribe(account(1), QUEUE);
    for index in 1..=4 {
        hub.publish(batch(at(1, index), &[1]));
    }
    // It goes back to 1, and further than before in one batch.
    hub.publish(AppliedBatch {
        continuity: Continuity::Skipped,
        ..batch(at(2, 6), &[1])
    });
    assert!(is_disconnected(&mut ada));
    let seen_before = ResumePoint::behind(at(1, 1));
    assert!(resume(&hub, seen_before).missed.is_none());
    let mut again = hub.subscribe(account(1), QUEUE);
    assert_eq!(again.last(), Some(ResumePoint::behind(at(2, 6))));
    hub.publish(batch(at(2, 7), &[1]));
    assert_eq!(drain(&mut again), [(2, 7, 1)]);
}

#[test]
fn a_slow_reader_is_disconnected_and_the_others_are_not() {
    let hub = Arc::new(Hub::new(Position::default()));
    let mut slow = hub.subscribe(account(1), QUEUE);
    let mut fast = hub.subscribe(account(1), QUEUE);
    for index in 1..=QUEUE as u64 + 1 {
        hub.publish(batch(at(1, index), &[1]));
        assert_eq!(drain(&mut fast).len(), 1);
    }
    assert!(is_disconnected(&mut slow));
    assert!(!is_disconnected(&mut fast));
    assert_eq!(drain(&mut slow).len(), QUEUE);
}

#[test]
fn memory_is_bounded_and_places_are_given_back() {
    let hub = Arc::new(Hub::new(Position::default()));
    drop(hub.subscribe(account(1), QUEUE));
    assert!(hub.inner().subscribers.is_empty());
    for index in 1..=140_000 {
        hub.publish(batch(at(1, index), &[1]));
    }
    let oldest = ResumePoint::behind(at(1, 140_000 - 131_072));
    let kept = resume(&hub, oldest);
    assert_eq!(kept.missed.as_ref().map(Vec::len), Some(131_072));
    let older = ResumePoint::behind(at(1, 140_000 - 131_073));
    assert!(resume(&hub, older).missed.is_none());
}

/// A snapshot took the place of entries that nobody was told of: whoever listens begins anew, and does not miss them
/// silently.
#[test]
fn a_snapshot_ends_streams_and_makes_older_tokens_too_old() {
    let hub = Arc::new(Hub::new(Position::default()));
    hub.publish(batch(at(1, 3), &[1]));
    let mut listener = hub.subscribe(account(1), QUEUE);
    let seen = listener.last().expect("it listens");
    hub.publish(AppliedBatch {
        continuity: Continuity::Skipped,
        ..batch(at(1, 90), &[])
    });
    assert!(is_disconnected(&mut listener));
    assert!(resume(&hub, seen).missed.is_none());
    let begun = ResumePoint::behind(at(1, 90));
    assert!(resume(&hub, begun).missed.is_some());
    assert_eq!(*hub.applied().borrow(), at(1, 90));
}

/// After a restart of its replica a stream went on as soon as the state showed the token's place, before the events up to
/// there were told: they were told again.
#[test]
fn a_stream_does_not_begin_before_what_its_token_stands_for_was_told() {
    let hub = Arc::new(Hub::new(at(1, 10)));
    let (seen, history) = (
        ResumePoint {
            position: at(1, 12),
            number: 1,
        },
        hub.history(),
    );
    let begin = || hub.resume(account(1), (seen, history), QUEUE);
    assert!(begin().is_none());
    hub.publish(batch(at(1, 11), &[1]));
    assert!(begin().is_none(), "it is an entry ahead");
    hub.publish(batch(at(1, 12), &[1, 1]));
    let mut stream = begin().expect("all up to there was told");
    hub.publish(batch(at(1, 13), &[1]));
    let missed = stream.missed.take().expect("kept");
    assert_eq!(points(&missed), [(1, 12, 2)]);
    assert_eq!(drain(&mut stream), [(1, 13, 1)]);
}

/// What was found out about a token's place holds for one history.
#[test]
fn a_stream_does_not_begin_in_a_history_that_its_token_was_not_looked_up_in() {
    let hub = Arc::new(Hub::new(Position::default()));
    for index in 1..=4 {
        hub.publish(batch(at(2, index), &[1]));
    }
    let seen = ResumePoint::behind(at(2, 4));
    let history = hub.history();
    // The state goes back, and comes past the token on another branch.
    hub.publish(AppliedBatch {
        continuity: Continuity::Skipped,
        ..batch(at(1, 2), &[1])
    });
    hub.publish(batch(at(3, 3), &[1]));
    assert!(
        hub.resume(account(1), (seen, history), QUEUE).is_none(),
        "it would have gone on without the events of 1 up to 2"
    );
}

/// A sign of life moved the resume token behind events that were never told.
#[test]
fn whoever_was_passed_by_does_not_learn_how_far_the_events_are() {
    let hub = Arc::new(Hub::new(Position::default()));
    let mut slow = hub.subscribe(account(1), QUEUE);
    for index in 1..=QUEUE as u64 {
        hub.publish(batch(at(1, index), &[1]));
    }
    assert_eq!(slow.last(), Some(ResumePoint::behind(at(1, 100))));
    hub.publish(batch(at(1, 101), &[1]));
    assert_eq!(slow.last(), None);
    assert!(is_disconnected(&mut slow));

    let mut skipped = hub.subscribe(account(1), QUEUE);
    hub.publish(AppliedBatch {
        continuity: Continuity::Skipped,
        ..batch(at(2, 7), &[])
    });
    assert_eq!(skipped.last(), None);
    assert!(is_disconnected(&mut skipped));
}
