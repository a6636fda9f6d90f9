//! Where the cluster file and the cluster differ. The file seeds the first start; from then on the cluster knows better.

use std::path::Path;
use std::sync::Arc;

use chat_replication::status::Status;
use chat_replication::types::{Configuration, ReplicaId};
use tokio::sync::watch;
use tracing::warn;

use crate::config::ClusterConfig;

/// Warns of each difference, once per configuration, until the replica ends.
pub(crate) async fn warn_of_differences(
    file: ClusterConfig,
    mut changes: watch::Receiver<Arc<Status>>,
) {
    let mut compared = Configuration::default();
    let mut warned = Vec::new();
    loop {
        let status = Arc::clone(&changes.borrow_and_update());
        if is_current(&status) && status.configuration != compared {
            compared.clone_from(&status.configuration);
            let differences = differences(&file, &status);
            for difference in differences.iter().filter(|one| !warned.contains(*one)) {
                warn!("{difference}");
            }
            warned = differences;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Each difference in words, with what resolves it.
pub(crate) fn differences(file: &ClusterConfig, status: &Status) -> Vec<String> {
    match is_current(status) {
        true => between(file, &status.configuration, status.identity.replica),
        false => Vec::new(),
    }
}

/// What a replica that follows nobody knows of the cluster may be old, and so may what one that was removed does.
fn is_current(status: &Status) -> bool {
    status.leader.is_some() && !status.configuration.has_removed(status.identity.store)
}

fn between(file: &ClusterConfig, cluster: &Configuration, me: ReplicaId) -> Vec<String> {
    let mut differences = Vec::new();
    let folder = file
        .replica(me)
        .map_or(Path::new("DIR"), |replica| &replica.data_dir)
        .display();
    if file.mode != cluster.mode {
        differences.push(format!(
            "the cluster file says mode \"{}\", and the cluster began in mode \"{}\" and stays in it; correct the file",
            file.mode, cluster.mode
        ));
    }
    for replica in &file.replicas {
        let id = replica.id;
        let Some(member) = cluster.member(id) else {
            differences.push(format!(
                "replica {id} is in the cluster file and not in the cluster; start it with an empty data folder and add it \
                 with `chat-server replica add {id} --peer {} --client {} --data-dir {folder}`, or take it out of the file",
                replica.peer_address, replica.client_address
            ));
            continue;
        };
        for (key, in_file, in_cluster) in [
            ("peer_address", &replica.peer_address, &member.peer_address),
            (
                "client_address",
                &replica.client_address,
                &member.client_address,
            ),
        ] {
            if in_file.to_string() != *in_cluster {
                differences.push(format!(
                    "the cluster file says {key} {in_file} for replica {id}, and the cluster uses {in_cluster}; correct the \
                     file, or move the replica with `chat-server replica remove {id} --data-dir {folder}` and, with an empty \
                     data folder, `chat-server replica add {id} --peer {} --client {} --data-dir {folder}`",
                    replica.peer_address, replica.client_address
                ));
            }
        }
    }
    for member in &cluster.members {
        let id = member.id;
        if file.replica(id).is_none() {
            differences.push(format!(
                "replica {id} at {} is in the cluster and not in the cluster file; add a [[replica]] section for it, or \
                 remove it with `chat-server replica remove {id} --data-dir {folder}`",
                member.peer_address
            ));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use chat_replication::types::{ClusterId, Member, Mode, StoreUuid};
    use uuid::Uuid;

    use super::*;
    use crate::config::{Layout, template};

    #[test]
    fn each_difference_names_what_resolves_it() {
        let text = template(ClusterId(Uuid::from_u128(1)), Layout::default());
        let file = ClusterConfig::parse(&text, Path::new("/c/cluster.toml")).expect("valid");
        let member = |id: u32, client_address: &str| Member {
            id: ReplicaId(id),
            store: StoreUuid(Uuid::from_u128(u128::from(id))),
            peer_address: format!("127.0.0.1:{}", 7500 + id),
            client_address: client_address.to_owned(),
        };
        let same = Configuration {
            members: vec![
                member(0, "127.0.0.1:7400"),
                member(1, "127.0.0.1:7401"),
                member(2, "127.0.0.1:7402"),
            ],
            ..Configuration::default()
        };
        assert_eq!(between(&file, &same, ReplicaId(0)), Vec::<String>::new());
        let other = Configuration {
            members: vec![
                member(0, "127.0.0.1:7400"),
                member(1, "example.org:7401"),
                member(3, "127.0.0.1:7403"),
            ],
            mode: Mode::Consistent,
            ..Configuration::default()
        };
        let found = between(&file, &other, ReplicaId(1)).join("\n");
        for words in [
            "began in mode \"consistent\"",
            "client_address 127.0.0.1:7401 for replica 1, and the cluster uses example.org:7401",
            "`chat-server replica add 2 --peer 127.0.0.1:7502 --client 127.0.0.1:7402 --data-dir /c/replica-1`",
            "`chat-server replica remove 3 --data-dir /c/replica-1`",
        ] {
            assert!(found.contains(words), "{words} in\n{found}");
        }
        assert_eq!(found.lines().count(), 4, "{found}");
    }
}
