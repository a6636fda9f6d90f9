//! Whoever is not a peer of this cluster is not listened to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use tonic::{Code, Status};

use super::support::*;
use crate::grpc::proto::exchange_request::Frame;
use crate::grpc::proto::peer_service_client::PeerServiceClient;
use crate::grpc::proto::{ExchangeRequest, Hello, PeerMessage};
use crate::grpc::wire;
use crate::transport::Transport;
use crate::types::ReplicaId;

fn hello() -> Hello {
    Hello {
        oldest_version: 1,
        newest_version: 1,
        cluster_id: CLUSTER.0.as_bytes().to_vec().into(),
        from_replica_id: 1,
        from_store_uuid: identity(1).store.0.as_bytes().to_vec().into(),
        to_replica_id: 0,
    }
}

fn frame(frame: Frame) -> ExchangeRequest {
    ExchangeRequest { frame: Some(frame) }
}

/// Calls with these frames; the error that the call, or its stream of responses, ends with, if it ends with one.
fn call(address: SocketAddr, frames: Vec<ExchangeRequest>) -> Result<(), Status> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = PeerServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let mut responses = client
            .exchange(tokio_stream::iter(frames))
            .await?
            .into_inner();
        while responses.message().await?.is_some() {}
        Ok(())
    })
}

#[test]
fn strangers_are_refused_with_a_reason_and_never_heard() {
    let inbox = Recorder::new();
    let gone = seed(1, &listener());
    let transport = start(0, listener(), &inbox, &[gone]);
    let message = || frame(Frame::Message(wire::pack(cast("let me in"))));
    for (first, code, reason) in [
        (message(), Code::InvalidArgument, "begins with a hello"),
        (
            ExchangeRequest::default(),
            Code::InvalidArgument,
            "begins with a hello",
        ),
        (
            frame(Frame::Hello(Hello {
                cluster_id: vec![9; 16].into(),
                ..hello()
            })),
            Code::PermissionDenied,
            "of another",
        ),
        (
            frame(Frame::Hello(Hello {
                cluster_id: Vec::new().into(),
                ..hello()
            })),
            Code::PermissionDenied,
            "of another",
        ),
        (
            frame(Frame::Hello(Hello {
                from_store_uuid: vec![9; 15].into(),
                ..hello()
            })),
            Code::InvalidArgument,
            "which disk",
        ),
        (
            frame(Frame::Hello(Hello {
                to_replica_id: 2,
                ..hello()
            })),
            Code::PermissionDenied,
            "this is replica 0",
        ),
        (
            frame(Frame::Hello(Hello {
                from_replica_id: 7,
                ..hello()
            })),
            Code::PermissionDenied,
            "not a peer",
        ),
        (
            frame(Frame::Hello(Hello {
                from_replica_id: 0,
                ..hello()
            })),
            Code::PermissionDenied,
            "not a peer",
        ),
        (
            frame(Frame::Hello(Hello {
                oldest_version: 8,
                newest_version: 9,
                ..hello()
            })),
            Code::FailedPrecondition,
            "versions 1 to 1",
        ),
    ] {
        let status = call(transport.local_address(), vec![first, message()]).unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
    assert!(
        inbox
            .events()
            .iter()
            .all(|event| *event == Event::Refused(ReplicaId(1)))
    );
}

#[test]
fn a_replica_of_another_cluster_is_not_talked_to() {
    let (here, there) = (listener(), listener());
    let seeds = [seed(0, &here), seed(1, &there)];
    let (mine, theirs) = (Recorder::new(), Recorder::new());
    let mut transport = start(0, here, &mine, &seeds);
    let other = crate::store::Identity {
        cluster: crate::types::ClusterId(uuid::Uuid::from_u128(43)),
        ..identity(1)
    };
    let mut stranger = Running::start(other, Default::default(), there, &theirs, &seeds);
    std::thread::sleep(std::time::Duration::from_millis(300));
    transport.send(ReplicaId(1), cast("hello"));
    stranger.send(ReplicaId(0), cast("hello"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(mine.events(), []);
    assert_eq!(theirs.events(), []);
}

#[test]
fn garbage_on_the_port_disturbs_nobody() {
    let mut replicas = cluster(2);
    let address = replicas[1].0.local_address();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"[..],
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &[0xff; 100_000],
        &[&preface[..], &[0xff; 1000]].concat(),
        b"",
    ] {
        let mut stranger = TcpStream::connect(address).unwrap();
        let _ = stranger.write_all(garbage);
        let _ = stranger.shutdown(std::net::Shutdown::Write);
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    let _idle = TcpStream::connect(address).unwrap();
    replicas[0].0.send(ReplicaId(1), cast("still here"));
    assert_eq!(
        replicas[1].1.wait_received(1),
        [(ReplicaId(0), cast("still here"))]
    );
    assert_eq!(replicas[1].1.events().len(), 1);
}

/// A newer version says more than this one understands. What it does understand, counts.
#[test]
fn unknown_frames_and_messages_are_ignored() {
    let inbox = Recorder::new();
    let transport = start(0, listener(), &inbox, &[seed(1, &listener())]);
    let garbage = |body: Vec<u8>| {
        frame(Frame::Message(PeerMessage {
            body: body.into(),
            commands: Vec::new(),
        }))
    };
    call(
        transport.local_address(),
        vec![
            frame(Frame::Hello(hello())),
            ExchangeRequest::default(),
            frame(Frame::Hello(hello())),
            garbage(vec![200, 200, 200]),
            garbage(Vec::new()),
            garbage(vec![0xff; 1000]),
            frame(Frame::Message(wire::pack(cast("understood")))),
        ],
    )
    .unwrap();
    assert_eq!(inbox.wait_received(1), [(ReplicaId(1), cast("understood"))]);
}
