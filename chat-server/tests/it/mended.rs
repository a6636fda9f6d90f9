//! Bytes that rot under a replica: it says so, answers nothing wrong meanwhile, and mends itself.

use std::fs;
use std::path::Path;

use chat_client::{Client, PageRequest, Reason, api};
use nix::sys::signal::Signal;
use tonic::Code;

use crate::support::{Cluster, Setup, by, eventually, figure, reason_of};

/// Flips a bit of each place where a file has these words, and says how many there were.
fn spoil(file: &Path, words: &str) -> usize {
    let mut bytes = fs::read(file).unwrap();
    let places: Vec<usize> = bytes
        .windows(words.len())
        .enumerate()
        .filter(|(_, here)| *here == words.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in &places {
        bytes[*at] ^= 4;
    }
    fs::write(file, bytes).unwrap();
    places.len()
}

async fn send_all(ada: &Client, count: usize) {
    for number in 0..count {
        let body = format!("message {number:05} {}", "x".repeat(200));
        ada.send_message("ada", &body).await.unwrap();
    }
}

/// How many of the messages a replica shows, if it answers.
async fn shown(cluster: &Cluster, id: usize, ada: &Client) -> Option<usize> {
    let ada = cluster.at(id, ada).await;
    let mut count = 0;
    let mut next = Some(PageRequest::first(500));
    while let Some(page) = next {
        let answer = ada.list_history("ada", page).await.ok()?;
        count += answer.items.len();
        next = answer.next_request(500);
    }
    Some(count)
}

/// A cluster whose logs are short: what was sent is in the states alone.
async fn compacted(replicas: usize, count: usize) -> (Cluster, Client) {
    let mut cluster = Cluster::new(&Setup {
        replicas: replicas as u32,
        recovery_grace: "2s",
        ..Setup::default()
    });
    let text = fs::read_to_string(cluster.file()).unwrap();
    let text = text.replace("# log_keep = 10000", "log_keep = 10");
    fs::write(cluster.file(), text).unwrap();
    (0..replicas).for_each(|id| cluster.launch(id));
    cluster.settled(replicas).await;
    let ada = cluster.user("ada").await;
    send_all(&ada, count).await;
    // A clean stop writes checkpoints, behind which the next start drops entries.
    for id in 0..replicas {
        cluster.stop(id);
    }
    (0..replicas).for_each(|id| cluster.launch(id));
    cluster.settled(replicas).await;
    for id in 0..replicas {
        eventually("the log is short", || async {
            let (_, page) = cluster.page(id, "/metrics")?;
            let gone = figure(&page, "chat_replication_compacted_index");
            (gone > count as f64 / 2.0).then_some(())
        })
        .await;
    }
    (cluster, ada)
}

/// One damaged row was answered with INTERNAL for ever, and nobody else noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_replaced_by_that_of_the_others() {
    const COUNT: usize = 120;
    let (mut cluster, ada) = compacted(3, COUNT).await;
    for id in 0..3 {
        cluster.stop(id);
    }
    assert!(spoil(&cluster.data(2).join("state.redb"), "message 00040 ") > 0);
    (0..3).for_each(|id| cluster.launch(id));
    cluster.settled(3).await;

    // The others are held, so that what it says before it is mended can be seen.
    for id in 0..2 {
        cluster.signal(id, Signal::SIGSTOP);
    }
    let request = api::ListHistoryRequest {
        peer: "ada".into(),
        page_size: 500,
        ..Default::default()
    };
    let call = by(&ada, request);
    let refused = cluster
        .raw(2)
        .messages()
        .list_history(call)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(reason_of(&refused), Some(Reason::StateDamaged));
    eventually("it is not ready, and says why", || async {
        let (code, why) = cluster.page(2, "/readyz")?;
        (code == 503 && why.contains("its state was damaged")).then_some(())
    })
    .await;
    let (_, page) = cluster.page(2, "/metrics").unwrap();
    assert_eq!(figure(&page, "chat_state_lost"), 1.0);
    let (said, code) = cluster.program(&["status", "--id", "2"]).await;
    assert!(
        code == Some(1) && said.contains("its state was damaged"),
        "{said}"
    );
    assert!(said.contains("DO: "), "{said}");
    // What it found it does not forget.
    cluster.kill(2);
    cluster.launch(2);
    for id in 0..2 {
        cluster.signal(id, Signal::SIGCONT);
    }

    cluster.settled(3).await;
    let log = cluster.log_of(2);
    assert!(log.contains("the state is damaged"), "{log}");
    eventually("it serves all of it again", || async {
        (shown(&cluster, 2, &ada).await? == COUNT).then_some(())
    })
    .await;
    let (_, page) = cluster.page(2, "/metrics").unwrap();
    assert_eq!(figure(&page, "chat_state_lost"), 0.0);
    assert!(!cluster.data(2).join("state.redb.damaged").exists());
    for id in 0..3 {
        assert_eq!(shown(&cluster, id, &ada).await, Some(COUNT), "replica {id}");
    }
}

/// Where nobody else is there, the log says it all again.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_is_made_again_from_a_log_that_goes_back_to_the_beginning() {
    const COUNT: usize = 60;
    let mut cluster = Cluster::one().await;
    let ada = cluster.user("ada").await;
    send_all(&ada, COUNT).await;
    cluster.stop(0);
    assert!(spoil(&cluster.data(0).join("state.redb"), "message 00020 ") > 0);
    cluster.launch(0);
    cluster.settled(1).await;
    eventually("it shows all of it", || async {
        (shown(&cluster, 0, &ada).await? == COUNT).then_some(())
    })
    .await;
    let log = cluster.log_of(0);
    assert!(log.contains("whole again, from the log"), "{log}");
    ada.send_message("ada", "and it goes on").await.unwrap();
}

/// Nobody can give it a state: it serves nothing rather than less.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_that_nobody_can_replace_is_not_served() {
    let (mut cluster, ada) = compacted(1, 60).await;
    cluster.stop(0);
    assert!(spoil(&cluster.data(0).join("state.redb"), "message 00020 ") > 0);
    cluster.launch(0);
    cluster.settled(1).await;
    assert_eq!(shown(&cluster, 0, &ada).await, None);
    eventually("it says what to do", || async {
        let (said, _) = cluster.program(&["status", "--id", "0"]).await;
        said.contains("restore a backup").then_some(())
    })
    .await;
    assert!(cluster.data(0).join("state.redb.damaged").exists());
    cluster.kill(0);
    cluster.launch(0);
    eventually("nor after a restart", || async {
        let (code, why) = cluster.page(0, "/readyz")?;
        (code == 503 && why.contains("restore a backup")).then_some(())
    })
    .await;
}

/// Flips a bit within the largest segment of a log, so far into what is written of it.
fn spoil_log(folder: &Path, part: f64) {
    let segments = fs::read_dir(folder.join("log")).unwrap();
    let (path, mut bytes) = segments
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .max_by_key(|(_, bytes)| written(bytes))
        .unwrap();
    let at = (written(&bytes) as f64 * part) as usize;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A segment ends with zeros that are written before there is anything.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0)
}

/// Both ended, and the third went on without what they had acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn two_damaged_logs_mend_each_other_and_the_stale_third_waits_for_them() {
    const COUNT: usize = 120;
    for is_killed in [false, true] {
        let mut cluster = Cluster::new(&Setup {
            recovery_grace: "1s",
            ..Setup::default()
        });
        (0..3).for_each(|id| cluster.launch(id));
        cluster.settled(3).await;
        let ada = cluster.user("ada").await;
        send_all(&ada, COUNT / 3).await;
        cluster.kill(2);
        cluster.settled_among(&[0, 1], 2).await;
        send_all(&ada, COUNT - COUNT / 3).await;
        for id in 0..2 {
            match is_killed {
                // What is damaged is in the states.
                false => drop(cluster.stop(id)),
                // It is in the logs alone.
                true => cluster.kill(id),
            }
        }
        spoil_log(&cluster.data(0), 0.8);
        spoil_log(&cluster.data(1), 0.6);

        // The third alone does not go on, however long it waits.
        cluster.launch(2);
        cluster.launch(0);
        if is_killed {
            eventually("it says what it waits for", || async {
                let (said, code) = cluster.program(&["status", "--id", "0"]).await;
                (code == Some(1) && said.contains("are damaged")).then_some(())
            })
            .await;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            let (code, _) = cluster.page(2, "/readyz").unwrap();
            assert_eq!(code, 503);
        }
        cluster.launch(1);
        cluster.settled(3).await;
        for id in 0..3 {
            eventually("it shows all of it", || async {
                (shown(&cluster, id, &ada).await? == COUNT).then_some(())
            })
            .await;
        }
        // What the state shows nobody need have read.
        for id in (0..2).filter(|_| is_killed) {
            let log = cluster.log_of(id);
            assert!(log.contains("are damaged"), "{log}");
        }
        ada.send_message("ada", "and it goes on").await.unwrap();
    }
}
