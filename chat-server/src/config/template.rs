//! A cluster file to begin with.

use std::fmt::Write;
use std::net::IpAddr;

use chat_replication::types::{ClusterId, Mode};

/// What a new cluster file describes: replicas on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How many replicas; 3 by default.
    pub replicas: u32,
    /// Clients' port of replica 0; 7400 by default. Replica N has the Nth behind it, and for its peers the hundredth
    /// behind that.
    pub base_port: u16,
    /// What a view needs.
    pub mode: Mode,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout {
            replicas: 3,
            base_port: 7400,
            mode: Mode::default(),
        }
    }
}

impl Layout {
    /// Between a replica's port for clients and the one for peers, and between that and the one for metrics.
    pub(crate) const PEER_PORT_OFFSET: u32 = 100;

    /// Why the layout has no room, if so.
    pub fn problem(&self) -> Option<String> {
        let last = u32::from(self.base_port) + 2 * Layout::PEER_PORT_OFFSET + self.replicas;
        if !(1..=Layout::PEER_PORT_OFFSET).contains(&self.replicas) {
            return Some(format!(
                "{} replicas are not between 1 and {}; 3 is usual",
                self.replicas,
                Layout::PEER_PORT_OFFSET
            ));
        }
        if self.base_port == 0 || last > u32::from(u16::MAX) {
            return Some(format!(
                "ports from {} on do not all exist; choose a base port between 1 and {}",
                self.base_port,
                u32::from(u16::MAX) - 2 * Layout::PEER_PORT_OFFSET - self.replicas
            ));
        }
        None
    }
}

/// One replica of a new cluster of several machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its number.
    pub id: u32,
    /// The name or address by which others reach its machine.
    pub host: String,
}

/// The text of a cluster file.
pub fn template(cluster: ClusterId, layout: Layout) -> String {
    let mut text = head(cluster, layout.mode);
    for id in 0..layout.replicas {
        let Ports {
            client,
            peer,
            metrics,
        } = ports(layout.base_port, id);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[replica]]\n\
             id = {id}\n\
             client_listen = \"127.0.0.1:{client}\"\n\
             peer_listen = \"127.0.0.1:{peer}\"\n\
             metrics_listen = \"127.0.0.1:{metrics}\"\n\
             data_dir = \"replica-{id}\"\n"
        );
    }
    text
}

/// The text of a cluster file with encrypted connections. Replicas that others can reach listen on all their addresses.
pub fn secured(cluster: ClusterId, mode: Mode, base_port: u16, places: &[Place]) -> String {
    let mut text = head(cluster, mode);
    text.push_str(
        "\n\
         # Connections are encrypted; {id} stands for the replica's number.\n\
         [tls]\n\
         ca = \"ca.pem\"\n\
         cert = \"replica-{id}/cert.pem\"\n\
         key = \"replica-{id}/key.pem\"\n",
    );
    for Place { id, host } in places {
        let Ports {
            client,
            peer,
            metrics,
        } = ports(base_port, *id);
        let ip: Option<IpAddr> = host.parse().ok();
        let (listen, reached) = match ip {
            Some(ip) if ip.is_loopback() => (bracketed(host, ip), None),
            Some(ip @ IpAddr::V6(_)) => ("[::]".to_owned(), Some(bracketed(host, ip))),
            _ => ("0.0.0.0".to_owned(), Some(host.clone())),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[replica]]\nid = {id}\nclient_listen = \"{listen}:{client}\"\n"
        );
        if let Some(reached) = &reached {
            let _ = writeln!(text, "client_address = \"{reached}:{client}\"");
        }
        let _ = writeln!(text, "peer_listen = \"{listen}:{peer}\"");
        if let Some(reached) = &reached {
            let _ = writeln!(text, "peer_address = \"{reached}:{peer}\"");
        }
        // Figures travel unencrypted, so that they stay on the machine unless somebody says otherwise.
        let _ = writeln!(text, "metrics_listen = \"127.0.0.1:{metrics}\"");
        let _ = writeln!(text, "data_dir = \"replica-{id}/data\"");
    }
    text
}

struct Ports {
    client: u32,
    peer: u32,
    metrics: u32,
}

fn ports(base_port: u16, id: u32) -> Ports {
    let client = u32::from(base_port) + id;
    let peer = client + Layout::PEER_PORT_OFFSET;
    Ports {
        client,
        peer,
        metrics: peer + Layout::PEER_PORT_OFFSET,
    }
}

fn bracketed(host: &str, ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(_) => host.to_owned(),
        IpAddr::V6(_) => format!("[{host}]"),
    }
}

fn head(cluster: ClusterId, mode: Mode) -> String {
    format!(
        "# A chat cluster. All its replicas read the same file.\n\
         \n\
         [cluster]\n\
         id = \"{cluster}\"\n\
         # \"available\": one replica is enough, and histories that a partition makes are merged;\n\
         # \"consistent\": more than half of the replicas are needed.\n\
         mode = \"{mode}\"\n\
         # heartbeat_interval = \"50ms\"\n\
         # suspect_after = \"1s\"\n\
         # recovery_grace = \"10s\"\n\
         # log_keep = 10000\n\
         # log_cap = 200000\n\
         # absent_bytes = 4294967296\n\
         # absent_for = \"7d\"\n\
         \n\
         # [limits]\n\
         # body_bytes = 65536\n\
         # sessions_per_account = 100\n\
         # session_lifetime = \"30d\"\n\
         # max_connections = 10000\n\
         # connections_per_address = 2000\n\
         # calls_per_connection = 256\n\
         # header_bytes = 16384\n\
         # request_bytes = 4194304\n\
         # request_memory_mib = 256\n\
         # longest_call = \"30s\"\n\
         # requests_per_account = 1000\n\
         # requests_per_address = 4000\n\
         # failed_logins = 10\n\
         # failed_logins_per_address = 60\n\
         # registrations_per_address = 60\n\
         # subscriptions_per_account = 64\n\
         # lists_per_account = 16\n\
         # events_per_subscriber = 1024\n\
         # undelivered_per_recipient = 100000\n\
         # disk_reserve_mib = 256\n\
         \n\
         # Who makes accounts: \"open\", anybody; \"closed\", whoever runs `chat-server account create`.\n\
         # [accounts]\n\
         # registration = \"open\"\n\
         \n\
         # client_address and peer_address say where others reach the replica, where that is not where it listens.\n"
    )
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use chat_replication::types::ReplicaId;
    use uuid::Uuid;

    use super::*;
    use crate::config::ClusterConfig;

    #[test]
    fn a_new_file_can_be_used_as_it_is() {
        let cluster = ClusterId(Uuid::from_u128(7));
        let text = template(cluster, Layout::default());
        let config =
            ClusterConfig::parse(&text, Path::new("/etc/chat/cluster.toml")).expect("valid");
        assert_eq!(config.id, cluster);
        assert_eq!(config.mode, Mode::Available);
        let layout = Layout {
            mode: Mode::Consistent,
            ..Layout::default()
        };
        let text = template(cluster, layout);
        let other = ClusterConfig::parse(&text, Path::new("/cluster.toml")).expect("valid");
        assert_eq!(other.mode, Mode::Consistent);
        let last = &config.replicas[2];
        assert_eq!(last.client_address.to_string(), "127.0.0.1:7402");
        assert_eq!(last.peer_listen.to_string(), "127.0.0.1:7502");
        assert_eq!(last.data_dir, PathBuf::from("/etc/chat/replica-2"));
    }

    #[test]
    fn the_limits_that_a_new_file_names_are_those_in_force_without_it() {
        let text = template(ClusterId(Uuid::from_u128(7)), Layout::default());
        let path = Path::new("/cluster.toml");
        let (mut spelt_out, mut is_inside) = (String::new(), false);
        for line in text.lines() {
            is_inside |= matches!(line, "# [limits]" | "# [accounts]");
            is_inside &= line.starts_with("# ");
            let is_setting = is_inside && (line.contains(" = ") || line.starts_with("# ["));
            spelt_out += if is_setting { &line[2..] } else { line };
            spelt_out.push('\n');
        }
        let config = ClusterConfig::parse(&spelt_out, path).expect(&spelt_out);
        assert!(spelt_out.contains("\n[limits]\n") && spelt_out.contains("\n[accounts]\n"));
        assert_eq!(config, ClusterConfig::parse(&text, path).expect("valid"));
    }

    #[test]
    fn a_file_for_several_machines_says_how_they_are_reached() {
        let places: Vec<_> = ["127.0.0.1", "chat-b.example.org", "2001:db8::1"]
            .iter()
            .zip(0..)
            .map(|(host, id)| Place {
                id,
                host: (*host).to_owned(),
            })
            .collect();
        let text = secured(
            ClusterId(Uuid::from_u128(7)),
            Mode::Available,
            7400,
            &places,
        );
        let config = ClusterConfig::parse(&text, Path::new("/etc/chat/cluster.toml")).expect(&text);
        let address = |id: usize| {
            let replica = &config.replicas[id];
            (
                replica.peer_listen.to_string(),
                replica.peer_address.to_string(),
            )
        };
        let owned = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
        assert_eq!(address(0), owned(("127.0.0.1:7500", "127.0.0.1:7500")));
        assert_eq!(
            address(1),
            owned(("0.0.0.0:7501", "chat-b.example.org:7501"))
        );
        assert_eq!(address(2), owned(("[::]:7502", "[2001:db8::1]:7502")));
        let files = config
            .tls
            .expect("there is a [tls] table")
            .files(ReplicaId(2));
        assert_eq!(files.ca, PathBuf::from("/etc/chat/ca.pem"));
        assert_eq!(files.key, PathBuf::from("/etc/chat/replica-2/key.pem"));
    }

    #[test]
    fn ports_that_do_not_exist_are_told() {
        let problem = |replicas, base_port| {
            Layout {
                replicas,
                base_port,
                ..Layout::default()
            }
            .problem()
        };
        assert_eq!(problem(3, 7400), None);
        assert_eq!(problem(3, 65332), None);
        for (replicas, base_port) in [(3, 65500), (0, 7400), (101, 7400), (3, 0)] {
            assert!(
                problem(replicas, base_port).is_some(),
                "{replicas} {base_port}"
            );
        }
    }
}
