//! The layers together are one ordered map.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use chat_core::store::{KeyValue, Order, conformance};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::*;
use crate::store::state::file::StateFile;
use crate::store::state::flusher::Flusher;
use crate::store::state::key_value::StateStore;
use crate::store::state::overlay::Checkpoint;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Rig {
    store: StateStore,
    file: Arc<StateFile>,
    flusher: Flusher,
    model: Map,
    /// What the file will hold when the checkpoint under way is written, and what it holds.
    frozen: Option<Map>,
    durable: Map,
    /// The rows as they were, which nothing changes any more.
    views: Vec<(StateStore, Map)>,
    folder: TempDir,
}

impl Rig {
    fn new() -> Rig {
        Rig::over(tempfile::tempdir().unwrap(), Map::new())
    }

    fn over(folder: TempDir, rows: Map) -> Rig {
        let file = Arc::new(StateFile::open(folder.path(), 1 << 20, CLUSTER, REPLICA).unwrap());
        Rig {
            flusher: Flusher::start(Arc::clone(&file)).unwrap(),
            store: StateStore::new(Arc::clone(&file)).unwrap(),
            file,
            model: rows.clone(),
            frozen: None,
            durable: rows,
            views: Vec::new(),
            folder,
        }
    }

    fn freeze(&mut self) {
        if self.frozen.is_none() {
            self.frozen = Some(self.model.clone());
            let frozen = self.store.freeze(Checkpoint::default());
            self.flusher.write(frozen);
        }
    }

    fn thaw(&mut self) {
        if let Some(written) = self.flusher.wait() {
            written.unwrap();
            self.durable = self.frozen.take().unwrap();
            let base = StateStore::base_of(&self.file).unwrap();
            let frozen = self.store.thaw(base);
            self.flusher.free(frozen.unwrap());
        }
    }

    /// What was not written is gone.
    fn reopen(mut self) -> Rig {
        if self.flusher.is_busy() {
            self.thaw();
        }
        let Rig {
            store,
            flusher,
            durable,
            views,
            file,
            folder,
            ..
        } = self;
        drop((store, views, file));
        drop(flusher);
        Rig::over(folder, durable)
    }
}

fn scan(
    store: &StateStore,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    order: Order,
    most: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    store
        .scan(range, order, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .unwrap();
    rows
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// So many rows side by side, as messages come.
    PutMany(Vec<u8>, u8),
    /// A command that panics after these writes.
    TakenBack(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Freeze,
    Thaw,
    Reopen,
    View,
    /// Nobody looks at the oldest view any more.
    Leave,
    Tidy,
    Read(Vec<u8>),
    Scan(Bound<Vec<u8>>, Bound<Vec<u8>>, usize),
}

/// Few keys, some a prefix of others, so that layers meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 255]), 0..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let value = || prop::collection::vec(any::<u8>(), 0..5);
    prop_oneof![
        10 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key().prop_map(Step::Delete),
        2 => (key(), 1..40_u8).prop_map(|(key, count)| Step::PutMany(key, count)),
        2 => prop::collection::vec((key(), prop::option::of(value())), 0..6).prop_map(Step::TakenBack),
        2 => Just(Step::Freeze),
        2 => Just(Step::Thaw),
        1 => Just(Step::Reopen),
        3 => Just(Step::View),
        2 => Just(Step::Leave),
        4 => Just(Step::Tidy),
        8 => key().prop_map(Step::Read),
        8 => (bound(), bound(), 1..9usize).prop_map(|(start, end, most)| Step::Scan(start, end, most)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_layers_equal_a_plain_map(steps in prop::collection::vec(step(), 1..80)) {
        let mut rig = Rig::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    match rig.model.contains_key(&key) {
                        true => rig.store.put(&key, &value).unwrap(),
                        false => rig.store.insert(&key, &value).unwrap(),
                    }
                    rig.model.insert(key, value);
                }
                Step::Delete(key) => {
                    rig.store.delete(&key).unwrap();
                    rig.model.remove(&key);
                }
                Step::PutMany(mut key, count) => {
                    key.push(2);
                    for number in 0..count {
                        *key.last_mut().unwrap() = number;
                        rig.store.put(&key, &[number]).unwrap();
                        rig.model.insert(key.clone(), vec![number]);
                    }
                }
                Step::TakenBack(writes) => {
                    rig.store.begin();
                    for (key, value) in writes {
                        match value {
                            Some(value) => rig.store.put(&key, &value).unwrap(),
                            None => rig.store.delete(&key).unwrap(),
                        }
                    }
                    rig.store.roll_back();
                }
                Step::Freeze => rig.freeze(),
                Step::Thaw => rig.thaw(),
                Step::Reopen => rig = rig.reopen(),
                Step::View => rig.views.push((rig.store.view(), rig.model.clone())),
                Step::Leave if !rig.views.is_empty() => drop(rig.views.remove(0)),
                Step::Leave => {}
                Step::Tidy => rig.store.tidy(),
                Step::Read(key) => {
                    let found = rig.store.read(&key).unwrap();
                    prop_assert_eq!(found.as_ref(), rig.model.get(&key));
                    for (view, model) in &rig.views {
                        prop_assert_eq!(view.read(&key).unwrap(), model.get(&key).cloned());
                    }
                }
                Step::Scan(start, end, most) => {
                    let range = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
                    let within = |key: &Vec<u8>| {
                        std::ops::RangeBounds::<[u8]>::contains(&range, key.as_slice())
                    };
                    let mut expected: Vec<_> =
                        rig.model.iter().filter(|(key, _)| within(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
                    let first = |rows: &[(Vec<u8>, Vec<u8>)]| rows.iter().take(most).cloned().collect::<Vec<_>>();
                    prop_assert_eq!(scan(&rig.store, range, Order::Ascending, most), first(&expected));
                    expected.reverse();
                    prop_assert_eq!(scan(&rig.store, range, Order::Descending, most), first(&expected));
                    for (view, model) in &rig.views {
                        let rows = model.iter().filter(|(key, _)| within(key)).take(most);
                        let expected: Vec<_> = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
                        prop_assert_eq!(scan(view, range, Order::Ascending, most), expected);
                    }
                }
            }
        }
    }
}

#[test]
fn the_store_conforms() {
    conformance::check(&mut Rig::new().store);
}
