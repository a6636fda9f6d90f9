//! RabbitMQ: a quorum queue, and confirms. An acknowledgement means that a majority has it on disk.

use std::time::Duration;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Queue};
use tokio::time::{sleep, timeout};

use super::{run, words};
use crate::arguments::{Peer, Send};
use crate::closed_loop::{Message, Sender};
use crate::outcome::Outcome;

const QUEUE: &str = "chat";
/// Channels that senders share where they share a connection.
const CHANNELS: usize = 16;
/// Between a failure and the next attempt.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

struct Rabbit {
    channel: Option<Channel>,
    /// Where the sender has one of its own. It is closed once it is dropped.
    connection: Option<Connection>,
    targets: Vec<String>,
    at: usize,
}

impl Sender for Rabbit {
    async fn send(&mut self, message: &Message) -> Result<(), String> {
        let channel = match &self.channel {
            Some(channel) => channel,
            None => {
                let connection = connect(&self.targets[self.at]).await.map_err(words)?;
                let channel = open(&connection).await.map_err(words)?;
                self.connection = Some(connection);
                self.channel.insert(channel)
            }
        };
        let confirmed = channel
            .basic_publish(
                "".into(),
                QUEUE.into(),
                BasicPublishOptions::default(),
                message.body.as_bytes(),
                // To be stored.
                BasicProperties::default().with_delivery_mode(2),
            )
            .await
            .map_err(words)?
            .await
            .map_err(words)?;
        match confirmed.is_ack() {
            true => Ok(()),
            false => Err("the message was not confirmed".to_owned()),
        }
    }

    async fn recover(&mut self) {
        self.channel = None;
        self.connection = None;
        self.at = (self.at + 1) % self.targets.len();
        sleep(PAUSE).await;
    }
}

async fn connect(target: &str) -> Outcome<Connection> {
    let url = format!("amqp://{target}/%2f");
    let connecting = Connection::connect(&url, ConnectionProperties::default());
    Ok(timeout(CONNECT, connecting).await??)
}

/// A channel whose messages are confirmed.
async fn open(connection: &Connection) -> Outcome<Channel> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

fn first(peer: &Peer) -> Outcome<&str> {
    let first = peer.targets.first();
    Ok(first.ok_or("--targets is empty")?)
}

pub(super) async fn prepare(peer: &Peer) -> Outcome {
    let connection = connect(first(peer)?).await?;
    open(&connection)
        .await?
        .queue_delete(QUEUE.into(), QueueDeleteOptions::default())
        .await?;
    let mut arguments = FieldTable::default();
    let kind = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), kind);
    let size = AMQPValue::LongInt(i32::try_from(peer.replicas)?);
    arguments.insert("x-quorum-initial-group-size".into(), size);
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    open(&connection)
        .await?
        .queue_declare(QUEUE.into(), options, arguments)
        .await?;
    Ok(())
}

pub(super) async fn send(send: &Send) -> Outcome {
    if send.own_connections {
        let senders = (0..send.in_flight)
            .map(|_| Rabbit {
                channel: None,
                connection: None,
                targets: send.peer.targets.clone(),
                at: 0,
            })
            .collect();
        return run(send, senders).await;
    }
    let connection = connect(first(&send.peer)?).await?;
    let mut channels = Vec::new();
    for _ in 0..CHANNELS.min(send.in_flight) {
        channels.push(open(&connection).await?);
    }
    let shared = channels.iter().cycle().take(send.in_flight);
    let senders = shared
        .map(|channel| Rabbit {
            channel: Some(channel.clone()),
            connection: None,
            targets: send.peer.targets.clone(),
            at: 0,
        })
        .collect();
    run(send, senders).await
}

pub(super) async fn holds(peer: &Peer) -> Outcome<u64> {
    for target in &peer.targets {
        let Ok(connection) = connect(target).await else {
            continue;
        };
        return Ok(u64::from(queue(&connection).await?.message_count()));
    }
    Err("no RabbitMQ server answers".into())
}

async fn queue(connection: &Connection) -> Outcome<Queue> {
    let options = QueueDeclareOptions {
        passive: true,
        durable: true,
        ..Default::default()
    };
    let channel = connection.create_channel().await?;
    let queue = channel.queue_declare(QUEUE.into(), options, FieldTable::default());
    Ok(queue.await?)
}
