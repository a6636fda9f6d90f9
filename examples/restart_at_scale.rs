//! What a restart costs when a great many messages are stored: time until the replica serves, and its memory.
//!
//! ```text
//! cargo run --release --example restart_at_scale -- 1000000
//! ```
//!
//! A replica that stores so many messages takes some more over its public API, is killed as `kill -9` does, and started
//! again; the same is done with a hundredth of them, to compare with.
#![allow(clippy::print_stdout, reason = "it reports figures")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chat_client::{Client, PageRequest};
use chat_replication::types::ReplicaId;
use chat_server::config::ClusterConfig;
use examples::bulk::{self, Amount};
use examples::{LocalCluster, Outcome, in_view, until};
use tokio::task::JoinSet;

const ACCOUNTS: u64 = 1_000;
/// Messages that are in the log when the replica is killed, and not in a checkpoint.
const IN_LOG: u64 = 10_000;
const SENDERS: u64 = 128;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    // The replica is this program, too.
    if argument.as_deref() == Some("run") {
        return chat_server::cli::main();
    }
    let messages = match argument.map(|count| count.parse::<u64>()) {
        None => 100_000,
        Some(Ok(count)) if count >= 100 => count,
        Some(_) => {
            println!("usage: restart_at_scale [MESSAGES], at least 100");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads to give");
    match runtime.block_on(compare(messages)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(messages: u64) -> Outcome {
    let few = measure(messages / 100).await?;
    let many = measure(messages).await?;
    println!(
        "with 100 times the messages: {:.1} times the time, {:.1} times the memory",
        many.serving.as_secs_f64() / few.serving.as_secs_f64(),
        many.resident as f64 / few.resident as f64
    );
    Ok(())
}

struct Figures {
    serving: Duration,
    /// KiB.
    resident: u64,
}

async fn measure(messages: u64) -> Outcome<Figures> {
    let dir = tempfile::tempdir()?;
    let mut cluster = LocalCluster::create(std::env::current_exe()?, dir.path(), 1)?;
    let config = ClusterConfig::load(&cluster.config())?;
    let amount = Amount {
        accounts: ACCOUNTS,
        messages,
        body: 60,
    };
    bulk::fill(&config, &[ReplicaId(0)], amount, |_| {})?;
    cluster.start(0)?;
    in_view(&cluster, &[0]).await?;
    let client = Client::connect(cluster.endpoints()).await?;
    client.login("from-0", bulk::PASSWORD).await?;

    let begun = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        // Many accounts, since one may not send so much at once.
        let (client, next) = (client.with_session(None), Arc::clone(&next));
        senders.spawn(async move {
            client
                .login(&format!("from-{sender}"), bulk::PASSWORD)
                .await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= IN_LOG {
                    return Ok(());
                }
                let recipient = format!("to-{}", number % (ACCOUNTS / 2));
                let body = format!("message {number}: see you at the usual place at eight");
                client.send_message(&recipient, &body).await?;
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender?.map_err(|error: chat_client::Error| error)?;
    }
    let rate = IN_LOG as f64 / begun.elapsed().as_secs_f64();
    cluster.kill(0)?;

    let begun = Instant::now();
    cluster.start(0)?;
    // Serving means both: a read is answered, and a send is acknowledged.
    client.list_history("to-1", PageRequest::first(20)).await?;
    client.send_message("to-1", "still there?").await?;
    let serving = begun.elapsed();
    let process = cluster.process(0).unwrap_or_default();
    let resident = memory(process, "VmRSS")?;
    let status = until("the replica says how much it has", async || {
        let status = client.cluster_status().await?;
        Ok((status.messages > messages + IN_LOG).then_some(status))
    })
    .await?;
    // What it takes on the disk: the files of the log have their whole length from the beginning.
    let size = |path: PathBuf| -> Outcome<u64> { Ok(fs::metadata(path)?.blocks() >> 11) };
    let mut log = 0;
    for segment in fs::read_dir(cluster.data_dir(0).join("log"))? {
        log += size(segment?.path())?;
    }
    println!(
        "{messages} messages, and {IN_LOG} more at {rate:.0}/s: serving {} ms after the start, {} MiB resident (at most {} MiB); \
         log {} MiB, state {} MiB, {} messages counted",
        serving.as_millis(),
        resident >> 10,
        memory(process, "VmHWM")? >> 10,
        log,
        size(cluster.data_dir(0).join("state.redb"))?,
        status.messages,
    );
    Ok(Figures { serving, resident })
}

/// A process's memory in KiB, as Linux tells it.
fn memory(process: u32, kind: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with(kind))
        .ok_or("the system tells no memory")?;
    let number = line
        .split_whitespace()
        .nth(1)
        .ok_or("the system tells no memory")?;
    Ok(number.parse()?)
}
