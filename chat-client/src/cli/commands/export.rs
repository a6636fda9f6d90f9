//! Everything that the account has.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::session;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output;
use crate::cli::progress;
use crate::cli::settings::Settings;
use crate::types::{Account, Conversation, PageRequest};

const PAGE: u32 = 500;

/// Writes the whole history: the account, then each conversation and behind it its messages, oldest first.
pub(super) async fn export(settings: &Settings, out: Option<&Path>) -> Result<(), Failure> {
    let context = session(settings).await?;
    let me = context.client.who_am_i().await?.account;
    let conversations = conversations(&context).await?;
    let progress = progress::bar(conversations.len() as u64, "conversations");
    let written = match out.filter(|path| *path != Path::new("-")) {
        None => {
            let mut writer = BufWriter::new(io::stdout().lock());
            let count = write_all(&context, &me, &conversations, &mut writer, &progress).await?;
            writer.flush().map_err(output::closed)?;
            count
        }
        Some(path) => to_file(&context, &me, &conversations, path, &progress).await?,
    };
    progress.finish_and_clear();
    settings.note(&format!(
        "{written} messages of {} conversations exported",
        conversations.len()
    ));
    context.remember()
}

/// Under its name only when it is whole.
async fn to_file(
    context: &Context,
    me: &Account,
    conversations: &[Conversation],
    path: &Path,
    progress: &ProgressBar,
) -> Result<u64, Failure> {
    let unusable = |error: io::Error| {
        let path = path.display();
        Failure::Other(format!("{path} cannot be written: {error}"))
    };
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(".part");
    let part: PathBuf = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut writer = BufWriter::new(options.open(&part).map_err(unusable)?);
    let count = write_all(context, me, conversations, &mut writer, progress).await?;
    let file = writer.into_inner().map_err(|e| unusable(e.into_error()))?;
    file.sync_all().map_err(unusable)?;
    std::fs::rename(&part, path).map_err(unusable)?;
    Ok(count)
}

async fn write_all(
    context: &Context,
    me: &Account,
    conversations: &[Conversation],
    out: &mut impl Write,
    progress: &ProgressBar,
) -> Result<u64, Failure> {
    let mut write = |record: serde_json::Value| {
        writeln!(out, "{}", json::line(&record)).map_err(output::closed)
    };
    write(json::account(me))?;
    let mut count = 0;
    for conversation in conversations {
        write(json::conversation(conversation))?;
        let peer = match conversation.peer.deleted {
            true => conversation.peer.id.to_string(),
            false => conversation.peer.name.clone(),
        };
        let mut messages = Vec::new();
        let mut request = Some(PageRequest::first(PAGE));
        while let Some(page) = request {
            let page = context.client.list_history(&peer, page).await?;
            request = page.next_request(PAGE);
            messages.extend(page.items);
        }
        // They come newest first.
        for message in messages.iter().rev() {
            write(json::message(message))?;
        }
        count += messages.len() as u64;
        progress.inc(1);
    }
    Ok(count)
}

async fn conversations(context: &Context) -> Result<Vec<Conversation>, Failure> {
    let mut all = Vec::new();
    let mut request = Some(PageRequest::first(PAGE));
    while let Some(page) = request {
        let page = context.client.list_conversations(page).await?;
        request = page.next_request(PAGE);
        all.extend(page.items);
    }
    Ok(all)
}
