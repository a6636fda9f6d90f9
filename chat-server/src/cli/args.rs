//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Layout;

/// A replicated chat service.
#[derive(Debug, Parser)]
#[command(name = "chat-server", version, about, long_about = None)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs one replica of the cluster that a file describes.
    Run(RunArgs),
    /// Runs a whole cluster on this machine, each replica as a process of its own.
    Cluster(ClusterArgs),
    /// Works with cluster files.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The cluster file, which all replicas share.
    #[arg(long, value_name = "FILE", env = "CHAT_CONFIG")]
    pub(super) config: PathBuf,
    /// Which of its replicas to run.
    #[arg(long, value_name = "N", env = "CHAT_ID")]
    pub(super) id: u32,
    /// Listens where other machines can reach it, though connections are not encrypted.
    #[arg(long, env = "CHAT_INSECURE")]
    pub(super) insecure: bool,
    /// Stops when standard input closes, so that no child outlives its parent.
    #[arg(long, hide = true)]
    pub(super) exit_with_stdin: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// Holds the cluster file and the replicas' data folders. What is there already is used again.
    #[arg(
        long,
        value_name = "DIR",
        env = "CHAT_DIR",
        default_value = "chat-cluster"
    )]
    pub(super) dir: PathBuf,
    /// How many replicas a new cluster has [default: 3].
    #[arg(long, value_name = "N")]
    pub(super) replicas: Option<u32>,
    /// Clients' port of replica 0 of a new cluster, the others have the ports behind it [default: 7400].
    #[arg(long, value_name = "PORT")]
    pub(super) base_port: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Writes a cluster file with a new cluster id.
    New {
        /// Where to write it; to standard output by default.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How many replicas it has.
        #[arg(long, value_name = "N", default_value_t = Layout::default().replicas)]
        replicas: u32,
        /// Clients' port of replica 0.
        #[arg(long, value_name = "PORT", default_value_t = Layout::default().base_port)]
        base_port: u16,
    },
    /// Checks a cluster file.
    Check {
        /// The file.
        #[arg(value_name = "FILE", env = "CHAT_CONFIG")]
        file: PathBuf,
    },
}
