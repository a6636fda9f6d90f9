//! Replicas as child processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use chat_replication::types::ReplicaId;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Problem;
use super::output::{complain, pass_on};
use crate::config::ClusterConfig;

/// How long a child may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);

/// The running replicas. They stop when their standard input closes, so that they stop with this process however it
/// ends.
pub(super) struct Children {
    running: BTreeMap<ReplicaId, Running>,
    exits: mpsc::UnboundedReceiver<Exit>,
}

struct Running {
    process: Option<u32>,
    /// Closed to stop the child.
    stdin: Option<ChildStdin>,
    watcher: JoinHandle<()>,
}

/// A child that has ended.
pub(super) struct Exit {
    pub(super) replica: ReplicaId,
    pub(super) how: String,
}

impl Children {
    /// Starts all replicas of a cluster.
    pub(super) fn start(file: &Path, cluster: &ClusterConfig) -> Result<Children, Problem> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find this program's own file: {error}"))?;
        let (exited, exits) = mpsc::unbounded_channel();
        let mut running = BTreeMap::new();
        for replica in cluster.replicas.iter().map(|replica| replica.id) {
            let mut child = Command::new(&program)
                .arg("run")
                .arg("--config")
                .arg(file)
                .args(["--id", &replica.to_string(), "--exit-with-stdin"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                // Ctrl-C at the terminal reaches the whole group; the children are stopped by us, after the story is told.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| format!("cannot start replica {replica}: {error}"))?;
            let log = child
                .stderr
                .take()
                .map(|log| tokio::spawn(forward(replica, log)));
            let (process, stdin) = (child.id(), child.stdin.take());
            let watcher = tokio::spawn(watch(replica, child, log, exited.clone()));
            running.insert(
                replica,
                Running {
                    process,
                    stdin,
                    watcher,
                },
            );
        }
        Ok(Children { running, exits })
    }

    pub(super) fn process_of(&self, replica: ReplicaId) -> Option<u32> {
        self.running.get(&replica).and_then(|child| child.process)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The next child that ends.
    pub(super) async fn next_exit(&mut self) -> Exit {
        match self.exits.recv().await {
            Some(exit) => {
                self.running.remove(&exit.replica);
                exit
            }
            // Every child has been told of.
            None => std::future::pending().await,
        }
    }

    /// Stops all replicas, all at once.
    pub(super) async fn stop(mut self) -> Result<(), Problem> {
        for child in self.running.values_mut() {
            child.stdin = None;
        }
        let mut stuck = Vec::new();
        for (replica, mut child) in self.running {
            if timeout(STOP, &mut child.watcher).await.is_err() {
                // The child goes with its watcher.
                child.watcher.abort();
                stuck.push(replica.to_string());
            }
        }
        while let Ok(exit) = self.exits.try_recv() {
            if exit.how != CLEANLY {
                complain(format!(
                    "replica {} has ended with {}",
                    exit.replica, exit.how
                ));
            }
        }
        match stuck.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "replica {} did not stop within {} s and was killed; nothing acknowledged is lost by that",
                stuck.join(", "),
                STOP.as_secs()
            )),
        }
    }
}

const CLEANLY: &str = "exit status: 0";

async fn watch(
    replica: ReplicaId,
    mut child: Child,
    log: Option<JoinHandle<()>>,
    exited: mpsc::UnboundedSender<Exit>,
) {
    let how = match child.wait().await {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    if let Some(log) = log {
        // Its last words come first.
        let _ = timeout(Duration::from_secs(1), log).await;
    }
    let _ = exited.send(Exit { replica, how });
}

async fn forward(replica: ReplicaId, log: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(log).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        pass_on(format!(
            "replica {replica} | {}",
            String::from_utf8_lossy(&line)
        ));
    }
}
