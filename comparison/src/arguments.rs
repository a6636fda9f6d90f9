//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Drives one system, and writes what was measured as a JSON line.
#[derive(Debug, Parser)]
#[command(name = "comparison", about)]
pub(crate) struct Arguments {
    /// How many threads drive the load.
    #[arg(long, default_value_t = 2, global = true)]
    pub(crate) threads: usize,
    #[command(subcommand)]
    pub(crate) job: Job,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Sends messages in a closed loop.
    Send(Send),
    /// Makes what messages are sent to: the stream, the queue.
    Prepare(Peer),
    /// Prints which of the targets leads, counted from 0.
    Leader(Peer),
    /// Prints how many messages are held, for comparing with what was acknowledged.
    Holds(Peer),
    /// Serves the empty echo.
    Echo {
        /// Where.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Makes pairs of accounts of this service, and writes their sessions to a file.
    Accounts(Accounts),
    /// Prints what this service says of itself, as JSON.
    Status {
        /// Where clients reach the replicas.
        #[arg(long, value_delimiter = ',', required = true)]
        targets: Vec<String>,
    },
    /// Waits until this service has acknowledged one message and shown one page of history.
    Serving(Serving),
    /// Reads pages of history in a closed loop.
    History(History),
    /// Holds idle subscriptions, each on a connection of its own, and says what they cost the servers.
    Subscribers(Subscribers),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum System {
    /// This service: a call for each message.
    Ours,
    /// This service: a stream for each sender.
    OursStream,
    /// etcd: a key for each message.
    Etcd,
    /// RabbitMQ: a quorum queue, with confirms.
    Rabbitmq,
    /// NATS: a JetStream stream with replicas.
    Nats,
    /// A call that does nothing.
    Echo,
    /// A stream that does nothing.
    EchoStream,
}

/// Which system, and where it is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Peer {
    /// Which one.
    #[arg(value_enum)]
    pub(crate) system: System,
    /// Its servers, in the order in which they are tried.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) targets: Vec<String>,
    /// On how many servers each message is stored, where that is a property of what is prepared.
    #[arg(long, default_value_t = 3)]
    pub(crate) replicas: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) peer: Peer,
    /// How many senders, each with one message under way.
    #[arg(long, default_value_t = 1)]
    pub(crate) in_flight: usize,
    /// Ours: the sessions of the pairs, as `accounts` wrote them.
    #[arg(long)]
    pub(crate) sessions: Option<PathBuf>,
    /// Ours and the echo: on how many streams senders share, where there is one for each session otherwise.
    #[arg(long, default_value_t = 64)]
    pub(crate) streams: usize,
    /// Ours: the recipients are online, and it is measured when messages reach them.
    #[arg(long)]
    pub(crate) online: bool,
    /// Each sender has a connection of its own, so that it can move to another server by itself.
    #[arg(long)]
    pub(crate) own_connections: bool,
    #[command(flatten)]
    pub(crate) load: Load,
    /// A file to which the result is appended.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// How a load is driven and what is read beside it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// What the result is called.
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Which of several rounds it is.
    #[arg(long, default_value_t = 1)]
    pub(crate) round: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Ends the measured time earlier, once standard input is closed.
    #[arg(long)]
    pub(crate) until_told: bool,
    /// How long the load runs before.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up_seconds: f64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 100)]
    pub(crate) size: usize,
    /// The first message's id.
    #[arg(long, default_value_t = 0)]
    pub(crate) first_id: u64,
    /// How long one attempt may take until the message is sent again.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) attempt_ms: u64,
    /// The servers' processes.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// The disk whose flushes are counted, as in /proc/diskstats.
    #[arg(long, default_value = "")]
    pub(crate) disk: String,
    /// A process that is killed meanwhile.
    #[arg(long)]
    pub(crate) kill_pid: Option<i32>,
    /// When, as a share of the measured time.
    #[arg(long, default_value_t = 0.33)]
    pub(crate) kill_at: f64,
}

impl Load {
    pub(crate) fn duration(&self) -> Duration {
        seconds(self.seconds)
    }

    pub(crate) fn warm_up(&self) -> Duration {
        seconds(self.warm_up_seconds)
    }

    pub(crate) fn attempt(&self) -> Duration {
        Duration::from_millis(self.attempt_ms)
    }
}

/// So many seconds; what is no span of time is none.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
impl Default for Load {
    fn default() -> Load {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            load: Load,
        }
        Only::parse_from(["load"]).load
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Accounts {
    /// Where clients reach the replicas.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) targets: Vec<String>,
    /// How many pairs.
    #[arg(long, default_value_t = 64)]
    pub(crate) pairs: u32,
    /// Where the sessions are written.
    #[arg(long)]
    pub(crate) sessions: PathBuf,
    /// Opens sessions of senders alone, in accounts that are there already.
    #[arg(long)]
    pub(crate) senders_only: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Serving {
    /// Where clients reach the replicas.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) targets: Vec<String>,
    /// The sessions of the pairs, the first of which is used.
    #[arg(long)]
    pub(crate) sessions: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct History {
    /// Where clients reach the replicas.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) targets: Vec<String>,
    /// The sessions of the pairs, whose conversations are read.
    #[arg(long)]
    pub(crate) sessions: PathBuf,
    /// How many readers, each with one call under way.
    #[arg(long, default_value_t = 1)]
    pub(crate) in_flight: usize,
    /// Messages in a page.
    #[arg(long, default_value_t = 50)]
    pub(crate) page: u32,
    /// How many pages one reader follows a conversation back before it turns to the next one.
    #[arg(long, default_value_t = 4)]
    pub(crate) pages: u32,
    /// How long is measured.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// What the result is called.
    #[arg(long, default_value = "history")]
    pub(crate) label: String,
    /// A file to which the result is appended.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Subscribers {
    /// The one replica that all of them subscribe at.
    #[arg(long)]
    pub(crate) target: String,
    /// The sessions of the pairs; subscribers are the senders and recipients, in turn.
    #[arg(long)]
    pub(crate) sessions: PathBuf,
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) count: usize,
    /// The process of the replica.
    #[arg(long)]
    pub(crate) pid: u32,
    /// How long they are held before the memory is read.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) settle_seconds: f64,
    /// Goes on holding them until standard input closes.
    #[arg(long)]
    pub(crate) hold: bool,
    /// What the result is called.
    #[arg(long, default_value = "subscribers")]
    pub(crate) label: String,
    /// A file to which the result is appended.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Arguments::command().debug_assert();
    }
}
