//! Certificates that are replaced while the replica runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{NOTICE, Tls};
use crate::clock;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(30);
/// Looks between two warnings of a certificate's end: a day's.
const LOOKS_PER_WARNING: u64 = 24 * 60 * 2;

/// Reads the files again when one of them has changed, and when it is told to; for ever.
pub(crate) async fn watch(tls: Arc<Tls>, again: Arc<Notify>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = times(&tls);
    let mut count = 0;
    loop {
        let told = tokio::select! {
            _ = looks.tick() => false,
            () = again.notified() => true,
        };
        let now = times(&tls);
        if told || now != seen {
            seen = now;
            match tls.reload() {
                Ok(()) => {
                    info!("the certificates were read again, and are used for new connections")
                }
                Err(error) => warn!("the certificates stay as they were: {error}"),
            }
        }
        if count % LOOKS_PER_WARNING == 0 {
            warn_of_end(&tls);
        }
        count += 1;
    }
}

fn warn_of_end(tls: &Tls) {
    let now = i64::try_from(clock::now().as_millis() / 1000).unwrap_or(i64::MAX);
    let left = tls.expires_at() - now;
    let when = match left {
        i64::MIN..=0 => "has ended, so that nobody connects to it any more".to_owned(),
        1..NOTICE => format!(
            "ends in {} days, and nobody connects to it then",
            left / (24 * 3600)
        ),
        _ => return,
    };
    warn!(
        "this replica's certificate {when}; make a new one with `chat-server init DIR --renew {}`, where the certificate \
         authority is, and put it in its place",
        tls.me
    );
}

fn times(tls: &Tls) -> [Option<SystemTime>; 3] {
    let time = |file: &Path| file.metadata().and_then(|data| data.modified()).ok();
    [
        time(&tls.files.ca),
        time(&tls.files.cert),
        time(&tls.files.key),
    ]
}
