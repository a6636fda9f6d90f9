//! The socket for operators, and what the program says when it cannot be reached.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Cluster, PROGRAM, eventually};

fn program(arguments: &[&str]) -> (String, String) {
    let output = Command::new(PROGRAM)
        .env_remove("CHAT_CONFIG")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_reaches_a_replica_that_runs() {
    let mut cluster = Cluster::one().await;
    let folder = cluster.data(0);
    let folder = folder.to_str().unwrap();
    let file = cluster.file();
    let file = file.to_str().unwrap();
    let socket = cluster.data(0).join("admin.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for place in [
        ["--data-dir", folder].as_slice(),
        &["--config", file],
        &["--config", file, "--id", "0"],
    ] {
        let (out, err) = program(&[&["replica", "list"], place].concat());
        assert!(out.contains("replica 0 leads"), "{out}{err}");
        assert!(out.contains("available mode"), "{out}");
    }
    for (arguments, words) in [
        (
            vec!["replica", "list"],
            "with --data-dir, or a cluster file",
        ),
        (
            vec!["replica", "list", "--config", file, "--id", "4"],
            "has no replica 4; it has 0",
        ),
        (
            vec!["replica", "add", "1", "--data-dir", folder],
            "with --peer HOST:PORT and --client HOST:PORT",
        ),
        (
            vec!["replica", "remove", "0", "--data-dir", folder],
            "replica 0 is the last one",
        ),
        (
            vec!["transfer-leadership", "1", "--data-dir", folder],
            "has no replica 1",
        ),
        (vec!["force-view", "--data-dir", folder], "nothing to force"),
        (
            vec!["force-view", "--config", file],
            "with --id N or --data-dir DIR",
        ),
        (vec!["log", folder], "in use by a running replica; stop it"),
    ] {
        let (out, err) = program(&arguments);
        assert!(out.is_empty(), "{out}");
        assert!(err.contains(words), "{arguments:?} gave {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }

    cluster.stop(0);
    assert!(!socket.exists(), "it goes with its replica");
    let (_, err) = program(&["replica", "list", "--data-dir", folder]);
    assert!(
        err.contains("does not exist; is that the data folder"),
        "{err}"
    );
    cluster.launch(0);
    cluster.settled(1).await;
    cluster.kill(0);
    let (_, err) = program(&["replica", "list", "--data-dir", folder]);
    assert!(err.contains("nobody listens; start the replica"), "{err}");
    let (out, err) = program(&["verify", folder, "--replay"]);
    assert!(out.contains("whole") && err.is_empty(), "{out}{err}");
    let (_, err) = program(&["log", "/nonexistent"]);
    assert!(err.contains("or the data folder of a replica"), "{err}");
}

/// A replica that was in the file and not in the cluster was silently not part of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_differs_from_the_cluster_is_a_warning_that_says_what_to_do() {
    let mut cluster = Cluster::one().await;
    cluster.stop(0);
    let text = fs::read_to_string(cluster.file()).unwrap();
    let other = "\n[[replica]]\nid = 7\nclient_listen = \"127.0.0.1:1\"\npeer_listen = \"127.0.0.1:2\"\n\
                 data_dir = \"seven\"\n";
    let text = text.replace("mode = \"available\"", "mode = \"consistent\"");
    fs::write(cluster.file(), text + other).unwrap();
    cluster.launch(0);
    cluster.settled(1).await;
    for words in [
        "chat-server replica add 7 --peer 127.0.0.1:2 --client 127.0.0.1:1 --data-dir",
        "began in mode \"available\" and stays in it",
    ] {
        eventually(words, || async {
            cluster.log_of(0).contains(words).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_and_told() {
    let mut cluster = Cluster::one().await;
    let ada = cluster.user("ada").await;
    ada.send_message("ada", "hello").await.unwrap();
    cluster.stop(0);
    let folder = cluster.data(0);
    let name = folder.to_str().unwrap();
    let (out, err) = program(&["verify", name, "--replay"]);
    assert!(err.is_empty(), "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("log: replica 0 of cluster"), "{out}");
    assert!(lines[1].starts_with("state: at "), "{out}");
    assert!(lines[2].contains("1 accounts"), "{out}");
    assert!(lines[3].contains("what it is, hash"), "{out}");
    let log = newest_segment(&folder);
    let before = fs::read(&log).unwrap();

    // Somebody else's state, whole in itself.
    let mut other = Cluster::one().await;
    other.stop(0);
    fs::copy(other.data(0).join("state.redb"), folder.join("state.redb")).unwrap();
    let (_, err) = program(&["verify", name]);
    assert!(err.contains("belongs to replica 0 of cluster"), "{err}");
    fs::remove_file(folder.join("state.redb")).unwrap();
    let (out, _) = program(&["verify", name, "--replay"]);
    assert!(out.contains("state: there is none"), "{out}");
    assert_eq!(
        out.lines().last(),
        lines.last().copied(),
        "the log alone tells"
    );
    assert!(!folder.join("state.redb").exists(), "nothing is written");
    assert_eq!(fs::read(&log).unwrap(), before);

    let needle = b"hello";
    let at = before.windows(needle.len()).position(|part| part == needle);
    let mut rotten = before.clone();
    rotten[at.unwrap()] ^= 1;
    fs::write(&log, rotten).unwrap();
    let (_, err) = program(&["verify", name]);
    assert!(
        err.contains("are damaged") && err.contains("Start the replica"),
        "{err}"
    );
}

/// The file that a log appends to.
fn newest_segment(folder: &Path) -> PathBuf {
    let segments = fs::read_dir(folder.join("log")).unwrap();
    let paths = segments.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.max().unwrap()
}
