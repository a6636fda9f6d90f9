//! Sending.

use chat_client::api::message_service_client::MessageServiceClient;
use chat_client::{Reason, api};
use chat_core::{
    AccountId, Body, BodyError, CommandBody, EventKind, Message, MessageId, MessageState, Outcome,
    RequestId, Username,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::{Done, Node};
use crate::app::request;
use crate::app::throttle::Coming;
use crate::app::{Caller, Write};
use crate::live::presence::Online;

impl Write for api::SendMessageRequest {
    type Answer = api::SendMessageResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let sender = Caller::of(node, context).await?.account();
        let body = Body::parse(&self.body, node.limits().body_bytes).map_err(|error| {
            let reason = match error {
                BodyError::Empty => Reason::BodyEmpty,
                BodyError::TooLong { .. } => Reason::BodyTooLong,
            };
            Failure::invalid(reason, "body", error)
        })?;
        let recipient = match recipient(node, &self.recipient)? {
            Some(recipient) => recipient,
            // A retry of a message to somebody who has left since is still a retry.
            None => match sent(node, sender, MessageId::derive(sender, request))? {
                Some(message) => message.recipient.id,
                None => {
                    return Err(Failure::not_found(
                        Reason::RecipientNotFound,
                        format!(
                            "there is no account `{}` to write to: list the accounts to find it",
                            self.recipient
                        ),
                    ));
                }
            },
        };
        let coming = room(node, (sender, request), recipient)?;
        let body = CommandBody::Send {
            sender,
            recipient,
            body,
        };
        let done = node.propose(request, body).await;
        let is_new = match &done {
            Ok(done) => !done.events.is_empty(),
            Err(Failure::Rejected(_)) => false,
            // It may come all the same.
            Err(_) => true,
        };
        if let Some(coming) = coming.filter(|_| !is_new) {
            coming.give_back();
        }
        let done = done?;
        answer(node, sender, recipient, &done)
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        MessageServiceClient::new(leader)
            .send_message(request)
            .await
    }
}

/// Room for a message among those that wait for its recipient, if it needs any.
fn room(
    node: &Node,
    (sender, request): (AccountId, RequestId),
    recipient: AccountId,
) -> Result<Option<Coming>, Failure> {
    // A note to oneself waits for nobody.
    if recipient == sender {
        return Ok(None);
    }
    match node.room.take(node, recipient) {
        Ok(coming) => Ok(Some(coming)),
        // Nor does a retry: the message has come.
        Err(full) => match sent(node, sender, MessageId::derive(sender, request))? {
            Some(_) => Ok(None),
            None => Err(full),
        },
    }
}

fn recipient(node: &Node, name: &str) -> Result<Option<AccountId>, Failure> {
    let name = Username::parse_existing(name)
        .map_err(|error| Failure::invalid(Reason::InvalidUsername, "recipient", error))?;
    let profile = node
        .state
        .query(|manager, _| manager.account_by_name(&name))?;
    Ok(profile.map(|profile| profile.id))
}

fn answer(
    node: &Node,
    sender: AccountId,
    recipient: AccountId,
    done: &Done,
) -> Result<api::SendMessageResponse, Failure> {
    let Outcome::MessageSent { message: id, at } = done.outcome else {
        return Err(done.unexpected());
    };
    let told = done.events.iter().find_map(|event| match &event.kind {
        EventKind::MessageSent { message } => Some((message.sequence, message.state)),
        _ => None,
    });
    let (sequence, state) = match told {
        Some((sequence, state)) => (sequence.number(), state),
        // A retry. The message may have been deleted since.
        None => match sent(node, sender, id)? {
            Some(message) => (message.sequence.number(), message.state),
            None => (0, MessageState::Queued),
        },
    };
    let is_on_its_way = state != MessageState::Queued || node.presence.is_online(recipient);
    let delivery_state = match is_on_its_way {
        true => api::DeliveryState::Delivering,
        false => api::DeliveryState::Queued,
    };
    Ok(api::SendMessageResponse {
        message_id: id.to_string(),
        sequence,
        delivery_state: delivery_state.into(),
        read_token: done.read_token(),
        durability: Some(done.durability),
        send_time_ms: at.as_millis() as i64,
    })
}

fn sent(node: &Node, sender: AccountId, id: MessageId) -> Result<Option<Message>, Failure> {
    Ok(node.state.query(|manager, _| manager.message(sender, id))?)
}
