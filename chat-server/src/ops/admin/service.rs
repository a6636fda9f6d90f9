//! The service of `chat.admin.v1`.

use std::pin::Pin;
use std::sync::Arc;

use chat_client::Endpoint;
use chat_replication::handle::OrderError;
use chat_replication::replica::ForceRefusal;
use chat_replication::status::Status as ReplicaStatus;
use chat_replication::types::{Member, Mode, Position, ReplicaId};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::accounts;
use super::proto::admin_service_server::AdminService;
use super::proto::{
    AddReplicaRequest, AddReplicaResponse, BackupRequest, BackupResponse, CreateAccountRequest,
    CreateAccountResponse, DeleteAccountRequest, DeleteAccountResponse, ForceViewRequest,
    ForceViewResponse, GetStatusRequest, GetStatusResponse, ListAccountsRequest,
    ListAccountsResponse, ListReplicasRequest, ListReplicasResponse, RemoveReplicaRequest,
    RemoveReplicaResponse, Replica, ResetPasswordRequest, ResetPasswordResponse,
    TransferLeadershipRequest, TransferLeadershipResponse,
};
use super::take::{Without, take};
use crate::app::node::Node;
use crate::engine::orders::Orders;
use crate::engine::orders::word::{Order, Refusal};
use crate::ops::condition::Condition;

/// One replica's answers to its operator.
pub(super) struct Service {
    pub(super) node: Arc<Node>,
    pub(super) orders: Arc<Orders>,
}

#[tonic::async_trait]
impl AdminService for Service {
    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let status = self.node.handle.status();
        let mode = match status.configuration.members.is_empty() {
            true => String::new(),
            false => status.configuration.mode.to_string(),
        };
        let Condition {
            disk_free: disk_free_bytes,
            disk_total: disk_total_bytes,
            differences,
            ..
        } = self.node.conditions.own();
        let low = self.node.conditions.low_disks();
        Ok(Response::new(GetStatusResponse {
            cluster_id: self.node.cluster.to_string(),
            replica_id: status.identity.replica.0,
            role: format!("{:?}", status.role).to_lowercase(),
            store_uuid: status.identity.store.0.to_string(),
            epoch: status.epoch.number,
            leader_id: status.leader.map(|leader| leader.0),
            mode,
            forced: status.forced,
            durable_index: status.durable,
            commit_index: status.commit,
            applied_index: status.applied,
            state_hash: format!("{:032x}", status.state_hash),
            orphans: status.orphans,
            waiting_for: status.waiting_for.clone(),
            disk_free_bytes,
            disk_total_bytes,
            differences,
            low_disks: low.iter().map(|replica| replica.0).collect(),
        }))
    }

    async fn list_replicas(
        &self,
        _: Request<ListReplicasRequest>,
    ) -> Result<Response<ListReplicasResponse>, Status> {
        let status = self.node.handle.status();
        let own = self.node.conditions.own();
        let listed = |member: &Member| {
            let replica = replica(&status, member);
            match member.id == status.identity.replica {
                true => describe(replica, &own, None),
                false => match self.node.conditions.of(member.id) {
                    Some(heard) => describe(replica, &heard.condition, Some(heard.ahead)),
                    None => replica,
                },
            }
        };
        let configuration = &status.configuration;
        let kept = configuration.mode == Mode::Available && !configuration.may_drop(&status.view);
        let absent = configuration.absent.iter().filter(|_| kept);
        Ok(Response::new(ListReplicasResponse {
            kept_for: absent.map(|absent| absent.replica.0).collect(),
            returning: configuration
                .absent
                .iter()
                .filter(|absent| absent.returns)
                .map(|absent| absent.replica.0)
                .collect(),
            replicas: configuration.members.iter().map(listed).collect(),
            removed: configuration
                .removed
                .iter()
                .map(|member| Replica {
                    in_view: false,
                    leads: false,
                    reachable: false,
                    ..replica(&status, member)
                })
                .collect(),
        }))
    }

    async fn add_replica(
        &self,
        request: Request<AddReplicaRequest>,
    ) -> Result<Response<AddReplicaResponse>, Status> {
        let request = request.into_inner();
        let order = Order::Add {
            replica: ReplicaId(request.replica_id),
            peer_address: address("peer_address", &request.peer_address)?,
            client_address: address("client_address", &request.client_address)?,
        };
        self.orders.carry_out(&order).await?;
        Ok(Response::new(AddReplicaResponse {}))
    }

    async fn remove_replica(
        &self,
        request: Request<RemoveReplicaRequest>,
    ) -> Result<Response<RemoveReplicaResponse>, Status> {
        let RemoveReplicaRequest {
            replica_id,
            destroyed,
        } = request.into_inner();
        let order = Order::Remove {
            replica: ReplicaId(replica_id),
            destroyed,
        };
        self.orders.carry_out(&order).await?;
        Ok(Response::new(RemoveReplicaResponse {}))
    }

    async fn transfer_leadership(
        &self,
        request: Request<TransferLeadershipRequest>,
    ) -> Result<Response<TransferLeadershipResponse>, Status> {
        let order = Order::Transfer(ReplicaId(request.into_inner().replica_id));
        self.orders.carry_out(&order).await?;
        Ok(Response::new(TransferLeadershipResponse {}))
    }

    async fn force_view(
        &self,
        _: Request<ForceViewRequest>,
    ) -> Result<Response<ForceViewResponse>, Status> {
        let me = self.node.me;
        let Err(error) = self.node.handle.force_view().await else {
            return Ok(Response::new(ForceViewResponse {}));
        };
        Err(match &error {
            OrderError::NotForced(ForceRefusal::Led) => {
                let leader = self.node.handle.status().leader.filter(|id| *id != me);
                let elsewhere = leader.map_or_else(String::new, |leader| {
                    format!(
                        "; should replica {leader}, which it follows, wait for others, give the order to that one"
                    )
                });
                Status::failed_precondition(format!("replica {me}: {error}{elsewhere}"))
            }
            OrderError::NotForced(ForceRefusal::Waits(_)) => {
                Status::failed_precondition(format!("replica {me}: {error}"))
            }
            _ => Status::unavailable(format!("replica {me}: {error}")),
        })
    }

    type BackupStream = BackupPieces;

    async fn backup(
        &self,
        request: Request<BackupRequest>,
    ) -> Result<Response<BackupPieces>, Status> {
        let without = match request.into_inner().without_leader {
            true => Without::Anyway,
            false => Without::Refuse,
        };
        let pieces = take(&self.node, without).await?;
        let pieces = ReceiverStream::new(pieces)
            .map(|piece| piece.map_err(|error| Status::internal(error.to_string())));
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn create_account(
        &self,
        request: Request<CreateAccountRequest>,
    ) -> Result<Response<CreateAccountResponse>, Status> {
        let made = accounts::create(&self.node, &self.orders, request.get_ref()).await?;
        Ok(Response::new(made))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        accounts::reset_password(&self.node, &self.orders, request.get_ref()).await?;
        Ok(Response::new(ResetPasswordResponse {}))
    }

    async fn delete_account(
        &self,
        request: Request<DeleteAccountRequest>,
    ) -> Result<Response<DeleteAccountResponse>, Status> {
        accounts::delete(&self.node, &self.orders, request.get_ref()).await?;
        Ok(Response::new(DeleteAccountResponse {}))
    }

    async fn list_accounts(
        &self,
        request: Request<ListAccountsRequest>,
    ) -> Result<Response<ListAccountsResponse>, Status> {
        let listed = accounts::list(&self.node, request.get_ref()).await?;
        Ok(Response::new(listed))
    }
}

type BackupPieces = Pin<Box<dyn Stream<Item = Result<BackupResponse, Status>> + Send>>;

/// What a replica says of itself, with what is known of it here.
fn describe(replica: Replica, condition: &Condition, ahead: Option<i64>) -> Replica {
    let Position { epoch, index } = condition.applied;
    let shows = format!("{:032x}", condition.state_hash);
    Replica {
        applied_index: Some(index),
        applied_epoch: format!("{epoch}.{}", epoch.store.0),
        state_hash: shows,
        runs_with_store: condition.store.0.to_string(),
        waiting_for: condition.waiting_for.clone(),
        clock_ahead_ms: ahead,
        disk_free_bytes: condition.disk_free,
        disk_total_bytes: condition.disk_total,
        certificate_ends_at: condition.certificate_ends,
        differences: condition.differences.clone(),
        program: condition.program.clone(),
        ..replica
    }
}

fn replica(status: &ReplicaStatus, member: &Member) -> Replica {
    let is_me = member.id == status.identity.replica;
    let heard = |id| {
        let mut peers = status.peers.iter();
        peers.any(|peer| peer.id == id && peer.reachable)
    };
    let peer = status.peers.iter().find(|peer| peer.id == member.id);
    // Only a leader hears from the others how far they are.
    let told = peer.filter(|peer| peer.verified.is_some());
    let state = match (is_me, told) {
        (true, _) => Some((status.applied, status.state_hash)),
        (false, Some(peer)) => Some((peer.applied, peer.state_hash)),
        (false, None) => None,
    };
    let leads = status.leader == Some(status.identity.replica);
    let verified = told.filter(|_| leads).and_then(|peer| peer.verified);
    Replica {
        applied_index: state.map(|(applied, _)| applied),
        state_hash: state.map_or(String::new(), |(_, hash)| format!("{hash:032x}")),
        lag: verified.map(|verified| status.last.index.saturating_sub(verified)),
        orphans: match is_me {
            true => status.orphans,
            false => peer.map_or(0, |peer| peer.orphans),
        },
        replica_id: member.id.0,
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
        store_uuid: member.store.0.to_string(),
        in_view: status.view.contains(&member.id),
        leads: status.leader == Some(member.id),
        reachable: is_me || heard(member.id),
        // The condition of any other disk says so itself, but nothing that a removed one says is taken in.
        runs_with_store: peer
            .and_then(|peer| peer.removed)
            .map_or(String::new(), |store| store.0.to_string()),
        ..Replica::default()
    }
}

fn address(field: &str, text: &str) -> Result<String, Status> {
    match text.parse::<Endpoint>() {
        Ok(address) => Ok(address.to_string()),
        Err(error) => Err(Status::invalid_argument(format!("{field}: {error}"))),
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::Impossible(why) => Status::failed_precondition(why),
            Refusal::NotFound(why) => Status::not_found(why),
            Refusal::Taken(why) => Status::already_exists(why),
            Refusal::Later(why) => Status::unavailable(why),
        }
    }
}
