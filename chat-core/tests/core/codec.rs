//! Commands as bytes: there and back, and nothing else is taken for one.

use chat_core::{
    AccountId, Body, Command, CommandBody, CredentialVersion, DecodeError, DeleteScope, Lineage,
    MessageId, RequestId, SessionId, SessionPolicy, Timestamp,
};
use proptest::{prelude::*, strategy::BoxedStrategy};
use uuid::Uuid;

use crate::world::{create, hash, token};

fn request() -> impl Strategy<Value = RequestId> {
    (0..1_u64 << 48, any::<[u8; 10]>())
        .prop_map(|(time, random)| RequestId::from_parts(Timestamp::from_millis(time), random))
}

fn account() -> impl Strategy<Value = AccountId> {
    any::<u128>().prop_map(|id| AccountId::from_uuid(Uuid::from_u128(id)))
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<u128>().prop_map(|id| SessionId::from_uuid(Uuid::from_u128(id)))
}

fn message() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|id| MessageId::from_uuid(Uuid::from_u128(id)))
}

fn messages() -> impl Strategy<Value = Vec<MessageId>> {
    prop::collection::vec(message(), 0..20)
}

fn policy() -> impl Strategy<Value = SessionPolicy> {
    any::<u16>().prop_map(|most| match most.try_into() {
        Ok(most) => SessionPolicy::Several { most },
        Err(_) => SessionPolicy::Single,
    })
}

fn body() -> BoxedStrategy<CommandBody> {
    let time = || any::<u64>().prop_map(Timestamp::from_millis);
    let credential = || request().prop_map(CredentialVersion::set_by);
    prop_oneof![
        "[a-z]{1,32}".prop_map(|name| create(&name)),
        (account(), credential(), prop::option::of(session())).prop_map(
            |(account, verified, keep)| {
                CommandBody::ChangePassword {
                    account,
                    verified,
                    password: hash(),
                    keep,
                }
            }
        ),
        account().prop_map(|account| CommandBody::DeleteAccount { account }),
        (account(), any::<u8>(), credential(), time(), policy()).prop_map(
            |(account, number, verified, expires_at, policy)| CommandBody::OpenSession {
                account,
                token: token(number),
                verified,
                expires_at,
                policy
            }
        ),
        (account(), session())
            .prop_map(|(account, session)| CommandBody::CloseSession { account, session }),
        (account(), prop::option::of(session()))
            .prop_map(|(account, except)| CommandBody::CloseAllSessions { account, except }),
        (account(), account(), "\\PC{1,200}").prop_map(|(sender, recipient, text)| {
            CommandBody::Send {
                sender,
                recipient,
                body: Body::parse(&text, Body::MAX_LIMIT).unwrap(),
            }
        }),
        (account(), messages())
            .prop_map(|(account, messages)| CommandBody::MarkDelivered { account, messages }),
        (account(), messages())
            .prop_map(|(account, messages)| CommandBody::MarkRead { account, messages }),
        (account(), account(), message()).prop_map(|(account, peer, message)| {
            CommandBody::ReadThrough {
                account,
                peer,
                message,
            }
        }),
        (account(), messages(), any::<bool>()).prop_map(|(account, messages, both)| {
            let scope = if both {
                DeleteScope::ForBoth
            } else {
                DeleteScope::ForMe
            };
            CommandBody::DeleteMessages {
                account,
                messages,
                scope,
            }
        }),
        (time(), any::<u32>()).prop_map(|(before, limit)| CommandBody::Expire { before, limit }),
    ]
    .boxed()
}

fn command() -> impl Strategy<Value = Command> {
    (request(), any::<u64>(), body()).prop_map(|(request, at, body)| Command {
        request,
        at: Timestamp::from_millis(at),
        body,
    })
}

proptest! {
    #[test]
    fn a_command_survives_the_way_to_bytes_and_back(command in command()) {
        let bytes = command.encode();
        let decoded = Command::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.request, command.request);
        prop_assert_eq!(decoded.at, command.at);
        prop_assert_eq!(decoded.account(), command.account());
        prop_assert_eq!(decoded.encode(), bytes);
    }

    #[test]
    fn bytes_that_are_cut_or_changed_are_refused_or_are_another_command(
        command in command(),
        cut in any::<prop::sample::Index>(),
        flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let bytes = command.encode();
        prop_assert!(Command::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let mut changed = bytes.clone();
        let at = flip.0.index(bytes.len());
        changed[at] ^= flip.1;
        // What is decoded, whatever it is, is applied without a panic.
        if let Ok(decoded) = Command::decode(&changed) {
            let mut manager = chat_core::AccountManager::new();
            let Ok(_) = manager.apply(decoded.clone());
            let Ok(_) = manager.apply_reproposed(decoded, Lineage::default());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(Command::decode(&longer).is_err());
    }

    #[test]
    fn noise_is_no_command_and_no_panic(mut noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Command::decode(&noise);
        noise.insert(0, 1);
        let _ = Command::decode(&noise);
    }
}

#[test]
fn each_refusal_has_its_reason() {
    assert_eq!(Command::decode(&[]).unwrap_err(), DecodeError::Empty);
    assert_eq!(
        Command::decode(&[9, 0]).unwrap_err(),
        DecodeError::UnknownVersion(9)
    );
    assert_eq!(
        Command::decode(&vec![1; 3 << 20]).unwrap_err(),
        DecodeError::TooLong(3 << 20)
    );
    assert!(matches!(
        Command::decode(&[1, 0]).unwrap_err(),
        DecodeError::Malformed(_)
    ));
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    // A batch that claims four thousand million ids and holds none.
    let command = Command {
        request: RequestId::from_parts(Timestamp::from_millis(1), [1; 10]),
        at: Timestamp::from_millis(1),
        body: CommandBody::MarkRead {
            account: AccountId::SYSTEM,
            messages: Vec::new(),
        },
    };
    let mut bytes = command.encode();
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(
        Command::decode(&bytes).unwrap_err(),
        DecodeError::Malformed(_)
    ));
}

#[test]
fn an_encoded_command_never_changes() {
    // Logs outlive programs: bytes from an older one must decode.
    let request = RequestId::from_parts(Timestamp::from_millis(1_700_000_000_000), [7; 10]);
    let command = Command {
        request,
        at: Timestamp::from_millis(300),
        body: CommandBody::CloseSession {
            account: AccountId::from_uuid(Uuid::from_u128(1)),
            session: SessionId::from_uuid(Uuid::from_u128(2)),
        },
    };
    let mut expected = vec![1];
    expected.extend(request.as_bytes());
    expected.extend([0xac, 0x02]); // 300
    expected.push(4); // the fifth kind of command
    expected.extend(1_u128.to_be_bytes());
    expected.extend(2_u128.to_be_bytes());
    assert_eq!(command.encode(), expected);
}
