//! From keys to values, and whether the values fit together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_client::{Endpoint, EndpointError};
use chat_replication::types::{ClusterId, Mode, ReplicaId};
use toml::Spanned;
use toml::value::Value;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use super::error::Lines;
use super::values::{number, span};
use super::{
    ClusterConfig, ConfigError, LogFormat, LogLength, Logging, Registration, ReplicaConfig, Timing,
    limits, raw, tls,
};

pub(super) fn check(text: &str, path: &Path) -> Result<ClusterConfig, ConfigError> {
    let lines = Lines { text, path };
    let file: raw::File = toml::from_str(text).map_err(|error| {
        let problem = error
            .message()
            .trim()
            .replace('\n', ", ")
            .replace("expected i64", "expected a whole number");
        lines.mistake(error.span(), problem)
    })?;
    let id = cluster_id(&lines, &file.cluster.id)?;
    let incarnation = incarnation(&lines, &file.cluster.incarnation)?;
    let mode = mode(&lines, &file.cluster.mode)?;
    let timing = timing(&lines, &file.cluster)?;
    let limits = limits::check(&lines, &file.limits)?;
    let registration = registration(&lines, &file.accounts)?;
    let log = log_length(&lines, &file.cluster)?;
    let logging = logging(&lines, &file.logging)?;
    let tls = tls::check(&lines, &file.tls, path)?;
    if file.replica.is_empty() {
        return Err(lines.mistake(
            None,
            "there is no replica; add a [[replica]] table for each",
        ));
    }
    let mut replicas = Vec::new();
    for raw in &file.replica {
        replicas.push(replica(&lines, raw, path)?);
    }
    unique(&lines, &file.replica, &replicas)?;
    replicas.sort_by_key(|replica| replica.id);
    Ok(ClusterConfig {
        id,
        incarnation,
        mode,
        timing,
        limits,
        registration,
        log,
        logging,
        tls,
        replicas,
    })
}

fn cluster_id(lines: &Lines<'_>, id: &Spanned<String>) -> Result<ClusterId, ConfigError> {
    match Uuid::try_parse(id.get_ref()) {
        Ok(id) if !id.is_nil() => Ok(ClusterId(id)),
        _ => Err(lines.mistake(
            Some(id.span()),
            format!(
                "id `{}` is not a UUID; `chat-server config new` writes a file with a new one",
                id.get_ref()
            ),
        )),
    }
}

fn incarnation(
    lines: &Lines<'_>,
    incarnation: &Option<Spanned<String>>,
) -> Result<Option<ClusterId>, ConfigError> {
    let Some(text) = incarnation else {
        return Ok(None);
    };
    match Uuid::try_parse(text.get_ref()) {
        Ok(uuid) if !uuid.is_nil() => Ok(Some(ClusterId(uuid))),
        _ => Err(lines.mistake(
            Some(text.span()),
            format!(
                "incarnation `{}` is not a UUID; copy the line that `chat-server restore` printed, or leave it out if the \
                 cluster was never restored",
                text.get_ref()
            ),
        )),
    }
}

fn logging(lines: &Lines<'_>, raw: &raw::Logging) -> Result<Logging, ConfigError> {
    let mut logging = Logging::default();
    if let Some(level) = &raw.level {
        level.get_ref().parse::<EnvFilter>().map_err(|error| {
            let problem = format!(
                "level `{}` is not understood ({error}); write error, warn, info, debug or trace, or such as \"info,h2=debug\"",
                level.get_ref()
            );
            lines.mistake(Some(level.span()), problem)
        })?;
        logging.level.clone_from(level.get_ref());
    }
    if let Some(format) = &raw.format {
        logging.format = match format.get_ref().as_str() {
            "pretty" => LogFormat::Pretty,
            "json" => LogFormat::Json,
            other => {
                let problem = format!("format `{other}` is unknown; write \"pretty\" or \"json\"");
                return Err(lines.mistake(Some(format.span()), problem));
            }
        };
    }
    Ok(logging)
}

fn mode(lines: &Lines<'_>, mode: &Option<Spanned<String>>) -> Result<Mode, ConfigError> {
    let Some(mode) = mode else {
        return Ok(Mode::default());
    };
    match mode.get_ref().as_str() {
        "available" => Ok(Mode::Available),
        "consistent" => Ok(Mode::Consistent),
        other => Err(lines.mistake(
            Some(mode.span()),
            format!(
                "mode `{other}` is unknown; write \"available\" (one replica is enough, histories that a partition makes \
                 are merged) or \"consistent\" (more than half of the replicas are needed)"
            ),
        )),
    }
}

fn timing(lines: &Lines<'_>, raw: &raw::Cluster) -> Result<Timing, ConfigError> {
    let default = Timing::default();
    let heartbeat_interval = span(lines, "heartbeat_interval", &raw.heartbeat_interval)?
        .unwrap_or(default.heartbeat_interval);
    let suspect_after = span(lines, "suspect_after", &raw.suspect_after)?
        .unwrap_or_else(|| default.suspect_after.max(heartbeat_interval * 4));
    let recovery_grace = span(lines, "recovery_grace", &raw.recovery_grace)?
        .unwrap_or_else(|| default.recovery_grace.max(suspect_after));
    let place = |key: &Option<Spanned<String>>| key.as_ref().map(Spanned::span);
    if heartbeat_interval < Duration::from_millis(10)
        || heartbeat_interval > Duration::from_secs(60)
    {
        return Err(lines.mistake(
            place(&raw.heartbeat_interval),
            "heartbeat_interval is not between 10ms and 1min; 50ms is usual",
        ));
    }
    if suspect_after < heartbeat_interval * 4 {
        return Err(lines.mistake(
            place(&raw.suspect_after).or(place(&raw.heartbeat_interval)),
            "suspect_after is less than four times heartbeat_interval, so that a short delay would look like a death; \
             raise it",
        ));
    }
    if recovery_grace < suspect_after || recovery_grace > Duration::from_secs(3600) {
        return Err(lines.mistake(
            place(&raw.recovery_grace).or(place(&raw.suspect_after)),
            "recovery_grace is not between suspect_after and 1h; 10s is usual",
        ));
    }
    Ok(Timing {
        heartbeat_interval,
        suspect_after,
        recovery_grace,
    })
}

fn log_length(lines: &Lines<'_>, raw: &raw::Cluster) -> Result<LogLength, ConfigError> {
    let default = LogLength::default();
    let entries = |key, value: &Option<Spanned<i64>>| {
        let entries = number(lines, key, value, 1..=1_000_000_000)?;
        Ok(entries.and_then(|entries| u64::try_from(entries).ok()))
    };
    let keep = entries("log_keep", &raw.log_keep)?.unwrap_or(default.keep);
    let cap = entries("log_cap", &raw.log_cap)?.unwrap_or(default.cap.max(keep));
    if cap < keep {
        let place = raw.log_cap.as_ref().or(raw.log_keep.as_ref());
        return Err(lines.mistake(
            place.map(Spanned::span),
            "log_cap is less than log_keep, so that nobody could be away even for a moment; raise it",
        ));
    }
    let absent_bytes = number(lines, "absent_bytes", &raw.absent_bytes, 64 << 20..=1 << 50)?;
    let absent_bytes = absent_bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let absent_for = span(lines, "absent_for", &raw.absent_for)?;
    if absent_for.is_some_and(|span| span < Duration::from_secs(60)) {
        return Err(lines.mistake(
            raw.absent_for.as_ref().map(Spanned::span),
            "absent_for is less than 1min, so that a replica that restarts slowly would be removed; 7d is usual",
        ));
    }
    Ok(LogLength {
        keep,
        cap,
        absent_bytes: absent_bytes.unwrap_or(default.absent_bytes),
        absent_for: absent_for.unwrap_or(default.absent_for),
    })
}

fn registration(lines: &Lines<'_>, raw: &raw::Accounts) -> Result<Registration, ConfigError> {
    let Some(registration) = &raw.registration else {
        return Ok(Registration::default());
    };
    match registration.get_ref().as_str() {
        "open" => Ok(Registration::Open),
        "closed" => Ok(Registration::Closed),
        other => Err(lines.mistake(
            Some(registration.span()),
            format!(
                "registration `{other}` is unknown; write \"open\" (anybody may register) or \"closed\" \
                 (`chat-server account create` makes the accounts)"
            ),
        )),
    }
}

fn replica(
    lines: &Lines<'_>,
    raw: &Spanned<raw::Replica>,
    path: &Path,
) -> Result<ReplicaConfig, ConfigError> {
    let raw = raw.get_ref();
    let id = match raw.id.get_ref() {
        Value::Integer(id) => u32::try_from(*id).ok(),
        _ => None,
    };
    let id = id.ok_or_else(|| {
        lines.mistake(
            Some(raw.id.span()),
            "id is not a whole number from 0; number the replicas 0, 1, 2 ...",
        )
    })?;
    let client_listen = address(lines, "client_listen", &raw.client_listen)?;
    let peer_listen = address(lines, "peer_listen", &raw.peer_listen)?;
    let client_address = reachable(
        lines,
        "client_address",
        &raw.client_address,
        (&client_listen, &raw.client_listen),
    )?;
    let peer_address = reachable(
        lines,
        "peer_address",
        &raw.peer_address,
        (&peer_listen, &raw.peer_listen),
    )?;
    Ok(ReplicaConfig {
        id: ReplicaId(id),
        client_listen,
        client_address,
        peer_listen,
        peer_address,
        metrics_listen: match &raw.metrics_listen {
            Some(text) => Some(address(lines, "metrics_listen", text)?),
            None => None,
        },
        data_dir: data_dir(lines, &raw.data_dir, path)?,
    })
}

fn address(lines: &Lines<'_>, key: &str, text: &Spanned<String>) -> Result<Endpoint, ConfigError> {
    if text.get_ref().contains("://") {
        return Err(lines.mistake(
            Some(text.span()),
            format!(
                "{key}: `{}` has a scheme; write HOST:PORT, which is encrypted where the file has a [tls] table",
                text.get_ref()
            ),
        ));
    }
    text.get_ref().parse().map_err(|error| {
        let problem = match error {
            EndpointError::Malformed { problem, .. }
                if text.get_ref().trim().rsplit_once(':').is_some_and(|(_, port)| port == "0") =>
            {
                format!(
                    "{key} `{}` has port 0, where nobody else could find it ({problem}); choose a fixed port",
                    text.get_ref()
                )
            }
            error => format!("{key}: {error}"),
        };
        lines.mistake(Some(text.span()), problem)
    })
}

/// Where others reach a listener: as the file says, else where it listens.
fn reachable(
    lines: &Lines<'_>,
    key: &str,
    text: &Option<Spanned<String>>,
    (listen, listens_at): (&Endpoint, &Spanned<String>),
) -> Result<Endpoint, ConfigError> {
    let (address, place) = match text {
        Some(text) => (self::address(lines, key, text)?, text.span()),
        None => (listen.clone(), listens_at.span()),
    };
    if is_wildcard(&address) {
        return Err(lines.mistake(
            Some(place),
            format!("nobody can connect to {address}; set {key} to a HOST:PORT by which others reach this replica"),
        ));
    }
    Ok(address)
}

fn data_dir(
    lines: &Lines<'_>,
    text: &Spanned<String>,
    path: &Path,
) -> Result<PathBuf, ConfigError> {
    if text.get_ref().trim().is_empty() {
        return Err(lines.mistake(
            Some(text.span()),
            "data_dir is empty; name a folder of the replica's own",
        ));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(folder.join(text.get_ref()))
}

/// Two replicas must not claim the same thing.
fn unique(
    lines: &Lines<'_>,
    raw: &[Spanned<raw::Replica>],
    replicas: &[ReplicaConfig],
) -> Result<(), ConfigError> {
    let mut ids = BTreeMap::new();
    let mut addresses: BTreeMap<String, (ReplicaId, &str)> = BTreeMap::new();
    let mut folders: BTreeMap<(&str, &Path), ReplicaId> = BTreeMap::new();
    for (raw, replica) in raw.iter().zip(replicas) {
        let raw = raw.get_ref();
        if ids.insert(replica.id, ()).is_some() {
            return Err(lines.mistake(
                Some(raw.id.span()),
                format!(
                    "there are two replicas {}; give each its own id",
                    replica.id
                ),
            ));
        }
        let client = raw.client_address.as_ref().unwrap_or(&raw.client_listen);
        let peer = raw.peer_address.as_ref().unwrap_or(&raw.peer_listen);
        let mut claims = vec![
            ("client_address", &replica.client_address, client.span()),
            ("peer_address", &replica.peer_address, peer.span()),
        ];
        // One that listens everywhere may do so on another machine, under the same port.
        if !is_wildcard(&replica.client_listen) && replica.client_listen != replica.client_address {
            claims.push((
                "client_listen",
                &replica.client_listen,
                raw.client_listen.span(),
            ));
        }
        if !is_wildcard(&replica.peer_listen) && replica.peer_listen != replica.peer_address {
            claims.push(("peer_listen", &replica.peer_listen, raw.peer_listen.span()));
        }
        for (key, address, place) in claims {
            if let Some((other, other_key)) =
                addresses.insert(canonical(address), (replica.id, key))
            {
                return Err(lines.mistake(
                    Some(place),
                    format!(
                        "{key} {address} of replica {} is also {other_key} of replica {other}; give each its own port",
                        replica.id
                    ),
                ));
            }
        }
        if is_wildcard(&replica.client_listen)
            && replica.client_listen.port() == replica.peer_listen.port()
        {
            return Err(lines.mistake(
                Some(raw.peer_listen.span()),
                format!(
                    "client_listen and peer_listen of replica {} have the same port; give each its own",
                    replica.id
                ),
            ));
        }
        let folder = (replica.client_address.host(), replica.data_dir.as_path());
        if let Some(other) = folders.insert(folder, replica.id) {
            return Err(lines.mistake(
                Some(raw.data_dir.span()),
                format!(
                    "replicas {other} and {} have the same data_dir; give each its own",
                    replica.id
                ),
            ));
        }
    }
    Ok(())
}

fn is_wildcard(address: &Endpoint) -> bool {
    address
        .host()
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified())
}

/// `localhost` and 127.0.0.1 are one machine.
fn canonical(address: &Endpoint) -> String {
    match address.host() {
        "localhost" | "::1" => format!("127.0.0.1:{}", address.port()),
        _ => address.to_string(),
    }
}
