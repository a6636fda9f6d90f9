//! The way to one replica.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::ConnectError;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::uri::{Parts, Uri};
use tonic::codegen::http::{Request, Response};

use super::connection::{self, Calls, Unanswered};
use super::exchange::{BoxError, Outgoing, Reply};
use super::secure;
use crate::builder::Settings;
use crate::endpoint::Endpoint;
use crate::tls::Tls;

/// Connecting takes one round trip; a host that needs longer than this is silent.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A connection to one replica that is made at its first use and again after each loss, for gRPC. Cheap to clone.
///
/// tonic's own channel hands each call to a task of its own, and to another one its body, which therefore leaves in a
/// segment of its own; here a call goes to the connection in one piece.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Inner>);

struct Inner {
    target: Arc<Target>,
    link: Mutex<Link>,
}

/// Whom to connect to, and how. Apart from the link, which holds the attempt to connect: neither is to keep the other.
struct Target {
    uri: Uri,
    endpoint: Endpoint,
    tls: Option<Tls>,
    connect_timeout: Duration,
}

/// What there is of a connection.
enum Link {
    Absent,
    /// Everybody who calls meanwhile waits for the same one, and fails with it.
    Making(Making),
    Made(Calls),
}

type Making = Shared<Pin<Box<dyn Future<Output = Result<Calls, Failed>> + Send>>>;

/// Why no connection could be made.
#[derive(Clone, Debug)]
struct Failed(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Failed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

impl Channel {
    pub(super) fn new(endpoint: &Endpoint, settings: &Settings) -> Channel {
        let target = Target {
            uri: endpoint
                .uri()
                .parse()
                .expect("a parsed endpoint is a valid URI"),
            endpoint: endpoint.clone(),
            tls: settings.tls.clone(),
            connect_timeout: CONNECT_TIMEOUT.min(settings.attempt_deadline),
        };
        Channel(Arc::new(Inner {
            target: Arc::new(target),
            link: Mutex::new(Link::Absent),
        }))
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Reply>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Reply>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            *request.uri_mut() = inner.target.absolute(std::mem::take(request.uri_mut()));
            let outgoing = Outgoing::new(request).await?;
            let first = inner.calls().await?.call(outgoing).await;
            let answer = match first {
                // It was closed a moment ago; there is another one.
                Err(Unanswered {
                    unsent: Some(outgoing),
                    ..
                }) => inner.calls().await?.call(*outgoing).await,
                answer => answer,
            };
            answer.map_err(|unanswered| unanswered.why)
        })
    }
}

impl Inner {
    async fn calls(&self) -> Result<Calls, BoxError> {
        let making = {
            let mut link = self.link();
            match &*link {
                Link::Made(calls) if calls.is_closed() => self.make(&mut link),
                Link::Made(calls) => return Ok(calls.clone()),
                Link::Making(making) => making.clone(),
                Link::Absent => self.make(&mut link),
            }
        };
        let made = making.clone().await;
        let mut link = self.link();
        // Somebody else may have gone on from there already.
        if matches!(&*link, Link::Making(current) if current.ptr_eq(&making)) {
            *link = match &made {
                Ok(calls) => Link::Made(calls.clone()),
                Err(_) => Link::Absent,
            };
        }
        made.map_err(|failed| ConnectError(Box::new(failed)).into())
    }

    fn make(&self, link: &mut Link) -> Making {
        let target = Arc::clone(&self.target);
        let making = async move { target.connect().await.map_err(|why| Failed(why.into())) };
        let making = making.boxed().shared();
        *link = Link::Making(making.clone());
        making
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // It is whole between any two statements, so a panic elsewhere does not spoil it.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    /// The address of a method at this replica.
    fn absolute(&self, method: Uri) -> Uri {
        let mut parts = Parts::from(self.uri.clone());
        parts.path_and_query = method.into_parts().path_and_query;
        Uri::from_parts(parts).expect("all parts of a URI make one")
    }

    async fn connect(&self) -> Result<Calls, BoxError> {
        let connecting = async {
            let stream = self.reach().await?;
            Ok(match &self.tls {
                None => connection::begin(stream).await?,
                Some(tls) => {
                    connection::begin(secure::encrypt(tls, &self.endpoint, stream).await?).await?
                }
            })
        };
        let connected = timeout(self.connect_timeout, connecting).await;
        connected.unwrap_or_else(|_| Err(too_long(self.connect_timeout).into()))
    }

    async fn reach(&self) -> Result<TcpStream, BoxError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(TCP_KEEP_ALIVE));
        // A host with several addresses has its time for each.
        connector.set_connect_timeout(Some(self.connect_timeout));
        let stream = connector.call(self.uri.clone()).await?;
        Ok(TokioIo::into_inner(stream))
    }
}

fn too_long(limit: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no connection within {:.1} s", limit.as_secs_f32()),
    )
}
