//! Flips under replicas that run.

use std::path::Path;
use std::time::{Duration, Instant};

use chat_client::Client;

use super::files::says_what_to_do;
use super::template::{TAKEN, Template, try_to_read, whole};
use super::{Flip, copy, flips, tell};
use crate::support::Cluster;

/// How long a replica has to serve, to refuse, or to say what it waits for.
const DECISION: Duration = Duration::from_secs(12);

/// Starts the replica alone over as many flipped folders, and beside two whole ones over every third of them.
pub(super) async fn try_some(template: &Template, starts: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let folders: Vec<_> = template.folders().collect();
    let per_folder = starts.div_ceil(folders.len() as u64);
    for (name, folder) in folders {
        let all = flips(folder, per_folder);
        // Spread over the files.
        let step = (all.len() / per_folder.max(1) as usize).max(1);
        let some = all.iter().step_by(step).take(per_folder as usize);
        for (number, flip) in some.enumerate() {
            let alone = attempt(template, folder, flip, &[]).await;
            tell(&format!("{name} {flip:?}, alone: {alone:?}"));
            wrong.extend(
                alone
                    .err()
                    .map(|why| format!("{name} {flip:?}, alone: {why}")),
            );
            if number % 3 == 0 {
                let beside = attempt(template, folder, flip, &[0, 2]).await;
                tell(&format!("{name} {flip:?}, beside two: {beside:?}"));
                wrong.extend(
                    beside
                        .err()
                        .map(|why| format!("{name} {flip:?}, beside two: {why}")),
                );
            }
        }
    }
    wrong
}

/// What the replica did about it, or what it did wrong.
async fn attempt(
    template: &Template,
    folder: &Path,
    flip: &Flip,
    others: &[usize],
) -> Result<String, String> {
    let mut cluster = Cluster::beside(&template.cluster);
    for id in others {
        copy(&whole(&template.cluster, *id), &cluster.data(*id));
    }
    copy(folder, &cluster.data(TAKEN));
    flip.apply(&cluster.data(TAKEN));
    for id in others {
        cluster.launch(*id);
    }
    if !others.is_empty() {
        cluster.settled_among(others, 2).await;
    }
    cluster.launch(TAKEN);
    let until = Instant::now() + DECISION;
    let mut waits = String::new();
    loop {
        if let Some(status) = cluster.has_ended(TAKEN) {
            let log = cluster.log_of(TAKEN);
            let words = log.lines().last().unwrap_or_default().to_owned();
            return match status.code() {
                Some(1) if says_what_to_do(&words) => Ok(format!("refused: {words}")),
                code => Err(format!("ended with {code:?}: {words}")),
            };
        }
        if let Some(status) = cluster.status(TAKEN).await {
            waits.clone_from(&status.waiting_for);
            let in_view = status.replicas.iter().filter(|one| one.in_view).count();
            let serves = status.leader.is_some() && status.waiting_for.is_empty();
            if serves && in_view == others.len() + 1 {
                return serves_all(template, &cluster).await;
            }
        }
        if Instant::now() > until {
            return match says_what_to_do(&waits) {
                true => Ok(format!("waits: {waits}")),
                false => Err(format!(
                    "neither serves nor says why ({waits}): {}",
                    cluster.log_of(TAKEN)
                )),
            };
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn serves_all(template: &Template, cluster: &Cluster) -> Result<String, String> {
    let mut users: Vec<Client> = Vec::new();
    for user in &template.users {
        let client = cluster.client_of(TAKEN).await;
        client.set_session_token(user.session_token());
        users.push(client);
    }
    // A damaged row may show only now, and a replica with peers then mends itself.
    let until = Instant::now() + DECISION;
    let mut why = String::new();
    while Instant::now() < until {
        match try_to_read(&users).await {
            Ok(read) if read == template.messages => return Ok("serves all of it".to_owned()),
            Ok(read) => {
                let count = |messages: &super::template::Messages| {
                    messages.values().map(Vec::len).sum::<usize>()
                };
                return Err(format!(
                    "serves {} messages of {}, or others",
                    count(&read),
                    count(&template.messages)
                ));
            }
            Err(error) => why = error.to_string(),
        }
        let waits = cluster.status(TAKEN).await.map(|status| status.waiting_for);
        if let Some(waits) = waits.filter(|waits| says_what_to_do(waits)) {
            why = waits;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match says_what_to_do(&why) {
        true => Ok(format!("does not serve: {why}")),
        false => Err(format!("answers {why}")),
    }
}
