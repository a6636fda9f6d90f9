//! One request over a connection, and its answer.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as _, Frame};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::request::Parts;
use tonic::codegen::http::{Request, Response};

use super::connection::Unanswered;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// A request on its way to a connection.
///
/// As much of the body as is there goes with the head, and the connection writes both at once: the body of a call that asks
/// one thing is there, and one segment less is a pass through TCP less for both sides.
pub(super) struct Outgoing {
    head: Parts,
    start: Start,
    rest: Body,
}

impl Outgoing {
    pub(super) async fn new(request: Request<Body>) -> Result<Outgoing, Status> {
        let (head, mut rest) = request.into_parts();
        let start = poll_fn(|context| Poll::Ready(Start::of(&mut rest, context))).await?;
        Ok(Outgoing { head, start, rest })
    }

    /// Sends what there is, and sees to it that the rest follows.
    fn send(
        self,
        mut sender: SendRequest<Bytes>,
    ) -> Result<(ResponseFuture, Option<Asking>), h2::Error> {
        let Start { data, is_whole } = self.start;
        let ends = is_whole && data.is_empty();
        let request = Request::from_parts(self.head, ());
        let (answer, mut stream) = sender.send_request(request, ends)?;
        if !data.is_empty() {
            stream.send_data(data, is_whole)?;
        }
        let asking = (!is_whole).then(|| {
            let (asking, given_up) = oneshot::channel();
            tokio::spawn(send_rest(self.rest, stream, given_up));
            asking
        });
        Ok((answer, asking))
    }
}

/// While it is kept, the rest of a request is sent.
type Asking = oneshot::Sender<Infallible>;

/// A stream that always has more is not gathered beyond this, about a frame.
const LARGEST_START: usize = 16 << 10;

/// What is there of a body at once.
#[derive(Default)]
struct Start {
    data: Bytes,
    is_whole: bool,
}

impl Start {
    fn of(body: &mut Body, context: &mut Context<'_>) -> Result<Start, Status> {
        let mut start = Start::default();
        while start.data.len() < LARGEST_START {
            match Pin::new(&mut *body).poll_frame(context)? {
                Poll::Ready(Some(frame)) => {
                    // Requests of gRPC have no trailers.
                    let data = frame.into_data().unwrap_or_default();
                    start.data = match start.data.is_empty() {
                        true => data,
                        false => [start.data, data].concat().into(),
                    };
                }
                Poll::Ready(None) => {
                    start.is_whole = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        Ok(start)
    }
}

/// A request, and who waits for its answer.
pub(super) struct Exchange {
    pub(super) outgoing: Outgoing,
    pub(super) answer: oneshot::Sender<Result<Response<Reply>, Unanswered>>,
}

impl From<h2::Error> for Unanswered {
    fn from(error: h2::Error) -> Unanswered {
        Unanswered {
            why: error.into(),
            unsent: None,
        }
    }
}

/// Sends a request, and tells whoever waits for it what is there of the answer once its head is. Where nobody waits any more,
/// the request is taken back.
pub(super) async fn exchange(sender: SendRequest<Bytes>, call: Exchange) {
    let Exchange {
        outgoing,
        mut answer,
    } = call;
    if answer.is_closed() {
        return;
    }
    let (answered, asking) = match outgoing.send(sender) {
        Ok(sent) => sent,
        Err(error) => {
            let _ = answer.send(Err(error.into()));
            return;
        }
    };
    let response = tokio::select! {
        biased;
        response = answered => response,
        () = answer.closed() => return,
    };
    let told = match response {
        Ok(response) => {
            let (head, mut incoming) = response.into_parts();
            let (there, is_whole) =
                poll_fn(|context| Poll::Ready(there(&mut incoming, context))).await;
            let reply = Reply {
                there: there.into_iter(),
                coming: (!is_whole).then_some(incoming),
                _asking: asking,
            };
            Ok(Response::from_parts(head, reply))
        }
        Err(error) => Err(error.into()),
    };
    let _ = answer.send(told);
}

/// Sends what comes of a body, as fast as the other side takes it, until nobody waits for the answer any more.
async fn send_rest(body: Body, stream: SendStream<Bytes>, given_up: oneshot::Receiver<Infallible>) {
    tokio::select! {
        // Dropped unfinished, the request is taken back.
        _ = given_up => {}
        () = pour(body, stream) => {}
    }
}

async fn pour(mut body: Body, mut stream: SendStream<Bytes>) {
    while let Some(frame) = poll_fn(|context| next(&mut body, &mut stream, context)).await {
        let Ok(frame) = frame else {
            stream.send_reset(Reason::CANCEL);
            return;
        };
        let mut data = frame.into_data().unwrap_or_default();
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let room = stream.capacity().min(data.len());
            if room == 0 {
                // Ready when there is more than there was.
                match poll_fn(|context| stream.poll_capacity(context)).await {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return,
                }
            }
            if stream.send_data(data.split_to(room), false).is_err() {
                return;
            }
        }
    }
    // It fails where the other side has closed the stream, whose answer says so.
    let _ = stream.send_data(Bytes::new(), true);
}

/// The next piece of a body, or nothing once the other side wants no more of it.
fn next(
    body: &mut Body,
    stream: &mut SendStream<Bytes>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    if stream.poll_reset(context).is_ready() {
        return Poll::Ready(None);
    }
    Pin::new(body).poll_frame(context)
}

/// The body of an answer, as it comes in.
pub(crate) struct Reply {
    /// What was there together with the head: all of an answer that is not a stream.
    there: vec::IntoIter<Piece>,
    coming: Option<RecvStream>,
    /// While somebody may listen, the request's body is sent.
    _asking: Option<Asking>,
}

type Piece = Result<Frame<Bytes>, h2::Error>;

/// What of an answer is there, and whether no more is to come.
fn there(incoming: &mut RecvStream, context: &mut Context<'_>) -> (Vec<Piece>, bool) {
    let mut there = Vec::new();
    loop {
        match next_of(incoming, context) {
            Poll::Ready(Some(Ok(frame))) => there.push(Ok(frame)),
            // What is broken stays broken, however often it is asked.
            Poll::Ready(broken) => {
                there.extend(broken);
                return (there, true);
            }
            Poll::Pending => return (there, false),
        }
    }
}

/// The next of the data, and behind them the trailers.
fn next_of(incoming: &mut RecvStream, context: &mut Context<'_>) -> Poll<Option<Piece>> {
    if let Some(data) = ready!(incoming.poll_data(context)) {
        return Poll::Ready(Some(data.map(|data| {
            // It fails only where the stream is closed, and more room of no use.
            let _ = incoming.flow_control().release_capacity(data.len());
            Frame::data(data)
        })));
    }
    let trailers = ready!(incoming.poll_trailers(context)).transpose();
    Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        match (self.there.next(), &mut self.coming) {
            (None, Some(incoming)) => next_of(incoming, context),
            (there, _) => Poll::Ready(there),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.there.as_slice().is_empty()
            && self.coming.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}
