//! Random batches: the store on disk says at each point what the one in memory says.

use chat_replication::disk_store::DiskStore;
use chat_replication::store::Store;
use proptest::prelude::*;

use crate::support::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_equals_memory(steps in prop::collection::vec((step(), prop::bool::weighted(0.15), 1..500usize), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
        let mut model = model_of(&store);
        for (step, reopen, max_bytes) in steps {
            let batch = step.batch(&content(&mut model));
            prop_assert_eq!(store.persist(&batch).unwrap(), model.persist(&batch).unwrap());
            if reopen {
                drop(store);
                store = DiskStore::open(folder.path(), CLUSTER, REPLICA).unwrap();
            }
            let expected = content(&mut model);
            prop_assert_eq!(&content(&mut store), &expected);
            let last = expected.durable.branches.last_index();
            let gone = expected.durable.compacted.index;
            let from = gone + (last - gone) / 2 + 1;
            prop_assert!(gone == 0 || store.entries(gone, last, 9).is_err());
            if from <= last {
                prop_assert_eq!(
                    store.entries(from, last, max_bytes).unwrap(),
                    model.entries(from, last, max_bytes).unwrap()
                );
            }
            let after = expected.orphans.get(expected.orphans.len() / 2).map(|orphan| orphan.origin);
            prop_assert_eq!(store.orphans(after, max_bytes).unwrap(), model.orphans(after, max_bytes).unwrap());
        }
    }
}
