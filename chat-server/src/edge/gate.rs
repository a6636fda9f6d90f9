//! What every call passes on its way to a service, and on its way back.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use chat_client::Reason;
use chat_client::api::message_service_server::MessageServiceServer;
use futures_util::FutureExt;
use futures_util::future::{Either, Map};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::error::Elapsed;
use tokio::time::{Timeout, timeout};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, StdError};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::app::error::Failure;
use crate::app::node::Node;
use crate::app::throttle::{Connection, Place};
use crate::grpc::Services;
use crate::grpc::{timeout_of, understood};

/// A connection may have this part of the memory for requests that are not whole.
const CONNECTIONS_PART: usize = 16;
/// When to try again what there was no memory for.
const RETRY_MEMORY: Duration = Duration::from_millis(500);

type Messages = MessageServiceServer<Services>;

/// Lets calls in, as many as may be.
#[derive(Clone)]
pub(crate) struct Gate {
    /// Asked first, and without the layers around all routes: most calls are about messages.
    messages: Messages,
    routes: Routes,
    node: Arc<Node>,
    /// Bytes of requests that are not whole yet, of all connections.
    held: Arc<AtomicUsize>,
}

/// The way in for the calls of one connection.
pub(crate) struct Door {
    gate: Gate,
    connection: Connection,
}

impl Gate {
    pub(crate) fn new(messages: Messages, routes: Routes, node: Arc<Node>) -> Gate {
        Gate {
            messages,
            routes: routes.prepare(),
            node,
            held: Arc::default(),
        }
    }

    /// The connection, as one of a replica only while that is part of the cluster: its certificate outlives it.
    fn as_known_now(&self, connection: &Connection) -> Connection {
        let mut connection = connection.clone();
        connection.peer.replica = connection.peer.replica.filter(|replica| {
            let status = self.node.handle.status();
            status.configuration.member(*replica).is_some()
        });
        connection
    }

    pub(crate) fn door(&self, connection: Connection) -> Door {
        Door {
            gate: self.clone(),
            connection,
        }
    }

    /// Has the call carried out.
    fn pass(&self, request: Request<Counted>) -> Answering {
        let service = request.uri().path().strip_prefix('/');
        let service = service.and_then(|path| path.strip_prefix(Messages::NAME));
        match service.is_some_and(|method| method.starts_with('/')) {
            true => self.messages.clone().call(request),
            false => Box::pin(self.routes.clone().call(request)),
        }
    }
}

type Answer = Result<Response<Body>, Infallible>;
type Answering = BoxFuture<Response<Body>, Infallible>;
type Ended = fn(Result<Answer, Elapsed>) -> Answer;

impl hyper::service::Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, Map<Timeout<Answering>, Ended>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let gate = &self.gate;
        let connection = gate.as_known_now(&self.connection);
        if let Err(failure) = gate.node.throttle.call(Some(connection.peer)) {
            return Either::Left(ready(Ok(Status::from(failure).into_http())));
        }
        let longest = gate.node.limits().longest_call;
        let (time, ended): (_, Ended) = match timeout_of(request.headers()) {
            Some(patience) if patience < longest => (patience, until_nobody_waits),
            _ => (longest, until_too_long),
        };
        request.extensions_mut().insert(connection.clone());
        let held = Held::new(gate, &connection);
        let answering = gate.pass(request.map(|body| Counted { body, held }));
        Either::Right(timeout(time, answering).map(ended))
    }
}

/// Of a call that its caller waits for this long.
fn until_nobody_waits(answered: Result<Answer, Elapsed>) -> Answer {
    answered.map_or_else(
        |_| Ok(Status::cancelled("Timeout expired").into_http()),
        let_out,
    )
}

fn until_too_long(answered: Result<Answer, Elapsed>) -> Answer {
    answered.map_or_else(|_| Ok(Status::from(Failure::TooLong).into_http()), let_out)
}

fn let_out(answer: Answer) -> Answer {
    Ok(kept(explained(answer?)))
}

/// An answer keeps the place that it has taken until it is read or given up.
fn kept(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Arc<Place>>() {
        Some(place) => response.map(|body| {
            Body::new(Kept {
                body,
                _place: place,
            })
        }),
        None => response,
    }
}

struct Kept {
    body: Body,
    _place: Arc<Place>,
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The same bytes, as far as there is memory for them.
struct Counted {
    body: Incoming,
    held: Held,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(context).map(|frame| {
            let frame = frame?.map_err(StdError::from);
            if let Ok(frame) = &frame
                && let Some(bytes) = frame.data_ref()
                && let Err(failure) = this.held.take(bytes.len())
            {
                return Some(Err(Status::from(failure).into()));
            }
            Some(frame)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of one request that is not whole yet. Given back once it is, or is given up.
struct Held {
    all: Arc<AtomicUsize>,
    of_connection: Arc<AtomicUsize>,
    taken: usize,
    most: usize,
    most_of_connection: usize,
    /// Of a stream, the messages before are done with: more than one is never held.
    largest: usize,
}

impl Held {
    fn new(gate: &Gate, connection: &Connection) -> Held {
        let limits = gate.node.limits();
        let most = limits.request_memory;
        Held {
            all: Arc::clone(&gate.held),
            of_connection: Arc::clone(&connection.held),
            taken: 0,
            most,
            most_of_connection: match connection.peer.replica {
                // It passes on what many ask for.
                Some(_) => most,
                None => (most / CONNECTIONS_PART).max(limits.request_bytes),
            },
            largest: limits.request_bytes,
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        let more = bytes.min(self.largest.saturating_sub(self.taken));
        self.taken += more;
        let all = self.all.fetch_add(more, Ordering::Relaxed) + more;
        let of_connection = self.of_connection.fetch_add(more, Ordering::Relaxed) + more;
        if all <= self.most && of_connection <= self.most_of_connection {
            return Ok(());
        }
        Err(Failure::Limited {
            reason: Reason::Overloaded,
            problem: "too many long requests are being sent at this moment: send fewer at once"
                .to_owned(),
            wait: RETRY_MEMORY,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.taken, Ordering::Relaxed);
        self.of_connection.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Gives a refusal a reason that comes from the layers beneath the services, which know none.
fn explained(mut response: Response<Body>) -> Response<Body> {
    if let Some(status) = unexplained(response.headers())
        && let Some(failure) = understood(&status)
    {
        let headers = response.headers_mut();
        headers.remove(Status::GRPC_STATUS);
        headers.remove(Status::GRPC_MESSAGE);
        // It fails for text only that no header can hold, of which there is none.
        let _ = Status::from(failure).add_header(headers);
    }
    response
}

fn unexplained(headers: &HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(headers)?;
    let is_bare = status.code() != Code::Ok && status.details().is_empty();
    is_bare.then_some(status)
}
