//! The state of the replicas.

use crate::cli::args::Global;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{data, note};
use crate::cli::show;
use crate::client::Client;
use crate::cluster::ClusterStatus;
use crate::endpoint::Endpoint;
use crate::error::Error;

pub(super) async fn status(global: &Global) -> Result<(), Failure> {
    let context = Context::connect(global).await?;
    let answers = ask_everybody(&context.client).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        for (endpoint, answer) in &answers {
            if let Err(error) = answer {
                note(&format!("{endpoint}: {error}"));
            }
        }
        return Err(Failure::NobodyReachable);
    }
    for line in show::status(&answers) {
        data(&line)?;
    }
    Ok(())
}

/// Asks every replica, those included that only the others know.
pub(in crate::cli) async fn ask_everybody(
    client: &Client,
) -> Vec<(Endpoint, Result<ClusterStatus, Error>)> {
    let known = client.endpoints();
    let answers = client.cluster_status_everywhere().await;
    if client.endpoints() == known {
        return answers;
    }
    client.cluster_status_everywhere().await
}
