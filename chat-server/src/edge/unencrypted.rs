//! An answer for clients that speak without encryption to a replica that does not.
//!
//! All that they would see otherwise is a connection that breaks. HTTP/2 has an error code for just this (RFC 9113,
//! section 7: `INADEQUATE_SECURITY`), and room for words.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// HTTP/2 begins with it, and TLS never does.
const FIRST: u8 = b'P';
const WORDS: &[u8] =
    b"this replica speaks over encrypted connections only; give the client the cluster's ca.pem";
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const INADEQUATE_SECURITY: u32 = 12;
/// As much of what the other side says meanwhile is read, and not answered.
const HEARD: u64 = 64 << 10;

/// Whether the other side begins as HTTP/2 without encryption does. Takes nothing off the stream.
pub(crate) async fn speaks_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0] == FIRST)
}

/// Tells the other side what to do, and hangs up.
pub(crate) async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&farewell()).await?;
    stream.shutdown().await?;
    // What is unread when a connection is closed makes it break, and takes the answer along.
    tokio::io::copy(&mut (&mut stream).take(HEARD), &mut tokio::io::sink()).await?;
    Ok(())
}

/// The settings that must come first, then a frame that ends the connection.
fn farewell() -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(INADEQUATE_SECURITY.to_be_bytes());
    body.extend(WORDS);
    [frame(SETTINGS, &[]), frame(GO_AWAY, &body)].concat()
}

/// A frame of the connection as a whole, without flags.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, 0, 0, 0, 0, 0]);
    frame.extend(body);
    frame
}
