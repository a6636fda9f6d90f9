//! What is no HTTP/2 at all, or never comes.

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bystander::{ALLOWED, Scene};
use crate::support::PATIENCE;

const CHEAP: &str = "hash_memory_kib = 64\nhash_passes = 1";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends bytes and waits until the other side closes.
async fn until_closed(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Either side may close first.
    let _ = stream.write_all(bytes).await;
    let mut answer = [0; 4096];
    let closed = async { while matches!(stream.read(&mut answer).await, Ok(1..)) {} };
    timeout(PATIENCE, closed).await.expect("it is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_with_the_end_of_the_connection() {
    let scene = Scene::new(CHEAP).await;
    let ports = [
        scene.cluster.address(0),
        scene.cluster.peer_address(0),
        scene.cluster.metrics_address(0),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut attacks = JoinSet::new();
    for n in 0..300 {
        let mut bytes = vec![0; rng.random_range(1..8192)];
        rng.fill_bytes(&mut bytes);
        // Some of it begins as it should.
        if n % 3 == 0 {
            bytes.splice(0..0, PREFACE.iter().copied());
        }
        let address = ports[n % ports.len()].clone();
        attacks.spawn(async move { until_closed(&address, &bytes).await });
    }
    attacks.join_all().await;
    scene.ends_well("garbage", ALLOWED).await;
}

/// They hold places, not more, and lose them.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_say_anything_are_closed() {
    let scene = Scene::new(CHEAP).await;
    let mut attacks = JoinSet::new();
    for n in 0..400 {
        let address = scene.address();
        attacks.spawn(async move { until_closed(&address, &PREFACE[..n % PREFACE.len()]).await });
    }
    attacks.join_all().await;
    scene.ends_well("half-open connections", ALLOWED).await;
}

/// One byte at a time keeps nobody else waiting.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_it_slowly_are_closed() {
    let scene = Scene::new(CHEAP).await;
    let mut attacks = JoinSet::new();
    for _ in 0..100 {
        let address = scene.address();
        attacks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let crawl = async {
                for byte in PREFACE.iter().cycle() {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(700)).await;
                }
            };
            timeout(PATIENCE, crawl).await.expect("it is closed");
        });
    }
    attacks.join_all().await;
    scene.ends_well("slow connections", ALLOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_may_be_are_closed_at_once() {
    let limits =
        "hash_memory_kib = 64\nhash_passes = 1\nmax_connections = 60\nconnections_per_address = 40";
    let scene = Scene::new(limits).await;
    let mut open = Vec::new();
    for source in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..100 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
            let address = scene.address().parse().unwrap();
            open.push(socket.connect(address).await.unwrap());
        }
    }
    let mut closed = 0;
    for stream in &mut open {
        let ended = timeout(Duration::from_millis(20), stream.read(&mut [0; 64])).await;
        closed += usize::from(matches!(ended, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 140, "{closed} of 200");
    scene.ends_well("a flood of connections", ALLOWED).await;
}
