//! The stream of events, and how it fails.

use chat_client::api;
use chat_client::api::event_service_server::EventService;
use chat_client::api::subscribe_response::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Node, StreamStep};

type Sender = mpsc::Sender<Result<api::SubscribeResponse, Status>>;

#[tonic::async_trait]
impl EventService for Node {
    type SubscribeStream = ReceiverStream<Result<api::SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<api::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let step = self
            .scripts
            .streams
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(StreamStep::Serve);
        let token = format!("{:?}", request.get_ref().resume_token);
        self.note("Subscribe", token.trim_matches(&['[', ']'][..]), &request);
        let name = self.caller(&request)?;
        if let StreamStep::Refuse(status) = step {
            return Err(status);
        }
        let (out, stream) = mpsc::channel(16);
        let node = self.clone();
        let token = request.into_inner().resume_token;
        tokio::spawn(async move {
            node.shared
                .store
                .lock()
                .unwrap()
                .online
                .insert(name.clone());
            // Ends when the client has gone.
            let _ = node.stream(name, token, step, out).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Node {
    async fn stream(
        self,
        name: String,
        token: Vec<u8>,
        step: StreamStep,
        out: Sender,
    ) -> Result<(), mpsc::error::SendError<Result<api::SubscribeResponse, Status>>> {
        let ready = api::Ready {
            replica_id: self.id as u32,
            leader: self.shared.leader_of(),
            replicas: Vec::new(),
            ..api::Ready::default()
        };
        let ready = api::SubscribeResponse {
            resume_token: Vec::new(),
            event: Some(Event::Ready(ready)),
        };
        let mut at = match token.as_slice().try_into() {
            Ok(bytes) => u64::from_be_bytes(bytes) as usize,
            Err(_) => 0,
        };
        if matches!(step, StreamStep::Reset) {
            at = self.shared.store.lock().unwrap().events.len();
            let reset = Event::Reset(api::Reset {});
            out.send(Ok(response(at, reset))).await?;
            out.send(Ok(ready)).await?;
            let inbox = self.shared.store.lock().unwrap().inbox(&name);
            for message in inbox {
                let received = api::MessageReceived {
                    message: Some(message),
                };
                out.send(Ok(response(at, Event::MessageReceived(received))))
                    .await?;
            }
        } else {
            out.send(Ok(ready)).await?;
        }
        let mut changed = self.shared.changed.subscribe();
        let mut sent = 0;
        loop {
            match step {
                StreamStep::EndAfter(n) if sent >= n => return Ok(()),
                StreamStep::DrainAfter(n) if sent >= n => {
                    let draining = Event::Draining(api::Draining {});
                    let draining = api::SubscribeResponse {
                        resume_token: Vec::new(),
                        event: Some(draining),
                    };
                    out.send(Ok(draining)).await?;
                    return std::future::pending().await;
                }
                StreamStep::DieAfter(n) if sent >= n => {
                    // What was sent shall arrive before the connection breaks.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    self.scripts.die();
                    return std::future::pending().await;
                }
                StreamStep::SilentAfter(n) if sent >= n => return std::future::pending().await,
                _ => {}
            }
            let next = self.shared.store.lock().unwrap().events.get(at).cloned();
            match next {
                Some((whose, event)) => {
                    at += 1;
                    if whose != name {
                        continue;
                    }
                    sent += 1;
                    out.send(Ok(response(at, event.clone()))).await?;
                    if matches!(step, StreamStep::Twice) {
                        out.send(Ok(response(at, event))).await?;
                    }
                }
                None => tokio::select! {
                    _ = changed.changed() => {}
                    () = out.closed() => return Ok(()),
                },
            }
        }
    }
}

fn response(at: usize, event: Event) -> api::SubscribeResponse {
    api::SubscribeResponse {
        resume_token: (at as u64).to_be_bytes().to_vec(),
        event: Some(event),
    }
}
