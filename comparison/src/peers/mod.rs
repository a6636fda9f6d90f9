//! The systems, one file each.

pub(crate) mod echo;
mod etcd;
mod nats;
pub(crate) mod ours;
mod rabbitmq;

use std::fmt::Display;

use serde::Serialize;

use crate::arguments::{Peer, Send, System};
use crate::closed_loop::{Measured, Sender, drive};
use crate::outcome::{Outcome, say, write_line};

/// A result, and whose it is.
#[derive(Serialize)]
struct Line<'a, M: Serialize> {
    system: &'a str,
    #[serde(flatten)]
    measured: Measured,
    #[serde(flatten)]
    more: M,
}

/// Nothing beside what the loop measures.
#[derive(Serialize)]
struct NoMore {}

/// Sends messages to whichever system is asked for.
pub(crate) async fn send(send: &Send) -> Outcome {
    match send.peer.system {
        System::Ours => ours::unary(send).await,
        System::OursStream => ours::streamed(send).await,
        System::Etcd => run(send, etcd::senders(send).await?).await,
        System::Rabbitmq => rabbitmq::send(send).await,
        System::Nats => run(send, nats::senders(send).await?).await,
        System::Echo => run(send, echo::unary(send).await?).await,
        System::EchoStream => run(send, echo::streamed(send).await?).await,
    }
}

/// Makes what messages are sent to, where there is something to make.
pub(crate) async fn prepare(peer: &Peer) -> Outcome {
    match peer.system {
        System::Nats => nats::prepare(peer).await,
        System::Rabbitmq => rabbitmq::prepare(peer).await,
        System::Etcd | System::Ours | System::OursStream | System::Echo | System::EchoStream => {
            Ok(())
        }
    }
}

/// Prints which target leads.
pub(crate) async fn leader(peer: &Peer) -> Outcome {
    let leader = match peer.system {
        System::Ours | System::OursStream => ours::leader(peer).await?,
        System::Etcd => etcd::leader(peer).await?,
        System::Nats => nats::leader(peer).await?,
        // The queue's leader is where it was declared.
        System::Rabbitmq => 0,
        System::Echo | System::EchoStream => return Err("an echo has no leader".into()),
    };
    say(&leader.to_string());
    Ok(())
}

/// Prints how many messages are held.
pub(crate) async fn holds(peer: &Peer) -> Outcome {
    let held = match peer.system {
        System::Ours | System::OursStream => ours::holds(peer).await?,
        System::Etcd => etcd::holds(peer).await?,
        System::Nats => nats::holds(peer).await?,
        System::Rabbitmq => rabbitmq::holds(peer).await?,
        System::Echo | System::EchoStream => return Err("an echo holds nothing".into()),
    };
    say(&held.to_string());
    Ok(())
}

/// Drives the senders, and writes what was measured.
async fn run<S: Sender>(send: &Send, senders: Vec<S>) -> Outcome {
    let measured = drive(&send.load, senders).await?;
    write(send, measured, NoMore {})
}

fn write(send: &Send, measured: Measured, more: impl Serialize) -> Outcome {
    let system = match send.peer.system {
        System::Ours => "ours",
        System::OursStream => "ours-stream",
        System::Etcd => "etcd",
        System::Rabbitmq => "rabbitmq",
        System::Nats => "nats",
        System::Echo => "echo",
        System::EchoStream => "echo-stream",
    };
    let line = Line {
        system,
        measured,
        more,
    };
    write_line(&line, send.out.as_deref())
}

/// An error as a sender tells it.
fn words(error: impl Display) -> String {
    error.to_string()
}
