//! A cluster file to begin with.

use std::fmt::Write;

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

/// The text of a cluster file.
pub fn template(cluster: ClusterId, layout: Layout) -> String {
    let mode = layout.mode;
    let mut text = format!(
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
         \n\
         # [limits]\n\
         # body_bytes = 65536\n\
         # sessions_per_account = 100\n\
         # session_lifetime = \"30d\"\n\
         \n\
         # client_address and peer_address say where others reach the replica, where that is not where it listens.\n"
    );
    for id in 0..layout.replicas {
        let client = u32::from(layout.base_port) + id;
        let peer = client + Layout::PEER_PORT_OFFSET;
        let metrics = peer + Layout::PEER_PORT_OFFSET;
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

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
