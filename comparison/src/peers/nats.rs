//! NATS JetStream: a file stream with replicas. An acknowledgement means that a majority has it, by default not on disk.

use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use async_nats::{ConnectOptions, ServerAddr};
use tokio::time::sleep;

use super::words;
use crate::arguments::{Peer, Send};
use crate::closed_loop::{Message, Sender};
use crate::outcome::Outcome;

const STREAM: &str = "CHAT";
const SUBJECT: &str = "chat.messages";
/// Between a failure and the next attempt.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two attempts to make the stream, and how many there are: the servers elect a leader first.
const NOT_YET: (Duration, u32) = (Duration::from_millis(200), 150);

pub(super) struct Nats(Context);

impl Sender for Nats {
    async fn send(&mut self, message: &Message) -> Result<(), String> {
        let body = message.body.clone().into();
        let stored = self.0.publish(SUBJECT, body).await.map_err(words)?;
        stored.await.map_err(words)?;
        Ok(())
    }

    async fn recover(&mut self) {
        // The client library turns to another server by itself.
        sleep(PAUSE).await;
    }
}

async fn connect(targets: &[String]) -> Outcome<Context> {
    let servers: Vec<ServerAddr> = targets
        .iter()
        .map(|target| format!("nats://{target}").parse())
        .collect::<Result<_, _>>()?;
    let client = ConnectOptions::new()
        .retain_servers_order()
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(servers)
        .await?;
    Ok(jetstream::new(client))
}

pub(super) async fn prepare(peer: &Peer) -> Outcome {
    let context = connect(&peer.targets).await?;
    let (pause, attempts) = NOT_YET;
    let mut last = String::new();
    for _ in 0..attempts {
        let config = stream::Config {
            name: STREAM.into(),
            subjects: vec!["chat.>".into()],
            num_replicas: peer.replicas,
            storage: stream::StorageType::File,
            ..Default::default()
        };
        match context.get_or_create_stream(config).await {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        sleep(pause).await;
    }
    Err(format!("the NATS stream was not made: {last}").into())
}

/// Senders that share one connection, to the first server that answers.
pub(super) async fn senders(send: &Send) -> Outcome<Vec<Nats>> {
    let context = connect(&send.peer.targets).await?;
    Ok((0..send.in_flight).map(|_| Nats(context.clone())).collect())
}

/// The servers are called n0, n1 and so on.
pub(super) async fn leader(peer: &Peer) -> Outcome<usize> {
    let context = connect(&peer.targets).await?;
    let mut stream = context.get_stream(STREAM).await?;
    let cluster = stream.info().await?.cluster.clone();
    let name = cluster.and_then(|cluster| cluster.leader);
    let number = name.as_deref().and_then(|name| name.strip_prefix('n'));
    Ok(number.ok_or("the NATS stream has no leader")?.parse()?)
}

pub(super) async fn holds(peer: &Peer) -> Outcome<u64> {
    let context = connect(&peer.targets).await?;
    let mut stream = context.get_stream(STREAM).await?;
    Ok(stream.info().await?.state.messages)
}
