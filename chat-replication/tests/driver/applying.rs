//! On which thread commands are applied.

use std::time::{Duration, Instant};

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

/// The replica's own thread waited for whoever read the state, and its peers took it for dead.
#[tokio::test]
async fn whoever_reads_the_state_does_not_hold_up_the_replica() {
    let Alone {
        handle,
        running: _running,
        readers,
        ..
    } = alone(|_| {}).await;
    // The last one was quick, so that the next one may be applied at once.
    applied_on(&handle, "before").await;
    let (begun, reading) = std::sync::mpsc::channel();
    let (done, until) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let _locked = readers.lock().unwrap();
        begun.send(()).unwrap();
        until.recv().unwrap();
    });
    reading.recv().unwrap();
    let proposed = {
        let handle = handle.clone();
        tokio::spawn(async move { applied_on(&handle, "during").await })
    };
    let mut ever_awake = Instant::now();
    let until = ever_awake + Duration::from_secs(3);
    while Instant::now() < until {
        if handle.is_awake() {
            ever_awake = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It was not paused for as long as it takes to be suspected, though it could apply nothing.
    assert!(ever_awake.elapsed() < Duration::from_millis(500));
    assert!(!proposed.is_finished());
    done.send(()).unwrap();
    reader.join().unwrap();
    assert_eq!(proposed.await.unwrap(), OWN);
}
