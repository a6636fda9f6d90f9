//! Messages arrive, in order, and nobody waits for a slow peer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::support::*;
use crate::grpc::GrpcSettings;
use crate::grpc::proto::peer_service_server::{PeerService, PeerServiceServer};
use crate::grpc::proto::{ExchangeRequest, ExchangeResponse, PeerMessage};
use crate::grpc::queue::{Limits, Queue};
use crate::message::Message;
use crate::transport::Transport;
use crate::types::{Entry, Epoch, Member, Payload, Position, ReplicaId};

#[test]
fn ten_thousand_messages_arrive_in_order_both_ways() {
    let mut replicas = cluster(2);
    let message = |number: u64| {
        let position = Position {
            epoch: Epoch::default(),
            index: number + 1,
        };
        Message::Append {
            epoch: Epoch::default(),
            previous: Position {
                index: number,
                ..position
            },
            entries: vec![Entry {
                position,
                payload: Payload::Command(vec![number as u8; 100].into()),
            }],
            commit: number,
            forced: 0,
        }
    };
    for number in 0..10_000 {
        replicas[0].0.send(ReplicaId(1), message(number));
        replicas[1].0.send(ReplicaId(0), message(number));
    }
    for (me, (_, inbox)) in replicas.iter().enumerate() {
        let peer = ReplicaId(1 - me as u32);
        let expected: Vec<_> = (0..10_000).map(|number| (peer, message(number))).collect();
        assert_eq!(inbox.wait_received(10_000), expected);
    }
}

#[test]
fn each_of_three_hears_the_others() {
    let mut replicas = cluster(3);
    for me in 0..3 {
        for peer in (0..3).filter(|peer| *peer != me) {
            replicas[me as usize]
                .0
                .send(ReplicaId(peer), cast(format!("{me} to {peer}")));
        }
    }
    for (me, (_, inbox)) in (0..).zip(&replicas) {
        let mut heard = inbox.wait_received(2);
        heard.sort_by_key(|(from, _)| *from);
        let expected: Vec<_> = (0..3u32)
            .filter(|peer| *peer != me)
            .map(|peer| (ReplicaId(peer), cast(format!("{peer} to {me}"))))
            .collect();
        assert_eq!(heard, expected);
    }
}

#[test]
fn what_is_too_large_is_dropped_and_the_rest_arrives() {
    let mut replicas = cluster(2);
    replicas[0].0.send(ReplicaId(1), cast("before"));
    replicas[0]
        .0
        .send(ReplicaId(1), cast(vec![0; (16 << 20) + 1]));
    replicas[0].0.send(ReplicaId(1), cast(vec![7; 15 << 20]));
    let heard = replicas[1].1.wait_received(2);
    assert_eq!(heard[0].1, cast("before"));
    assert_eq!(heard[1].1, cast(vec![7; 15 << 20]));
}

/// The receiver's limit is its own, whatever the sender's.
#[test]
fn a_message_over_the_receivers_limit_is_not_taken() {
    let (here, there) = (listener(), listener());
    let (mine, theirs) = (Recorder::new(), Recorder::new());
    let seeds = [seed(0, &here), seed(1, &there)];
    let mut sender = start(0, here, &mine, &seeds);
    let small = GrpcSettings {
        max_message_bytes: 10_000,
        ..GrpcSettings::default()
    };
    let _receiver = Running::start(identity(1), small, there, &theirs, &seeds);
    mine.wait_for(&Event::Connected(ReplicaId(1)));
    mine.clear();
    sender.send(ReplicaId(1), cast(vec![0; 20_000]));
    // The connection breaks, and is made again.
    mine.wait_for(&Event::Connected(ReplicaId(1)));
    sender.send(ReplicaId(1), cast("small"));
    assert_eq!(theirs.wait_received(1), [(ReplicaId(0), cast("small"))]);
}

#[test]
fn a_peer_that_moves_is_found_and_one_that_is_removed_is_left() {
    let mut replicas = cluster(2);
    let (moved, inbox) = (listener(), Recorder::new());
    let member = |replica: u32, peer_address: String| Member {
        id: ReplicaId(replica),
        store: identity(replica).store,
        peer_address,
        client_address: String::new(),
    };
    let here = member(0, replicas[0].0.local_address().to_string());
    let there = member(1, moved.local_addr().unwrap().to_string());
    replicas[0].0.peers_changed(&[here, there]);
    let seeds = [(ReplicaId(0), replicas[0].0.local_address().to_string())];
    let mut moved = start(1, moved, &inbox, &seeds);
    replicas[0].1.wait_for(&Event::Connected(ReplicaId(1)));
    replicas[0].0.send(ReplicaId(1), cast("there"));
    assert_eq!(inbox.wait_received(1), [(ReplicaId(0), cast("there"))]);

    replicas[0].0.peers_changed(&[]);
    replicas[0].1.clear();
    replicas[0].0.send(ReplicaId(1), cast("nowhere"));
    for _ in 0..20 {
        moved.send(ReplicaId(0), cast("from nowhere"));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(replicas[0].1.events(), []);
    assert_eq!(inbox.wait_received(1), [(ReplicaId(0), cast("there"))]);
}

/// Answers the hello, and never takes a message.
struct Sleeper;

#[async_trait]
impl PeerService for Sleeper {
    type ExchangeStream = ReceiverStream<Result<ExchangeResponse, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (responses, outgoing) = mpsc::channel(1);
        let welcome = ExchangeResponse {
            version: 1,
            replica_id: 1,
            ..ExchangeResponse::default()
        };
        responses.send(Ok(welcome)).await.unwrap();
        tokio::spawn(async move {
            let _held = (request, responses);
            std::future::pending::<()>().await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// A follower that hangs must not hold up the leader, nor fill its memory.
#[test]
fn a_slow_peer_blocks_nobody() {
    let (here, there, third) = (listener(), listener(), listener());
    let seeds = [seed(0, &here), seed(1, &there), seed(2, &third)];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    there.set_nonblocking(true).unwrap();
    runtime.spawn(async move {
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(there).unwrap());
        tonic::transport::Server::builder()
            .add_service(PeerServiceServer::new(Sleeper))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    let (mine, healthy) = (Recorder::new(), Recorder::new());
    let mut transport = start(0, here, &mine, &seeds);
    let _third = start(2, third, &healthy, &seeds);
    mine.wait_for(&Event::Connected(ReplicaId(1)));
    mine.wait_for(&Event::Connected(ReplicaId(2)));
    // A gigabyte, of which the queue keeps 32 MiB.
    let large = vec![0; 64 << 10];
    for _ in 0..16_000 {
        transport.send(ReplicaId(1), cast(large.clone()));
    }
    transport.send(ReplicaId(2), cast("still here"));
    assert_eq!(
        healthy.wait_received(1),
        [(ReplicaId(0), cast("still here"))]
    );
}

#[test]
fn the_queue_is_bounded_and_drops_the_newest() {
    let queue = Arc::new(Queue::new(Limits {
        bytes: 1000,
        messages: 3,
    }));
    let message = |number: u8, len: usize| PeerMessage {
        body: vec![number; len].into(),
        commands: Vec::new(),
    };
    let drain = |requests: &mut _| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut taken = Vec::new();
        while let std::task::Poll::Ready(Some(ExchangeRequest { frame: Some(frame) })) =
            tokio_stream::Stream::poll_next(std::pin::Pin::new(&mut *requests), &mut context)
        {
            if let crate::grpc::proto::exchange_request::Frame::Message(message) = frame {
                taken.push(message.body[0]);
            }
        }
        taken
    };
    queue.push(message(0, 1));
    let mut requests = queue.connect(ExchangeRequest::default());
    drain(&mut requests);
    queue.push(message(1, 1));
    queue.open();
    for number in 2..9 {
        queue.push(message(number, 1));
    }
    assert!(queue.stalled(Duration::ZERO) && !queue.stalled(Duration::from_secs(3600)));
    assert_eq!(drain(&mut requests), [2, 3, 4]);
    queue.push(message(5, 600));
    queue.push(message(6, 600));
    queue.push(message(7, 100));
    assert_eq!(drain(&mut requests), [5, 7]);
    queue.push(message(8, 5000));
    assert_eq!(drain(&mut requests), [8]);
    assert!(!queue.stalled(Duration::ZERO));
    queue.push(message(9, 1));
    queue.close();
    assert_eq!(drain(&mut requests), []);
}
