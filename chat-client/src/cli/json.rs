//! Data for programs: one JSON object in each line.

use std::fmt::Write;

use serde_json::{Value, json};

use super::text::is_harmful;
use crate::cluster::{ClusterStatus, ReplicaStatus};
use crate::endpoint::Endpoint;
use crate::ids::MessageId;
use crate::subscription::Event;
use crate::types::{Account, Conversation, Durability, Message, OpenSession, Sent, Session};

/// What the objects hold. Times are Unix milliseconds in UTC.
pub(super) const HELP: &str = r#"With --json each line of standard output is one JSON object, and its "type" says what it is:
  account       id, name, online, created_ms, deleted
  message       id, sequence, sender, recipient (accounts), body, sent_ms, delivered, read
  conversation  peer (an account), unread, last_message (a message, or null)
  sent          id, sequence, state ("delivering" or "queued"), sent_ms, durable_on, replicas
  session       id, account, expires_ms
  open_session  id, opened_ms, expires_ms, is_this
  session_revoked (id), registered, logged_in, logged_out, marked_read, deleted, password_changed, account_deleted
  cluster       id, leader, epoch, accounts, messages
  replica       address, and id, role, in_view, durable_index, commit_index, applied_index, lag,
                state_hash, orphans, waiting_for; or error
  delivered, read, deleted_messages (messages, with), notice, connected, reset, leader_changed,
                session_closed, peer_deleted: what `watch` tells besides messages
  bench         what `bench` measured
Fields may be added; times are Unix milliseconds. An error is one such object on standard error:
  error         message, advice, code (the exit code)"#;

/// The object as a line. What a terminal would obey is escaped; a JSON parser reads it as it was.
pub(super) fn line(record: &Value) -> String {
    let text = record.to_string();
    if !text.chars().any(is_harmful) {
        return text;
    }
    let mut line = String::with_capacity(text.len() + 16);
    // Such characters stand in strings only, where each may be written by its code units.
    for c in text.chars() {
        match is_harmful(c) {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            false => line.push(c),
        }
    }
    line
}

pub(super) fn account(account: &Account) -> Value {
    json!({
        "type": "account",
        "id": account.id.to_string(),
        "name": account.name,
        "online": account.online,
        "created_ms": account.created.as_unix_ms(),
        "deleted": account.deleted,
    })
}

pub(super) fn message(message: &Message) -> Value {
    json!({
        "type": "message",
        "id": message.id.to_string(),
        "sequence": message.sequence,
        "sender": account(&message.sender),
        "recipient": account(&message.recipient),
        "body": message.body,
        "sent_ms": message.sent.as_unix_ms(),
        "delivered": message.delivered,
        "read": message.read,
    })
}

pub(super) fn conversation(conversation: &Conversation) -> Value {
    json!({
        "type": "conversation",
        "peer": account(&conversation.peer),
        "unread": conversation.unread,
        "last_message": conversation.last_message.as_ref().map(message),
    })
}

pub(super) fn sent(sent: &Sent) -> Value {
    json!({
        "type": "sent",
        "id": sent.message_id.to_string(),
        "sequence": sent.sequence,
        "state": sent.state.to_string(),
        "sent_ms": sent.sent.as_unix_ms(),
        "durable_on": sent.durability.durable_on,
        "replicas": sent.durability.replicas,
    })
}

pub(super) fn session(session: &Session) -> Value {
    json!({
        "type": "session",
        "id": session.id.to_string(),
        "account": account(&session.account),
        "expires_ms": session.expires.as_unix_ms(),
    })
}

pub(super) fn open_session(session: &OpenSession) -> Value {
    json!({
        "type": "open_session",
        "id": session.id.to_string(),
        "opened_ms": session.opened.as_unix_ms(),
        "expires_ms": session.expires.as_unix_ms(),
        "is_this": session.is_this,
    })
}

/// Something that was done, with how safe it is.
pub(super) fn done(what: &str, durability: Durability, mut rest: Value) -> Value {
    rest["type"] = what.into();
    rest["durable_on"] = durability.durable_on.into();
    rest["replicas"] = durability.replicas.into();
    rest
}

pub(super) fn status(answers: &[(Endpoint, Result<ClusterStatus, crate::Error>)]) -> Vec<Value> {
    let heard = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok());
    let leader_of = |status: &&ClusterStatus| status.leader.as_ref().map(|leader| leader.epoch);
    let mut lines = Vec::new();
    if let Some(status) = heard.max_by_key(leader_of) {
        lines.push(json!({
            "type": "cluster",
            "id": status.cluster_id,
            "leader": status.leader.as_ref().map(|leader| leader.replica_id),
            "epoch": status.epoch,
            "accounts": status.accounts,
            "messages": status.messages,
        }));
    }
    lines.extend(answers.iter().map(|(endpoint, answer)| match answer {
        Ok(status) => {
            let own = |r: &&ReplicaStatus| r.replica_id == status.replica_id;
            replica(endpoint, status, status.replicas.iter().find(own))
        }
        Err(error) => json!({
            "type": "replica",
            "address": endpoint.to_string(),
            "error": error.to_string(),
        }),
    }));
    lines
}

fn replica(endpoint: &Endpoint, status: &ClusterStatus, own: Option<&ReplicaStatus>) -> Value {
    json!({
        "type": "replica",
        "address": endpoint.to_string(),
        "id": status.replica_id,
        "waiting_for": status.waiting_for,
        "role": own.map(|r| r.role.to_string()),
        "in_view": own.map(|r| r.in_view),
        "durable_index": own.map(|r| r.durable_index),
        "commit_index": own.map(|r| r.commit_index),
        "applied_index": own.map(|r| r.applied_index),
        "lag": own.map(|r| r.lag),
        "state_hash": own.map(|r| r.state_hash.as_str()),
        "orphans": own.map(|r| r.orphans),
    })
}

pub(super) fn event(event: &Event) -> Value {
    let about = |what: &str, messages: &[MessageId], with: &Account| {
        let messages: Vec<_> = messages.iter().map(ToString::to_string).collect();
        json!({ "type": what, "messages": messages, "with": account(with) })
    };
    match event {
        Event::MessageReceived(received) | Event::MessageSent(received) => message(received),
        Event::MessagesDelivered {
            messages,
            recipient,
        } => about("delivered", messages, recipient),
        Event::MessagesRead { messages, reader } => about("read", messages, reader),
        Event::MessagesDeleted { messages, peer } => about("deleted_messages", messages, peer),
        Event::PeerDeleted(peer) => json!({ "type": "peer_deleted", "peer": account(peer) }),
        Event::Notice(text) => json!({ "type": "notice", "text": text }),
        Event::Connected { replica_id, .. } => {
            json!({ "type": "connected", "replica": replica_id })
        }
        Event::Reset => json!({ "type": "reset" }),
        Event::LeaderChanged(leader) => {
            json!({ "type": "leader_changed", "leader": leader.replica_id, "epoch": leader.epoch })
        }
        Event::SessionClosed { reason } => json!({ "type": "session_closed", "reason": reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_that_a_terminal_does_not_obey_and_a_parser_reads_as_it_was() {
        let body = "two\nlines \u{1b}[2J \u{9b}31m \u{202e}x \u{e0041}";
        let line = line(&json!({ "body": body }));
        assert!(line.is_ascii() && !line.contains('\n'), "{line}");
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(read["body"], body);
    }
}
