//! The state of the replicas.

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::json;
use crate::cli::output::data;
use crate::cli::settings::{Format, Settings};
use crate::cli::show;
use crate::client::Client;
use crate::cluster::ClusterStatus;
use crate::endpoint::Endpoint;
use crate::error::Error;

pub(super) async fn status(settings: &Settings) -> Result<(), Failure> {
    let context = Context::connect(settings).await?;
    let answers = ask_everybody(&context.client).await;
    if answers.iter().all(|(_, answer)| answer.is_err()) {
        for (endpoint, answer) in &answers {
            if let Err(error) = answer {
                settings.note(&format!("{endpoint}: {error}"));
            }
        }
        return Err(Failure::NobodyReachable);
    }
    match settings.format {
        Format::Text => show::status(&answers)
            .iter()
            .try_for_each(|line| data(line))?,
        Format::Json => json::status(&answers)
            .iter()
            .try_for_each(|record| data(&json::line(record)))?,
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
