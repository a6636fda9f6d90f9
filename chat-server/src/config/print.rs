//! The configuration that is in force, each value with where it is from.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use chat_replication::types::ReplicaId;

use super::{ClusterConfig, ConfigError, Overrides, ReplicaConfig, Source};

/// The configuration as a cluster file, with everything written out. There are no secrets in it.
pub(super) fn print(
    config: &ClusterConfig,
    text: &str,
    layers: &Overrides,
    me: Option<ReplicaId>,
) -> String {
    let mut out = String::new();
    for (table, settings) in [
        ("cluster", cluster(config)),
        ("limits", config.limits.settings()),
        (
            "accounts",
            vec![("registration", quoted(config.registration))],
        ),
        ("tls", tls(config)),
        ("logging", logging(config)),
    ] {
        if settings.is_empty() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, "[{table}]");
        for (key, value) in settings {
            let source = whence(&layers.source(text, table, key, None));
            let _ = writeln!(out, "{key} = {value} # {source}");
        }
        out.push('\n');
    }
    for replica in &config.replicas {
        let _ = writeln!(out, "[[replica]]");
        for (key, value) in of_replica(replica) {
            // What is overridden is overridden for one of them only.
            let source = match me == Some(replica.id) {
                true => layers.source(text, "replica", key, me),
                false => Overrides::default().source(text, "replica", key, Some(replica.id)),
            };
            let _ = writeln!(out, "{key} = {value} # {}", whence(&source));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

fn whence(source: &Source) -> String {
    match source {
        Source::Default => "default".to_owned(),
        Source::File => "file".to_owned(),
        Source::Environment(name) => name.clone(),
        Source::Flag => "--set".to_owned(),
    }
}

pub(super) type Settings = Vec<(&'static str, String)>;

fn cluster(config: &ClusterConfig) -> Settings {
    let mut settings = vec![("id", quoted(config.id))];
    if let Some(incarnation) = config.incarnation {
        settings.push(("incarnation", quoted(incarnation)));
    }
    settings.extend([
        ("mode", quoted(config.mode)),
        ("heartbeat_interval", span(config.timing.heartbeat_interval)),
        ("suspect_after", span(config.timing.suspect_after)),
        ("recovery_grace", span(config.timing.recovery_grace)),
        ("log_keep", config.log.keep.to_string()),
        ("log_cap", config.log.cap.to_string()),
        ("absent_bytes", config.log.absent_bytes.to_string()),
        ("absent_for", span(config.log.absent_for)),
    ]);
    settings
}

/// Nothing where connections are not encrypted.
fn tls(config: &ClusterConfig) -> Settings {
    let Some(tls) = &config.tls else {
        return Vec::new();
    };
    let names = tls.names();
    [
        ("ca", &names.ca),
        ("cert", &names.cert),
        ("key", &names.key),
    ]
    .map(|(key, name)| (key, path(name)))
    .into()
}

fn logging(config: &ClusterConfig) -> Settings {
    vec![
        ("level", quoted(&config.logging.level)),
        ("format", quoted(config.logging.format)),
    ]
}

fn of_replica(replica: &ReplicaConfig) -> Settings {
    let mut settings = vec![
        ("id", replica.id.to_string()),
        ("client_listen", quoted(&replica.client_listen)),
        ("client_address", quoted(&replica.client_address)),
        ("peer_listen", quoted(&replica.peer_listen)),
        ("peer_address", quoted(&replica.peer_address)),
    ];
    if let Some(address) = &replica.metrics_listen {
        settings.push(("metrics_listen", quoted(address)));
    }
    settings.push(("data_dir", path(&replica.data_dir)));
    settings
}

fn quoted(value: impl std::fmt::Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

fn path(path: &Path) -> String {
    quoted(path.display())
}

pub(super) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    let (number, unit) = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1000, "s"),
    ]
    .into_iter()
    .find(|(unit, _)| millis != 0 && millis.is_multiple_of(*unit))
    .map_or((millis, "ms"), |(unit, name)| (millis / unit, name));
    quoted(format!("{number}{unit}"))
}

impl ClusterConfig {
    /// The file at `path` and what is over it, as a cluster file with every value written out and where it is from.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub fn print(
        path: &Path,
        layers: &Overrides,
        me: Option<ReplicaId>,
    ) -> Result<String, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        let config = layers.apply(&text, path, me)?;
        Ok(print(&config, &text, layers, me))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_a_file_that_says_the_same() {
        let text = "\
[cluster]
id = \"0198c5a2-7c1e-4b3a-9d2f-0123456789ab\"
incarnation = \"0198c5a2-7c1e-4b3a-9d2f-0123456789ac\"
mode = \"consistent\"
heartbeat_interval = \"70ms\"
suspect_after = \"2s\"
recovery_grace = \"3min\"
log_keep = 100
log_cap = 1000
absent_bytes = 100000000
absent_for = \"3d\"

[limits]
body_bytes = 100
sessions_per_account = 1
session_lifetime = \"7d\"
hash_workers = 3
hash_memory_kib = 64
hash_passes = 2
max_connections = 50
connections_per_address = 5
calls_per_connection = 6
header_bytes = 9000
request_bytes = 9001
request_memory_mib = 20
longest_call = \"21s\"
requests_per_account = 7
requests_per_address = 8
failed_logins = 9
failed_logins_per_address = 10
registrations_per_address = 11
subscriptions_per_account = 12
lists_per_account = 17
events_per_subscriber = 13
undelivered_per_recipient = 14
disk_reserve_mib = 15

[accounts]
registration = \"closed\"

[tls]
ca = \"/tls/ca.pem\"
cert = \"/tls/{id}/cert.pem\"
key = \"/tls/{id}/key.pem\"

[logging]
level = \"debug\"
format = \"json\"

[[replica]]
id = 0
client_listen = \"127.0.0.1:7400\"
client_address = \"a:7400\"
peer_listen = \"127.0.0.1:7500\"
peer_address = \"a:7500\"
metrics_listen = \"127.0.0.1:7600\"
data_dir = \"/data\"
";
        let path = Path::new("/c.toml");
        let none = Overrides::default();
        let config = none.apply(text, path, None).expect("valid");
        let printed = print(&config, text, &none, None);
        assert_eq!(none.apply(&printed, path, None).expect(&printed), config);
        assert!(!printed.contains("# default"), "{printed}");

        let flag = ["limits.body_bytes=7".to_owned()];
        let layers = Overrides::new([], &flag).expect("valid");
        let config = layers.apply(text, path, None).expect("valid");
        let printed = print(&config, text, &layers, None);
        assert!(printed.contains("body_bytes = 7 # --set"), "{printed}");
    }
}
