//! `chat-server cluster`: three replicas with one command.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread;

use chat_client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::{PROGRAM, eventually, free_base_port};

struct Started {
    process: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

fn start(folder: &TempDir, base_port: u16) -> Started {
    let mut process = Command::new(PROGRAM)
        .args(["cluster", "--base-port", &base_port.to_string(), "--dir"])
        .arg(folder.path().join("c"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Started {
        out: BufReader::new(process.stdout.take().unwrap()).lines(),
        err: BufReader::new(process.stderr.take().unwrap()).lines(),
        process,
    }
}

fn signal(process: u32, signal: Signal) {
    kill(Pid::from_raw(process as i32), signal).unwrap();
}

/// Reads up to a line with these words, and gives all lines.
fn until(lines: &mut impl Iterator<Item = std::io::Result<String>>, words: &str) -> Vec<String> {
    let mut read = Vec::new();
    for line in lines {
        read.push(line.unwrap());
        if read.last().unwrap().contains(words) {
            return read;
        }
    }
    panic!("no line says `{words}`: {read:#?}");
}

fn process_of(lines: &[String], replica: usize) -> u32 {
    let line = lines
        .iter()
        .find(|line| line.starts_with(&format!("replica {replica}: process ")))
        .unwrap();
    let digits = line
        .split("process ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    digits.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_tells_where_it_is_and_stops_together() {
    let folder = TempDir::new().unwrap();
    let base_port = free_base_port();
    let mut started = start(&folder, base_port);
    let said = until(&mut started.out, "is ready");
    let text = said.join("\n");
    for id in 0..3 {
        assert!(
            text.contains(&format!("clients 127.0.0.1:{}", base_port + id)),
            "{text}"
        );
        assert!(text.contains(&format!("replica-{id}")), "{text}");
    }
    assert!(
        text.contains(&format!("chat-client --server 127.0.0.1:{base_port}")),
        "{text}"
    );
    let log = until(&mut started.err, "replica 2 | ");
    assert!(!log.is_empty());

    let client = Client::connect((0..3).map(|id| format!("127.0.0.1:{}", base_port + id)))
        .await
        .unwrap();
    client.register("ada", "password").await.unwrap();
    signal(process_of(&said, 1), Signal::SIGKILL);
    let told = until(&mut started.err, "replica 1 has exited");
    let told = told.last().unwrap();
    assert!(
        told.contains("start it again with: chat-server run") && told.contains("--id 1"),
        "{told}"
    );
    client.login("ada", "password").await.unwrap();

    let rest = thread::spawn(move || started.err.map_while(Result::ok).collect::<Vec<_>>());
    signal(started.process.id(), Signal::SIGINT);
    assert!(started.process.wait().unwrap().success());
    let rest = rest.join().unwrap().join("\n");
    assert!(
        rest.contains("replica 0 | ") && rest.contains("stopped") && !rest.contains("panicked"),
        "{rest}"
    );

    let mut other = Command::new(PROGRAM);
    other
        .args(["cluster", "--replicas", "5", "--dir"])
        .arg(folder.path().join("c"));
    let refused = other.output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        words.contains("a cluster of 3 replicas") && words.contains("--dir"),
        "{words}"
    );

    // Again, with the same data.
    let mut again = start(&folder, base_port);
    until(&mut again.out, "is ready");
    client.login("ada", "password").await.unwrap();
    signal(again.process.id(), Signal::SIGTERM);
    assert!(again.process.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replica_outlives_the_command_however_it_ends() {
    let folder = TempDir::new().unwrap();
    let base_port = free_base_port();
    let mut started = start(&folder, base_port);
    until(&mut started.out, "is ready");
    started.process.kill().unwrap();
    started.process.wait().unwrap();
    eventually("all ports are free again", || async {
        let all = (0..3).flat_map(|id| [base_port + id, base_port + 100 + id]);
        all.map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .collect::<Option<Vec<_>>>()
    })
    .await;
}
