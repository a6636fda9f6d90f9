//! On which thread commands are applied.

use chat_replication::handle::Handle;

use crate::errors::{Alone, alone};
use crate::kv::put;

const OWN: &str = "apply-0";
const DRIVERS: &str = "replica-0";

async fn applied_on(handle: &Handle<Option<String>>, id: &str) -> String {
    let committed = handle.propose(put(id, "where", "")).await.unwrap();
    committed.response.expect("threads have names")
}

#[tokio::test]
async fn a_command_alone_is_applied_at_once_unless_the_machine_is_slow() {
    let Alone {
        handle,
        running: _running,
        ..
    } = alone(|_| {}).await;
    for round in 0..3 {
        // Unless the thread is just looking after the state machine.
        let mut attempts = 0;
        while applied_on(&handle, &format!("{round}-{attempts}")).await != DRIVERS {
            attempts += 1;
            assert!(attempts < 50, "it is never applied at once");
        }
        handle
            .propose(put(&format!("slow-{round}"), "slow", ""))
            .await
            .unwrap();
        assert_eq!(applied_on(&handle, &format!("after-{round}")).await, OWN);
    }
}
