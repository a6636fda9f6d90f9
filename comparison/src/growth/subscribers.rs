//! Subscriptions that wait: what each of them costs a replica.

use std::time::Instant;

use chat_client::{Client, SubscribeOptions, Subscription};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::arguments::{Subscribers, seconds};
use crate::closed_loop::input_ends;
use crate::machine::resident;
use crate::outcome::{Outcome, write_line};
use crate::peers::ours::accounts;

/// How many subscribe at once.
const AT_ONCE: usize = 64;

#[derive(Serialize)]
struct Measured<'a> {
    label: &'a str,
    subscribers: usize,
    /// How long it took until all of them were there.
    seconds: f64,
    rss_before_mib: f64,
    rss_mib: f64,
    kib_each: f64,
}

/// Opens them all, waits, and writes what the replica's memory grew by.
pub(crate) async fn idle(subscribers: &Subscribers) -> Outcome {
    let pairs = accounts::read(&subscribers.sessions)?;
    let tokens: Vec<_> = pairs
        .into_iter()
        .flat_map(|pair| [Some(pair.sender_token), pair.recipient_token])
        .flatten()
        .collect();
    let before = resident(subscribers.pid);
    let begun = Instant::now();
    let mut opening: JoinSet<Outcome<Subscription>> = JoinSet::new();
    let mut open = Vec::with_capacity(subscribers.count);
    for token in tokens.iter().cycle().take(subscribers.count) {
        if opening.len() >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            open.push(opened??);
        }
        let (target, token) = (subscribers.target.clone(), token.clone());
        opening.spawn(async move {
            // A connection of its own.
            let client = Client::builder().endpoints([target]).session(token);
            let client = client.connect().await?;
            Ok(client.subscribe(SubscribeOptions::default()).await?)
        });
    }
    while let Some(opened) = opening.join_next().await {
        open.push(opened??);
    }
    let took = begun.elapsed().as_secs_f64();
    sleep(seconds(subscribers.settle_seconds)).await;
    let after = resident(subscribers.pid);
    let measured = Measured {
        label: &subscribers.label,
        subscribers: open.len(),
        seconds: took,
        rss_before_mib: before as f64 / 1024.0,
        rss_mib: after as f64 / 1024.0,
        kib_each: after.saturating_sub(before) as f64 / open.len().max(1) as f64,
    };
    write_line(&measured, subscribers.out.as_deref())?;
    if subscribers.hold {
        // Whoever started this says when it is over.
        input_ends().await?;
    }
    Ok(())
}
