//! The socket below a connection: it counts what goes through, and notes why it failed. It must stay
//! vectored, or hyper copies bodies into a buffer of its own.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{Client, Counters};

/// A stream with its counters and its client.
pub(super) struct Counted {
    stream: TcpStream,
    received: Counter,
    sent: Counter,
    client: Client,
}

impl Counted {
    pub(super) fn new(stream: TcpStream, counters: &Counters, client: Client) -> Self {
        Self {
            stream,
            received: counters.received.clone(),
            sent: counters.sent.clone(),
            client,
        }
    }

    fn sent(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        match &result {
            Ok(count) => {
                self.sent.inc_by(*count as u64);
            }
            Err(error) => self.client.note(error),
        }
        Poll::Ready(result)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))
            .inspect_err(|error| self.client.note(error))?;
        self.received
            .inc_by((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(context, data));
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices));
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
