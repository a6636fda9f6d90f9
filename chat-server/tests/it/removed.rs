//! A data folder that was removed from the cluster, and is used nevertheless.

use std::fs;
use std::time::Duration;

use crate::support::{Cluster, eventually};

/// It followed the leader and lost it again, once a second, and its log was full of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_a_removed_disk_says_so_once_and_waits() {
    let mut cluster = Cluster::three().await;
    let ada = cluster.user("ada").await;
    let (old, away) = (cluster.data(2), cluster.folder().join("away"));
    cluster.stop(2);
    cluster.settled(2).await;
    fs::rename(&old, &away).unwrap();
    cluster.launch(2);
    cluster.settled(3).await;
    // Its place is taken by a new disk. Somebody puts the old one back.
    cluster.stop(2);
    cluster.settled(2).await;
    fs::rename(&old, cluster.folder().join("new")).unwrap();
    fs::rename(&away, &old).unwrap();
    let lines_before = cluster.log_of(2).lines().count();
    cluster.launch(2);
    let said = |words: &str| {
        let log = cluster.log_of(2);
        let lines = log.lines().skip(lines_before);
        lines.filter(|line| line.contains(words)).count()
    };
    for (asked, words) in [
        (
            "0",
            "WRONG: replica 2 runs with a data folder that was removed",
        ),
        // Its log is from before.
        ("2", "WRONG: replica 2: this replica was removed"),
    ] {
        eventually("status says what is wrong", async || {
            let (said, _) = cluster.program(&["status", "--id", asked]).await;
            said.contains(words).then_some(())
        })
        .await;
    }
    eventually("its log tells", async || {
        (said("was removed from the cluster; stop it") > 0).then_some(())
    })
    .await;
    // Long enough for several elections.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(said("was removed from the cluster"), 1);
    assert_eq!(said("lost the leader"), 0);
    assert!(said("following") <= 1);
    let (status, why) = cluster.page(2, "/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(why.starts_with("this replica was removed"), "{why}");
    ada.who_am_i().await.unwrap();

    // What the operator is told to do.
    cluster.stop(2);
    fs::rename(&old, &away).unwrap();
    cluster.launch(2);
    cluster.settled(3).await;
}
