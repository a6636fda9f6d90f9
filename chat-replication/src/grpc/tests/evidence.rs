//! What the transport tells about peers that are gone.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::sleep;

use super::support::*;
use crate::grpc::{GrpcSettings, GrpcTransport, TransportError};
use crate::transport::{Inbox, Transport};
use crate::types::ReplicaId;

fn refusals(events: &[Event]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event, Event::Refused(_)))
        .count()
}

#[test]
fn where_nothing_listens_is_told_again_and_again() {
    let gone = seed(1, &listener());
    let inbox = Recorder::new();
    let _transport = start(0, listener(), &inbox, &[gone]);
    let events = inbox.wait("refusals", |events| refusals(events) >= 3);
    assert!(
        events
            .iter()
            .all(|event| *event == Event::Refused(ReplicaId(1)))
    );
}

#[test]
fn a_peer_that_went_and_came_back_is_connected_again() {
    let mut replicas = cluster(2);
    let (old, _) = replicas.pop().unwrap();
    let (transport, inbox) = &mut replicas[0];
    let address = old.local_address();
    drop(old);
    inbox.wait_for(&Event::Refused(ReplicaId(1)));
    transport.send(ReplicaId(1), cast("lost"));

    let theirs = Recorder::new();
    let seeds = [(ReplicaId(0), transport.local_address().to_string())];
    let _back = start(1, TcpListener::bind(address).unwrap(), &theirs, &seeds);
    inbox.wait_for(&Event::Connected(ReplicaId(1)));
    transport.send(ReplicaId(1), cast("found"));
    assert_eq!(theirs.wait_received(1), [(ReplicaId(0), cast("found"))]);
}

/// A killed process is noticed by its reset connection and the refused one after it, not by a timeout.
#[test]
#[allow(clippy::print_stdout)]
fn a_killed_process_is_refused_at_once() {
    let here = listener();
    let inbox = Recorder::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "grpc::tests::evidence::is_replica_1",
            "--nocapture",
        ])
        .env("PEER_OF", here.local_addr().unwrap().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = said
        .find_map(|line| {
            line.unwrap()
                .split_once("listens on ")
                .map(|(_, address)| address.to_owned())
        })
        .unwrap();
    let _transport = start(0, here, &inbox, &[(ReplicaId(1), address)]);
    inbox.wait_for(&Event::Connected(ReplicaId(1)));
    inbox.wait_received(1);
    inbox.clear();
    let killed = Instant::now();
    child.kill().unwrap();
    inbox.wait_for(&Event::Refused(ReplicaId(1)));
    println!("a killed peer was reported after {:?}", killed.elapsed());
    child.wait().unwrap();
}

/// The child process of the test above.
#[test]
#[ignore = "not a test of its own"]
#[allow(clippy::print_stdout)]
fn is_replica_1() {
    let Some(peer) = std::env::var_os("PEER_OF") else {
        return;
    };
    let inbox = Recorder::new();
    let seeds = [(ReplicaId(0), peer.into_string().unwrap())];
    let mut transport = start(1, listener(), &inbox, &seeds);
    println!("listens on {}", transport.local_address());
    inbox.wait_for(&Event::Connected(ReplicaId(0)));
    transport.send(ReplicaId(0), cast("here"));
    let _ = std::io::stdin().lines().count();
}

/// Silence may be the network: it is no evidence that the process is gone.
#[test]
fn silence_and_unknown_names_are_no_refusal() {
    // Takes connections and says nothing.
    let silent = listener();
    let seeds = [
        seed(1, &silent),
        (ReplicaId(2), "no-such-host.invalid:7500".to_owned()),
        (ReplicaId(3), "not an address".to_owned()),
        seed(4, &listener()),
    ];
    let inbox = Recorder::new();
    let _transport = start(0, listener(), &inbox, &seeds);
    let events = inbox.wait("refusals of replica 4", |events| refusals(events) >= 15);
    assert!(
        events
            .iter()
            .all(|event| *event == Event::Refused(ReplicaId(4))),
        "{events:?}"
    );
}

#[test]
fn an_address_that_cannot_be_listened_on_is_a_clear_error() {
    let taken = listener();
    let address = taken.local_addr().unwrap().to_string();
    for (address, hint) in [
        (address.as_str(), "another process listens there"),
        ("203.0.113.7:7500", "does not have the address"),
        ("7500", "not HOST:PORT"),
    ] {
        let error = GrpcTransport::bind(address).unwrap_err();
        assert!(matches!(error, TransportError::Listen { .. }));
        assert!(
            error.to_string().contains(hint) && error.to_string().contains(address),
            "{error}"
        );
    }
}

/// A process that is stopped, or a cable that is cut, leaves an old connection behind; the peer's new one counts.
#[test]
fn a_new_connection_takes_the_place_of_an_old_one() {
    let (here, inbox) = (listener(), Recorder::new());
    let seeds = [seed(0, &here)];
    let stopped_at = listener();
    let _transport = start(0, here, &inbox, &[seed(1, &stopped_at)]);

    let process = Builder::new_current_thread().enable_all().build().unwrap();
    let theirs = Recorder::new();
    let connected = Event::Connected(ReplicaId(0));
    let _stopped = process.block_on(async {
        let old = GrpcTransport::start(
            stopped_at,
            identity(1),
            GrpcSettings::default(),
            Arc::clone(&theirs) as Arc<dyn Inbox>,
            &seeds,
        );
        while !theirs.events().contains(&connected) {
            sleep(Duration::from_millis(1)).await;
        }
        old
    });
    // Nothing of it runs any more, and nothing of it is closed.

    let theirs = Recorder::new();
    let mut second = start(1, listener(), &theirs, &seeds);
    theirs.wait_for(&connected);
    second.send(ReplicaId(0), cast("from the new one"));
    assert_eq!(
        inbox.wait_received(1),
        [(ReplicaId(1), cast("from the new one"))]
    );
}
