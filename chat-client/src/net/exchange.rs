//! One request over a connection, and its answer.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as _, Frame};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};

/// Sends a request and waits for the head of its answer. Dropped, it takes the request back.
///
/// As much of the body as is there goes with the head to the connection, which writes both at once: the body of a call
/// that asks one thing is there, and one segment less is a pass through TCP less for both sides.
pub(super) async fn exchange(
    mut sender: SendRequest<Bytes>,
    request: Request<Body>,
) -> Result<Response<Reply>, Box<dyn StdError + Send + Sync>> {
    let (head, mut body) = request.into_parts();
    let start = poll_fn(|context| Poll::Ready(Start::of(&mut body, context))).await?;
    let is_whole = start.is_whole && start.data.is_empty();
    let (answer, mut stream) = sender.send_request(Request::from_parts(head, ()), is_whole)?;
    if !start.data.is_empty() {
        stream.send_data(start.data, start.is_whole)?;
    }
    let asking = (!start.is_whole).then(|| {
        let (asking, given_up) = oneshot::channel();
        tokio::spawn(send_rest(body, stream, given_up));
        asking
    });
    let answer = answer.await?;
    Ok(answer.map(|incoming| Reply {
        incoming,
        has_data: true,
        _asking: asking,
    }))
}

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
    incoming: RecvStream,
    /// Behind the data come the trailers.
    has_data: bool,
    /// While somebody may listen, the request's body is sent.
    _asking: Option<oneshot::Sender<Infallible>>,
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.has_data {
            if let Some(data) = ready!(self.incoming.poll_data(context)).transpose()? {
                // It fails only where the stream is closed, and more room of no use.
                let _ = self.incoming.flow_control().release_capacity(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.has_data = false;
        }
        let trailers = ready!(self.incoming.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
