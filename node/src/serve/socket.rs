//! The socket below a connection: it counts what goes through, and notes why it failed. What lies in
//! mapped files it sends from the files, where that is worth it. It must stay vectored, or hyper
//! copies bodies into a buffer of its own.

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use glimpse_cache::Mappings;
use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::{Client, Counters, send};

/// A stream with its counters and its client.
pub(super) struct Counted {
    stream: TcpStream,
    received: Counter,
    sent: Counter,
    client: Client,
    mappings: Mappings,
}

impl Counted {
    pub(super) fn new(
        stream: TcpStream,
        counters: &Counters,
        client: Client,
        mappings: Mappings,
    ) -> Self {
        Self {
            stream,
            mappings,
            received: counters.received.clone(),
            sent: counters.sent.clone(),
            client,
        }
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let send = || send::send(&self.stream, &self.mappings, slices);
            match self.stream.try_io(Interest::WRITABLE, send) {
                // It is not ready after all: now tokio knows.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
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
        let result = if send::has_files(&self.mappings, slices) {
            ready!(self.poll_send(context, slices))
        } else {
            ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))
        };
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
