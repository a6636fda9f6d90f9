//! `chat-server run`.

use std::io::{Read, stdin};

use chat_replication::types::ReplicaId;
use tokio::sync::oneshot;

use super::Problem;
use super::args::RunArgs;
use super::signals::StopSignals;
use crate::config::ClusterConfig;
use crate::serve::{Exposure, ServerConfig, serve};

pub(super) async fn run(args: RunArgs) -> Result<(), Problem> {
    let cluster = ClusterConfig::load(&args.config).map_err(|error| error.to_string())?;
    let config = ServerConfig {
        cluster,
        replica: ReplicaId(args.id),
        exposure: match args.insecure {
            true => Exposure::Insecure,
            false => Exposure::Loopback,
        },
    };
    let mut signals = StopSignals::listen()?;
    let parent_gone = args.exit_with_stdin.then(stdin_closed);
    let shutdown = async move {
        tokio::select! {
            () = signals.next() => {}
            () = async {
                match parent_gone {
                    Some(gone) => _ = gone.await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    };
    serve(config, shutdown)
        .await
        .map_err(|error| error.to_string())
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
