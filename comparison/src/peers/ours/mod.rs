//! This service, by its client library. An acknowledgement means that every replica of the view has it on disk.

pub(crate) mod accounts;
mod deliveries;

use std::sync::Arc;

use chat_client::{Client, ClusterStatus, MessageSender};
use serde::Serialize;

use self::accounts::Pair;
use self::deliveries::{Audience, Deliveries};
use super::{NoMore, words, write};
use crate::arguments::{Peer, Send};
use crate::closed_loop::{Message, Sender, drive};
use crate::outcome::{Outcome, write_line};

/// One who may send, and to whom.
#[derive(Clone)]
struct Line<W> {
    way: W,
    recipient: Arc<str>,
}

/// A sender that takes the lines in turn, so many at a time as there are senders: with no more senders than pairs, no
/// pair has two messages under way.
struct InTurn<W> {
    lines: Arc<Vec<Line<W>>>,
    at: usize,
    step: usize,
    deliveries: Option<Arc<Deliveries>>,
}

/// How a message leaves.
trait Way: std::marker::Send + Sync + 'static {
    fn send(
        &self,
        recipient: &str,
        body: &str,
    ) -> impl Future<Output = Result<(), chat_client::Error>> + std::marker::Send;
}

impl Way for Client {
    async fn send(&self, recipient: &str, body: &str) -> Result<(), chat_client::Error> {
        self.send_message(recipient, body).await.map(drop)
    }
}

impl Way for MessageSender {
    async fn send(&self, recipient: &str, body: &str) -> Result<(), chat_client::Error> {
        MessageSender::send(self, recipient, body)
            .await
            .await
            .map(drop)
    }
}

impl<W: Way> Sender for InTurn<W> {
    async fn send(&mut self, message: &Message) -> Result<(), String> {
        let line = &self.lines[self.at];
        self.at = (self.at + self.step) % self.lines.len();
        line.way
            .send(&line.recipient, &message.body)
            .await
            .map_err(words)?;
        if let Some(deliveries) = &self.deliveries {
            deliveries.acknowledged(message.id);
        }
        Ok(())
    }
}

/// A call for each message, all of them on the connections of one client.
pub(super) async fn unary(send: &Send) -> Outcome {
    let (client, pairs) = begin(send).await?;
    let lines = pairs
        .iter()
        .map(|pair| Line {
            way: client.with_session(Some(pair.sender_token.clone())),
            recipient: pair.recipient.as_str().into(),
        })
        .collect();
    measure(send, lines, &pairs).await
}

/// So many streams, each of another sender; more pairs than streams share them, and are written to in turn.
pub(super) async fn streamed(send: &Send) -> Outcome {
    let (client, pairs) = begin(send).await?;
    let streams: Vec<MessageSender> = pairs
        .iter()
        .take(send.streams.max(1))
        .map(|pair| {
            let sender = client.with_session(Some(pair.sender_token.clone()));
            sender.message_sender()
        })
        .collect();
    let lines = pairs
        .iter()
        .zip(streams.iter().cycle())
        .map(|(pair, stream)| Line {
            way: stream.clone(),
            recipient: pair.recipient.as_str().into(),
        })
        .collect();
    measure(send, lines, &pairs).await
}

async fn begin(send: &Send) -> Outcome<(Client, Vec<Pair>)> {
    let file = send.sessions.as_ref();
    let file = file.ok_or("--sessions is missing: the file that `accounts` has written")?;
    let pairs = accounts::read(file)?;
    Ok((connect(&send.peer.targets).await?, pairs))
}

async fn connect(targets: &[String]) -> Outcome<Client> {
    Ok(Client::connect(targets).await?)
}

async fn measure<W: Way>(send: &Send, lines: Vec<Line<W>>, pairs: &[Pair]) -> Outcome {
    let audience = match send.online {
        true => Some(Audience::gather(&send.peer.targets, pairs).await?),
        false => None,
    };
    let deliveries = audience.as_ref().map(|audience| &audience.deliveries);
    let lines = Arc::new(lines);
    let senders = (0..send.in_flight)
        .map(|at| InTurn {
            lines: Arc::clone(&lines),
            at: at % lines.len(),
            step: send.in_flight,
            deliveries: deliveries.cloned(),
        })
        .collect();
    let measured = drive(&send.load, senders).await?;
    match audience {
        Some(audience) => write(send, measured, audience.finish().await),
        None => write(send, measured, NoMore {}),
    }
}

/// Which replica leads.
pub(super) async fn leader(peer: &Peer) -> Outcome<usize> {
    let status = connect(&peer.targets).await?.cluster_status().await?;
    let leader = status
        .leader
        .ok_or("no replica leads; wait until one does")?;
    Ok(leader.replica_id as usize)
}

/// How many messages any of the replicas holds.
pub(super) async fn holds(peer: &Peer) -> Outcome<u64> {
    let mut most = None;
    for target in &peer.targets {
        if let Ok(status) = ask(target).await {
            most = most.max(Some(status.messages));
        }
    }
    Ok(most.ok_or("no replica answers")?)
}

async fn ask(target: &str) -> Result<ClusterStatus, chat_client::Error> {
    let client = Client::builder()
        .endpoints([target])
        .refusal_patience(std::time::Duration::ZERO)
        .total_deadline(std::time::Duration::from_secs(2))
        .connect()
        .await?;
    client.cluster_status().await
}

/// What one replica says of itself and the others.
#[derive(Serialize)]
struct Said {
    replica: u32,
    leader: Option<u32>,
    /// The members of the view.
    view: Vec<u32>,
    waiting_for: String,
    accounts: u64,
    messages: u64,
    /// What the replica's state reflects.
    applied: u64,
}

/// Prints what each replica that answers says, one line for each.
pub(crate) async fn status(targets: &[String]) -> Outcome {
    for target in targets {
        let Ok(status) = ask(target).await else {
            continue;
        };
        let members = status.replicas.iter().filter(|replica| replica.in_view);
        let me = status
            .replicas
            .iter()
            .find(|replica| replica.replica_id == status.replica_id);
        let said = Said {
            replica: status.replica_id,
            leader: status.leader.as_ref().map(|leader| leader.replica_id),
            view: members.map(|replica| replica.replica_id).collect(),
            applied: me.map_or(0, |me| me.applied_index),
            waiting_for: status.waiting_for.clone(),
            accounts: status.accounts,
            messages: status.messages,
        };
        // Another replica may have answered: the client knows them all.
        if targets.len() == 1 || targets.get(said.replica as usize) == Some(target) {
            write_line(&said, None)?;
        }
    }
    Ok(())
}
