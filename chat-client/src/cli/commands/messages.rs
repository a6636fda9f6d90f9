//! Messages.

use std::io::{self, Read};

use serde_json::json;

use super::session;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::flush;
use crate::cli::settings::Settings;
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

pub(super) async fn send(settings: &Settings, user: &str, words: &[String]) -> Result<(), Failure> {
    let body = match words {
        [dash] if dash == "-" => from_stdin()?,
        words => words.join(" "),
    };
    let context = session(settings).await?;
    let sent = context.client.send_message(user, &body).await?;
    let text = format!("{} {}", sent.message_id, show::sent(&sent));
    settings.data(json::sent(&sent), &text)?;
    context.remember()
}

pub(super) async fn inbox(settings: &Settings, then: Then) -> Result<(), Failure> {
    let context = session(settings).await?;
    let mut request = Some(PageRequest::first(PAGE));
    let mut count = 0;
    while let Some(page) = request {
        let page = context.client.list_inbox(page).await?;
        for message in &page.items {
            settings.data(json::message(message), &show::message(message))?;
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
        settings.note("no messages wait");
    }
    context.remember()
}

pub(super) async fn history(settings: &Settings, peer: &str, limit: u32) -> Result<(), Failure> {
    let context = session(settings).await?;
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
        settings.data(json::message(message), &show::message(message))?;
    }
    context.remember()
}

pub(super) async fn conversations(settings: &Settings) -> Result<(), Failure> {
    let context = session(settings).await?;
    let mut request = Some(PageRequest::first(PAGE));
    while let Some(page) = request {
        let page = context.client.list_conversations(page).await?;
        for conversation in &page.items {
            settings.data(
                json::conversation(conversation),
                &show::conversation(conversation),
            )?;
        }
        request = page.next_request(PAGE);
    }
    context.remember()
}

pub(super) async fn mark_read(
    settings: &Settings,
    user: Option<&str>,
    messages: &[MessageId],
) -> Result<(), Failure> {
    let context = session(settings).await?;
    let mut marked = 0;
    match user {
        Some(user) => marked = context.client.mark_conversation_read(user, None).await?,
        None => {
            for part in messages.chunks(MOST_IDS) {
                marked += context.client.mark_read(part).await?;
            }
        }
    }
    let record = json!({ "type": "marked_read", "count": marked });
    settings.data(record, &format!("{marked} marked as read"))?;
    context.remember()
}

pub(super) async fn delete(
    settings: &Settings,
    ids: &[MessageId],
    scope: DeleteScope,
) -> Result<(), Failure> {
    let context = session(settings).await?;
    for part in ids.chunks(MOST_IDS) {
        let deleted = context.client.delete_messages(part, scope).await?;
        let record = json!({ "count": deleted.count });
        settings.data(
            json::done("deleted", deleted.durability, record),
            &format!(
                "{} deleted, stored on {}",
                deleted.count, deleted.durability
            ),
        )?;
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
