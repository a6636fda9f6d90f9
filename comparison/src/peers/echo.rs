//! Calls and streams that do nothing: what the transport alone costs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use self::api::Blob;
use self::api::echo_client::EchoClient;
use self::api::echo_server::{Echo, EchoServer};
use super::words;
use crate::arguments::Send;
use crate::closed_loop::{Message, Sender};
use crate::outcome::Outcome;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod api {
    tonic::include_proto!("comparison.echo");
}

struct Same;

#[tonic::async_trait]
impl Echo for Same {
    type StreamStream = Streaming<Blob>;

    async fn unary(&self, request: Request<Blob>) -> Result<Response<Blob>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn stream(
        &self,
        request: Request<Streaming<Blob>>,
    ) -> Result<Response<Streaming<Blob>>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}

/// Serves until the process is stopped.
pub(crate) async fn serve(listen: SocketAddr) -> Outcome {
    Server::builder()
        .tcp_nodelay(true)
        .add_service(EchoServer::new(Same))
        .serve(listen)
        .await?;
    Ok(())
}

async fn connect(send: &Send) -> Outcome<EchoClient<Channel>> {
    let target = send.peer.targets.first().ok_or("--targets is empty")?;
    let endpoint = Endpoint::from_shared(format!("http://{target}"))?.tcp_nodelay(true);
    Ok(EchoClient::new(endpoint.connect().await?))
}

pub(super) struct Unary(EchoClient<Channel>);

impl Sender for Unary {
    async fn send(&mut self, message: &Message) -> Result<(), String> {
        let answer = self.0.unary(blob(message)).await.map_err(words)?;
        match answer.into_inner().id == message.id {
            true => Ok(()),
            false => Err("another message was answered".to_owned()),
        }
    }
}

fn blob(message: &Message) -> Blob {
    Blob {
        body: message.body.clone().into_bytes(),
        id: message.id,
    }
}

pub(super) async fn unary(send: &Send) -> Outcome<Vec<Unary>> {
    let client = connect(send).await?;
    Ok((0..send.in_flight).map(|_| Unary(client.clone())).collect())
}

/// Those who wait for an answer, by the message's id.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

fn lock(waiting: &Waiting) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
pub(super) struct Streamed {
    requests: mpsc::Sender<Blob>,
    waiting: Waiting,
}

impl Sender for Streamed {
    async fn send(&mut self, message: &Message) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        lock(&self.waiting).insert(message.id, answer);
        self.requests.send(blob(message)).await.map_err(words)?;
        answered.await.map_err(words)
    }
}

pub(super) async fn streamed(send: &Send) -> Outcome<Vec<Streamed>> {
    let mut client = connect(send).await?;
    let mut streams = Vec::new();
    for _ in 0..send.streams.clamp(1, send.in_flight.max(1)) {
        let (requests, outgoing) = mpsc::channel(1024);
        let answers = client.stream(ReceiverStream::new(outgoing)).await?;
        let waiting = Waiting::default();
        tokio::spawn(listen(answers.into_inner(), Arc::clone(&waiting)));
        streams.push(Streamed { requests, waiting });
    }
    let shared = streams.iter().cycle().take(send.in_flight);
    Ok(shared.cloned().collect())
}

async fn listen(mut answers: Streaming<Blob>, waiting: Waiting) {
    while let Ok(Some(blob)) = answers.message().await {
        let answer = lock(&waiting).remove(&blob.id);
        if let Some(answer) = answer {
            // A sender that was given up does not listen.
            let _ = answer.send(());
        }
    }
}
