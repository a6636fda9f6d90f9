//! `chat-server run`.

use std::io::{Read, stdin};

use chat_replication::types::ReplicaId;
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::args::RunArgs;
use super::config::overrides;
use super::signals::{StopSignals, reloads};
use super::{Problem, logging};
use crate::config::ClusterConfig;
use crate::edge::Exposure;
use crate::server::{Server, ServerConfig};

pub(super) async fn run(args: RunArgs) -> Result<(), Problem> {
    let me = ReplicaId(args.id);
    let mut settings = args.layers.settings;
    for (key, value) in [("level", &args.log_level), ("format", &args.log_format)] {
        settings.extend(value.iter().map(|value| format!("logging.{key}={value}")));
    }
    let layers = overrides(&settings)?;
    let load = || {
        ClusterConfig::load_with(&args.config, &layers, Some(me)).map_err(|error| error.to_string())
    };
    let cluster = load()?;
    let level = logging::start(&cluster.logging);
    let mut signals = StopSignals::listen()?;
    let mut reloads = reloads()?;
    let config = ServerConfig {
        cluster,
        replica: me,
        exposure: match args.insecure {
            true => Exposure::Insecure,
            false => Exposure::Loopback,
        },
    };
    let mut parent_gone = Box::pin(parent_gone(args.exit_with_stdin));
    let starting = Server::builder(config).start();
    let mut server = tokio::select! {
        started = starting => started.map_err(|error| error.to_string())?,
        // Nothing has been promised to anybody yet.
        () = signals.next() => return Ok(()),
    };
    tell_systemd(&[NotifyState::Ready]);
    let mut to_come = 1;
    loop {
        tokio::select! {
            ended = server.ended() => {
                server.close().await;
                return Err(ended.to_string());
            }
            () = signals.next() => break,
            () = &mut parent_gone => {
                // A signal that comes with it is the first one.
                to_come = 2;
                break;
            }
            _ = reloads.recv() => match load() {
                Ok(new) => {
                    level.set(&new.logging);
                    info!("the configuration is read again");
                    for what in server.reload(&new) {
                        warn!("{what} has changed, which needs a restart");
                    }
                }
                Err(problem) => warn!("the configuration stays as it was: {problem}"),
            },
        }
    }
    tell_systemd(&[NotifyState::Stopping]);
    tokio::select! {
        stopped = server.shutdown() => stopped.map_err(|error| error.to_string()),
        () = signals.nth(to_come) => Err(
            "stopped at once by a second signal; what was acknowledged is on the disk".to_owned(),
        ),
    }
}

/// Where systemd has started this process and wants to know.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd cannot be told how this replica is");
    }
}

async fn parent_gone(matters: bool) {
    match matters {
        true => _ = stdin_closed().await,
        false => std::future::pending().await,
    }
}

/// Resolves when standard input closes. Read by a thread of its own, which nothing waits for.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (closed, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while matches!(stdin().lock().read(&mut ignored), Ok(1..)) {}
        // The process may be on its way out already.
        let _ = closed.send(());
    });
    receiver
}
