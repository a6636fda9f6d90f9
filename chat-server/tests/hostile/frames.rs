//! HTTP/2 as no client speaks it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bystander::{ALLOWED, Scene};
use crate::support::PATIENCE;

const CHEAP: &str = "hash_memory_kib = 64\nhash_passes = 1";

/// How often an attack is repeated.
const ROUNDS: usize = 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// `:method: POST`, `:scheme: http`, `:path: /`, as HPACK has them.
const CALL: &[u8] = &[0x83, 0x86, 0x84];

/// What becomes of what the server says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Read,
    Ignored,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// Says it again and again, until the other side has had enough or so many bytes are sent. What it answers is not read, or
/// is, as somebody would who wants to go on for long.
async fn insist(
    address: String,
    begin: Vec<u8>,
    again: impl Fn(u32) -> Vec<u8> + Send + Sync,
    most: usize,
    answers: Answers,
) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut answer = vec![0; 64 << 10];
        if answers == Answers::Ignored {
            std::future::pending::<()>().await;
        }
        while matches!(from.read(&mut answer).await, Ok(1..)) {}
    });
    let writing = async {
        let mut sent = begin.len();
        if to.write_all(&begin).await.is_err() {
            return;
        }
        let mut number = 0;
        while sent < most {
            let mut bytes = Vec::new();
            while bytes.len() < 16 << 10 {
                bytes.extend(again(number));
                number += 1;
            }
            // Whoever does not read holds up those only that write to him.
            match timeout(Duration::from_millis(200), to.write_all(&bytes)).await {
                Ok(Ok(())) => sent += bytes.len(),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    timeout(PATIENCE, writing).await.expect("an end");
    reading.abort();
}

/// One attack from several connections at once.
async fn attack(
    what: &str,
    begin: Vec<u8>,
    again: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static,
    answers: Answers,
) {
    let scene = Scene::new(CHEAP).await;
    // Whoever is thrown out comes again.
    for _ in 0..ROUNDS {
        let mut attacks = JoinSet::new();
        for _ in 0..8 {
            let (address, begin, again) = (scene.address(), begin.clone(), again.clone());
            attacks.spawn(insist(address, begin, again, 16 << 20, answers));
        }
        attacks.join_all().await;
    }
    scene.ends_well(what, ALLOWED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end() {
    let begin = [opening(), frame(HEADERS, 0, 1, CALL)].concat();
    // A literal header of its own each time, never indexed.
    let again = |_| {
        let header = [&[0x10, 1, b'x', 100][..], &[b'y'; 100]].concat();
        frame(CONTINUATION, 0, 1, &header.repeat(100))
    };
    attack("endless headers", begin, again, Answers::Read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_large_once_they_are_unpacked() {
    // One large header goes into the table, and is then named in a byte each time.
    let large = [
        &[0x40, 1, b'x', 127, 0x81, 30][..],
        &[b'y'; 127 + 1 + 30 * 128],
    ]
    .concat();
    let begin = [opening(), frame(HEADERS, 0, 1, &[CALL, &large].concat())].concat();
    let again = |_| frame(CONTINUATION, 0, 1, &[0xbe; 16_000]);
    attack("headers that unpack", begin, again, Answers::Read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_say_to_be_huge() {
    let mut begin = opening();
    begin.extend([0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
    attack("huge frames", begin, |_| vec![0; 16 << 10], Answers::Read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_taken_back_at_once() {
    let again = |number: u32| {
        let stream = (2 * number + 1) & 0x7fff_ffff;
        [
            frame(HEADERS, END_HEADERS, stream, CALL),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    attack("calls taken back", opening(), again, Answers::Read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_and_settings_whose_answers_nobody_reads() {
    let again = |number: u32| match number % 2 {
        0 => frame(PING, 0, 0, &[7; 8]),
        _ => frame(SETTINGS, 0, 0, &[]),
    };
    attack("pings", opening(), again, Answers::Ignored).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_out_of_order() {
    let again = |number: u32| {
        [
            frame(DATA, 0, number, b"nobody asked"),
            frame(CONTINUATION, END_HEADERS, number, CALL),
            frame(200, 0xff, number, b"no such frame"),
        ]
        .concat()
    };
    attack("frames out of order", opening(), again, Answers::Read).await;
}
