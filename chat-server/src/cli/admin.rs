//! `chat-server replica`, `transfer-leadership` and `force-view`: orders to a running cluster, through the socket of one of
//! its replicas.

use std::io;
use std::path::{Path, PathBuf};

use chat_replication::types::ReplicaId;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Problem;
use super::args::{ReplicaCommand, Through};
use super::config::overrides;
use super::output::say;
use crate::config::ClusterConfig;
use crate::ops::admin::proto::admin_service_client::AdminServiceClient;
use crate::ops::admin::proto::{
    AddReplicaRequest, ForceViewRequest, GetStatusRequest, GetStatusResponse, ListReplicasRequest,
    ListReplicasResponse, RemoveReplicaRequest, Replica, TransferLeadershipRequest,
};
use crate::ops::admin::{SOCKET, path_in};

pub(super) type Operator = AdminServiceClient<Channel>;

pub(super) async fn replica(command: ReplicaCommand) -> Result<(), Problem> {
    match command {
        ReplicaCommand::Add {
            replica,
            peer,
            client,
            through,
        } => add(replica, (peer, client), &through).await,
        ReplicaCommand::Remove {
            replica,
            destroyed,
            through,
        } => {
            let mut operator = reach(&through).await?;
            let request = RemoveReplicaRequest {
                replica_id: replica,
                destroyed,
            };
            operator.remove_replica(request).await.map_err(told)?;
            say(format!(
                "replica {replica} is not part of the cluster any more; stop it, and take it out of the cluster files"
            ));
            Ok(())
        }
        ReplicaCommand::List { through } => {
            let mut operator = reach(&through).await?;
            let status = operator.get_status(GetStatusRequest {}).await;
            let listed = operator.list_replicas(ListReplicasRequest {}).await;
            say(list(
                &status.map_err(told)?.into_inner(),
                &listed.map_err(told)?.into_inner(),
            ));
            Ok(())
        }
    }
}

async fn add(
    id: u32,
    (peer, client): (Option<String>, Option<String>),
    through: &Through,
) -> Result<(), Problem> {
    let in_file = match &through.config {
        Some(file) => load(file, through.id)?.replica(ReplicaId(id)).cloned(),
        None => None,
    };
    let peer = peer.or_else(|| Some(in_file.as_ref()?.peer_address.to_string()));
    let client = client.or_else(|| Some(in_file.as_ref()?.client_address.to_string()));
    let (Some(peer_address), Some(client_address)) = (peer, client) else {
        return Err(format!(
            "where replica {id} is reached is not known; name its addresses with --peer HOST:PORT and --client HOST:PORT, \
             or pass --config with a cluster file that has a [[replica]] section for it"
        ));
    };
    let mut operator = reach(through).await?;
    let request = AddReplicaRequest {
        replica_id: id,
        peer_address,
        client_address,
    };
    operator.add_replica(request).await.map_err(told)?;
    say(format!(
        "replica {id} has caught up and is part of the cluster; add its [[replica]] section to the other cluster files, too"
    ));
    Ok(())
}

pub(super) async fn transfer_leadership(to: u32, through: &Through) -> Result<(), Problem> {
    let mut operator = reach(through).await?;
    let request = TransferLeadershipRequest { replica_id: to };
    operator.transfer_leadership(request).await.map_err(told)?;
    say(format!("replica {to} leads"));
    Ok(())
}

pub(super) async fn force_view(through: &Through) -> Result<(), Problem> {
    if through.data_dir.is_none() && through.id.is_none() {
        return Err(
            "which replica is to go on without the others? Name it with --id N or --data-dir DIR"
                .to_owned(),
        );
    }
    let mut operator = reach(through).await?;
    operator
        .force_view(ForceViewRequest {})
        .await
        .map_err(told)?;
    say(
        "the replica goes on with whoever is there; `chat-server replica list` shows the view, and that it was forced",
    );
    Ok(())
}

/// Connects to the replica that the command line names, or to the first of the file's that runs here.
pub(super) async fn reach(through: &Through) -> Result<Operator, Problem> {
    let folders = folders(through)?;
    let mut last = None;
    for folder in &folders {
        match connect(folder).await {
            Ok(operator) => return Ok(operator),
            Err(problem) => last = Some(problem),
        }
    }
    match (folders.as_slice(), last) {
        ([_], Some(problem)) => Err(problem),
        _ => Err(format!(
            "none of the replicas of the cluster file runs on this machine (there is no {SOCKET} in use in their data \
             folders); run this where one does, or name its data folder with --data-dir"
        )),
    }
}

fn folders(through: &Through) -> Result<Vec<PathBuf>, Problem> {
    if let Some(folder) = &through.data_dir {
        return Ok(vec![folder.clone()]);
    }
    let Some(file) = &through.config else {
        return Err(
            "which cluster? Name a data folder with --data-dir, or a cluster file with --config"
                .to_owned(),
        );
    };
    let cluster = load(file, through.id)?;
    let wanted = cluster
        .replicas
        .iter()
        .filter(|replica| through.id.is_none_or(|id| replica.id == ReplicaId(id)));
    let folders: Vec<PathBuf> = wanted.map(|replica| replica.data_dir.clone()).collect();
    match (folders.is_empty(), through.id) {
        (true, Some(id)) => Err(format!(
            "{} has no replica {id}; it has {}",
            file.display(),
            cluster
                .replicas
                .iter()
                .map(|replica| replica.id.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        )),
        _ => Ok(folders),
    }
}

/// The file as the replica itself reads it, where it is known which one that is.
pub(super) fn load(file: &Path, id: Option<u32>) -> Result<ClusterConfig, Problem> {
    let environment = || std::env::var("CHAT_ID").ok()?.parse().ok();
    let me = id.or_else(environment).map(ReplicaId);
    ClusterConfig::load_with(file, &overrides(&[])?, me).map_err(|error| error.to_string())
}

async fn connect(folder: &Path) -> Result<Operator, Problem> {
    let path = path_in(folder).map_err(|error| error.to_string())?;
    let unreachable = |why: String| {
        format!(
            "no running replica is reached through {}: {why}",
            path.display()
        )
    };
    // Opened here once more than needed, since this error says what is wrong.
    if let Err(error) = std::os::unix::net::UnixStream::connect(&path) {
        return Err(unreachable(match error.kind() {
            io::ErrorKind::NotFound => {
                "it does not exist; is that the data folder of a replica that runs?".to_owned()
            }
            io::ErrorKind::ConnectionRefused => "nobody listens; start the replica".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "only the user whom the replica runs as may open it; become that user".to_owned()
            }
            _ => error.to_string(),
        }));
    }
    let name = path
        .to_str()
        .ok_or_else(|| unreachable("its path is not UTF-8".to_owned()))?;
    let connected = async {
        Endpoint::from_shared(format!("unix:{name}"))?
            .connect()
            .await
    };
    match connected.await {
        Ok(channel) => Ok(AdminServiceClient::new(channel)),
        Err(error) => Err(unreachable(error.to_string())),
    }
}

/// What the replica said.
pub(super) fn told(status: Status) -> Problem {
    status.message().to_owned()
}

pub(super) fn list(status: &GetStatusResponse, listed: &ListReplicasResponse) -> String {
    let mut lines = vec![format!("cluster {}", status.cluster_id)];
    lines.push(match status.leader_id {
        Some(leader) => format!("replica {leader} leads, epoch {}", status.epoch),
        None => "no replica leads, as far as this one knows".to_owned(),
    });
    if !status.mode.is_empty() {
        lines.push(format!("{} mode", status.mode));
    }
    if status.forced {
        lines.push("the view was forced: started without replicas that may hold more".to_owned());
    }
    if !status.waiting_for.is_empty() {
        lines.push(format!(
            "replica {}: {}",
            status.replica_id, status.waiting_for
        ));
    }
    let mut rows = vec![["REPLICA", "ROLE", "PEERS", "CLIENTS", "DISK"].map(str::to_owned)];
    let row = |replica: &Replica, role: &str| {
        [
            replica.replica_id.to_string(),
            role.to_owned(),
            replica.peer_address.clone(),
            replica.client_address.clone(),
            replica.store_uuid.clone(),
        ]
    };
    rows.extend(listed.replicas.iter().map(|replica| {
        let role = match replica {
            Replica { leads: true, .. } => "leader",
            Replica { in_view: true, .. } => "follower",
            Replica {
                reachable: true, ..
            } => "not in view",
            _ => "unreachable",
        };
        row(replica, role)
    }));
    rows.extend(listed.removed.iter().map(|replica| row(replica, "removed")));
    lines.extend(table(&rows));
    lines.join("\n")
}

/// Columns as wide as what is in them.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_who_leads_and_who_was_removed() {
        let status = GetStatusResponse {
            cluster_id: "abc".into(),
            replica_id: 1,
            epoch: 9,
            leader_id: Some(1),
            mode: "available".into(),
            forced: true,
            ..GetStatusResponse::default()
        };
        let replica = |replica_id, leads, in_view| Replica {
            replica_id,
            peer_address: format!("h:750{replica_id}"),
            client_address: format!("h:740{replica_id}"),
            store_uuid: format!("disk-{replica_id}"),
            in_view,
            leads,
            reachable: in_view,
            ..Replica::default()
        };
        let listed = ListReplicasResponse {
            replicas: vec![replica(1, true, true), replica(2, false, false)],
            removed: vec![replica(0, false, false)],
            ..ListReplicasResponse::default()
        };
        let expected = "\
cluster abc
replica 1 leads, epoch 9
available mode
the view was forced: started without replicas that may hold more
REPLICA  ROLE         PEERS   CLIENTS  DISK
1        leader       h:7501  h:7401   disk-1
2        unreachable  h:7502  h:7402   disk-2
0        removed      h:7500  h:7400   disk-0";
        assert_eq!(list(&status, &listed), expected);
    }
}
