//! A connection that is not kept open for somebody who says nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Time for the other side to say what every HTTP/2 connection begins with.
const DEADLINE: Duration = Duration::from_secs(5);
/// The length of that, together with the header of the frame that must follow.
const GREETING: usize = 24 + 9;

/// Fails unless the other side begins to speak in time. HTTP/2 itself watches only over those who have done so.
pub(crate) struct Prompt<S> {
    stream: S,
    awaited: Option<Awaited>,
}

struct Awaited {
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Prompt<S> {
    /// The time begins now. Must be called within a tokio runtime.
    pub(crate) fn new(stream: S) -> Prompt<S> {
        Prompt::within(DEADLINE, stream)
    }

    fn within(time: Duration, stream: S) -> Prompt<S> {
        Prompt {
            stream,
            awaited: Some(Awaited {
                bytes: GREETING,
                deadline: Box::pin(sleep(time)),
            }),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(awaited) = &mut this.awaited else {
            return polled;
        };
        let came = buffer.filled().len().saturating_sub(before);
        awaited.bytes = awaited.bytes.saturating_sub(came);
        if awaited.bytes == 0 {
            this.awaited = None;
            return polled;
        }
        // Also where bytes came: one that is sent every second must not put the end off.
        match awaited.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn who_dribbles_is_cut_off() {
        let (mut far, near) = duplex(64);
        let mut slow = Prompt::within(SHORT, near);
        let dribbling = tokio::spawn(async move {
            while far.write_all(b"P").await.is_ok() {
                sleep(SHORT / 10).await;
            }
        });
        let error = loop {
            match slow.read(&mut [0; 1]).await {
                Ok(count) => assert_eq!(count, 1),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(slow);
        dribbling.await.expect("ends with the connection");
    }

    #[tokio::test]
    async fn who_has_greeted_may_be_silent() {
        let (mut far, near) = duplex(64);
        let mut prompt = Prompt::within(SHORT, near);
        far.write_all(&[b' '; GREETING]).await.expect("open");
        prompt.read_exact(&mut [0; GREETING]).await.expect("there");
        sleep(SHORT * 2).await;
        far.write_all(b"!").await.expect("open");
        assert_eq!(prompt.read(&mut [0; 1]).await.expect("still open"), 1);
    }
}
