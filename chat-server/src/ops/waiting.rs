//! What a replica waits for, in its log: whoever looks there first is told as whoever asks for the status is.

use std::sync::Arc;
use std::time::Duration;

use chat_replication::status::Status;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

/// What is over sooner is not worth a line: a replica that starts waits for many things in passing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says what the replica waits for, each thing once until it serves again, until it ends.
pub(crate) async fn tell_of_waiting(mut changes: watch::Receiver<Arc<Status>>) {
    let mut told = String::new();
    loop {
        let status = Arc::clone(&changes.borrow_and_update());
        let waiting_for = &status.waiting_for;
        if status.serves() {
            told.clear();
        } else if !waiting_for.is_empty() && *waiting_for != told {
            let still = async {
                let differs = |now: &Arc<Status>| now.waiting_for != *waiting_for;
                changes.wait_for(differs).await.map(|_| ())
            };
            tokio::select! {
                () = sleep(PATIENCE) => {
                    warn!("{waiting_for}");
                    told.clone_from(waiting_for);
                }
                ended = still => match ended {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
