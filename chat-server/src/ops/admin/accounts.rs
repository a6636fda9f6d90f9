//! Accounts, as the operator makes and ends them.

use chat_client::Reason;
use chat_core::{AccountId, Command, CommandBody, Profile, RequestId, Username};
use chat_replication::types::Position;
use tonic::Status;

use super::proto::{
    Account, CreateAccountRequest, CreateAccountResponse, DeleteAccountRequest,
    ListAccountsRequest, ListAccountsResponse, ResetPasswordRequest,
};
use crate::app::Context;
use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::request;
use crate::app::{look, read};
use crate::clock;
use crate::engine::orders::Orders;
use crate::engine::orders::word::{Order, Sealed};

/// Accounts in one answer.
const PAGE: usize = 500;

pub(super) async fn create(
    node: &Node,
    orders: &Orders,
    request: &CreateAccountRequest,
) -> Result<CreateAccountResponse, Status> {
    let name = request::registered_name(&request.username)?;
    let password = request::new_password("password", &request.password)?;
    let id = clock::mint_request();
    let body = CommandBody::CreateAccount {
        skeleton: name.skeleton(),
        password: node.hashing.hash(password).await?,
        name: name.clone(),
    };
    propose(node, orders, id, body).await?;
    Ok(CreateAccountResponse {
        username: name.to_string(),
        account_id: AccountId::derive(id).to_string(),
    })
}

pub(super) async fn reset_password(
    node: &Node,
    orders: &Orders,
    request: &ResetPasswordRequest,
) -> Result<(), Status> {
    let password = request::new_password("password", &request.password)?;
    let account = named(node, &request.username).await?.id;
    let credentials = node.state.query(|manager, _| manager.credentials(account));
    let Some(credentials) = credentials.map_err(Failure::from)? else {
        return Err(unknown(&request.username).into());
    };
    let body = CommandBody::ChangePassword {
        account,
        // Of the password that is in force, whatever it is.
        verified: credentials.version,
        password: node.hashing.hash(password).await?,
        keep: None,
    };
    propose(node, orders, clock::mint_request(), body).await
}

pub(super) async fn delete(
    node: &Node,
    orders: &Orders,
    request: &DeleteAccountRequest,
) -> Result<(), Status> {
    let account = named(node, &request.username).await?.id;
    let body = CommandBody::DeleteAccount { account };
    propose(node, orders, clock::mint_request(), body).await
}

pub(super) async fn list(
    node: &Node,
    request: &ListAccountsRequest,
) -> Result<ListAccountsResponse, Status> {
    let pattern = request::page_query(&request.pattern)?;
    let after = match request.after.as_str() {
        "" => None,
        name => Some(existing(name)?),
    };
    read(node, Position::default(), &Context::linearizable()).await?;
    let (found, _) = look(node, move |manager| {
        let page = manager.accounts(&pattern, after.as_ref(), PAGE)?;
        let mut accounts = Vec::new();
        for profile in page.items {
            let sessions = manager.sessions(profile.id)?.len();
            accounts.push(account(&profile, sessions));
        }
        let next = page.next.map(|name| name.to_string());
        Ok((accounts, next))
    })
    .await?;
    let (accounts, next) = found;
    Ok(ListAccountsResponse {
        accounts,
        next: next.unwrap_or_default(),
    })
}

fn account(profile: &Profile, sessions: usize) -> Account {
    Account {
        username: profile.name.to_string(),
        account_id: profile.id.to_string(),
        create_time_ms: profile.id.time().as_millis() as i64,
        sessions: sessions as u32,
    }
}

async fn propose(
    node: &Node,
    orders: &Orders,
    request: RequestId,
    body: CommandBody,
) -> Result<(), Status> {
    node.check_room()?;
    let command = Command {
        request,
        at: clock::now(),
        body,
    };
    let order = Order::Propose(Sealed(command.encode()));
    Ok(orders.carry_out(&order).await?)
}

/// The account that has a name, also if it was made a moment ago at another replica.
async fn named(node: &Node, name: &str) -> Result<Profile, Status> {
    let parsed = existing(name)?;
    read(node, Position::default(), &Context::linearizable()).await?;
    let found = node
        .state
        .query(|manager, _| manager.account_by_name(&parsed));
    let found = found.map_err(Failure::from)?;
    found.ok_or_else(|| unknown(name).into())
}

fn existing(name: &str) -> Result<Username, Failure> {
    Username::parse_existing(name)
        .map_err(|error| Failure::invalid(Reason::InvalidUsername, "username", error))
}

fn unknown(name: &str) -> Failure {
    Failure::not_found(
        Reason::PeerNotFound,
        format!(
            "there is no account `{name}`; `chat-server account list` shows those that there are"
        ),
    )
}
