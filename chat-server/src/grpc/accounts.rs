//! Finding accounts, and deleting one's own.

use chat_client::api;
use chat_client::api::account_service_client::AccountServiceClient;
use chat_client::api::account_service_server::AccountService;
use chat_core::{CommandBody, Outcome, Username};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::{Services, listed, passwords};
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::request;
use crate::app::token;
use crate::app::{Caller, Write, look, read};
use crate::grpc;
use crate::grpc::seen;
use crate::grpc::wire::{self, PageKind, PageToken};
use crate::grpc::write;

#[tonic::async_trait]
impl AccountService for Services {
    async fn list_accounts(
        &self,
        request: Request<api::ListAccountsRequest>,
    ) -> Result<Response<api::ListAccountsResponse>, Status> {
        let node = &*self.node;
        let context = grpc::context(&request);
        let request = request.into_inner();
        read(node, seen(&context, request.read_token.as_ref())?, &context).await?;
        let (caller, place) = Caller::for_list(node, &context).await?;
        let size = wire::page_size(request.page_size)?;
        let tokens = PageToken::of(
            PageKind::Accounts,
            caller.account().as_bytes(),
            request.pattern.as_bytes(),
        );
        let after = match tokens.read(&request.page_token)? {
            Some(name) => Some(cursor(&name)?),
            None => None,
        };
        let pattern = request::page_query(&request.pattern)?;
        let (page, at) = look(node, move |manager| {
            manager.accounts(&pattern, after.as_ref(), size)
        })
        .await?;
        let accounts = page
            .items
            .iter()
            .map(|profile| wire::account(profile, &*node.presence));
        Ok(listed(
            place,
            api::ListAccountsResponse {
                accounts: accounts.collect(),
                next_page_token: tokens
                    .next(page.next.as_ref().map(|name| name.as_str().as_bytes())),
                read_token: token::read_token(at),
            },
        ))
    }

    async fn delete_account(
        &self,
        request: Request<api::DeleteAccountRequest>,
    ) -> Result<Response<api::DeleteAccountResponse>, Status> {
        let context = grpc::context(&request);
        let deletion = write(&self.node, request);
        passwords::guarded(&self.node, context.from, context.claimed(), deletion).await
    }
}

impl Write for api::DeleteAccountRequest {
    type Answer = api::DeleteAccountResponse;

    async fn execute(&self, node: &Node, context: &Context) -> Result<Self::Answer, Failure> {
        let request = request::request_id(&self.request_id)?;
        let caller = match Caller::of(node, context).await {
            Ok(caller) => caller,
            Err(failure) => {
                let earlier = Caller::earlier(node, context, request)?;
                let Some((Outcome::AccountDeleted, at)) = earlier else {
                    return Err(failure);
                };
                return Ok(api::DeleteAccountResponse {
                    durability: Some(node.durability()),
                    read_token: token::read_token(at),
                });
            }
        };
        let account = caller.account();
        passwords::verify(node, Some(account), &self.password).await?;
        let done = node
            .propose(request, CommandBody::DeleteAccount { account })
            .await?;
        Ok(api::DeleteAccountResponse {
            read_token: done.read_token(),
            durability: Some(done.durability),
        })
    }

    async fn pass_on(
        request: Request<Self>,
        leader: Channel,
    ) -> Result<Response<Self::Answer>, Status> {
        AccountServiceClient::new(leader)
            .delete_account(request)
            .await
    }
}

/// The name that a page ended with.
fn cursor(name: &[u8]) -> Result<Username, Failure> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| Username::parse_existing(name).ok())
        .ok_or_else(wire::foreign_page)
}
