//! The file's tables and keys, before their values are looked at.

use serde::Deserialize;
use toml::Spanned;
use toml::value::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) cluster: Cluster,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) accounts: Accounts,
    pub(super) tls: Option<Tls>,
    #[serde(default)]
    pub(super) logging: Logging,
    #[serde(default)]
    pub(super) replica: Vec<Spanned<Replica>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) id: Spanned<String>,
    pub(super) incarnation: Option<Spanned<String>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) heartbeat_interval: Option<Spanned<String>>,
    pub(super) suspect_after: Option<Spanned<String>>,
    pub(super) recovery_grace: Option<Spanned<String>>,
    pub(super) log_keep: Option<Spanned<i64>>,
    pub(super) log_cap: Option<Spanned<i64>>,
    pub(super) absent_bytes: Option<Spanned<i64>>,
    pub(super) absent_for: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) body_bytes: Option<Spanned<i64>>,
    pub(super) sessions_per_account: Option<Spanned<i64>>,
    pub(super) session_lifetime: Option<Spanned<String>>,
    pub(super) hash_workers: Option<Spanned<i64>>,
    pub(super) hash_memory_kib: Option<Spanned<i64>>,
    pub(super) hash_passes: Option<Spanned<i64>>,
    pub(super) max_connections: Option<Spanned<i64>>,
    pub(super) connections_per_address: Option<Spanned<i64>>,
    pub(super) calls_per_connection: Option<Spanned<i64>>,
    pub(super) header_bytes: Option<Spanned<i64>>,
    pub(super) request_bytes: Option<Spanned<i64>>,
    pub(super) longest_call: Option<Spanned<String>>,
    pub(super) request_memory_mib: Option<Spanned<i64>>,
    pub(super) requests_per_account: Option<Spanned<i64>>,
    pub(super) requests_per_address: Option<Spanned<i64>>,
    pub(super) failed_logins: Option<Spanned<i64>>,
    pub(super) failed_logins_per_address: Option<Spanned<i64>>,
    pub(super) registrations_per_address: Option<Spanned<i64>>,
    pub(super) subscriptions_per_account: Option<Spanned<i64>>,
    pub(super) lists_per_account: Option<Spanned<i64>>,
    pub(super) events_per_subscriber: Option<Spanned<i64>>,
    pub(super) undelivered_per_recipient: Option<Spanned<i64>>,
    pub(super) disk_reserve_mib: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accounts {
    pub(super) registration: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) ca: Spanned<String>,
    pub(super) cert: Spanned<String>,
    pub(super) key: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logging {
    pub(super) level: Option<Spanned<String>>,
    pub(super) format: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replica {
    /// Any value, so that a wrong one gets words of ours.
    pub(super) id: Spanned<Value>,
    pub(super) client_listen: Spanned<String>,
    pub(super) client_address: Option<Spanned<String>>,
    pub(super) peer_listen: Spanned<String>,
    pub(super) peer_address: Option<Spanned<String>>,
    pub(super) metrics_listen: Option<Spanned<String>>,
    pub(super) data_dir: Spanned<String>,
}
