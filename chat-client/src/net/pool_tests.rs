use super::*;

fn endpoint(id: u32) -> Endpoint {
    format!("10.0.0.{id}:7400").parse().expect("address")
}

fn three() -> Pool {
    Pool::new((0..3).map(endpoint).collect())
}

fn set(indices: &[ReplicaIndex]) -> BTreeSet<ReplicaIndex> {
    indices.iter().copied().collect()
}

/// The whole order in which a call would ask.
fn order(pool: &Pool, purpose: Purpose) -> Vec<ReplicaIndex> {
    let mut tried = BTreeSet::new();
    let mut order = Vec::new();
    while let Some(next) = pool.next(purpose, &tried) {
        tried.insert(next);
        order.push(next);
    }
    order
}

#[test]
fn everybody_is_asked_once_per_round_in_ring_order() {
    assert_eq!(order(&three(), Purpose::Read), [0, 1, 2]);
    assert_eq!(order(&three(), Purpose::Write), [0, 1, 2]);
}

#[test]
fn writes_go_to_the_leader_first_and_reads_do_not_follow_it() {
    let mut pool = three();
    assert_eq!(pool.leader_is(2, Some(endpoint(2)), 5), LeaderNews::Changed);
    assert_eq!(order(&pool, Purpose::Write), [2, 0, 1]);
    assert_eq!(order(&pool, Purpose::Read), [0, 1, 2]);
    assert_eq!(pool.leader_is(2, Some(endpoint(2)), 5), LeaderNews::Known);
}

#[test]
fn a_lost_replica_comes_last_until_it_answers() {
    let mut pool = three();
    pool.lost(0);
    assert_eq!(order(&pool, Purpose::Read), [1, 2, 0]);
    pool.answered(1, &set(&[0]), &set(&[0]), Resent::Nothing);
    assert_eq!(order(&pool, Purpose::Read), [1, 2, 0]);
    pool.answered(0, &set(&[]), &set(&[]), Resent::Nothing);
    // Back, but the one that took over stays the current one: nothing is won by moving again.
    assert_eq!(order(&pool, Purpose::Read), [1, 2, 0]);
    pool.lost(1);
    assert_eq!(order(&pool, Purpose::Read), [2, 0, 1]);
}

#[test]
fn word_of_a_lost_leader_counts_only_under_a_newer_epoch() {
    // A follower that has not yet noticed the death went on to praise the dead leader, and each write paid a deadline.
    let mut pool = three();
    pool.leader_is(0, Some(endpoint(0)), 5);
    pool.lost(0);
    assert_eq!(pool.leader_is(0, Some(endpoint(0)), 5), LeaderNews::Known);
    assert_eq!(order(&pool, Purpose::Write), [1, 2, 0]);
    assert_eq!(pool.leader_is(1, Some(endpoint(1)), 6), LeaderNews::Changed);
    assert_eq!(pool.leader_is(0, Some(endpoint(0)), 5), LeaderNews::Known);
    assert_eq!(order(&pool, Purpose::Write), [1, 2, 0]);
    // It came back and leads again.
    assert_eq!(pool.leader_is(0, Some(endpoint(0)), 7), LeaderNews::Changed);
    assert_eq!(order(&pool, Purpose::Write), [0, 1, 2]);
}

#[test]
fn a_loss_is_told_once_and_once_more_for_a_message() {
    let mut pool = three();
    pool.identify(0, 0);
    pool.identify(1, 1);
    pool.lost(0);
    let told = pool.answered(1, &set(&[0]), &set(&[0]), Resent::Nothing);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].from.to_string(), told[0].to.to_string()),
        ("replica 0".into(), "replica 1".into())
    );
    assert!(
        pool.answered(1, &set(&[0]), &set(&[0]), Resent::Nothing)
            .is_empty()
    );
    assert_eq!(
        pool.answered(1, &set(&[0]), &set(&[0]), Resent::Message)
            .len(),
        1
    );
    assert!(
        pool.answered(1, &set(&[0]), &set(&[0]), Resent::Message)
            .is_empty()
    );
    assert!(
        pool.answered(1, &set(&[0]), &set(&[0]), Resent::Nothing)
            .is_empty()
    );
    // It comes back and is lost again: that is news.
    pool.answered(0, &set(&[]), &set(&[]), Resent::Nothing);
    pool.lost(0);
    assert_eq!(
        pool.answered(2, &set(&[0]), &set(&[0]), Resent::Message)
            .len(),
        1
    );
}

#[test]
fn a_replica_that_recovers_within_the_call_is_no_switch() {
    let mut pool = three();
    pool.lost(0);
    assert!(
        pool.answered(0, &set(&[0]), &set(&[]), Resent::Message)
            .is_empty()
    );
}

#[test]
fn replicas_are_learned_and_recognised_under_a_second_address() {
    let mut pool = Pool::new(vec!["localhost:7400".parse().expect("address")]);
    pool.learn(0, endpoint(0));
    pool.learn(1, endpoint(1));
    assert_eq!(order(&pool, Purpose::Read), [0, 1, 2]);
    // The user's own address turns out to be replica 0, which had been learned under another one.
    pool.leader_is(0, Some(endpoint(0)), 1);
    pool.identify(0, 0);
    assert_eq!(order(&pool, Purpose::Read), [0, 2]);
    assert_eq!(order(&pool, Purpose::Write), [0, 2]);
    // And hearing of it again does not bring it back.
    pool.learn(0, endpoint(0));
    pool.leader_is(0, Some(endpoint(0)), 2);
    assert_eq!(order(&pool, Purpose::Write), [0, 2]);
}

#[test]
fn learning_ends_somewhere() {
    let mut pool = three();
    for id in 10..200 {
        pool.learn(id, endpoint(id));
    }
    assert_eq!(pool.endpoints().len(), 3 + MOST_LEARNED);
}

#[test]
fn a_replica_that_has_moved_is_found_at_its_new_address() {
    let mut pool = three();
    for id in 0..3 {
        pool.identify(id as ReplicaIndex, id);
    }
    pool.meet(3, endpoint(3));
    assert_eq!(pool.endpoints(), (0..4).map(endpoint).collect::<Vec<_>>());
    // Another name of one that answers says nothing new.
    pool.meet(1, endpoint(11));
    assert_eq!(pool.index_of(&endpoint(11)), None);
    pool.lost(1);
    pool.meet(1, endpoint(11));
    let moved = pool.index_of(&endpoint(11)).expect("it is known now");
    assert_eq!(pool.by_id(1), Some(moved));
    // What was learned and left is not asked any more; what the user named is, at last.
    pool.lost(3);
    pool.meet(3, endpoint(13));
    assert_eq!(pool.index_of(&endpoint(13)), Some(5));
    assert!(!pool.endpoints().contains(&endpoint(3)));
    assert_eq!(order(&pool, Purpose::Read), [0, 2, 4, 5, 1]);
}
