//! What becomes of messages once they are there.

use chat_client::api::message_service_client::MessageServiceClient;
use chat_client::{Reason, api};
use chat_core::{
    AccountId, CommandBody, DeleteScope, HistoryFrom, MessageId, Outcome, Progress, RequestId,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::peer;
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::request;
use crate::app::token;
use crate::app::{Caller, Write};
use crate::clock;

impl Write for api::ConfirmDeliveryRequest {
    type Answer = api::ConfirmDeliveryResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let account = Caller::of(node, context).await?.account();
        let messages = request::message_ids(&self.message_ids)?;
        let done = node
            .propose(request, CommandBody::MarkDelivered { account, messages })
            .await?;
        Ok(api::ConfirmDeliveryResponse {
            read_token: done.read_token(),
        })
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        MessageServiceClient::new(leader)
            .confirm_delivery(request)
            .await
    }
}

impl Write for api::MarkReadRequest {
    type Answer = api::MarkReadResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let account = Caller::of(node, context).await?.account();
        match (self.message_ids.is_empty(), self.peer.is_empty()) {
            (false, true) => {
                let messages = request::message_ids(&self.message_ids)?;
                mark(node, request, CommandBody::MarkRead { account, messages }).await
            }
            (true, false) => self.read_through(node, account, request).await,
            (false, false) => Err(Failure::invalid(
                Reason::InvalidArgument,
                "peer",
                "messages and a conversation are named: name one of them",
            )),
            (true, true) => Err(Failure::invalid(
                Reason::InvalidArgument,
                "message_ids",
                "neither messages nor a conversation are named: name one of them",
            )),
        }
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        MessageServiceClient::new(leader).mark_read(request).await
    }
}

impl Write for api::DeleteMessagesRequest {
    type Answer = api::DeleteMessagesResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let account = Caller::of(node, context).await?.account();
        let messages = request::message_ids(&self.message_ids)?;
        let scope = match self.scope() {
            api::DeleteScope::ForMe => DeleteScope::ForMe,
            api::DeleteScope::ForBoth => DeleteScope::ForBoth,
            api::DeleteScope::Unspecified => {
                return Err(Failure::invalid(
                    Reason::InvalidArgument,
                    "scope",
                    "it is not said for whom to delete: choose FOR_ME or FOR_BOTH",
                ));
            }
        };
        let body = CommandBody::DeleteMessages {
            account,
            messages,
            scope,
        };
        let done = node.propose(request, body).await?;
        let Outcome::MessagesDeleted { count } = done.outcome else {
            return Err(done.unexpected());
        };
        Ok(api::DeleteMessagesResponse {
            deleted: count,
            read_token: done.read_token(),
            durability: Some(done.durability),
        })
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        MessageServiceClient::new(leader)
            .delete_messages(request)
            .await
    }
}

/// How many commands one call reads a conversation with; each goes through thousands of messages.
const MOST_STEPS: u32 = 64;

trait ReadThrough {
    fn read_through(
        &self,
        node: &Node,
        account: AccountId,
        request: RequestId,
    ) -> impl Future<Output = Result<api::MarkReadResponse, Failure>> + Send;
}

impl ReadThrough for api::MarkReadRequest {
    async fn read_through(
        &self,
        node: &Node,
        account: AccountId,
        request: RequestId,
    ) -> Result<api::MarkReadResponse, Failure> {
        let peer = peer(node, &self.peer)?;
        let Some(message) = last_to_read(node, account, peer, &self.through_message_id)? else {
            let at = node.state.applied();
            return Ok(api::MarkReadResponse {
                marked: 0,
                read_token: token::read_token(at),
            });
        };
        let (mut marked, mut id) = (0, request);
        for _ in 0..MOST_STEPS {
            let done = node
                .propose(
                    id,
                    CommandBody::ReadThrough {
                        account,
                        peer,
                        message,
                    },
                )
                .await?;
            let Outcome::MarkedRead { count, progress } = done.outcome else {
                return Err(done.unexpected());
            };
            marked += count;
            if progress == Progress::Done {
                return Ok(api::MarkReadResponse {
                    marked,
                    read_token: done.read_token(),
                });
            }
            // The next stretch is a command of its own.
            id = clock::mint_request();
        }
        Err(Failure::Overloaded(
            "the conversation is very long: mark it as read again, to go on",
        ))
    }
}

/// The message that is named, or the latest one of the conversation.
fn last_to_read(
    node: &Node,
    account: AccountId,
    peer: AccountId,
    named: &str,
) -> Result<Option<MessageId>, Failure> {
    if !named.is_empty() {
        return named.parse().map(Some).map_err(|error| {
            Failure::invalid(Reason::InvalidArgument, "through_message_id", error)
        });
    }
    let latest = node
        .state
        .query(|manager, _| manager.history(account, peer, HistoryFrom::Newest, 1))?;
    Ok(latest.items.first().map(|message| message.id))
}

async fn mark(
    node: &Node,
    request: RequestId,
    body: CommandBody,
) -> Result<api::MarkReadResponse, Failure> {
    let done = node.propose(request, body).await?;
    let Outcome::MarkedRead { count, .. } = done.outcome else {
        return Err(done.unexpected());
    };
    Ok(api::MarkReadResponse {
        marked: count,
        read_token: done.read_token(),
    })
}
