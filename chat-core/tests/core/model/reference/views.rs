//! What can be seen of the model's state.

use chat_core::{
    AccountId, AccountStatus, CredentialVersion, MessageId, MessageState, Profile, SessionId, Stats,
};

use super::{Message, Model};

impl Model {
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            accounts: self
                .accounts
                .iter()
                .filter(|account| !account.is_deleted)
                .count() as u64,
            sessions: self.sessions.len() as u64,
            messages: self
                .messages
                .iter()
                .filter(|message| !message.is_removed)
                .count() as u64,
        }
    }

    pub(crate) fn profile(&self, id: AccountId) -> Option<Profile> {
        let account = self.accounts.iter().find(|account| account.id == id)?;
        let status = if account.is_deleted {
            AccountStatus::Deleted
        } else {
            AccountStatus::Active
        };
        Some(Profile {
            id,
            name: account.name.clone(),
            status,
        })
    }

    pub(crate) fn credential(&self, id: AccountId) -> Option<CredentialVersion> {
        let account = self
            .accounts
            .iter()
            .find(|account| account.id == id && !account.is_deleted)?;
        Some(CredentialVersion::set_by(account.password.1))
    }

    pub(crate) fn sessions(&self, account: AccountId) -> Vec<SessionId> {
        let mut ids: Vec<_> = self
            .sessions
            .iter()
            .filter(|session| session.account == account)
            .map(|session| session.id)
            .collect();
        ids.sort();
        ids
    }

    pub(crate) fn opens(&self, id: SessionId, token: u8) -> bool {
        self.sessions
            .iter()
            .any(|session| session.id == id && session.tokens.contains(&token))
    }

    pub(crate) fn inbox(&self, account: AccountId) -> Vec<MessageId> {
        let waits = |message: &&Message| {
            message.recipient == account
                && !message.is_delivered
                && message.is_shown(account, message.sender)
        };
        if !self.is_active(account) {
            return Vec::new();
        }
        self.messages
            .iter()
            .filter(waits)
            .map(|message| message.id)
            .collect()
    }

    /// Peer, unread, last message.
    pub(crate) fn conversations(
        &self,
        account: AccountId,
    ) -> Vec<(AccountId, u32, Option<MessageId>)> {
        if !self.is_active(account) {
            return Vec::new();
        }
        let of_account = self.recent.iter().filter(|(side, _)| *side == account);
        of_account
            .map(|(_, peer)| {
                let shown: Vec<_> = self
                    .messages
                    .iter()
                    .filter(|message| message.is_shown(account, *peer))
                    .collect();
                let unread = shown
                    .iter()
                    .filter(|message| message.recipient == account && !message.is_read)
                    .count();
                (*peer, unread as u32, shown.last().map(|message| message.id))
            })
            .collect()
    }

    pub(crate) fn history(
        &self,
        account: AccountId,
        peer: AccountId,
    ) -> Vec<(MessageId, MessageState, Option<Profile>)> {
        if !self.is_active(account) {
            return Vec::new();
        }
        let shown = self
            .messages
            .iter()
            .filter(|message| message.is_shown(account, peer));
        shown
            .map(|message| {
                let state = match (message.is_read, message.is_delivered) {
                    (true, _) => MessageState::Read,
                    (false, true) => MessageState::Delivered,
                    (false, false) => MessageState::Queued,
                };
                (message.id, state, self.profile(message.sender))
            })
            .collect()
    }
}
