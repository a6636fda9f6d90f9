//! Sending, reading and deleting messages.

mod lists;
mod marks;
mod send;
mod stream;

use std::sync::Arc;

use chat_client::Reason;
use chat_client::api;
use chat_client::api::message_service_server::MessageService;
use chat_core::AccountId;
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::make_sure;
use crate::app::node::Node;
use crate::app::request;
use crate::app::request::Peer;
use crate::grpc::write;

#[tonic::async_trait]
impl MessageService for Services {
    type SendMessagesStream = stream::Answers;

    async fn send_message(
        &self,
        request: Request<api::SendMessageRequest>,
    ) -> Result<Response<api::SendMessageResponse>, Status> {
        write(&self.node, request).await
    }

    async fn send_messages(
        &self,
        request: Request<Streaming<api::SendMessagesRequest>>,
    ) -> Result<Response<stream::Answers>, Status> {
        let answers = stream::send_messages(Arc::clone(&self.node), request)?;
        Ok(Response::new(answers))
    }

    async fn list_inbox(
        &self,
        request: Request<api::ListInboxRequest>,
    ) -> Result<Response<api::ListInboxResponse>, Status> {
        lists::inbox(&self.node, request).await
    }

    async fn list_history(
        &self,
        request: Request<api::ListHistoryRequest>,
    ) -> Result<Response<api::ListHistoryResponse>, Status> {
        lists::history(&self.node, request).await
    }

    async fn list_conversations(
        &self,
        request: Request<api::ListConversationsRequest>,
    ) -> Result<Response<api::ListConversationsResponse>, Status> {
        lists::conversations(&self.node, request).await
    }

    async fn confirm_delivery(
        &self,
        request: Request<api::ConfirmDeliveryRequest>,
    ) -> Result<Response<api::ConfirmDeliveryResponse>, Status> {
        write(&self.node, request).await
    }

    async fn mark_read(
        &self,
        request: Request<api::MarkReadRequest>,
    ) -> Result<Response<api::MarkReadResponse>, Status> {
        write(&self.node, request).await
    }

    async fn delete_messages(
        &self,
        request: Request<api::DeleteMessagesRequest>,
    ) -> Result<Response<api::DeleteMessagesResponse>, Status> {
        write(&self.node, request).await
    }
}

/// The account that a request names as the other side of a conversation; it may have been deleted.
fn peer(node: &Node, text: &str) -> Result<AccountId, Failure> {
    let found = match request::peer_name("peer", text)? {
        Peer::Name(name) => node
            .state
            .query(|manager, _| manager.account_by_name(&name))?,
        Peer::Id(id) => node.state.query(|manager, _| manager.account(id))?,
    };
    match found {
        Some(profile) => Ok(profile.id),
        None => Err(Failure::not_found(
            Reason::PeerNotFound,
            format!("there is no account `{text}`: list the accounts to find it"),
        )),
    }
}

/// The same at any replica: an account that is not known here may have been made a moment ago.
async fn peer_anywhere(node: &Node, context: &Context, text: &str) -> Result<AccountId, Failure> {
    match peer(node, text) {
        Err(Failure::NotFound { .. }) => {
            make_sure(node, context).await?;
            peer(node, text)
        }
        found => found,
    }
}
