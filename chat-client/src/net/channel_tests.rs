//! A channel to servers that do as they are told.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::server::SendResponse;
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{HeaderMap, Request, Response};

use super::connection::{Calls, Unanswered};
use super::exchange::{Outgoing, Reply};
use super::*;
use crate::endpoint::Endpoint;

type Connection = h2::server::Connection<TcpStream, Bytes>;

/// A body of these pieces, the later ones when they are sent.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn pieces() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, pieces) = mpsc::unbounded_channel();
    (sender, Body::new(Pieces(pieces)))
}

fn whole(data: &'static [u8]) -> Body {
    let (sender, body) = pieces();
    sender.send(Bytes::from_static(data)).expect("it is there");
    body
}

fn request(body: Body) -> Request<Body> {
    Request::post("/chat.v1.MessageService/SendMessage")
        .body(body)
        .expect("it is complete")
}

/// The same to a replica by its address, as a connection wants it.
fn absolute(body: Body) -> Request<Body> {
    let mut request = request(body);
    *request.uri_mut() = "http://replica/Method".parse().expect("a URI");
    request
}

async fn listen() -> (TcpListener, Channel) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let channel = channel_to(listener.local_addr().expect("it is bound").to_string());
    (listener, channel)
}

fn channel_to(address: String) -> Channel {
    let endpoint: Endpoint = address.parse().expect("an address");
    Channel::new(&endpoint, &settings())
}

fn settings() -> Settings {
    Settings {
        attempt_deadline: Duration::from_secs(1),
        total_deadline: Duration::from_secs(30),
        refusal_patience: None,
        proxying: crate::builder::Proxying::default(),
        reads: crate::builder::Reads::default(),
        tls: None,
    }
}

async fn accept(listener: &TcpListener) -> Connection {
    let (stream, _) = listener.accept().await.expect("a connection");
    h2::server::handshake(stream).await.expect("HTTP/2")
}

/// Everything that comes in, then the same back, and a word behind it.
async fn echo(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    let mut answer = respond
        .send_response(Response::new(()), false)
        .expect("it is open");
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        answer.send_data(data, false).expect("it is open");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a number"));
    answer.send_trailers(trailers).expect("it is open");
}

/// Answers everything on the connections that come, of which each gets so many requests before it is closed in good order.
async fn serve(listener: TcpListener, requests: usize, connections: Arc<Mutex<usize>>) {
    loop {
        let mut connection = accept(&listener).await;
        *connections.lock().expect("nobody panics") += 1;
        tokio::spawn(async move {
            let mut left = requests;
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(echo(request, respond));
                left -= 1;
                if left == 0 {
                    connection.graceful_shutdown();
                }
            }
        });
    }
}

/// The data of an answer and its trailers.
async fn read(answer: Response<Reply>) -> (Vec<u8>, HeaderMap) {
    let mut body = Box::pin(answer.into_body());
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        match frame.expect("it is whole").into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => trailers = frame.into_trailers().expect("there is nothing else"),
        }
    }
    (data, trailers)
}

#[tokio::test]
async fn a_call_goes_there_and_its_answer_comes_back() {
    let (listener, mut channel) = listen().await;
    tokio::spawn(serve(listener, usize::MAX, Arc::default()));
    let answer = channel.call(request(whole(b"hello"))).await.expect("one");
    let (data, trailers) = read(answer).await;
    assert_eq!(data, b"hello");
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn a_stream_is_sent_as_it_comes_and_beyond_what_the_other_side_takes_at_once() {
    let (listener, mut channel) = listen().await;
    tokio::spawn(serve(listener, usize::MAX, Arc::default()));
    let (sender, body) = pieces();
    let answer = channel.call(request(body)).await.expect("an answer");
    // Many times the window of 64 KiB that a server grants unasked.
    let piece = Bytes::from(vec![7; 100_000]);
    for _ in 0..20 {
        sender.send(piece.clone()).expect("it is read");
        tokio::task::yield_now().await;
    }
    drop(sender);
    assert_eq!(read(answer).await.0, vec![7; 2_000_000]);
}

#[tokio::test]
async fn a_request_whose_answer_nobody_waits_for_is_taken_back() {
    let (listener, mut channel) = listen().await;
    let (sender, body) = pieces();
    let call = tokio::spawn(async move { channel.call(request(body)).await });
    let mut connection = accept(&listener).await;
    let (mut asked, _respond) = connection.accept().await.expect("one").expect("a request");
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    call.abort();
    let end = tokio::time::timeout(Duration::from_secs(10), asked.body_mut().data()).await;
    let end = end.expect("it is told").expect("an end");
    assert_eq!(
        end.expect_err("it was not sent to its end").reason(),
        Some(h2::Reason::CANCEL)
    );
    drop(sender);
}

#[tokio::test]
async fn a_connection_that_goes_away_is_replaced_and_no_call_fails() {
    let (listener, channel) = listen().await;
    let connections = Arc::new(Mutex::new(0));
    tokio::spawn(serve(listener, 3, Arc::clone(&connections)));
    for _ in 0..12 {
        let answer = channel.clone().call(request(whole(b"again"))).await;
        assert_eq!(read(answer.expect("an answer")).await.0, b"again");
    }
    assert!(*connections.lock().expect("nobody panics") >= 4);
}

#[tokio::test]
async fn those_who_call_at_the_same_time_share_a_connection() {
    let (listener, channel) = listen().await;
    let connections = Arc::new(Mutex::new(0));
    tokio::spawn(serve(listener, usize::MAX, Arc::clone(&connections)));
    let calls = (0..50).map(|_| {
        let mut channel = channel.clone();
        async move { read(channel.call(request(whole(b"x"))).await.expect("one")).await }
    });
    for (data, _) in join_all(calls).await {
        assert_eq!(data, b"x");
    }
    assert_eq!(*connections.lock().expect("nobody panics"), 1);
}

#[tokio::test]
async fn where_nobody_listens_all_who_wait_are_told_at_once() {
    let (listener, channel) = listen().await;
    drop(listener);
    let calls = (0..50).map(|_| {
        let mut channel = channel.clone();
        async move { channel.call(request(whole(b"x"))).await.err() }
    });
    for error in join_all(calls).await {
        let status = tonic::Status::from_error(error.expect("nobody listens"));
        let Verdict::Next(setback) = judge(&status) else {
            panic!("another replica may listen: {status}");
        };
        assert_eq!(setback.kind, verdict::SetbackKind::Refused, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_falls_silent_is_noticed() {
    let (client, server) = duplex(1 << 16);
    let calls = connection::begin(client).await.expect("it begins");
    let answer = call(&calls, b"anybody there?");
    // It takes what comes, and says nothing.
    let _server = server;
    let waited = tokio::time::timeout(Duration::from_secs(9), answer).await;
    assert!(waited.expect("it is given up").is_err());
}

/// Notes what is written at once.
struct Noted<S> {
    stream: S,
    writes: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut writes = self.writes.lock().expect("nobody panics");
        writes.push(bytes.to_vec());
        drop(writes);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn a_call_is_written_in_one_piece() {
    let (stream, server) = duplex(1 << 16);
    let writes = Arc::default();
    let noted = Noted {
        stream,
        writes: Arc::clone(&writes),
    };
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(server).await.expect("HTTP/2");
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::spawn(echo(request, respond));
        }
    });
    let calls = connection::begin(noted).await.expect("it begins");
    for text in [&b"the first one"[..], b"the second one"] {
        let answer = call(&calls, text).await.ok();
        assert_eq!(read(answer.expect("an answer")).await.0, text);
        let writes = std::mem::take(&mut *writes.lock().expect("nobody panics"));
        let with_text = writes
            .iter()
            .find(|bytes| bytes.windows(text.len()).any(|window| window == text))
            .expect("it was written");
        assert!(
            has_head(with_text),
            "the head went before the body: {writes:?}"
        );
    }
}

/// Calls over one connection.
async fn call(calls: &Calls, body: &'static [u8]) -> Result<Response<Reply>, Unanswered> {
    let outgoing = Outgoing::new(absolute(whole(body))).await;
    calls.call(outgoing.expect("it is whole")).await
}

/// Reads requests, and answers them together each time that so many are there.
async fn answer_together(server: DuplexStream, many: usize) {
    let mut connection = h2::server::handshake(server).await.expect("HTTP/2");
    let mut asked = Vec::new();
    while let Some(Ok((_, respond))) = connection.accept().await {
        asked.push(respond);
        if asked.len() == many {
            for mut respond in asked.drain(..) {
                let sent = respond.send_response(Response::new(()), true);
                sent.expect("it is open");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn those_who_are_answered_together_ask_together() {
    const CALLERS: usize = 64;
    const TIMES: usize = 50;
    let (stream, server) = duplex(1 << 20);
    let writes = Arc::default();
    let noted = Noted {
        stream,
        writes: Arc::clone(&writes),
    };
    tokio::spawn(answer_together(server, CALLERS));
    let calls = connection::begin(noted).await.expect("it begins");
    let callers = (0..CALLERS).map(|_| {
        let calls = calls.clone();
        tokio::spawn(async move {
            for _ in 0..TIMES {
                let answer = call(&calls, b"x").await;
                read(answer.ok().expect("an answer")).await;
            }
        })
    });
    for caller in join_all(callers).await {
        caller.expect("nobody panics");
    }
    let writes = writes.lock().expect("nobody panics").len();
    assert!(writes < CALLERS * TIMES / 8, "{writes}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_to_all_who_wait_and_to_who_comes_later() {
    let (stream, server) = duplex(1 << 16);
    let calls = connection::begin(stream).await.expect("it begins");
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(server).await.expect("HTTP/2");
        let mut asked = Vec::new();
        while asked.len() < 50 {
            asked.push(connection.accept().await);
        }
    });
    let waiting = (0..50).map(|_| async {
        let unanswered = call(&calls, b"x").await.err().expect("nobody answers");
        // Who is told may call again at once.
        assert!(calls.is_closed());
        unanswered
    });
    for unanswered in join_all(waiting).await {
        assert!(unanswered.unsent.is_none());
        let status = tonic::Status::from_error(unanswered.why);
        let Verdict::Next(setback) = judge(&status) else {
            panic!("another replica may answer: {status}");
        };
        assert_eq!(setback.kind, verdict::SetbackKind::Lost, "{status:?}");
    }
    let late = call(&calls, b"x").await.err().expect("nobody listens");
    assert!(late.unsent.is_some());
}

/// Closes a connection before it takes a call.
async fn go_away(server: DuplexStream, reason: h2::Reason) {
    let mut connection = h2::server::handshake(server).await.expect("HTTP/2");
    connection.abrupt_shutdown(reason);
    while connection.accept().await.is_some() {}
}

#[tokio::test]
async fn who_comes_too_late_has_the_request_back_and_is_told_why() {
    let (stream, server) = duplex(1 << 16);
    let calls = connection::begin(stream).await.expect("it begins");
    go_away(server, h2::Reason::INADEQUATE_SECURITY).await;
    while !calls.is_closed() {
        tokio::task::yield_now().await;
    }
    let late = call(&calls, b"x").await.err().expect("nobody listens");
    assert!(late.unsent.is_some());
    let status = tonic::Status::from_error(late.why);
    let Verdict::Next(setback) = judge(&status) else {
        panic!("another replica may answer: {status}");
    };
    assert_eq!(setback.kind, verdict::SetbackKind::Untrusted, "{status:?}");
}

/// Whether a frame of HEADERS (RFC 9113, section 6.2) is among these, behind the preface of a connection.
fn has_head(mut bytes: &[u8]) -> bool {
    bytes = bytes
        .strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap_or(bytes);
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        if *kind == 1 {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}
