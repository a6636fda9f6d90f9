//! The state that the replicas share: just enough of a chat service to tell whether a client treats it well.

use std::collections::{BTreeMap, BTreeSet};

use chat_client::api;
use chat_client::api::subscribe_response::Event;
use chat_client::{Reason, RequestId};
use tonic::{Code, Status};
use uuid::Uuid;

use super::refusal;

#[derive(Default)]
pub(crate) struct Store {
    /// By name: id and password.
    accounts: BTreeMap<String, (Uuid, String)>,
    /// Account names by session token.
    sessions: BTreeMap<String, String>,
    pub(crate) messages: Vec<api::Message>,
    /// Whose event it is, and the event. The resume token is the number of events that it stands for.
    pub(crate) events: Vec<(String, Event)>,
    /// Each confirmation by itself, repetitions included.
    pub(crate) confirmations: Vec<Vec<String>>,
    /// Encoded answers by request id.
    answers: BTreeMap<String, Vec<u8>>,
    pub(crate) online: BTreeSet<String>,
}

impl Store {
    /// Runs a write once per request id.
    pub(crate) fn once<T: prost::Message + Default>(
        &mut self,
        request_id: &str,
        write: impl FnOnce(&mut Self) -> Result<T, Status>,
    ) -> Result<T, Status> {
        if request_id.parse::<RequestId>().is_err() {
            return Err(refusal(Code::InvalidArgument, Reason::InvalidRequestId));
        }
        if let Some(answer) = self.answers.get(request_id) {
            return Ok(T::decode(answer.as_slice()).unwrap());
        }
        let answer = write(self)?;
        self.answers
            .insert(request_id.to_owned(), answer.encode_to_vec());
        Ok(answer)
    }

    pub(crate) fn register(&mut self, name: &str, password: &str) -> Result<api::Account, Status> {
        if name.contains(' ') {
            return Err(refusal(Code::InvalidArgument, Reason::InvalidUsername));
        }
        if self.accounts.contains_key(name) {
            return Err(refusal(Code::AlreadyExists, Reason::NameTaken));
        }
        self.accounts
            .insert(name.into(), (Uuid::now_v7(), password.into()));
        Ok(self.account(name))
    }

    pub(crate) fn check_password(&self, name: &str, password: &str) -> Result<(), Status> {
        match self.accounts.get(name) {
            Some((_, known)) if known == password => Ok(()),
            _ => Err(refusal(Code::Unauthenticated, Reason::BadCredentials)),
        }
    }

    pub(crate) fn set_password(&mut self, name: &str, password: &str) {
        self.accounts.get_mut(name).unwrap().1 = password.into();
    }

    pub(crate) fn open_session(&mut self, name: &str) -> String {
        let token = Uuid::new_v4().to_string();
        self.sessions.insert(token.clone(), name.into());
        token
    }

    pub(crate) fn who(&self, token: Option<&str>) -> Result<String, Status> {
        let name = token
            .and_then(|t| t.strip_prefix("Bearer "))
            .and_then(|t| self.sessions.get(t));
        name.cloned()
            .ok_or_else(|| refusal(Code::Unauthenticated, Reason::Unauthenticated))
    }

    /// A session's token is its id as well.
    pub(crate) fn sessions_of(&self, name: &str) -> Vec<api::Session> {
        let sessions = self.sessions.iter().filter(|(_, owner)| *owner == name);
        let shown = sessions.map(|(token, _)| api::Session {
            session_id: token.clone(),
            open_time_ms: 1_767_225_600_000,
            expire_time_ms: 4_107_542_400_000,
            current: false,
        });
        shown.collect()
    }

    pub(crate) fn revoke(&mut self, name: &str, session: &str) -> Result<(), Status> {
        match self.sessions.get(session) {
            Some(owner) if owner == name => {
                self.sessions.remove(session);
                Ok(())
            }
            _ => Err(refusal(Code::NotFound, Reason::SessionNotFound)),
        }
    }

    pub(crate) fn close_sessions(&mut self, name: &str) -> u32 {
        let before = self.sessions.len();
        self.sessions.retain(|_, n| n != name);
        (before - self.sessions.len()) as u32
    }

    pub(crate) fn delete_account(&mut self, name: &str) {
        self.close_sessions(name);
        self.accounts.remove(name);
    }

    pub(crate) fn account(&self, name: &str) -> api::Account {
        api::Account {
            account_id: self.accounts[name].0.to_string(),
            username: name.into(),
            online: self.online.contains(name),
            create_time_ms: 1_795_228_661_000,
            deleted: false,
        }
    }

    pub(crate) fn accounts(&self) -> Vec<api::Account> {
        self.accounts
            .keys()
            .map(|name| self.account(name))
            .collect()
    }

    pub(crate) fn send(
        &mut self,
        from: &str,
        to: &str,
        body: &str,
    ) -> Result<api::SendMessageResponse, Status> {
        if body.is_empty() {
            return Err(refusal(Code::InvalidArgument, Reason::BodyEmpty));
        }
        if !self.accounts.contains_key(to) {
            return Err(refusal(Code::NotFound, Reason::RecipientNotFound));
        }
        let message = self.post(from, to, body);
        let state = match self.online.contains(to) {
            true => api::DeliveryState::Delivering,
            false => api::DeliveryState::Queued,
        };
        Ok(api::SendMessageResponse {
            message_id: message.message_id,
            sequence: message.sequence,
            delivery_state: state.into(),
            durability: durability(),
            read_token: self.read_token(),
            send_time_ms: message.send_time_ms,
        })
    }

    pub(crate) fn post(&mut self, from: &str, to: &str, body: &str) -> api::Message {
        let message = api::Message {
            message_id: Uuid::now_v7().to_string(),
            sequence: self.messages.len() as u64 + 1,
            sender: Some(self.account(from)),
            recipient: Some(self.account(to)),
            body: body.into(),
            send_time_ms: 1_795_228_661_000,
            delivered: false,
            read: false,
        };
        self.messages.push(message.clone());
        let received = api::MessageReceived {
            message: Some(message.clone()),
        };
        self.events
            .push((to.into(), Event::MessageReceived(received)));
        let sent = api::MessageSent {
            message: Some(message.clone()),
        };
        self.events.push((from.into(), Event::MessageSent(sent)));
        message
    }

    /// Messages for an account that are not confirmed, oldest first.
    pub(crate) fn inbox(&self, name: &str) -> Vec<api::Message> {
        let waiting = |m: &&api::Message| !m.delivered && username(&m.recipient) == name;
        self.messages.iter().filter(waiting).cloned().collect()
    }

    pub(crate) fn confirm(&mut self, ids: &[String]) {
        self.confirmations.push(ids.to_vec());
        let mut senders = BTreeMap::<String, Vec<String>>::new();
        let mut recipient = None;
        for message in &mut self.messages {
            if ids.contains(&message.message_id) && !message.delivered {
                message.delivered = true;
                let sender = username(&message.sender).to_owned();
                senders
                    .entry(sender)
                    .or_default()
                    .push(message.message_id.clone());
                recipient = message.recipient.clone();
            }
        }
        for (sender, message_ids) in senders {
            let event = api::MessagesDelivered {
                message_ids,
                recipient: recipient.clone(),
            };
            self.events.push((sender, Event::MessagesDelivered(event)));
        }
    }

    pub(crate) fn mark_read(&mut self, reader: &str, ids: &[String], peer: &str) -> u32 {
        let mut marked = 0;
        for message in &mut self.messages {
            let named = ids.contains(&message.message_id);
            let of_peer = !peer.is_empty() && username(&message.sender) == peer;
            if username(&message.recipient) == reader && (named || of_peer) && !message.read {
                message.read = true;
                marked += 1;
            }
        }
        marked
    }

    pub(crate) fn delete(
        &mut self,
        caller: &str,
        ids: &[String],
        scope: api::DeleteScope,
    ) -> Result<u32, Status> {
        for id in ids {
            let Some(message) = self.messages.iter().find(|m| m.message_id == *id) else {
                return Err(refusal(Code::NotFound, Reason::MessageNotFound));
            };
            if scope == api::DeleteScope::ForBoth && username(&message.sender) != caller {
                return Err(refusal(Code::PermissionDenied, Reason::NotSender));
            }
        }
        self.messages.retain(|m| !ids.contains(&m.message_id));
        Ok(ids.len() as u32)
    }

    pub(crate) fn conversation(&self, a: &str, b: &str) -> Result<Vec<api::Message>, Status> {
        if !self.accounts.contains_key(b) {
            return Err(refusal(Code::NotFound, Reason::PeerNotFound));
        }
        let between = |m: &&api::Message| {
            let parties = [username(&m.sender), username(&m.recipient)];
            parties == [a, b] || parties == [b, a]
        };
        Ok(self
            .messages
            .iter()
            .rev()
            .filter(between)
            .cloned()
            .collect())
    }

    pub(crate) fn conversations(&self, name: &str) -> Vec<api::Conversation> {
        let peers = self.accounts.keys().filter(|peer| *peer != name);
        let mut all = Vec::new();
        for peer in peers {
            let messages = self.conversation(name, peer).unwrap();
            let unread = |m: &&api::Message| !m.read && username(&m.recipient) == name;
            if !messages.is_empty() {
                all.push(api::Conversation {
                    peer: Some(self.account(peer)),
                    unread_count: messages.iter().filter(unread).count() as u64,
                    last_message: messages.first().cloned(),
                });
            }
        }
        all
    }

    pub(crate) fn read_token(&self) -> Option<api::ReadToken> {
        Some(api::ReadToken {
            value: (self.answers.len() as u64).to_be_bytes().to_vec(),
        })
    }
}

pub(crate) fn durability() -> Option<api::Durability> {
    Some(api::Durability {
        durable_on: 3,
        replicas: 3,
    })
}

fn username(account: &Option<api::Account>) -> &str {
    &account.as_ref().unwrap().username
}
