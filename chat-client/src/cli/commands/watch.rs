//! Messages and events as they come.

use super::session;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::{data, flush, note};
use crate::cli::settings::{Format, Settings};
use crate::cli::show;
use crate::cli::text::harmless_lines;
use crate::events::ClientEvent;
use crate::subscription::{Event, SubscribeOptions, Subscription};

pub(super) async fn watch(settings: &Settings, count: Option<u64>) -> Result<(), Failure> {
    let context = session(settings).await?;
    let mut news = context.client.events();
    let mut subscription = context
        .client
        .subscribe(SubscribeOptions::default())
        .await?;
    let result = tokio::select! {
        result = follow(settings, &mut subscription, count) => result,
        () = async { while let Some(event) = news.next().await { tell(settings, &event) } } => Ok(()),
        // The last messages were shown, so they shall be confirmed before the end.
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    };
    if matches!(result, Ok(()) | Err(Failure::Interrupted)) {
        subscription.close().await;
    }
    result?;
    context.remember()
}

async fn follow(
    settings: &Settings,
    subscription: &mut Subscription,
    count: Option<u64>,
) -> Result<(), Failure> {
    let mut received = 0;
    while let Some(event) = subscription.next().await {
        let event = event?;
        match settings.format {
            Format::Text => show_event(&event)?,
            Format::Json => data(&json::line(&json::event(&event)))?,
        }
        flush()?;
        if let Event::MessageReceived(_) = event {
            received += 1;
        }
        if count.is_some_and(|count| received >= count) {
            break;
        }
    }
    Ok(())
}

fn show_event(event: &Event) -> Result<(), Failure> {
    match event {
        Event::MessageReceived(message) | Event::MessageSent(message) => {
            data(&show::message(message))
        }
        Event::MessagesDelivered {
            messages,
            recipient,
        } => {
            let recipient = show::name(recipient);
            messages
                .iter()
                .try_for_each(|id| data(&format!("delivered {id} to {recipient}")))
        }
        Event::MessagesRead { messages, reader } => {
            let reader = show::name(reader);
            messages
                .iter()
                .try_for_each(|id| data(&format!("read {id} by {reader}")))
        }
        Event::MessagesDeleted { messages, peer } => {
            let peer = show::name(peer);
            messages
                .iter()
                .try_for_each(|id| data(&format!("deleted {id} with {peer}")))
        }
        Event::PeerDeleted(peer) => data(&format!("account deleted: {}", show::name(peer))),
        Event::Notice(text) => data(&format!("notice: {}", harmless_lines(text))),
        Event::Connected { replica_id, .. } => {
            note(&format!("connected to replica {replica_id}"));
            Ok(())
        }
        Event::Reset => {
            note("the stream of events had a gap; no message is missing, `history` shows the rest");
            Ok(())
        }
        Event::LeaderChanged(leader) => {
            note(&format!("replica {} leads", leader.replica_id));
            Ok(())
        }
        Event::SessionClosed { reason } => {
            note(&format!(
                "the session was ended: {}",
                harmless_lines(reason)
            ));
            Ok(())
        }
    }
}

fn tell(settings: &Settings, event: &ClientEvent) {
    match event {
        ClientEvent::ReplicaSwitched { from, to, resent } => {
            settings.note(&show::switch(from, to, *resent));
        }
        ClientEvent::Waiting { .. } => {
            settings.note("no replica can serve at the moment; still trying")
        }
        // The subscription tells the same.
        ClientEvent::LeaderChanged(_) => {}
    }
}
