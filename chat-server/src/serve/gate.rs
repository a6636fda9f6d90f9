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
use futures_util::future::Either;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::service::Routes;
use tonic::{Code, Status};

use super::accept::Connection;
use crate::error::Failure;
use crate::node::Node;
use crate::throttle::Place;

/// A connection may have this part of the memory for requests that are not whole.
const CONNECTIONS_PART: usize = 16;
/// When to try again what there was no memory for.
const RETRY_MEMORY: Duration = Duration::from_millis(500);

/// Lets calls to these routes in, as many as may be. It stands around them all: within each of them it would be cloned with
/// every call.
#[derive(Clone)]
pub(super) struct Gate {
    routes: Routes,
    node: Arc<Node>,
    /// Bytes of requests that are not whole yet, of all connections.
    held: Arc<AtomicUsize>,
}

impl Gate {
    pub(super) fn new(routes: Routes, node: Arc<Node>) -> Gate {
        Gate {
            routes: routes.prepare(),
            node,
            held: Arc::default(),
        }
    }
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        Either<Ready<Result<Response<Body>, Infallible>>, BoxFuture<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<Connection>();
        let from = connection.map(|connection| connection.peer);
        if let Err(failure) = self.node.throttle.call(from) {
            return Either::Left(ready(Ok(Status::from(failure).into_http())));
        }
        let held = connection.map(|connection| Held::new(self, connection));
        let longest = self.node.limits().longest_call;
        let answering = self.routes.call(request.map(|body| Counted { body, held }));
        Either::Right(Box::pin(async move {
            match timeout(longest, answering).await {
                Ok(response) => Ok(kept(explained(response?))),
                Err(_) => Ok(Status::from(Failure::TooLong).into_http()),
            }
        }))
    }
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
    body: Body,
    /// Absent where nobody knows the connection.
    held: Option<Held>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(held)) = (&polled, &mut this.held)
            && let Some(bytes) = frame.data_ref()
            && let Err(failure) = held.take(bytes.len())
        {
            return Poll::Ready(Some(Err(failure.into())));
        }
        polled
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

/// What a status of the layers beneath means. All of the services' own have a reason already; those of the standard services
/// have none, and need none.
pub(crate) fn understood(status: &Status) -> Option<Failure> {
    let reason = match status.code() {
        Code::OutOfRange => Reason::RequestTooLarge,
        Code::Unimplemented => Reason::UnknownMethod,
        Code::Internal => Reason::MalformedRequest,
        _ => return None,
    };
    let problem = match (reason, status.message()) {
        (Reason::UnknownMethod, "") => {
            "the service has no such method: see that client and server have the same version"
        }
        (Reason::RequestTooLarge, _) => "the request is longer than any may be: send less at once",
        (Reason::MalformedRequest, _) => {
            "the request is not what the method takes: see that client and server have the same version"
        }
        (_, message) => message,
    };
    Some(Failure::Malformed {
        reason,
        problem: problem.to_owned(),
    })
}
