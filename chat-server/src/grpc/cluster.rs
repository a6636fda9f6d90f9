//! The public part of the cluster's state.

use chat_client::api;
use chat_client::api::cluster_service_server::ClusterService;
use chat_replication::status::{PeerStatus, Role, Status as ReplicaStatus};
use chat_replication::types::{Member, Mode};
use tonic::{Request, Response, Status};

use super::Services;
use crate::app::barrier;
use crate::app::error::Failure;
use crate::app::token;
use crate::grpc;

#[tonic::async_trait]
impl ClusterService for Services {
    async fn get_cluster_status(
        &self,
        request: Request<api::GetClusterStatusRequest>,
    ) -> Result<Response<api::GetClusterStatusResponse>, Status> {
        let node = &*self.node;
        // Where it is asked for, the answer's read token stands for everything that anybody was told before.
        let context = grpc::context(&request);
        barrier(node, &context).await?;
        let status = node.handle.status();
        let (stats, at) = node.state.stats().map_err(Failure::from)?;
        let members = status.configuration.members.iter();
        Ok(Response::new(api::GetClusterStatusResponse {
            cluster_id: node.cluster.to_string(),
            replica_id: node.me.0,
            leader: node.leadership.borrow().on_the_wire(),
            epoch: status.epoch.number,
            replicas: members.map(|member| replica(&status, member)).collect(),
            waiting_for: status.waiting_for.clone(),
            accounts: stats.accounts,
            messages: stats.messages,
            read_token: token::read_token(at),
            mode: mode(&status).into(),
            forced: status.forced,
        }))
    }
}

/// One replica, as this one sees it. A leader knows of each how far it is; the others know that of themselves.
fn replica(status: &ReplicaStatus, member: &Member) -> api::ReplicaStatus {
    let in_view = status.view.contains(&member.id);
    let common = api::ReplicaStatus {
        replica_id: member.id.0,
        client_address: member.client_address.clone(),
        peer_address: member.peer_address.clone(),
        in_view,
        ..api::ReplicaStatus::default()
    };
    if member.id == status.identity.replica {
        return api::ReplicaStatus {
            role: role(status.role).into(),
            durable_index: status.durable,
            commit_index: status.commit,
            applied_index: status.applied,
            lag: status.commit.saturating_sub(status.durable),
            state_hash: format!("{:032x}", status.state_hash),
            orphans: status.orphans,
            ..common
        };
    }
    let Some(peer) = status.peers.iter().find(|peer| peer.id == member.id) else {
        return api::ReplicaStatus {
            role: api::ReplicaRole::Unreachable.into(),
            ..common
        };
    };
    let common = api::ReplicaStatus {
        role: role_of_peer(status, peer, in_view).into(),
        orphans: peer.orphans,
        ..common
    };
    match (status.role, peer.verified) {
        (Role::Leader, Some(verified)) => api::ReplicaStatus {
            durable_index: verified,
            commit_index: verified.min(status.commit),
            applied_index: peer.applied,
            lag: status.last.index.saturating_sub(verified),
            state_hash: format!("{:032x}", peer.state_hash),
            ..common
        },
        _ => common,
    }
}

fn mode(status: &ReplicaStatus) -> api::ClusterMode {
    match status.configuration.mode {
        _ if status.configuration.members.is_empty() => api::ClusterMode::Unspecified,
        Mode::Available => api::ClusterMode::Available,
        Mode::Consistent => api::ClusterMode::Consistent,
    }
}

fn role(role: Role) -> api::ReplicaRole {
    match role {
        Role::Seeking => api::ReplicaRole::Seeking,
        Role::Candidate => api::ReplicaRole::Candidate,
        Role::Leader => api::ReplicaRole::Leader,
        Role::Follower => api::ReplicaRole::Follower,
        Role::Learner => api::ReplicaRole::Learner,
    }
}

fn role_of_peer(status: &ReplicaStatus, peer: &PeerStatus, in_view: bool) -> api::ReplicaRole {
    if !peer.reachable {
        return api::ReplicaRole::Unreachable;
    }
    match (status.leader == Some(peer.id), in_view, status.leader) {
        (true, _, _) => api::ReplicaRole::Leader,
        (false, true, _) => api::ReplicaRole::Follower,
        (false, false, Some(_)) => api::ReplicaRole::Learner,
        (false, false, None) => api::ReplicaRole::Seeking,
    }
}
