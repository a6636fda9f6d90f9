//! Fills the folders of replicas that do not run with a great many accounts and messages, to see what a cluster is like
//! that has grown for years.
//!
//! ```text
//! chat-server config new --out cluster.toml
//! cargo run --release --example fill -- --config cluster.toml --accounts 100000 --messages 10000000
//! chat-server verify replica-0
//! chat-server run --config cluster.toml --id 0
//! ```
//!
//! Accounts are called `from-0`, `to-0`, `from-1` and so on, and have the password "correct horse battery staple".
#![allow(clippy::print_stdout, reason = "it reports figures")]

use std::path::PathBuf;
use std::process::ExitCode;

use chat_replication::types::ReplicaId;
use chat_server::config::ClusterConfig;
use clap::Parser;
use examples::Outcome;
use examples::bulk::{Amount, fill};
use indicatif::{ProgressBar, ProgressStyle};

/// Fills the folders of replicas that do not run with accounts and messages.
#[derive(Parser)]
struct Arguments {
    /// The cluster file. The cluster must not have begun.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The replicas to fill; the others get it from them once they run [default: all of them].
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    replicas: Vec<u32>,
    /// How many accounts; half of them write to the other half.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    accounts: u64,
    /// How many messages.
    #[arg(long, value_name = "M", default_value_t = 100_000)]
    messages: u64,
    /// Bytes of each message.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    body: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome {
    let cluster = ClusterConfig::load(&arguments.config)?;
    let replicas: Vec<ReplicaId> = match arguments.replicas.is_empty() {
        true => cluster.replicas.iter().map(|replica| replica.id).collect(),
        false => arguments.replicas.iter().copied().map(ReplicaId).collect(),
    };
    let amount = Amount {
        accounts: arguments.accounts,
        messages: arguments.messages,
        body: arguments.body,
    };
    let bar = ProgressBar::new(amount.commands());
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {human_pos} of {human_len} commands, {per_sec}, {eta} to go",
    )?);
    let filled = fill(&cluster, &replicas, amount, |done| {
        if done % 10_000 == 0 {
            bar.set_position(done);
        }
    })?;
    bar.finish_and_clear();
    println!(
        "{} commands applied in {:.1} s, and taken over by {} other replicas in {:.1} s",
        filled.commands,
        filled.applying.as_secs_f64(),
        replicas.len() - 1,
        filled.copying.as_secs_f64()
    );
    Ok(())
}
