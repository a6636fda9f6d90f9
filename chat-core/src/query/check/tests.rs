#![allow(clippy::unwrap_used)]

use crate::{
    AccountId, AccountManager, Body, Command, CommandBody, CredentialVersion, MemoryStore, Outcome,
    RequestId, SessionPolicy, Timestamp, TokenHash, Username, password::PasswordHash, rows::RowKey,
    store::KeyValue,
};

/// Two who write to each other, each with a session, so much that some of it is old.
fn talked() -> AccountManager {
    let mut manager = AccountManager::new();
    let mut minted = 0;
    let now = Timestamp::from_millis(1_700_000_000_000);
    let mut run = |body| {
        minted += 1;
        let request = RequestId::from_parts(now, [minted; 10]);
        let Ok(applied) = manager.apply(Command {
            request,
            at: now,
            body,
        });
        (request, applied.result.unwrap())
    };
    let mut ids = Vec::<AccountId>::new();
    for (number, name) in ["ada", "bob"].into_iter().enumerate() {
        let name = Username::parse(name).unwrap();
        let hash = "$argon2id$v=19$m=16,t=1,p=1$AQEBAQEBAQEBAQEBAQEBAQ$AQEBAQEBAQEBAQEBAQEBAQ";
        let (request, outcome) = run(CommandBody::CreateAccount {
            skeleton: name.skeleton(),
            name,
            password: PasswordHash::parse(hash).unwrap(),
        });
        let Outcome::AccountCreated { account, .. } = outcome else {
            panic!("{outcome:?}")
        };
        ids.push(account);
        run(CommandBody::OpenSession {
            account,
            token: TokenHash::from_bytes([number as u8; 32]),
            verified: CredentialVersion::set_by(request),
            expires_at: Timestamp::from_millis(now.as_millis() + 1),
            policy: SessionPolicy::Single,
        });
    }
    for (from, to) in [(0, 1), (1, 0), (0, 1)].into_iter().cycle().take(MESSAGES) {
        run(CommandBody::Send {
            sender: ids[from],
            recipient: ids[to],
            body: Body::parse("hello", Body::DEFAULT_LIMIT).unwrap(),
        });
    }
    manager
}

const MESSAGES: usize = 60;

fn rows(store: &MemoryStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let Ok(()) = store.scan(
        (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
        crate::store::Order::Ascending,
        &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        },
    );
    rows
}

#[test]
fn everything_is_counted() {
    let Ok(census) = talked().check();
    assert_eq!(census.flaws, Vec::<String>::new());
    assert_eq!(
        (census.accounts, census.sessions, census.messages),
        (2, 2, MESSAGES as u64)
    );
    assert_eq!(
        (census.conversations, census.undelivered),
        (1, MESSAGES as u64)
    );
    assert_eq!(census.rows, rows(talked().store()).len() as u64);
}

#[test]
fn no_row_can_be_lost_unnoticed() {
    let whole = talked();
    let requests = crate::rows::request::RequestKey::TABLE;
    for (key, _) in rows(whole.store()) {
        let mut less = whole.clone();
        let Ok(()) = less.store_mut().delete(&key);
        // The counters are held by the manager that is open; that a retry is recognised contradicts nothing.
        let is_independent = key[0] == 0 || key[0] == requests;
        let Ok(census) = less.check();
        assert_eq!(
            census.flaws_found > 0,
            !is_independent,
            "without {key:02x?}: {:?}",
            census.flaws
        );
    }
}

#[test]
fn a_row_of_no_table_and_a_wrong_count_are_flaws() {
    let mut more = talked();
    let Ok(()) = more.store_mut().put(&[0xee, 1], &[]);
    more.meta.messages += 1;
    let Ok(census) = more.check();
    let words = census.flaws.join("\n");
    assert!(words.contains("unknown table"), "{words}");
    assert!(
        words.contains("there are 60 messages, and the count says 61"),
        "{words}"
    );
}
