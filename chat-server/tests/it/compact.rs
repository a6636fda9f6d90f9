//! Disk space that is given back, and nothing else with it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use chat_client::Client;

use crate::support::{Cluster, PROGRAM};

/// Files that are as large as what was deleted from them stay that large for ever; made smaller, they hold the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_replica_gives_disk_space_back_and_a_running_one_refuses() {
    let (mut cluster, ada) = with_much_stored().await;
    let (said, code) = cluster.program(&["compact", "--id", "0"]).await;
    assert!(
        code == Some(1) && said.contains("in use by another process; stop that one first"),
        "{said}"
    );

    cluster.stop(0);
    let folder = cluster.data(0);
    let name = folder.to_str().unwrap();
    let (whole, code) = cluster.bare(&["verify", name, "--replay"]).await;
    assert_eq!(code, Some(0), "{whole}");
    let before = lengths(&folder);
    let (said, code) = cluster.program(&["compact", "--id", "0"]).await;
    assert_eq!(code, Some(0), "{said}");
    let after = lengths(&folder);
    for file in 0..2 {
        assert!(after[file] < before[file], "{before:?} {after:?}");
        let figures = format!("({} and {} bytes)", before[file], after[file]);
        assert!(said.contains(&figures), "{said}");
    }
    let (same, _) = cluster.bare(&["verify", name, "--replay"]).await;
    assert_eq!(same, whole);
    // There is nothing left to be given back.
    let (said, code) = cluster.bare(&["compact", "--data-dir", name]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(lengths(&folder), after);

    cluster.launch(0);
    cluster.settled(1).await;
    let ada = cluster.at(0, &ada).await;
    let page = ada.list_history("ada", Default::default()).await.unwrap();
    assert!(!page.items.is_empty());
    ada.send_message("ada", "and it goes on").await.unwrap();

    for (arguments, words) in [
        (vec!["compact"], "Name its data folder with --data-dir"),
        (
            vec!["compact", "--data-dir", "/nonexistent"],
            "is that the data folder of a replica",
        ),
    ] {
        let (said, code) = cluster.bare(&arguments).await;
        assert!(code == Some(1) && said.contains(words), "{said}");
    }
    let (said, _) = cluster.program(&["compact", "--id", "7"]).await;
    assert!(said.contains("has no replica 7"), "{said}");
}

/// Whoever loses patience must not lose more.
#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_is_killed_loses_nothing() {
    let (mut cluster, _) = with_much_stored().await;
    cluster.stop(0);
    let folder = cluster.data(0);
    let (whole, _) = cluster
        .bare(&["verify", folder.to_str().unwrap(), "--replay"])
        .await;
    let copy = cluster.folder().join("copy");
    let copied = copy.to_str().unwrap();
    for millis in [1, 2, 4, 8, 16, 32, 64] {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).unwrap();
        fs::create_dir(copy.join("log")).unwrap();
        let segments = fs::read_dir(folder.join("log")).unwrap();
        let segments = segments.map(|entry| Path::new("log").join(entry.unwrap().file_name()));
        for name in segments.chain(["state.redb", "format"].map(Into::into)) {
            fs::copy(folder.join(&name), copy.join(&name)).unwrap();
        }
        let mut child = Command::new(PROGRAM)
            .env_remove("CHAT_CONFIG")
            .args(["compact", "--data-dir", copied])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
        let (same, _) = cluster.bare(&["verify", copied, "--replay"]).await;
        // One of the two may have been written anew already.
        let same = same.lines().filter(|line| !line.contains("whole again"));
        let same: String = same.map(|line| format!("{line}\n")).collect();
        assert_eq!(
            same,
            whole.replace(folder.to_str().unwrap(), copied),
            "killed after {millis} ms"
        );
        let (said, code) = cluster.bare(&["compact", "--data-dir", copied]).await;
        assert_eq!(code, Some(0), "{said}");
    }
}

/// One replica that holds 800 KiB, and whose they are.
async fn with_much_stored() -> (Cluster, Client) {
    let cluster = Cluster::one().await;
    let ada = cluster.user("ada").await;
    let body = "x".repeat(4000);
    for number in 0..200 {
        ada.send_message("ada", &format!("{number} {body}"))
            .await
            .unwrap();
    }
    (cluster, ada)
}

fn lengths(folder: &Path) -> [u64; 2] {
    ["state.redb", "log/manifest.a"].map(|name| fs::metadata(folder.join(name)).unwrap().len())
}
