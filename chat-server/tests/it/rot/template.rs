//! A cluster with a history, and the folders that one of its replicas left: killed, and stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chat_client::{Client, PageRequest};

use super::copy;
use crate::support::{Cluster, Setup};

const NAMES: [&str; 3] = ["ada", "bob", "cid"];
/// The replica whose folders are taken.
pub(super) const TAKEN: usize = 1;

/// Messages by who reads them, of whom, and what they say, in order.
pub(super) type Messages = BTreeMap<(usize, usize), Vec<String>>;

pub(super) struct Template {
    pub(super) cluster: Cluster,
    pub(super) users: Vec<Client>,
    /// What was acknowledged.
    pub(super) messages: Messages,
    folders: Vec<(&'static str, PathBuf)>,
}

impl Template {
    /// Six view changes, a log that was made shorter, a state in its file, and entries behind that.
    pub(super) async fn make() -> Template {
        let mut cluster = Cluster::new(&Setup {
            recovery_grace: "1s",
            ..Setup::default()
        });
        let text = fs::read_to_string(cluster.file()).unwrap();
        let text = text.replace("# log_keep = 10000", "log_keep = 40");
        fs::write(cluster.file(), text).unwrap();
        for id in 0..3 {
            cluster.launch(id);
        }
        cluster.settled(3).await;
        let mut users = Vec::new();
        for name in NAMES {
            users.push(cluster.user(name).await);
        }
        send(&users, "first", 150).await;
        // Each writes its state down when it stops, and entries below that may go.
        for id in [2, 1, 0] {
            cluster.stop(id);
            cluster.settled(2).await;
            cluster.launch(id);
            cluster.settled(3).await;
        }
        send(&users, "then", 150).await;
        cluster.kill(2);
        cluster.settled(2).await;
        send(&users, "without 2", 30).await;
        cluster.launch(2);
        cluster.settled(3).await;
        send(&users, "last", 120).await;
        let messages = read(&users).await;
        let killed = cluster.folder().join("killed");
        cluster.kill(TAKEN);
        copy(&cluster.data(TAKEN), &killed);
        cluster.launch(TAKEN);
        cluster.settled(3).await;
        for id in [TAKEN, 2, 0] {
            cluster.stop(id);
        }
        let stopped = cluster.folder().join("stopped");
        copy(&cluster.data(TAKEN), &stopped);
        for id in [0, 2] {
            copy(&cluster.data(id), &whole(&cluster, id));
        }
        Template {
            cluster,
            users,
            messages,
            folders: vec![("killed", killed), ("stopped", stopped)],
        }
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.folders
            .iter()
            .map(|(name, folder)| (*name, folder.as_path()))
    }
}

/// What the other two replicas had when they were stopped.
pub(super) fn whole(cluster: &Cluster, id: usize) -> PathBuf {
    cluster.folder().join(format!("whole-{id}"))
}

async fn send(users: &[Client], what: &str, count: usize) {
    for number in 0..count {
        let (from, to) = (number % 3, (number / 3) % 3);
        let text = format!("{what} {number} {}", "x".repeat(number * 7 % 400));
        users[from].send_message(NAMES[to], &text).await.unwrap();
    }
}

/// All conversations, as these clients' replica tells them.
pub(super) async fn read(users: &[Client]) -> Messages {
    match try_to_read(users).await {
        Ok(messages) => messages,
        Err(error) => panic!("{error}"),
    }
}

pub(super) async fn try_to_read(users: &[Client]) -> Result<Messages, chat_client::Error> {
    let mut messages = Messages::new();
    for (me, user) in users.iter().enumerate() {
        for (peer, name) in NAMES.iter().enumerate() {
            let mut texts = Vec::new();
            let mut request = PageRequest::default();
            loop {
                let page = user.list_history(name, request.clone()).await?;
                texts.extend(page.items.into_iter().map(|message| message.body));
                match page.next {
                    Some(next) => request.token = Some(next),
                    None => break,
                }
            }
            messages.insert((me, peer), texts);
        }
    }
    Ok(messages)
}
