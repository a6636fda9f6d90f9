use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::memory_store::MemoryStore;
use crate::message::AppliedReport;
use crate::replica::{Note, Replica, Settings};
use crate::store::{Identity, Persist, Persisted, Reset, Store};
use crate::types::{ClusterId, Member, Orphan, StoreUuid};

fn peer(id: u32) -> PeerId {
    PeerId {
        replica: ReplicaId(id),
        store: StoreUuid(Uuid::from_u128(u128::from(id) + 100)),
    }
}

/// An epoch of replica 1.
fn epoch(number: u64) -> Epoch {
    Epoch {
        number,
        replica: ReplicaId(1),
        store: peer(1).store,
    }
}

fn position(number: u64, index: Index) -> Position {
    Position {
        epoch: epoch(number),
        index,
    }
}

fn start() -> ViewStart {
    let member = |id| Member {
        id: ReplicaId(id),
        store: peer(id).store,
        peer_address: format!("replica-{id}:7500"),
        client_address: format!("replica-{id}:7400"),
    };
    ViewStart {
        members: vec![ReplicaId(0), ReplicaId(1)],
        configuration: Configuration {
            members: (0..3).map(member).collect(),
            mode: Mode::Available,
            ..Configuration::default()
        },
        forced: false,
        apply_version: 1,
    }
}

fn begins(number: u64, index: Index, start: ViewStart) -> Entry {
    Entry {
        position: position(number, index),
        payload: Payload::ViewStart(start),
    }
}

fn command(number: u64, index: Index) -> Entry {
    Entry {
        position: position(number, index),
        payload: Payload::Command(Bytes::from_static(b"command")),
    }
}

fn table(epochs: &[(u64, Index)], last: Index) -> BranchTable {
    let epochs = epochs
        .iter()
        .map(|(number, first)| (epoch(*number), *first));
    let parts = (epochs.collect::<Vec<_>>(), last, Position::default());
    // As it would come from somebody who does not care.
    postcard::from_bytes(&postcard::to_stdvec(&parts).unwrap()).unwrap()
}

fn standing() -> Standing {
    Standing {
        store: peer(1).store,
        promised: epoch(3),
        branches: table(&[(1, 1), (2, 4)], 9),
        compacted: 2,
        newest: Some(start()),
        in_view: Some(epoch(2)),
        leader: Some(epoch(3)),
        apply_version: 1,
        state_lost: false,
        damaged: 7,
        mends: true,
    }
}

fn answer(change: impl FnOnce(&mut Standing)) -> Message {
    let mut standing = standing();
    change(&mut standing);
    Message::PreBallotAnswer {
        round: u64::MAX,
        standing: Box::new(standing),
    }
}

fn view(change: impl FnOnce(&mut ViewStart)) -> Message {
    let mut start = start();
    change(&mut start);
    append(position(1, 4), vec![begins(2, 5, start)], 4)
}

fn append(previous: Position, entries: Vec<Entry>, commit: Index) -> Message {
    Message::Append {
        epoch: epoch(3),
        previous,
        entries,
        commit,
        forced: 0,
    }
}

fn prepare(epoch: Epoch, members: &[u32]) -> Message {
    Message::Prepare {
        epoch,
        members: members.iter().copied().map(ReplicaId).collect(),
        ticket: None,
    }
}

fn heartbeat(members: &[u32], compact_to: Index, commit: Index, last: Index) -> Message {
    Message::Heartbeat {
        epoch: epoch(3),
        started: true,
        members: members.iter().copied().map(ReplicaId).collect(),
        commit,
        last,
        echo: u64::MAX,
        stalled: u64::MAX,
        round: u64::MAX,
        compact_to,
    }
}

fn ack(verified: Option<Index>, branches: Option<BranchTable>, applied: Index) -> Message {
    Message::HeartbeatAck {
        epoch: epoch(3),
        store: peer(1).store,
        sent: u64::MAX,
        round: u64::MAX,
        verified,
        branches,
        compacted: 0,
        wants_snapshot: None,
        mends: false,
        progress: AppliedReport {
            applied,
            state_hash: 0,
            orphans: 0,
        },
    }
}

fn chunk(change: impl FnOnce(&mut SnapshotChunk)) -> Message {
    let mut chunk = SnapshotChunk {
        epoch: epoch(3),
        id: u64::MAX,
        reset: Some(Reset {
            branches: table(&[(1, 1), (2, 4)], 9),
            newest: (4, start()),
        }),
        offset: 0,
        bytes: Bytes::from_static(b"piece"),
        checksum: None,
    };
    change(&mut chunk);
    Message::SnapshotChunk(Box::new(chunk))
}

fn orphans(origins: &[Position]) -> Message {
    let orphan = |origin: &Position| Orphan {
        origin: *origin,
        lineage: Lineage::of(*origin, &BranchTable::default(), u64::MAX),
        command: Bytes::new(),
    };
    Message::Orphans {
        epoch: epoch(3),
        orphans: origins.iter().map(orphan).collect(),
    }
}

fn mend(from: Position, through: Index) -> Message {
    Message::Mend { from, through }
}

fn mended(from: Position, entries: Vec<Entry>) -> Message {
    Message::Mended {
        from,
        entries,
        compacted: position(1, 1),
    }
}

fn bounds() -> Bounds {
    Bounds::new(0, 0, Some(Mode::Available))
}

#[test]
fn what_an_honest_peer_says_is_heard() {
    for message in [
        Message::PreBallot { round: u64::MAX },
        answer(|_| {}),
        answer(|it| {
            it.branches = BranchTable::default();
            it.compacted = 0;
            it.newest = None;
            it.in_view = None;
            it.damaged = 0;
        }),
        prepare(epoch(2 * LEAP), &[0, 1]),
        view(|_| {}),
        append(
            Position::default(),
            vec![begins(1, 1, start()), command(1, 2)],
            0,
        ),
        append(position(2, 7), Vec::new(), 9),
        heartbeat(&[1], 2, 3, 4),
        ack(Some(7), None, 5),
        ack(None, Some(table(&[(1, 1)], 3)), 5),
        chunk(|_| {}),
        orphans(&[position(1, 2), position(1, 3), position(2, 4)]),
        mend(position(1, 2), 2),
        mended(position(1, 1), vec![begins(1, 1, start()), command(1, 2)]),
        mended(position(1, 2), Vec::new()),
        Message::Cast(Bytes::from(vec![0; MAX_CAST])),
    ] {
        assert_eq!(bounds().check(peer(1), &message), Ok(()), "{message:?}");
    }
}

#[test]
fn what_no_honest_peer_says_is_refused() {
    let far = epoch(2 * LEAP + 1);
    let beyond = MAX_INDEX + 1;
    let long = "a".repeat(MAX_ADDRESS + 1);
    for (message, why) in [
        // Numbers.
        (prepare(epoch(u64::MAX), &[1]), "further ahead"),
        (prepare(far, &[1]), "further ahead"),
        (
            Message::Prepare {
                epoch: epoch(4),
                members: vec![ReplicaId(1)],
                ticket: Some(far),
            },
            "further ahead",
        ),
        (
            Message::Refuse {
                epoch: epoch(1),
                promised: far,
                leader: None,
                leader_started: false,
            },
            "further ahead",
        ),
        (
            Message::Refuse {
                epoch: epoch(1),
                promised: epoch(1),
                leader: Some(far),
                leader_started: true,
            },
            "further ahead",
        ),
        (answer(|it| it.promised = far), "further ahead"),
        (answer(|it| it.leader = Some(far)), "further ahead"),
        (
            answer(|it| {
                it.branches = table(&[(1, 1), (far.number, 4)], 9);
                it.promised = far;
            }),
            "further ahead",
        ),
        (
            Message::SnapshotAck {
                epoch: far,
                id: 0,
                received: 0,
            },
            "further ahead",
        ),
        (orphans(&[position(far.number, 1)]), "further ahead"),
        (append(position(2, beyond), Vec::new(), 0), "longer than"),
        (
            append(position(2, MAX_INDEX), vec![command(2, beyond)], 0),
            "longer than",
        ),
        (
            append(position(2, u64::MAX), vec![command(2, 0)], 0),
            "longer than",
        ),
        (append(position(2, 7), Vec::new(), beyond), "longer than"),
        (heartbeat(&[1], 0, 0, u64::MAX), "longer than"),
        (ack(Some(u64::MAX), None, 0), "longer than"),
        (ack(Some(1), None, u64::MAX), "longer than"),
        (
            Message::AppendAck {
                epoch: epoch(1),
                store: peer(1).store,
                verified: beyond,
            },
            "longer than",
        ),
        (
            answer(|it| it.branches = table(&[(1, 1), (2, 4)], beyond)),
            "longer than",
        ),
        (orphans(&[position(1, u64::MAX)]), "longer than"),
        (mend(position(far.number, 1), 1), "further ahead"),
        (mend(position(1, 1), beyond), "longer than"),
        (mend(Position::default(), 1), "nowhere"),
        (mend(position(1, 2), 1), "no entries"),
        (mended(position(1, beyond), Vec::new()), "longer than"),
        (
            mended(position(1, 2), vec![command(1, 3)]),
            "not those that were asked for",
        ),
        (
            mended(position(1, 2), vec![command(2, 2)]),
            "not those that were asked for",
        ),
        (
            mended(
                position(1, 1),
                vec![begins(
                    1,
                    1,
                    ViewStart {
                        members: Vec::new(),
                        ..start()
                    },
                )],
            ),
            "list of members",
        ),
        (
            answer(|it| it.damaged = it.branches.last_index() + 1),
            "what is damaged",
        ),
        (
            chunk(|it| {
                if let Some(reset) = &mut it.reset {
                    reset.branches = table(&[(1, 1), (2, 4)], MAX_INDEX);
                }
            }),
            "of no log",
        ),
        (
            chunk(|it| (it.reset, it.offset) = (None, u64::MAX)),
            "no end",
        ),
        // Who speaks.
        (
            prepare(
                Epoch {
                    replica: ReplicaId(2),
                    ..epoch(4)
                },
                &[1],
            ),
            "another leader",
        ),
        (
            prepare(
                Epoch {
                    store: peer(2).store,
                    ..epoch(4)
                },
                &[1],
            ),
            "another leader",
        ),
        (prepare(epoch(4), &[0, 2]), "without itself"),
        (heartbeat(&[0, 2], 0, 0, 0), "without itself"),
        (answer(|it| it.store = peer(2).store), "another disk"),
        (
            Message::AppendAck {
                epoch: epoch(1),
                store: peer(2).store,
                verified: 1,
            },
            "another disk",
        ),
        (
            Message::HandOver {
                epoch: Epoch {
                    replica: ReplicaId(0),
                    ..epoch(1)
                },
                hold: 0,
            },
            "another leader",
        ),
        // Lists.
        (prepare(epoch(4), &[]), "list of members"),
        (prepare(epoch(4), &[1, 1]), "list of members"),
        (prepare(epoch(4), &[2, 1]), "list of members"),
        (
            prepare(epoch(4), &(0..=MAX_MEMBERS as u32).collect::<Vec<_>>()),
            "list of members",
        ),
        (heartbeat(&[1, 0], 0, 0, 0), "list of members"),
        (view(|it| it.members.clear()), "list of members"),
        (
            view(|it| it.members.push(ReplicaId(9))),
            "its configuration lacks",
        ),
        (
            view(|it| it.configuration.members.clear()),
            "too few or too many",
        ),
        (
            view(|it| {
                let one = it.configuration.members[0].clone();
                it.configuration.removed = vec![one; REMEMBERED + 1];
            }),
            "too few or too many",
        ),
        (
            view(|it| {
                let one = it.configuration.members[0].clone();
                let more = (3..=MAX_MEMBERS as u32).map(|id| Member {
                    id: ReplicaId(id),
                    ..one.clone()
                });
                it.configuration.members.extend(more);
            }),
            "too few or too many",
        ),
        (
            view(|it| {
                let one = it.configuration.members[2].clone();
                it.configuration.members.push(one);
            }),
            "no order",
        ),
        (
            view(|it| it.configuration.members[1].peer_address.clone_from(&long)),
            "too long",
        ),
        (
            view(|it| {
                let one = it.configuration.members[1].clone();
                it.configuration.removed.push(Member {
                    client_address: long.clone(),
                    ..one
                });
            }),
            "too long",
        ),
        // Another tick was added to it, and there was none.
        (
            view(|it| it.configuration.away = vec![(ReplicaId(2), u64::MAX)]),
            "longer than",
        ),
        (
            view(|it| it.configuration.base = vec![(ReplicaId(2), peer(2).store); MAX_MEMBERS + 1]),
            "too many are away",
        ),
        (
            view(|it| it.configuration.mode = Mode::Consistent),
            "what a view needs",
        ),
        (
            Message::Cast(Bytes::from(vec![0; MAX_CAST + 1])),
            "too long",
        ),
        (orphans(&[position(1, 3), position(1, 2)]), "no order"),
        (orphans(&[position(1, 3), position(1, 3)]), "no order"),
        (
            Message::Orphans {
                epoch: epoch(3),
                orphans: vec![Orphan {
                    origin: position(1, 3),
                    lineage: Lineage::default(),
                    command: Bytes::new(),
                }],
            },
            "what stood before",
        ),
        // Logs.
        (
            append(position(1, 4), vec![command(1, 6)], 0),
            "follow each other",
        ),
        (
            append(position(2, 4), vec![command(1, 5)], 0),
            "follow each other",
        ),
        (
            append(position(1, 4), vec![command(2, 5)], 0),
            "follow each other",
        ),
        (
            append(position(1, 4), vec![begins(1, 5, start())], 0),
            "follow each other",
        ),
        (
            append(position(1, 4), vec![begins(4, 5, start())], 0),
            "follow each other",
        ),
        (append(position(4, 4), Vec::new(), 0), "follow each other"),
        (
            append(Position::default(), vec![command(1, 1)], 0),
            "follow each other",
        ),
        // Before anything was promised, an entry of that epoch would have begun a log without a view.
        (
            append(
                Position::default(),
                vec![Entry {
                    position: Position {
                        epoch: Epoch::default(),
                        index: 1,
                    },
                    payload: Payload::Command(Bytes::new()),
                }],
                0,
            ),
            "begins",
        ),
        (
            append(
                Position {
                    index: 0,
                    ..position(1, 0)
                },
                Vec::new(),
                0,
            ),
            "nowhere",
        ),
        (append(position(0, 3), Vec::new(), 0), "nowhere"),
        (heartbeat(&[1], 4, 3, 4), "committed or dropped"),
        (heartbeat(&[1], 2, 5, 4), "committed or dropped"),
        (ack(None, None, 0), "where it is"),
        (ack(Some(1), Some(table(&[(1, 1)], 3)), 0), "where it is"),
        (
            ack(None, Some(table(&[(1, 1), (1, 2)], 3)), 0),
            "contradicts",
        ),
        (
            ack(None, Some(table(&[(2, 1), (1, 2)], 3)), 0),
            "contradicts",
        ),
        (ack(None, Some(table(&[(1, 0)], 3)), 0), "contradicts"),
        (ack(None, Some(table(&[(1, 5)], 3)), 0), "contradicts"),
        (ack(None, Some(table(&[], 3)), 0), "contradicts"),
        (ack(None, Some(table(&[(0, 1)], 3)), 0), "no epoch"),
        (answer(|it| it.compacted = 10), "more of its log"),
        (answer(|it| it.promised = epoch(1)), "has not promised"),
        (answer(|it| it.newest = None), "does not begin"),
        (answer(|it| it.in_view = Some(epoch(3))), "does not hold"),
        (
            Message::Mismatch {
                epoch: epoch(1),
                branches: BranchTable::default(),
                compacted: 1,
            },
            "more of its log",
        ),
        // Snapshots.
        (chunk(|it| it.bytes = Bytes::new()), "is empty"),
        (chunk(|it| it.reset = None), "of what it is"),
        (chunk(|it| it.offset = 1), "of what it is"),
        (chunk(|it| it.epoch = epoch(1)), "of no log"),
        (
            chunk(|it| {
                if let Some(reset) = &mut it.reset {
                    reset.newest.0 = 5;
                }
            }),
            "of no log",
        ),
    ] {
        let refused = bounds()
            .check(peer(1), &message)
            .expect_err("it is refused");
        let begun = why == "begins" && refused == "its entries do not follow each other";
        assert!(
            begun || refused.contains(why),
            "{refused}, not {why}: {message:?}"
        );
    }
}

/// The horizon of one who has just started is the same for all who were never lied to, and moves with time.
#[test]
fn epochs_are_believed_as_far_as_time_has_passed() {
    let check = |leaps, ticks, number| {
        let bounds = Bounds::new(leaps, ticks, None);
        bounds.check(peer(1), &prepare(epoch(number), &[1])).is_ok()
    };
    assert!(check(0, 0, 2 * LEAP) && !check(0, 0, 2 * LEAP + 1));
    // Whoever was lied to in three of its lives is heard after a moment.
    assert!(!check(0, 0, 5 * LEAP) && check(0, 3 * 64, 5 * LEAP));
    for (leaps, ticks) in [(u64::MAX, 0), (0, u64::MAX), (leaps(epoch(MAX_EPOCH)), 9)] {
        assert!(check(leaps, ticks, MAX_EPOCH) && !check(leaps, ticks, MAX_EPOCH + 1));
    }
}

/// Programs before this one believed any number, and have written it down.
#[test]
fn a_disk_that_was_lied_to_is_refused_with_advice() {
    let mut store = MemoryStore::new(Identity {
        cluster: ClusterId::default(),
        replica: ReplicaId(0),
        store: StoreUuid::default(),
    });
    assert_eq!(check_durable(&store.load().unwrap()), Ok(()));
    let promised = Some(epoch(u64::MAX));
    let batch = Persist {
        promised,
        ..Persist::default()
    };
    store.persist(&batch).unwrap();
    let why = check_durable(&store.load().unwrap()).unwrap_err();
    assert!(why.contains("Move the data folder away"), "{why}");
}

fn replica() -> Replica {
    let identity = Identity {
        cluster: ClusterId::default(),
        replica: ReplicaId(0),
        store: peer(0).store,
    };
    let mut store = MemoryStore::new(identity);
    let seeds = (0..3).map(|id| Seed {
        id: ReplicaId(id),
        peer_address: String::new(),
        client_address: String::new(),
    });
    Replica::new(
        store.load().unwrap(),
        seeds.collect(),
        1,
        Settings::default(),
    )
}

/// It ended the cluster once: the number was promised, and the next candidate overflowed, after each start.
#[test]
fn the_last_number_of_all_is_neither_promised_nor_gone_on_from() {
    let mut replica = replica();
    replica.tick(1);
    for message in [
        prepare(epoch(u64::MAX), &[0, 1]),
        answer(|it| it.promised = epoch(u64::MAX)),
    ] {
        replica.receive(peer(1), message);
    }
    for _ in 0..200 {
        replica.tick(1);
        let ready = replica.ready();
        assert_eq!(ready.persist.promised, None);
        replica.persisted(Persisted { orphans: 0 });
    }
    assert_eq!(replica.promised(), Epoch::default());
}

/// Whoever repeats it a thousand times is told of once a minute.
#[test]
fn nonsense_is_noted_now_and_then() {
    let mut replica = replica();
    let mut noted = Vec::new();
    for _ in 0..13_000 {
        replica.tick(1);
        replica.receive(peer(1), prepare(epoch(u64::MAX), &[0, 1]));
        let notes = replica.ready().notes.into_iter();
        noted.extend(notes.filter_map(|note| match note {
            Note::Ignored { peer, times, .. } => Some((peer.0, times)),
            _ => None,
        }));
    }
    assert_eq!(noted, [(1, 1), (1, 6000), (1, 6000)]);
    // And is no sign of life.
    assert!(
        !replica
            .status()
            .peers
            .iter()
            .any(|peer| peer.reachable && peer.id.0 == 1)
    );
}

/// What it says of itself, no disk but its own may say; and nobody speaks to a replica in its own name.
#[test]
fn nobody_is_heard_in_anothers_name() {
    let mut replica = replica();
    replica.tick(1);
    replica.ready();
    for from in [peer(0), peer(9)] {
        replica.receive(from, Message::PreBallot { round: 1 });
    }
    assert!(replica.ready().is_empty());
    replica.receive(peer(1), Message::PreBallot { round: 1 });
    assert!(!replica.ready().is_empty());
}
