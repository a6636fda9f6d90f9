//! Messages.

use std::io::{self, Read};

use super::session;
use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{data, flush, note};
use crate::cli::show;
use crate::ids::MessageId;
use crate::types::{DeleteScope, PageRequest};

/// Messages are fetched, shown and confirmed in parts of this size.
const PAGE: u32 = 100;

/// As many ids as one request may name.
const MOST_IDS: usize = 1000;

/// What becomes of messages that were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Confirm,
    Keep,
}

pub(super) async fn send(global: &Global, user: &str, words: &[String]) -> Result<(), Failure> {
    let body = match words {
        [dash] if dash == "-" => from_stdin()?,
        words => words.join(" "),
    };
    let context = session(global).await?;
    let sent = context.client.send_message(user, &body).await?;
    data(&format!("{} {}", sent.message_id, show::sent(&sent)))?;
    context.remember()
}

pub(super) async fn inbox(global: &Global, then: Then) -> Result<(), Failure> {
    let context = session(global).await?;
    let mut request = Some(PageRequest::first(PAGE));
    let mut count = 0;
    while let Some(page) = request {
        let page = context.client.list_inbox(page).await?;
        for message in &page.items {
            data(&show::message(message))?;
        }
        // Only what has left counts as delivered.
        flush()?;
        count += page.items.len();
        if then == Then::Confirm && !page.items.is_empty() {
            let ids: Vec<_> = page.items.iter().map(|m| m.id).collect();
            context.client.confirm_delivery(&ids).await?;
        }
        request = page.next_request(PAGE);
    }
    if count == 0 {
        note("no messages wait");
    }
    context.remember()
}

pub(super) async fn history(global: &Global, peer: &str, limit: u32) -> Result<(), Failure> {
    let context = session(global).await?;
    let limit = limit as usize;
    let mut messages = Vec::new();
    let size = PAGE.min(u32::try_from(limit).unwrap_or(PAGE));
    let mut request = Some(PageRequest::first(size));
    while let Some(page) = request.filter(|_| messages.len() < limit) {
        let page = context.client.list_history(peer, page).await?;
        request = page.next_request(size);
        messages.extend(page.items);
    }
    messages.truncate(limit);
    // They came newest first, and are read the other way round.
    for message in messages.iter().rev() {
        data(&show::message(message))?;
    }
    context.remember()
}

pub(super) async fn conversations(global: &Global) -> Result<(), Failure> {
    let context = session(global).await?;
    let mut request = Some(PageRequest::first(PAGE));
    while let Some(page) = request {
        let page = context.client.list_conversations(page).await?;
        for conversation in &page.items {
            data(&show::conversation(conversation))?;
        }
        request = page.next_request(PAGE);
    }
    context.remember()
}

pub(super) async fn mark_read(
    global: &Global,
    user: Option<&str>,
    messages: &[MessageId],
) -> Result<(), Failure> {
    let context = session(global).await?;
    let mut marked = 0;
    match user {
        Some(user) => marked = context.client.mark_conversation_read(user, None).await?,
        None => {
            for part in messages.chunks(MOST_IDS) {
                marked += context.client.mark_read(part).await?;
            }
        }
    }
    data(&format!("{marked} marked as read"))?;
    context.remember()
}

pub(super) async fn delete(
    global: &Global,
    ids: &[MessageId],
    scope: DeleteScope,
) -> Result<(), Failure> {
    let context = session(global).await?;
    for part in ids.chunks(MOST_IDS) {
        let deleted = context.client.delete_messages(part, scope).await?;
        data(&format!(
            "{} deleted, stored on {}",
            deleted.count, deleted.durability
        ))?;
    }
    context.remember()
}

/// The whole input without its last line's end.
fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|e| Failure::Usage(format!("the message cannot be read: {e}")))?;
    let body = text.strip_suffix('\n').unwrap_or(&text);
    Ok(body.strip_suffix('\r').unwrap_or(body).to_owned())
}
