//! Messages survive the way; anything else is an error.

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use crate::branch::BranchTable;
use crate::grpc::proto::PeerMessage;
use crate::grpc::wire::{pack, unpack};
use crate::message::{AppliedReport, Message, SnapshotChunk, Standing};
use crate::store::Reset;
use crate::types::{
    Configuration, Entry, Epoch, Lineage, Member, Mode, Orphan, Payload, Position, ReplicaId,
    StoreUuid, ViewStart,
};

fn epoch() -> impl Strategy<Value = Epoch> {
    (1..1000u64, 0..5u32, any::<u128>()).prop_map(|(number, replica, store)| Epoch {
        number,
        replica: ReplicaId(replica),
        store: StoreUuid(Uuid::from_u128(store)),
    })
}

fn position() -> impl Strategy<Value = Position> {
    (epoch(), 2..1u64 << 40).prop_map(|(epoch, index)| Position { epoch, index })
}

fn command() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn view_start() -> impl Strategy<Value = ViewStart> {
    (
        prop::collection::vec(0..9u32, 0..4),
        any::<bool>(),
        any::<u128>(),
        "[a-z]{0,9}",
    )
        .prop_map(|(ids, forced, store, address)| ViewStart {
            members: ids.iter().copied().map(ReplicaId).collect(),
            configuration: Configuration {
                members: ids
                    .iter()
                    .map(|id| Member {
                        id: ReplicaId(*id),
                        store: StoreUuid(Uuid::from_u128(store)),
                        peer_address: address.clone(),
                        client_address: address.clone(),
                    })
                    .collect(),
                mode: Mode::Available,
                ..Configuration::default()
            },
            forced,
            apply_version: 3,
        })
}

/// Of a command that was first appended there.
fn lineage(origin: Position) -> Lineage {
    let before = Epoch {
        number: origin.epoch.number - 1,
        ..origin.epoch
    };
    let epochs = vec![(before, origin.index - 1), (origin.epoch, origin.index)];
    Lineage {
        fork: origin.index - 2,
        epochs,
    }
}

fn entries() -> impl Strategy<Value = (Position, Vec<Entry>)> {
    let payload = prop_oneof![
        4 => command().prop_map(Payload::Command),
        1 => (position(), command()).prop_map(|(origin, command)| Payload::Reproposed { origin, lineage: lineage(origin), command }),
        1 => view_start().prop_map(Payload::ViewStart),
    ];
    (position(), prop::collection::vec(payload, 0..6)).prop_map(|(previous, payloads)| {
        let mut last = previous;
        let follow = |payload: Payload| {
            last.index += 1;
            last.epoch.number += u64::from(matches!(payload, Payload::ViewStart(_)));
            Entry {
                position: last,
                payload,
            }
        };
        let entries = payloads.into_iter().map(follow).collect();
        (previous, entries)
    })
}

fn table() -> impl Strategy<Value = BranchTable> {
    entries().prop_map(|(_, entries)| {
        let mut table = BranchTable::default();
        for (index, entry) in (1..).zip(entries) {
            table.append(Position {
                index,
                ..entry.position
            });
        }
        table
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u64>().prop_map(|round| Message::PreBallot { round }),
        (epoch(), table(), prop::option::of(view_start())).prop_map(|(epoch, branches, newest)| {
            Message::Promise {
                epoch,
                standing: Box::new(Standing {
                    store: epoch.store,
                    promised: epoch,
                    branches,
                    compacted: 1,
                    newest,
                    in_view: Some(epoch),
                    leader: None,
                    apply_version: 1,
                    state_lost: true,
                    damaged: 0,
                    mends: false,
                }),
            }
        }),
        (epoch(), entries(), any::<u64>()).prop_map(|(epoch, (previous, entries), commit)| {
            Message::Append {
                epoch,
                previous,
                entries,
                commit,
                forced: commit / 2,
            }
        }),
        (epoch(), entries()).prop_map(|(epoch, (previous, entries))| Message::Fetched {
            epoch,
            previous,
            entries,
            forced: 0,
        }),
        (epoch(), prop::option::of(table()), any::<u128>()).prop_map(
            |(epoch, branches, state_hash)| {
                Message::HeartbeatAck {
                    round: 1,
                    epoch,
                    store: epoch.store,
                    sent: 4,
                    verified: None,
                    branches,
                    compacted: 0,
                    wants_snapshot: Some(3),
                    mends: false,
                    progress: AppliedReport {
                        applied: 9,
                        state_hash,
                        orphans: 1,
                    },
                }
            }
        ),
        (
            epoch(),
            prop::collection::vec((position(), command()), 0..5)
        )
            .prop_map(|(epoch, orphans)| {
                let orphans = orphans
                    .into_iter()
                    .map(|(origin, command)| Orphan {
                        origin,
                        lineage: lineage(origin),
                        command,
                    })
                    .collect();
                Message::Orphans { epoch, orphans }
            }),
        command().prop_map(Message::Cast),
        (epoch(), any::<u32>(), command(), any::<u128>()).prop_map(
            |(epoch, offset, bytes, checksum)| {
                Message::SnapshotChunk(Box::new(SnapshotChunk {
                    epoch,
                    id: 5,
                    reset: (offset == 0).then(|| Reset {
                        branches: BranchTable::from_parts(vec![(epoch, 1)], 7).unwrap(),
                        newest: (
                            1,
                            ViewStart {
                                members: Vec::new(),
                                configuration: Configuration::default(),
                                forced: false,
                                apply_version: 1,
                            },
                        ),
                    }),
                    offset: offset.into(),
                    bytes,
                    checksum: Some(checksum),
                }))
            }
        ),
    ]
}

proptest! {
    #[test]
    fn a_message_survives_the_way(message in message()) {
        prop_assert_eq!(unpack(pack(message.clone())).unwrap(), message);
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_message(
        message in message(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index
    ) {
        let packed = pack(message);
        let mut body = packed.body.to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = unpack(PeerMessage { body: body.clone().into(), commands: packed.commands.clone() });
        body.truncate(cut.index(body.len() + 1));
        let _ = unpack(PeerMessage { body: body.into(), commands: packed.commands });
    }

    #[test]
    fn any_bytes_are_an_error_or_a_message(body: Vec<u8>, commands: Vec<Vec<u8>>) {
        let commands = commands.into_iter().map(Bytes::from).collect();
        let _ = unpack(PeerMessage { body: body.into(), commands });
    }
}

/// Commands are not copied out of what the network delivered.
#[test]
fn a_command_is_handed_on_as_it_is() {
    let command = Bytes::from(vec![1, 2, 3]);
    let packed = pack(Message::Cast(command.clone()));
    assert_eq!(packed.commands[0].as_ptr(), command.as_ptr());
    let Message::Cast(unpacked) = unpack(packed).unwrap() else {
        panic!("a cast")
    };
    assert_eq!(unpacked.as_ptr(), command.as_ptr());
}
