//! Finding accounts, and deleting one's own.

use tonic::Request;

use super::messages::{page_size, page_token};
use super::{As, Client};
use crate::api;
use crate::api::account_service_client::AccountServiceClient;
use crate::error::Error;
use crate::net::Channel;
use crate::types::{self, Account, Durability, Page, PageRequest};

impl Client {
    /// The accounts whose names match a glob (`*`, `?`, `[a-z]`) or, behind `regex:`, a regular expression; all of them
    /// for an empty pattern. In the order of their names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad pattern.
    pub async fn list_accounts(
        &self,
        pattern: &str,
        page: PageRequest,
    ) -> Result<Page<Account>, Error> {
        let request = api::ListAccountsRequest {
            pattern: pattern.into(),
            page_size: page_size(&page),
            page_token: page_token(page),
            read_token: None,
        };
        let send = |channel: Channel, request: Request<_>| async move {
            let client = AccountServiceClient::new(channel);
            client
                .max_decoding_message_size(super::LONGEST_ANSWER)
                .list_accounts(request)
                .await
        };
        let answer = self.read(request, send).await?;
        types::page(answer.accounts, answer.next_page_token)
    }

    /// Deletes the session's account: its sessions end, messages waiting for it are dropped, messages that it sent stay
    /// with their recipients, and its name is free again. The client forgets the session.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] for a wrong password.
    pub async fn delete_account(&self, password: &str) -> Result<Durability, Error> {
        let id = self.request_id();
        let request = api::DeleteAccountRequest {
            request_id: id.to_string(),
            password: password.into(),
        };
        let send = |channel: Channel, request: Request<_>| async move {
            AccountServiceClient::new(channel)
                .delete_account(request)
                .await
        };
        let answer = self.write(As::Session, id, request, send).await?;
        self.session.set_token(None);
        Ok(answer.durability.into())
    }
}
