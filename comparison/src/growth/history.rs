//! Pages of history, read in a closed loop.

use std::sync::Arc;
use std::time::Instant;

use chat_client::{Client, PageRequest};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::arguments::{History, seconds};
use crate::latencies::{Latencies, micros};
use crate::outcome::{Outcome, write_line};
use crate::peers::ours::accounts::{self, Pair};

#[derive(Serialize)]
struct Measured<'a> {
    label: &'a str,
    in_flight: usize,
    page: u32,
    pages: usize,
    pages_s: f64,
    /// Messages on an average page.
    messages_per_page: f64,
    #[serde(flatten)]
    latencies: Latencies,
}

/// What one reader has read.
#[derive(Default)]
struct Read {
    taken: Vec<u32>,
    messages: usize,
}

/// Reads, and writes how long pages took.
pub(crate) async fn read(history: &History) -> Outcome {
    let pairs = Arc::new(accounts::read(&history.sessions)?);
    let client = Client::connect(&history.targets).await?;
    let begun = Instant::now();
    let end = begun + seconds(history.seconds);
    let mut readers = JoinSet::new();
    for first in 0..history.in_flight {
        let (client, pairs) = (client.clone(), Arc::clone(&pairs));
        readers.spawn(go_through(client, pairs, first, history.clone(), end));
    }
    let mut all = Read::default();
    while let Some(read) = readers.join_next().await {
        let read = read??;
        all.taken.extend(read.taken);
        all.messages += read.messages;
    }
    let pages = all.taken.len();
    let measured = Measured {
        label: &history.label,
        in_flight: history.in_flight,
        page: history.page,
        pages,
        pages_s: pages as f64 / begun.elapsed().as_secs_f64(),
        messages_per_page: all.messages as f64 / pages.max(1) as f64,
        latencies: Latencies::of(all.taken),
    };
    write_line(&measured, history.out.as_deref())
}

/// One reader's way through the conversations: some pages of each, newest first.
async fn go_through(
    client: Client,
    pairs: Arc<Vec<Pair>>,
    first: usize,
    history: History,
    end: Instant,
) -> Outcome<Read> {
    let mut read = Read::default();
    // Neighbours in the file are neighbours in the store: so far apart they share nothing.
    let step = (pairs.len() * 61 / 100) | 1;
    let mut at = first % pairs.len();
    while Instant::now() < end {
        let pair = &pairs[at];
        at = (at + step) % pairs.len();
        let reader = client.with_session(Some(pair.sender_token.clone()));
        let mut request = Some(PageRequest::first(history.page));
        for _ in 0..history.pages {
            let Some(asked) = request else { break };
            let begun = Instant::now();
            let page = reader.list_history(&pair.recipient, asked).await?;
            read.taken.push(micros(begun.elapsed()));
            read.messages += page.items.len();
            request = page.next_request(history.page);
        }
    }
    Ok(read)
}
