//! The open sessions of an account, for its owner.

use chat_client::Reason;
use chat_client::api;
use chat_client::api::auth_service_client::AuthServiceClient;
use chat_core::{CommandBody, Outcome, SessionId};
use chat_replication::types::Position;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::request;
use crate::app::token;
use crate::app::{Caller, Write, read};
use crate::grpc;
use crate::grpc::seen;

pub(crate) async fn list(
    node: &Node,
    request: Request<api::ListSessionsRequest>,
) -> Result<Response<api::ListSessionsResponse>, Status> {
    let context = grpc::context(&request);
    read(
        node,
        seen(&context, request.get_ref().read_token.as_ref())?,
        &context,
    )
    .await?;
    let caller = Caller::counted(node, &context).await?;
    let account = caller.account();
    let found = node
        .state
        .query(|manager, at| Ok((manager.sessions(account)?, at)));
    let (sessions, at) = found.map_err(Failure::from)?;
    let sessions = sessions.iter().map(|session| api::Session {
        session_id: session.id.to_string(),
        open_time_ms: session.opened_at.as_millis() as i64,
        expire_time_ms: session.expires_at.as_millis() as i64,
        current: session.id == caller.session.id,
    });
    Ok(Response::new(api::ListSessionsResponse {
        sessions: sessions.collect(),
        read_token: token::read_token(at),
    }))
}

impl Write for api::RevokeSessionRequest {
    type Answer = api::RevokeSessionResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let session: SessionId = self
            .session_id
            .parse()
            .map_err(|error| Failure::invalid(Reason::InvalidArgument, "session_id", error))?;
        let earlier = Caller::earlier(node, context, request)?;
        let account = match (Caller::of(node, context).await, &earlier) {
            (Ok(caller), _) => caller.account(),
            // A retry, of the end of the session that it carries.
            (Err(_), Some((Outcome::SessionsClosed { .. }, at))) => return Ok(answered(node, *at)),
            (Err(failure), _) => return Err(failure),
        };
        let open = node.state.query(|manager, _| manager.sessions(account))?;
        if earlier.is_none() && !open.iter().any(|one| one.id == session) {
            return Err(Failure::not_found(
                Reason::SessionNotFound,
                format!("the account has no open session {session}: list its sessions to find it"),
            ));
        }
        let body = CommandBody::CloseSession { account, session };
        let done = node.propose(request, body).await?;
        Ok(api::RevokeSessionResponse {
            read_token: done.read_token(),
            durability: Some(done.durability),
        })
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        AuthServiceClient::new(leader).revoke_session(request).await
    }
}

/// The answer to a request that was carried out before.
fn answered(node: &Node, at: Position) -> api::RevokeSessionResponse {
    api::RevokeSessionResponse {
        durability: Some(node.durability()),
        read_token: token::read_token(at),
    }
}
