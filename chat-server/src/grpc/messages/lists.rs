//! Inbox, history and conversations, in pages.

use chat_client::api;
use chat_core::{ConversationCursor, HistoryFrom, Sequence};
use tonic::{Request, Response, Status};

use super::peer_anywhere;
use crate::app::node::Node;
use crate::app::token;
use crate::app::{Caller, look, read};
use crate::grpc;
use crate::grpc::listed;
use crate::grpc::seen;
use crate::grpc::wire::{self, PageKind, PageToken};

pub(super) async fn inbox(
    node: &Node,
    request: Request<api::ListInboxRequest>,
) -> Result<Response<api::ListInboxResponse>, Status> {
    let context = grpc::context(&request);
    let request = request.into_inner();
    read(node, seen(&context, request.read_token.as_ref())?, &context).await?;
    let (caller, place) = Caller::for_list(node, &context).await?;
    let account = caller.account();
    let size = wire::page_size(request.page_size)?;
    let tokens = PageToken::of(PageKind::Inbox, account.as_bytes(), b"");
    let after = tokens.read_number(&request.page_token)?.map(Sequence::new);
    let (page, at) = look(node, move |manager| manager.inbox(account, after, size)).await?;
    let messages = page
        .items
        .iter()
        .map(|message| wire::message(message, &*node.presence));
    Ok(listed(
        place,
        api::ListInboxResponse {
            messages: messages.collect(),
            next_page_token: tokens.next_number(page.next.map(Sequence::number)),
            read_token: token::read_token(at),
        },
    ))
}

pub(super) async fn history(
    node: &Node,
    request: Request<api::ListHistoryRequest>,
) -> Result<Response<api::ListHistoryResponse>, Status> {
    let context = grpc::context(&request);
    let request = request.into_inner();
    read(node, seen(&context, request.read_token.as_ref())?, &context).await?;
    let (caller, place) = Caller::for_list(node, &context).await?;
    let account = caller.account();
    let size = wire::page_size(request.page_size)?;
    let peer = peer_anywhere(node, &context, &request.peer).await?;
    let tokens = PageToken::of(PageKind::History, account.as_bytes(), peer.as_bytes());
    let from = match tokens.read_number(&request.page_token)? {
        Some(before) => HistoryFrom::Before(Sequence::new(before)),
        None => HistoryFrom::Newest,
    };
    let (page, at) = look(node, move |manager| {
        manager.history(account, peer, from, size)
    })
    .await?;
    let messages = page
        .items
        .iter()
        .map(|message| wire::message(message, &*node.presence));
    Ok(listed(
        place,
        api::ListHistoryResponse {
            messages: messages.collect(),
            next_page_token: tokens.next_number(page.next.map(Sequence::number)),
            read_token: token::read_token(at),
        },
    ))
}

pub(super) async fn conversations(
    node: &Node,
    request: Request<api::ListConversationsRequest>,
) -> Result<Response<api::ListConversationsResponse>, Status> {
    let context = grpc::context(&request);
    let request = request.into_inner();
    read(node, seen(&context, request.read_token.as_ref())?, &context).await?;
    let (caller, place) = Caller::for_list(node, &context).await?;
    let account = caller.account();
    let size = wire::page_size(request.page_size)?;
    let tokens = PageToken::of(PageKind::Conversations, account.as_bytes(), b"");
    let after = tokens
        .read_number(&request.page_token)?
        .map(ConversationCursor::new);
    let (page, at) = look(node, move |manager| {
        manager.conversations(account, after, size)
    })
    .await?;
    let conversations = page
        .items
        .iter()
        .map(|one| wire::conversation(one, &*node.presence));
    Ok(listed(
        place,
        api::ListConversationsResponse {
            conversations: conversations.collect(),
            next_page_token: tokens.next_number(page.next.map(ConversationCursor::number)),
            read_token: token::read_token(at),
        },
    ))
}
