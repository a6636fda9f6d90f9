//! Messages and conversations, as one of their parties sees them.

use chat_client::api;
use chat_core::{Content, Conversation, Message, MessageState};

use super::account::account;
use crate::live::presence::Online;

pub(crate) fn message(message: &Message, online: &impl Online) -> api::Message {
    api::Message {
        message_id: message.id.to_string(),
        sequence: message.sequence.number(),
        sender: Some(account(&message.sender, online)),
        recipient: Some(account(&message.recipient, online)),
        body: match &message.content {
            Content::Text(text) => text.to_string(),
            Content::Notice(notice) => notice.text(),
        },
        send_time_ms: message.at.as_millis() as i64,
        delivered: message.state >= MessageState::Delivered,
        read: message.state == MessageState::Read,
    }
}

pub(crate) fn conversation(conversation: &Conversation, online: &impl Online) -> api::Conversation {
    api::Conversation {
        peer: Some(account(&conversation.peer, online)),
        unread_count: conversation.unread.into(),
        last_message: conversation.last.as_ref().map(|last| message(last, online)),
    }
}
