//! A replica that cannot start says why, in one line, and what to do.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::{Cluster, PROGRAM, Setup};

fn alone() -> Cluster {
    Cluster::new(&Setup {
        replicas: 1,
        ..Setup::default()
    })
}

fn fails(cluster: &Cluster, command: Command, words: &[&str]) {
    let (line, code) = cluster.failing(command);
    assert_eq!(code, Some(1), "{line}");
    assert!(line.starts_with("chat-server: "), "{line}");
    for word in words {
        assert!(line.contains(word), "`{word}` is not in: {line}");
    }
}

#[test]
fn a_port_in_use() {
    let cluster = alone();
    for (address, key) in [
        (cluster.address(0), "client_listen"),
        (cluster.peer_address(0), "peer_listen"),
    ] {
        let taken = TcpListener::bind(&address).unwrap();
        fails(
            &cluster,
            cluster.command(0),
            &[&address, "another process listens there", key],
        );
        drop(taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_another_cluster_or_replica_or_in_use() {
    let mut mine = alone();
    let mut theirs = alone();
    theirs.launch(0);
    theirs.settled(1).await;
    let in_use = |text: String| text.replace("\"replica-0\"", &format!("{:?}", theirs.data(0)));
    let text = fs::read_to_string(mine.file()).unwrap();
    fs::write(mine.file(), in_use(text.clone())).unwrap();
    fails(&mine, mine.command(0), &["log", "in use", "stop"]);
    theirs.stop(0);
    fails(
        &mine,
        mine.command(0),
        &["is of cluster", "own data folder"],
    );

    fs::write(mine.file(), &text).unwrap();
    mine.launch(0);
    mine.settled(1).await;
    mine.stop(0);
    fs::write(mine.file(), text.replace("id = 0", "id = 1")).unwrap();
    fails(
        &mine,
        mine.command(1),
        &["log", "belongs to replica 0", "data folder"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files() {
    let mut cluster = alone();
    cluster.launch(0);
    cluster.settled(1).await;
    cluster.stop(0);
    let log = cluster.data(0).join("log");
    let names = fs::read_dir(&log).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let segment = names.find(|name| name.ends_with(".log")).unwrap();
    let manifests = ["manifest.a", "manifest.b"].map(|name| log.join(name));
    for (name, paths) in [
        ("manifest.a", manifests.to_vec()),
        (&segment, vec![log.join(&segment)]),
    ] {
        let good: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        for path in &paths {
            fs::write(path, b"nothing of the kind").unwrap();
        }
        fails(&cluster, cluster.command(0), &[name, "damaged", "move"]);
        for (path, good) in paths.iter().zip(&good) {
            // A segment ends with zeros, which nobody misses.
            let used = good.iter().rposition(|byte| *byte != 0).unwrap();
            fs::write(path, &good[..used.min(60) / 2]).unwrap();
        }
        fails(&cluster, cluster.command(0), &[name]);
        for (path, good) in paths.iter().zip(&good) {
            fs::write(path, good).unwrap();
        }
    }
    // What one of the manifests has lost the other has.
    fs::write(&manifests[0], b"nothing of the kind").unwrap();
    cluster.launch(0);
    cluster.settled(1).await;
}

#[test]
fn a_listener_that_others_can_reach_needs_a_word() {
    let cluster = alone();
    let text = fs::read_to_string(cluster.file()).unwrap();
    let open = text.replace(
        "client_listen = \"127.0.0.1:",
        "client_address = \"127.0.0.1:7400\"\nclient_listen = \"0.0.0.0:",
    );
    fs::write(cluster.file(), open).unwrap();
    fails(
        &cluster,
        cluster.command(0),
        &["client_listen", "not encrypted", "--insecure"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_that_word_it_listens() {
    let mut cluster = alone();
    let address = cluster.address(0);
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    let text = fs::read_to_string(cluster.file()).unwrap();
    let open = text.replace(
        &format!("client_listen = \"{address}\""),
        &format!("client_address = \"{address}\"\nclient_listen = \"0.0.0.0:{port}\""),
    );
    fs::write(cluster.file(), open).unwrap();
    cluster.launch_with(0, &["--insecure"]);
    cluster.settled(1).await;
}

#[test]
fn an_address_that_cannot_be_listened_on() {
    let cluster = alone();
    let text = fs::read_to_string(cluster.file()).unwrap();
    let address = format!("peer_listen = \"{}\"", cluster.peer_address(0));
    for (host, word) in [
        ("no-such-host.invalid", "cannot be resolved"),
        ("192.0.2.1", "does not have that address"),
    ] {
        let changed = text.replace(&address, &format!("peer_listen = \"{host}:7500\""));
        fs::write(cluster.file(), changed).unwrap();
        let mut command = cluster.command(0);
        command.arg("--insecure");
        fails(&cluster, command, &["peer_listen", word]);
    }
}

#[test]
fn a_replica_or_file_that_is_not_there() {
    let cluster = alone();
    fails(&cluster, cluster.command(7), &["no replica 7", "it has 0"]);
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--config", "/no/such/cluster.toml", "--id", "0"])
        .stdin(Stdio::null());
    fails(
        &cluster,
        command,
        &["/no/such/cluster.toml", "no such file", "config new"],
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_code_2() {
    let cluster = alone();
    for arguments in [&["run"][..], &["run", "--id", "x"], &["fly"], &[]] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).stdin(Stdio::null());
        assert_eq!(cluster.failing(command).1, Some(2), "{arguments:?}");
    }
}
