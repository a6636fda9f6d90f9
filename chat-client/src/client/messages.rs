//! Sending, reading and deleting messages.

use tonic::Request;

use super::{As, Client, LONGEST_ANSWER};
use crate::api;
use crate::api::message_service_client::MessageServiceClient;
use crate::error::Error;
use crate::ids::{MessageId, RequestId};
use crate::net::{Channel, Purpose};
use crate::timestamp::Timestamp;
use crate::types::{
    self, Conversation, DeleteScope, Deleted, Message, Page, PageRequest, Sent, parse_id,
};

impl Client {
    /// Sends a message. Answered when it is durable on every live replica.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown recipient, [`Error::Invalid`] for a body that is empty or too long.
    pub async fn send_message(&self, recipient: &str, body: &str) -> Result<Sent, Error> {
        let id = self.request_id();
        let request = api::SendMessageRequest {
            request_id: id.to_string(),
            recipient: recipient.into(),
            body: body.into(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            MessageServiceClient::new(channel)
                .send_message(request)
                .await
        };
        let answer = self
            .write_for(Purpose::Message, As::Session, id, request, send)
            .await?;
        sent(&answer)
    }

    /// Messages that no client of the account has confirmed yet, oldest first.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a valid session.
    pub async fn list_inbox(&self, page: PageRequest) -> Result<Page<Message>, Error> {
        let request = api::ListInboxRequest {
            page_size: page_size(&page),
            page_token: page_token(page),
            read_token: None,
        };
        let send = |channel: Channel, request: Request<_>| async move {
            let client = MessageServiceClient::new(channel);
            client
                .max_decoding_message_size(LONGEST_ANSWER)
                .list_inbox(request)
                .await
        };
        let answer = self.read(request, send).await?;
        types::page(answer.messages, answer.next_page_token)
    }

    /// The conversation with a peer, newest first. The peer is a user name, or the id of an account that was deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown peer.
    pub async fn list_history(
        &self,
        peer: &str,
        page: PageRequest,
    ) -> Result<Page<Message>, Error> {
        let request = api::ListHistoryRequest {
            peer: peer.into(),
            page_size: page_size(&page),
            page_token: page_token(page),
            read_token: None,
        };
        let send = |channel: Channel, request: Request<_>| async move {
            let client = MessageServiceClient::new(channel);
            client
                .max_decoding_message_size(LONGEST_ANSWER)
                .list_history(request)
                .await
        };
        let answer = self.read(request, send).await?;
        types::page(answer.messages, answer.next_page_token)
    }

    /// The account's conversations, with the number of unread messages in each.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a valid session.
    pub async fn list_conversations(&self, page: PageRequest) -> Result<Page<Conversation>, Error> {
        let request = api::ListConversationsRequest {
            page_size: page_size(&page),
            page_token: page_token(page),
            read_token: None,
        };
        let send = |channel: Channel, request: Request<_>| async move {
            let client = MessageServiceClient::new(channel);
            client
                .max_decoding_message_size(LONGEST_ANSWER)
                .list_conversations(request)
                .await
        };
        let answer = self.read(request, send).await?;
        types::page(answer.conversations, answer.next_page_token)
    }

    /// Confirms that messages reached this client: at most 1000. A [`crate::Subscription`] does it by itself.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] without a valid session.
    pub async fn confirm_delivery(&self, messages: &[MessageId]) -> Result<(), Error> {
        self.confirm_delivery_as(self.request_id(), messages).await
    }

    /// Confirms under a request id that was minted before.
    pub(crate) async fn confirm_delivery_as(
        &self,
        id: RequestId,
        messages: &[MessageId],
    ) -> Result<(), Error> {
        let request = api::ConfirmDeliveryRequest {
            request_id: id.to_string(),
            message_ids: texts(messages),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            MessageServiceClient::new(channel)
                .confirm_delivery(request)
                .await
        };
        self.write(As::Session, id, request, send).await?;
        Ok(())
    }

    /// Marks messages as read: at most 1000. Returns how many were not before.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a message that the account does not have.
    pub async fn mark_read(&self, messages: &[MessageId]) -> Result<u32, Error> {
        let id = self.request_id();
        let request = api::MarkReadRequest {
            request_id: id.to_string(),
            message_ids: texts(messages),
            ..Default::default()
        };
        self.send_mark_read(id, request).await
    }

    /// Marks all messages from a peer as read, up to `through`, or up to the latest. Returns how many were not before.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown peer or message.
    pub async fn mark_conversation_read(
        &self,
        peer: &str,
        through: Option<MessageId>,
    ) -> Result<u32, Error> {
        let id = self.request_id();
        let request = api::MarkReadRequest {
            request_id: id.to_string(),
            peer: peer.into(),
            through_message_id: through.map(|m| m.to_string()).unwrap_or_default(),
            ..Default::default()
        };
        self.send_mark_read(id, request).await
    }

    /// Deletes messages: at most 1000.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a message that the account does not have, [`Error::Denied`] for one of somebody else that
    /// is to be deleted for both.
    pub async fn delete_messages(
        &self,
        messages: &[MessageId],
        scope: DeleteScope,
    ) -> Result<Deleted, Error> {
        let id = self.request_id();
        let scope = match scope {
            DeleteScope::ForMe => api::DeleteScope::ForMe,
            DeleteScope::ForBoth => api::DeleteScope::ForBoth,
        };
        let request = api::DeleteMessagesRequest {
            request_id: id.to_string(),
            message_ids: texts(messages),
            scope: scope.into(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            MessageServiceClient::new(channel)
                .delete_messages(request)
                .await
        };
        let answer = self.write(As::Session, id, request, send).await?;
        Ok(Deleted {
            count: answer.deleted,
            durability: answer.durability.into(),
        })
    }

    async fn send_mark_read(
        &self,
        id: RequestId,
        request: api::MarkReadRequest,
    ) -> Result<u32, Error> {
        let send = |channel: Channel, request: Request<_>| async move {
            MessageServiceClient::new(channel).mark_read(request).await
        };
        Ok(self.write(As::Session, id, request, send).await?.marked)
    }
}

pub(super) fn page_size(page: &PageRequest) -> i32 {
    i32::try_from(page.size).unwrap_or(i32::MAX)
}

pub(super) fn page_token(page: PageRequest) -> String {
    page.token.map(|t| t.0).unwrap_or_default()
}

fn texts(messages: &[MessageId]) -> Vec<String> {
    messages.iter().map(ToString::to_string).collect()
}

/// What the answer to a message says.
pub(crate) fn sent(answer: &api::SendMessageResponse) -> Result<Sent, Error> {
    Ok(Sent {
        message_id: parse_id(&answer.message_id)?,
        sequence: answer.sequence,
        state: answer.delivery_state().into(),
        durability: answer.durability.into(),
        sent: Timestamp::from_unix_ms(answer.send_time_ms),
    })
}
