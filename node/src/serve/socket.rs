//! The socket below a connection: it counts what goes through, and notes why it failed. What lies in
//! mapped files it sends from the files, where that is worth it and nothing has to be encrypted. It must
//! stay vectored, or hyper copies bodies into a buffer of its own.

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
use tokio_rustls::server::TlsStream;

use super::{Client, Counters, send};

/// What a connection goes over.
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream with its counters, which count the bytes of HTTP, and its client.
pub(super) struct Counted {
    stream: Stream,
    received: Counter,
    sent: Counter,
    client: Client,
    mappings: Mappings,
}

impl Counted {
    pub(super) fn new(
        stream: Stream,
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

fn poll_send(
    stream: &TcpStream,
    mappings: &Mappings,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(context))?;
        let send = || send::send(stream, mappings, slices);
        match stream.try_io(Interest::WRITABLE, send) {
            // It is not ready after all: now tokio knows.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(stream) => ready!(Pin::new(stream).poll_read(context, buffer)),
            Stream::Tls(stream) => match ready!(Pin::new(stream).poll_read(context, buffer)) {
                // Closed without a word of TLS, as many clients do. HTTP says itself what is whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
                read => read,
            },
        };
        read.inspect_err(|error| self.client.note(error))?;
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
        let result = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, data),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, data),
        };
        self.sent(ready!(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream, mappings, ..
        } = &mut *self;
        let result = match stream {
            Stream::Plain(stream) if send::has_files(mappings, slices) => {
                poll_send(stream, mappings, context, slices)
            }
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => send::poll_copy(Pin::new(stream), mappings, context, slices),
        };
        self.sent(ready!(result))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
