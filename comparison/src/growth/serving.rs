//! When a cluster that was started serves.

use std::time::Instant;

use chat_client::{Client, PageRequest};

use crate::arguments::Serving;
use crate::latencies::micros;
use crate::outcome::{Outcome, write_line};
use crate::peers::ours::accounts;

/// Sends a message, reads a page, and prints how long both took, in milliseconds.
pub(crate) async fn wait(serving: &Serving) -> Outcome {
    let begun = Instant::now();
    let pairs = accounts::read(&serving.sessions)?;
    let pair = pairs.first().ok_or("there are no pairs")?;
    let client = Client::connect(&serving.targets).await?;
    let sender = client.with_session(Some(pair.sender_token.clone()));
    sender.send_message(&pair.recipient, "still there?").await?;
    let page = PageRequest::first(20);
    sender.list_history(&pair.recipient, page).await?;
    write_line(&(f64::from(micros(begun.elapsed())) / 1e3), None)
}
