//! A test for implementations of [`KeyValue`].

use std::{
    collections::BTreeMap,
    fmt::Debug,
    ops::{Bound, ControlFlow},
};

use super::{KeyValue, Order};

/// Runs an empty store through what [`AccountManager`](crate::AccountManager) needs of it, beside a plain map. Leaves
/// rows behind.
///
/// # Panics
///
/// When the store and the map differ, or the store fails.
pub fn check<S: KeyValue<Error: Debug>>(store: &mut S) {
    let mut map = BTreeMap::new();
    // Keys of several lengths, some a prefix of others, in an order that is not theirs; some are put twice, some
    // deleted, some deleted without having been put.
    for step in 0..600_u32 {
        let key = key(step.wrapping_mul(7_919) % 200);
        if step % 5 == 4 {
            store.delete(&key).expect("delete works");
            map.remove(&key);
        } else {
            let value = vec![step.to_be_bytes()[3]; step as usize % 40];
            match map.contains_key(&key) {
                true => store.put(&key, &value).expect("put works"),
                false => store.insert(&key, &value).expect("insert works"),
            }
            map.insert(key, value);
        }
    }
    for number in 0..210 {
        let key = key(number);
        for value in [store.read_once(&key), store.read(&key)] {
            let value = value.expect("reading works");
            assert_eq!(value.as_ref(), map.get(&key), "value of {key:?}");
        }
    }
    let (low, high) = (key(30), key(170));
    for start in bounds(&low) {
        for end in bounds(&high) {
            check_range(store, &map, (start, end));
        }
    }
    for range in [
        (Bound::Included(&high[..]), Bound::Excluded(&low[..])),
        (Bound::Excluded(&low[..]), Bound::Excluded(&low[..])),
        (Bound::Included(&low[..]), Bound::Excluded(&low[..])),
        (Bound::Included(&low[..]), Bound::Included(&low[..])),
    ] {
        check_range(store, &map, range);
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn check_range<S: KeyValue<Error: Debug>>(
    store: &S,
    map: &BTreeMap<Vec<u8>, Vec<u8>>,
    range: (Bound<&[u8]>, Bound<&[u8]>),
) {
    let is_within = |key: &[u8]| {
        let after = match range.0 {
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
            Bound::Unbounded => true,
        };
        let before = match range.1 {
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        after && before
    };
    let mut expected: Pairs = map
        .iter()
        .filter(|(key, _)| is_within(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for order in [Order::Ascending, Order::Descending] {
        assert_eq!(
            pairs(store, range, order, usize::MAX),
            expected,
            "{range:?} {order:?}"
        );
        // A visitor that breaks sees no more.
        let first: Pairs = expected.iter().take(3).cloned().collect();
        assert_eq!(
            pairs(store, range, order, 3),
            first,
            "three of {range:?} {order:?}"
        );
        expected.reverse();
    }
}

fn pairs<S: KeyValue<Error: Debug>>(
    store: &S,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    order: Order,
    most: usize,
) -> Pairs {
    let mut pairs = Pairs::new();
    store
        .scan(range, order, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            if pairs.len() >= most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .expect("scan works");
    pairs
}

fn key(number: u32) -> Vec<u8> {
    let mut key = vec![(number / 50) as u8, 0xff];
    key.extend(std::iter::repeat_n(
        (number % 50) as u8,
        number as usize % 4,
    ));
    key.push((number % 50) as u8);
    key
}

fn bounds(key: &[u8]) -> [Bound<&[u8]>; 3] {
    [Bound::Included(key), Bound::Excluded(key), Bound::Unbounded]
}
