//! Calls by hand, over HTTP/2: with bytes of one's own, and as much of them as one likes.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;
use tonic::codegen::http::{HeaderMap, Request};

/// A connection.
pub(crate) struct Connection {
    pub(crate) send: SendRequest<Bytes>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_max_send_streams(100);
        let (send, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(async move {
            // It ends when the other side has had enough.
            let _ = connection.await;
        });
        Connection { send }
    }

    /// Begins a call.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        token: Option<&str>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = Request::post(format!("http://chat/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut send = self.send.clone().ready().await?;
        send.send_request(request.body(()).unwrap(), false)
    }
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes.into()
}

/// A call's gRPC status and reason, from headers or from behind the body.
pub(crate) async fn end_of(response: ResponseFuture) -> Option<(tonic::Status, HeaderMap)> {
    let response = response.await.ok()?;
    let (head, mut body): (_, RecvStream) = response.into_parts();
    if let Some(status) = tonic::Status::from_header_map(&head.headers) {
        return Some((status, head.headers));
    }
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    let trailers = body.trailers().await.ok()??;
    let status = tonic::Status::from_header_map(&trailers)?;
    Some((status, trailers))
}
