//! `chat-server cluster`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chat_client::Client;
use tokio::time::{Instant, sleep};

use super::Problem;
use super::args::ClusterArgs;
use super::children::{Children, Exit};
use super::config;
use super::output::{complain, say};
use super::signals::StopSignals;
use crate::config::{ClusterConfig, Layout};

const FILE: &str = "cluster.toml";
/// How long a cluster may take to come up before it is said that something is amiss.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(args: ClusterArgs) -> Result<(), Problem> {
    let mut signals = StopSignals::listen()?;
    let file = prepare(&args)?;
    let cluster = ClusterConfig::load(&file).map_err(|error| error.to_string())?;
    check_as_asked(&args, &file, &cluster)?;
    let mut children = Children::start(&file, &cluster)?;
    tell_where(&file, &cluster, &children);
    let mut ready = Box::pin(wait_until_ready(&cluster));
    let mut is_ready = false;
    loop {
        tokio::select! {
            () = signals.next() => {
                say("stopping the replicas");
                return children.stop().await;
            }
            exit = children.next_exit() => tell_exit(&file, &exit),
            outcome = ready.as_mut(), if !is_ready => {
                is_ready = true;
                match outcome {
                    Ok(leader) => say(format!("the cluster is ready; replica {leader} leads. Ctrl-C stops it")),
                    Err(problem) => complain(problem),
                }
            }
        }
        if children.is_empty() {
            return Err("all replicas have exited; see what they said above".to_owned());
        }
    }
}

/// The cluster file, written where there is none.
fn prepare(args: &ClusterArgs) -> Result<PathBuf, Problem> {
    let file = args.dir.join(FILE);
    if file.exists() {
        return Ok(file);
    }
    let usual = Layout::default();
    let layout = Layout {
        replicas: args.replicas.unwrap_or(usual.replicas),
        base_port: args.base_port.unwrap_or(usual.base_port),
        mode: args.mode.map_or(usual.mode, Into::into),
    };
    let text = config::new(layout)?;
    fs::create_dir_all(&args.dir)
        .map_err(|error| format!("cannot make the folder {}: {error}", args.dir.display()))?;
    config::write_new(&file, &text)?;
    Ok(file)
}

/// What is there already is not changed by other words on the command line.
fn check_as_asked(args: &ClusterArgs, file: &Path, cluster: &ClusterConfig) -> Result<(), Problem> {
    let first = cluster
        .replicas
        .first()
        .map(|replica| replica.client_address.port());
    let replicas = cluster.replicas.len();
    let is_other = args
        .replicas
        .is_some_and(|asked| asked as usize != replicas)
        || args.base_port.is_some_and(|asked| Some(asked) != first)
        || args.mode.is_some_and(|asked| cluster.mode != asked.into());
    if is_other {
        return Err(format!(
            "{} describes a cluster of {replicas} replicas from port {} on in mode {}; choose another --dir for another \
             cluster, or leave --replicas, --base-port and --mode out",
            file.display(),
            first.unwrap_or_default(),
            cluster.mode
        ));
    }
    Ok(())
}

fn tell_where(file: &Path, cluster: &ClusterConfig, children: &Children) {
    say(format!(
        "cluster {} is described in {}",
        cluster.id,
        file.display()
    ));
    for replica in &cluster.replicas {
        let process = children
            .process_of(replica.id)
            .map_or_else(String::new, |id| format!("process {id}, "));
        say(format!(
            "replica {}: {process}clients {}, peers {}, data in {}",
            replica.id,
            replica.client_address,
            replica.peer_address,
            replica.data_dir.display()
        ));
    }
    let servers = cluster
        .replicas
        .iter()
        .map(|replica| format!("--server {}", replica.client_address));
    say(format!(
        "try: chat-client {}",
        servers.collect::<Vec<_>>().join(" ")
    ));
}

fn tell_exit(file: &Path, exit: &Exit) {
    complain(format!(
        "replica {} has exited ({}); start it again with: chat-server run --config {} --id {}",
        exit.replica,
        exit.how,
        file.display(),
        exit.replica
    ));
}

/// Waits until somebody leads, and says who.
async fn wait_until_ready(cluster: &ClusterConfig) -> Result<u32, Problem> {
    let client = Client::builder()
        .endpoints(
            cluster
                .replicas
                .iter()
                .map(|replica| &replica.client_address),
        )
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let until = Instant::now() + PATIENCE;
    let mut last = "no replica answers".to_owned();
    while Instant::now() < until {
        match client.cluster_status().await {
            Ok(status) => match status.leader {
                Some(leader) => return Ok(leader.replica_id),
                None => last = format!("no replica leads; {}", status.waiting_for),
            },
            Err(error) => last = error.to_string(),
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err(format!(
        "the cluster is not ready after {} s: {last}",
        PATIENCE.as_secs()
    ))
}
