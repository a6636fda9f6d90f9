//! The cluster file's times, in the protocol's ticks.

use std::time::Duration;

use chat_replication::driver::Options;
use chat_replication::replica::{Seed, Settings};

use crate::config::{ClusterConfig, ReplicaConfig};

pub(super) fn options(cluster: &ClusterConfig) -> Options {
    let mut options = Options::new(cluster.replicas.iter().map(seed).collect());
    let ticks = |span: Duration| {
        let ticks = span.as_millis().div_ceil(options.tick.as_millis().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX)
    };
    let suspect = ticks(cluster.timing.suspect_after);
    options.settings = Settings {
        heartbeat: ticks(cluster.timing.heartbeat_interval),
        suspect,
        view_timeout: 2 * suspect,
        recovery_grace: ticks(cluster.timing.recovery_grace),
        mode: cluster.mode,
        log_keep: cluster.log.keep,
        log_cap: cluster.log.cap,
        absent_bytes: cluster.log.absent_bytes,
        absent_ticks: ticks(cluster.log.absent_for),
        ..Settings::default()
    };
    options
}

fn seed(replica: &ReplicaConfig) -> Seed {
    Seed {
        id: replica.id,
        peer_address: replica.peer_address.to_string(),
        client_address: replica.client_address.to_string(),
    }
}
