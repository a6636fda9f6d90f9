//! What an operator is told to do about a damaged folder or a cluster that waits, done.

use std::fs;
use std::path::{Path, PathBuf};

use chat_client::Client;

use crate::support::{Cluster, Setup, eventually};

/// A cluster whose logs do not reach back to their beginning, and its user, who has written so many notes.
async fn with_short_logs(mode: &str, recovery_grace: &'static str) -> (Cluster, Client) {
    let mut cluster = Cluster::new(&Setup {
        recovery_grace,
        ..Setup::default()
    });
    let text = fs::read_to_string(cluster.file()).unwrap();
    let text = text
        .replace("# log_keep = 10000", "log_keep = 10")
        .replace("mode = \"available\"", &format!("mode = \"{mode}\""));
    fs::write(cluster.file(), text).unwrap();
    for id in 0..3 {
        cluster.launch(id);
    }
    cluster.settled(3).await;
    let ada = cluster.user("ada").await;
    notes(&ada, NOTES / 2).await;
    // A stop writes the state down; entries below that may go.
    for id in [2, 1, 0] {
        cluster.stop(id);
        cluster.settled(2).await;
        cluster.launch(id);
        cluster.settled(3).await;
    }
    notes(&ada, NOTES / 2).await;
    (cluster, ada)
}

const NOTES: usize = 60;

async fn notes(ada: &Client, count: usize) {
    for number in 0..count {
        ada.send_message("ada", &format!("note {number}"))
            .await
            .unwrap();
    }
}

async fn stored(cluster: &Cluster, id: usize, ada: &Client) -> usize {
    let here = cluster.at(id, ada).await;
    let mut request = chat_client::PageRequest::default();
    let mut count = 0;
    loop {
        let page = here.list_history("ada", request.clone()).await.unwrap();
        count += page.items.len();
        match page.next {
            Some(next) => request.token = Some(next),
            None => return count,
        }
    }
}

async fn verify(cluster: &Cluster, folder: &Path) -> (String, Option<i32>) {
    cluster.bare(&["verify", folder.to_str().unwrap()]).await
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let log = folder.join("log");
    let names = names_in(&log).into_iter();
    let segments = names.filter(|name| name.ends_with(".log"));
    segments.map(|name| log.join(name)).collect()
}

/// It waited for ever, `force-view` did nothing and said that it had, and `verify` found all of it whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_state_says_so_and_gets_another() {
    let (mut cluster, ada) = with_short_logs("available", "1s").await;
    for id in [1, 2, 0] {
        cluster.stop(id);
    }
    let folder = cluster.data(1);
    let (said, code) = verify(&cluster, &folder).await;
    assert!(code == Some(0) && !said.contains("entries 1 to"), "{said}");
    fs::rename(
        folder.join("state.redb"),
        cluster.folder().join("state.redb"),
    )
    .unwrap();
    let (said, code) = verify(&cluster, &folder).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("state.redb is missing") && said.contains("restore a backup"),
        "{said}"
    );
    cluster.launch(1);
    eventually("it says what it waits for", || async {
        let status = cluster.status(1).await?;
        status.waiting_for.contains("state is lost").then_some(())
    })
    .await;
    let (said, code) = cluster.program(&["force-view", "--id", "1"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("no view is forced") && said.contains("restore a backup"),
        "{said}"
    );
    let (said, code) = cluster.program(&["status", "--id", "1"]).await;
    assert!(
        code != Some(0) && said.contains("restore a backup"),
        "{said}"
    );
    // Start the others, it says.
    for id in [0, 2] {
        cluster.launch(id);
    }
    cluster.settled(3).await;
    assert_eq!(stored(&cluster, 1, &ada).await, NOTES);
}

/// Two empty disks beside one that had lost its log were a new cluster, without a message and without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_log_begins_no_new_one() {
    let (mut cluster, ada) = with_short_logs("available", "1s").await;
    for id in [1, 2, 0] {
        cluster.stop(id);
    }
    let folder = cluster.data(1);
    let kept = cluster.folder().join("kept");
    fs::create_dir(&kept).unwrap();
    let lost: Vec<_> = names_in(&folder)
        .into_iter()
        .filter(|name| name.starts_with("log") && !name.ends_with("lock"))
        .collect();
    for name in &lost {
        fs::rename(folder.join(name), kept.join(name)).unwrap();
    }
    for id in [0, 2] {
        fs::remove_dir_all(cluster.data(id)).unwrap();
    }
    let (said, code) = verify(&cluster, &folder).await;
    let refuses = |said: &str| said.contains("its log is missing") && said.contains("Put it back");
    assert!(code == Some(1) && refuses(&said), "{said}");
    for id in [0, 2] {
        cluster.launch(id);
    }
    let (said, code) = cluster.failing(cluster.command(1));
    assert!(code == Some(1) && refuses(&said), "{said}");
    let waits = eventually("it says what it waits for", || async {
        let status = cluster.status(0).await?;
        (!status.waiting_for.is_empty()).then_some(status.waiting_for)
    })
    .await;
    assert!(waits.contains("a new cluster begins when all"), "{waits}");
    let (said, code) = cluster.program(&["force-view", "--id", "0"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a new cluster begins when all"), "{said}");
    for name in &lost {
        fs::rename(kept.join(name), folder.join(name)).unwrap();
    }
    cluster.launch(1);
    cluster.settled(3).await;
    for id in 0..3 {
        assert_eq!(stored(&cluster, id, &ada).await, NOTES, "replica {id}");
    }
}

/// A log that ended early was whole, as `verify` had it.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_short_is_seen_and_its_folder_replaced() {
    let (mut cluster, ada) = with_short_logs("available", "1s").await;
    cluster.stop(1);
    let folder = cluster.data(1);
    let newest = segments(&folder).pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(&newest, &bytes[..end / 2]).unwrap();
    let (said, code) = verify(&cluster, &folder).await;
    assert_eq!(code, Some(1), "{said}");
    fs::remove_file(&newest).unwrap();
    let (said, code) = verify(&cluster, &folder).await;
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert!(code == Some(1) && said.contains(name), "{said}");
    fs::rename(&folder, cluster.folder().join("away")).unwrap();
    cluster.launch(1);
    cluster.settled(3).await;
    assert_eq!(stored(&cluster, 1, &ada).await, NOTES);
}

/// It said that the replica goes on, whether it did or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_forced_view_has_started_when_the_command_returns() {
    let (mut cluster, ada) = with_short_logs("available", "60s").await;
    for id in [0, 1, 2] {
        cluster.kill(id);
    }
    cluster.launch(2);
    eventually("it waits for the others", || async {
        let status = cluster.status(2).await?;
        status.waiting_for.contains("force-view").then_some(())
    })
    .await;
    let (said, code) = cluster.program(&["force-view", "--id", "2"]).await;
    assert_eq!(code, Some(0), "{said}");
    let status = cluster.status(2).await.unwrap();
    assert_eq!(status.leader.map(|leader| leader.replica_id), Some(2));
    assert_eq!(stored(&cluster, 2, &ada).await, NOTES);
    let (said, code) = cluster.program(&["force-view", "--id", "2"]).await;
    assert!(
        code == Some(1) && said.contains("nothing to force"),
        "{said}"
    );
}

/// A leader that has lost its majority was said to wait for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_majority_can_be_forced() {
    let (mut cluster, ada) = with_short_logs("consistent", "1s").await;
    let leader = cluster.settled(3).await;
    for id in (0..3).filter(|id| *id != leader) {
        cluster.kill(id);
    }
    eventually("it waits for a majority", || async {
        let status = cluster.status(leader).await?;
        status.waiting_for.contains("majority").then_some(())
    })
    .await;
    let id = leader.to_string();
    let (said, code) = cluster.program(&["force-view", "--id", &id]).await;
    assert_eq!(code, Some(0), "{said}");
    let here = cluster.at(leader, &ada).await;
    here.send_message("ada", "alone").await.unwrap();
}
