//! Pages cover a list exactly once, whatever their size.

use std::collections::BTreeSet;

use chat_core::{
    AccountId, ConversationCursor, DeleteScope, HistoryFrom, Page, Pattern, Sequence, Username,
};
use proptest::prelude::*;

use crate::world::{World, delete, text, write};

/// Walks through all pages.
fn walk<T, C: Clone>(mut page: impl FnMut(Option<C>) -> Page<T, C>) -> Vec<T> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let next = page(cursor.clone());
        items.extend(next.items);
        match next.next {
            Some(next) => cursor = Some(next),
            None => return items,
        }
    }
}

fn backwards(world: &World, account: AccountId, peer: AccountId, limit: usize) -> Vec<String> {
    let page = |cursor: Option<Sequence>| {
        let from = cursor.map_or(HistoryFrom::Newest, HistoryFrom::Before);
        let Ok(page) = world.manager.history(account, peer, from, limit);
        page
    };
    walk(page).iter().map(text).collect()
}

fn forwards(world: &World, account: AccountId, peer: AccountId, limit: usize) -> Vec<String> {
    let page = |cursor: Option<Sequence>| {
        let from = HistoryFrom::After(cursor.unwrap_or_default());
        let Ok(page) = world.manager.history(account, peer, from, limit);
        page
    };
    walk(page).iter().map(text).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn history_and_inbox(
        texts in prop::collection::vec((0..2_usize, any::<bool>()), 0..40),
        limit in 1..12_usize,
    ) {
        let mut world = World::new();
        let accounts = ["ada", "bob", "cem"].map(|name| world.register(name));
        let mut expected = Vec::new();
        for (number, (from, is_deleted)) in texts.iter().enumerate() {
            let text = format!("{number}");
            let message = world.send(accounts[*from], accounts[1 - from], &text);
            // Others write in between.
            world.send(accounts[2], accounts[number % 2], "noise");
            if *is_deleted {
                world.run(delete(accounts[0], &[message], DeleteScope::ForMe)).unwrap();
            } else {
                expected.push((*from, text));
            }
        }
        let all: Vec<String> = expected.iter().map(|(_, text)| text.clone()).collect();
        prop_assert_eq!(&forwards(&world, accounts[0], accounts[1], limit), &all);
        let mut reversed = all;
        reversed.reverse();
        prop_assert_eq!(backwards(&world, accounts[0], accounts[1], limit), reversed);
        let inbox = walk(|cursor| { let Ok(page) = world.manager.inbox(accounts[0], cursor, limit); page });
        let from_bob: Vec<String> = inbox.iter().map(text).filter(|text| text != "noise").collect();
        let expected: Vec<String> = expected.into_iter().filter(|(from, _)| *from == 1).map(|(_, text)| text).collect();
        prop_assert_eq!(from_bob, expected);
    }

    #[test]
    fn conversations(order in prop::collection::vec(0..12_usize, 0..40), limit in 1..6_usize) {
        let mut world = World::new();
        let me = world.register("me");
        let peers: Vec<AccountId> = (0..12).map(|number| world.register(&format!("peer{number}"))).collect();
        for peer in &order {
            world.send(peers[*peer], me, "hello");
        }
        let mut expected: Vec<AccountId> = Vec::new();
        for peer in order.iter().rev() {
            if !expected.contains(&peers[*peer]) {
                expected.push(peers[*peer]);
            }
        }
        let page = |cursor: Option<ConversationCursor>| {
            let Ok(page) = world.manager.conversations(me, cursor, limit);
            assert!(page.items.len() <= limit);
            page
        };
        let listed: Vec<AccountId> = walk(page).into_iter().map(|conversation| conversation.peer.id).collect();
        prop_assert_eq!(listed, expected);
    }

    #[test]
    fn accounts(names in prop::collection::btree_set("[ab]{1,4}", 0..20), limit in 1..6_usize, glob in "[ab*?]{1,4}") {
        let mut world = World::new();
        for name in &names {
            world.register(name);
        }
        let pattern = Pattern::parse(&glob).unwrap();
        let page = |cursor: Option<Username>| {
            let Ok(page) = world.manager.accounts(&pattern, cursor.as_ref(), limit);
            page
        };
        let listed: Vec<String> = walk(page).into_iter().map(|profile| profile.name.to_string()).collect();
        let expected: Vec<String> = names.into_iter().filter(|name| pattern.matches(name)).collect();
        prop_assert_eq!(listed, expected);
    }
}

#[test]
fn a_page_of_long_messages_is_cut_by_their_length() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let long = "x".repeat(64 * 1024);
    for _ in 0..100 {
        let command = world.command(write(ada, bob, &long));
        let Ok(applied) = world.manager.apply(command);
        applied.result.unwrap();
    }
    let mut pages = Vec::new();
    let messages = walk(|cursor| {
        let Ok(page) = world.manager.inbox(bob, cursor, 1_000);
        pages.push(page.items.len());
        page
    });
    assert_eq!(pages, [32, 32, 32, 4]);
    let ids: BTreeSet<_> = messages.iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), 100);
}

#[test]
fn a_page_over_very_many_rows_that_it_does_not_show_is_cut_and_goes_on() {
    let mut world = World::new();
    let (ada, bob) = (world.register("ada"), world.register("bob"));
    let mut ids = Vec::new();
    for number in 0..10_500 {
        let command = world.command(write(ada, bob, &format!("{number}")));
        let Ok(applied) = world.manager.apply(command);
        ids.push(crate::world::sent(applied.result.unwrap()));
    }
    for batch in ids[1..].chunks(1_000) {
        let command = world.command(delete(bob, batch, DeleteScope::ForMe));
        let Ok(applied) = world.manager.apply(command);
        applied.result.unwrap();
    }
    let Ok(first) = world.manager.history(bob, ada, HistoryFrom::Newest, 10);
    assert!(first.items.is_empty() && first.next.is_some());
    assert_eq!(backwards(&world, bob, ada, 10), ["0"]);
    let Ok(conversation) = world.manager.conversation(bob, ada);
    let conversation = conversation.unwrap();
    assert_eq!((conversation.unread, conversation.last), (1, None));
}
