//! A backup of a cluster that goes on, and a cluster that begins anew from it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chat_client::{Client, DeleteScope, PageRequest};
use chat_replication::types::Mode;

use crate::support::{Cluster, Setup, eventually};

/// Everything in a conversation, by how often it is there.
async fn texts(client: &Client, peer: &str) -> BTreeMap<String, u32> {
    let mut texts = BTreeMap::new();
    let mut request = PageRequest::default();
    loop {
        let page = client.list_history(peer, request.clone()).await.unwrap();
        for message in page.items {
            *texts.entry(message.body).or_default() += 1;
        }
        match page.next {
            Some(next) => request.token = Some(next),
            None => return texts,
        }
    }
}

/// A backup that misses what was acknowledged before it is none; one that holds it twice is none either.
async fn begins_anew(mode: Mode) {
    let mut cluster = Cluster::new(&Setup::default());
    let text = fs::read_to_string(cluster.file()).unwrap();
    let text = text.replace("mode = \"available\"", &format!("mode = \"{mode}\""));
    fs::write(cluster.file(), text).unwrap();
    for id in 0..3 {
        cluster.launch(id);
    }
    cluster.settled(3).await;
    let ada = cluster.user("ada").await;
    let bob = cluster.user("bob").await;
    let mut expected = Vec::new();
    for number in 0..30 {
        let text = format!("before {number}");
        let here = cluster.at(number % 3, &ada).await;
        here.send_message("bob", &text).await.unwrap();
        expected.push(text);
    }

    let goes_on = Arc::new(AtomicBool::new(true));
    let sending = tokio::spawn({
        let (goes_on, ada) = (Arc::clone(&goes_on), cluster.at(0, &ada).await);
        async move {
            let mut number = 0;
            while goes_on.load(Ordering::Relaxed) {
                ada.send_message("bob", &format!("meanwhile {number}"))
                    .await
                    .unwrap();
                number += 1;
            }
            number
        }
    });
    let file = cluster.folder().join("chat.backup");
    let path = file.to_str().unwrap().to_owned();
    let (said, code) = cluster.program(&["backup", &path, "--id", "1"]).await;
    assert_eq!(code, Some(0), "{said}");
    goes_on.store(false, Ordering::Relaxed);
    let meanwhile = sending.await.unwrap();
    assert!(meanwhile > 0);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (said, code) = cluster.program(&["backup", &path]).await;
    assert!(
        code == Some(1) && said.contains("is there already"),
        "{said}"
    );
    let (said, code) = cluster.bare(&["verify", &path]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("2 accounts") && said.contains("whole"),
        "{said}"
    );
    ada.send_message("bob", "after").await.unwrap();

    for id in 0..3 {
        cluster.kill(id);
        fs::remove_dir_all(cluster.data(id)).unwrap();
    }
    let whole = fs::read(&file).unwrap();
    let cut = &whole[..whole.len() - 1];
    let mut rotten = whole.clone();
    rotten[whole.len() / 2] ^= 1;
    let damaged = cluster.folder().join("damaged");
    for bytes in [cut, &rotten, b"no backup at all"] {
        fs::write(&damaged, bytes).unwrap();
        for command in ["restore", "verify"] {
            let damaged = damaged.to_str().unwrap();
            let (said, code) = match command {
                "restore" => cluster.program(&[command, damaged]).await,
                _ => cluster.bare(&[command, damaged]).await,
            };
            assert_eq!(code, Some(1), "{said}");
            assert!(
                said.contains("is damaged") || said.contains("is no backup"),
                "{said}"
            );
        }
        assert!(!cluster.data(1).exists(), "nothing is written");
    }

    let (said, code) = cluster.program(&["restore", &path]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2. Start replica 1"), "{said}");
    let (refused, code) = cluster.program(&["restore", &path]).await;
    assert!(
        code == Some(1) && refused.contains("is not empty"),
        "{refused}"
    );
    let data = cluster.data(1);
    let (verified, code) = cluster.bare(&["verify", data.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{verified}");

    cluster.launch(1);
    cluster.settled(1).await;
    for id in [0, 2] {
        cluster.launch(id);
        if mode == Mode::Consistent {
            // As the command says it.
            let order = format!("replica add {id} --peer");
            let line = said.lines().find(|line| line.contains(&order)).unwrap();
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            let (said, code) = cluster.bare(&words).await;
            assert_eq!(code, Some(0), "{said}");
        }
    }
    cluster.settled(3).await;
    let client = cluster.client().await;
    client.login("ada", "password").await.unwrap();
    client.send_message("bob", "anew").await.unwrap();
    expected.push("anew".to_owned());
    for id in 0..3 {
        let here = cluster.at(id, &client).await;
        eventually("all of it", || async {
            let texts = texts(&here, "bob").await;
            assert!(texts.values().all(|times| *times == 1), "{texts:?}");
            assert!(!texts.contains_key("after"), "that came after the backup");
            expected
                .iter()
                .all(|text| texts.contains_key(text))
                .then_some(())
        })
        .await;
    }
    // A session that was open then is open now.
    bob.send_message("ada", "from before").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_begins_anew_from_a_backup_that_was_taken_while_it_went_on() {
    begins_anew(Mode::Available).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_needs_a_majority_begins_anew_as_well() {
    begins_anew(Mode::Consistent).await;
}

/// Whichever disk comes back from before a restore, what was done to it after the backup is not done again: deleted
/// messages were once deleted again everywhere, by a disk that the backup had not known.
#[tokio::test(flavor = "multi_thread")]
async fn no_disk_from_before_a_restore_is_taken_in() {
    let mut cluster = Cluster::start(Setup {
        recovery_grace: "1s",
        ..Setup::default()
    })
    .await;
    let of_before = fs::read_to_string(cluster.file()).unwrap();
    let ada = cluster.user("ada").await;
    let mut sent = Vec::new();
    for number in 0..20 {
        let text = format!("before {number}");
        sent.push(ada.send_message("ada", &text).await.unwrap().message_id);
    }
    let file = cluster.folder().join("chat.backup");
    let path = file.to_str().unwrap().to_owned();
    let (said, code) = cluster.program(&["backup", &path]).await;
    assert_eq!(code, Some(0), "{said}");
    // A disk that the backup does not know.
    cluster.stop(2);
    fs::remove_dir_all(cluster.data(2)).unwrap();
    cluster.launch(2);
    cluster.settled(3).await;
    let deleted = ada.delete_messages(&sent[..10], DeleteScope::ForBoth).await;
    deleted.unwrap();
    ada.send_message("ada", "after").await.unwrap();
    let was = |id: usize| cluster.folder().join(format!("was-{id}"));
    let was: Vec<_> = (0..3).map(was).collect();
    for (id, was) in was.iter().enumerate() {
        match id {
            1 => cluster.kill(id),
            _ => _ = cluster.stop(id),
        }
        fs::rename(cluster.data(id), was).unwrap();
    }

    let (said, code) = cluster.program(&["restore", &path, "--id", "0"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("has a new line, incarnation"), "{said}");
    for id in 0..3 {
        cluster.launch(id);
    }
    cluster.settled(3).await;
    let client = cluster.client_of(0).await;
    client.login("ada", "password").await.unwrap();
    let expected: BTreeMap<String, u32> = (0..20).map(|n| (format!("before {n}"), 1)).collect();
    assert_eq!(texts(&client, "ada").await, expected);

    let restored = fs::read_to_string(cluster.file()).unwrap();
    for id in [2, 1] {
        cluster.stop(id);
        let anew = cluster.folder().join(format!("anew-{id}"));
        fs::rename(cluster.data(id), &anew).unwrap();
        fs::rename(&was[id], cluster.data(id)).unwrap();
        let (said, code) = cluster.failing(cluster.command(id));
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("which began when a backup was restored")
                && said.contains("Move the folder away and start the replica with an empty one"),
            "{said}"
        );
        // A machine that was off has the cluster file of before as well.
        fs::write(cluster.file(), &of_before).unwrap();
        cluster.launch(id);
        eventually("it goes on by itself", || async {
            let status = cluster.status(id).await?;
            (status.leader?.replica_id == id as u32).then_some(())
        })
        .await;
        fs::write(cluster.file(), &restored).unwrap();
        let refused = "the caller is of another";
        assert!(cluster.log_of(0).contains(refused), "{}", cluster.log_of(0));
        assert!(cluster.log_of(id).contains(refused));
        cluster.stop(id);
        // The advice works.
        fs::remove_dir_all(cluster.data(id)).unwrap();
        cluster.launch(id);
        cluster.settled(3).await;
        for at in 0..3 {
            let here = cluster.at(at, &client).await;
            assert_eq!(texts(&here, "ada").await, expected, "replica {at}");
        }
    }
    // The disk of replica 0 from before, with the restored file: nor does a folder find a cluster file of before.
    cluster.stop(0);
    fs::write(cluster.file(), &of_before).unwrap();
    let (said, code) = cluster.failing(cluster.command(0));
    assert_eq!(code, Some(1), "{said}");
    let line = restored
        .lines()
        .find(|line| line.starts_with("incarnation"));
    assert!(said.contains(line.unwrap()), "{said}");
    fs::write(cluster.file(), &restored).unwrap();
    cluster.launch(0);
    cluster.settled(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_a_backup_is_taken_only_if_that_is_wanted() {
    let mut cluster = Cluster::start(Setup {
        recovery_grace: "60s",
        ..Setup::default()
    })
    .await;
    let ada = cluster.user("ada").await;
    ada.send_message("ada", "note").await.unwrap();
    // Its state is written down, and the others may have gone on without it.
    cluster.stop(2);
    cluster.kill(0);
    cluster.kill(1);
    cluster.launch(2);
    eventually("the socket is there", || async {
        let (said, _) = cluster.program(&["replica", "list", "--id", "2"]).await;
        said.contains("no replica leads").then_some(())
    })
    .await;
    let file = cluster.folder().join("chat.backup");
    let path = file.to_str().unwrap().to_owned();
    let (said, code) = cluster.program(&["backup", &path, "--id", "2"]).await;
    assert!(code == Some(1) && said.contains("--anyway"), "{said}");
    assert!(!file.exists());
    let leftovers = fs::read_dir(cluster.folder()).unwrap();
    let is_backup = |name: &str| name.starts_with(".backup");
    assert!(
        !leftovers
            .flatten()
            .any(|entry| is_backup(&entry.file_name().to_string_lossy()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_newer_format_is_refused_and_left_alone() {
    let mut cluster = Cluster::one().await;
    cluster.stop(0);
    let format = cluster.data(0).join("format");
    assert_eq!(fs::read_to_string(&format).unwrap(), "1\n");
    fs::write(&format, "2\n").unwrap();
    let (said, code) = cluster.failing(cluster.command(0));
    assert!(
        said.contains("newer version (format 2") && said.contains("install"),
        "{said}"
    );
    assert_eq!(code, Some(1));
    let folder = cluster.data(0);
    let (said, code) = cluster.bare(&["verify", folder.to_str().unwrap()]).await;
    assert!(code == Some(1) && said.contains("newer version"), "{said}");
    fs::write(&format, "1\n").unwrap();
    cluster.launch(0);
    cluster.settled(1).await;
}
