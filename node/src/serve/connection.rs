//! One connection: hyper over the socket, told to finish when the listener drains.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use axum::body::Body;
use glimpse_cache::Mappings;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::TlsAcceptor;

use super::{
    Client, Counters, Service, Settings, Tls,
    socket::{Counted, Stream},
};

/// Bytes that a connection reads at once at most. It keeps a buffer of that size once its client has
/// sent so much at once, and nothing counts it but `limits.connections`; of a larger one (hyper's is
/// 408 KiB) uploads have nothing.
const READ_BUFFER: usize = 128 << 10;

/// A connection that did not end well.
pub(super) struct Failed {
    /// Whose it was.
    pub(super) client: IpAddr,
    /// What ended it.
    pub(super) cause: Cause,
}

/// Why a connection did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// In HTTP.
    #[error(transparent)]
    Http(hyper::Error),
    /// Before it, in TLS.
    #[error("TLS: {0}")]
    Handshake(io::Error),
}

impl Cause {
    /// The peer speaks something else than this port.
    pub(super) fn is_unreadable(&self) -> bool {
        match self {
            Self::Http(cause) => cause.is_parse(),
            Self::Handshake(cause) => cause.kind() == io::ErrorKind::InvalidData,
        }
    }
}

/// What all connections of a listener share.
pub(super) struct Serving<S> {
    http: http1::Builder,
    service: S,
    counters: Counters,
    mappings: Mappings,
    tls: Option<Tls>,
    draining: AtomicBool,
    drain: Notify,
    cut: Arc<AtomicBool>,
}

impl<S: Service> Serving<S> {
    pub(super) fn new(
        settings: &Settings,
        service: S,
        counters: Counters,
        mappings: Mappings,
        tls: Option<Tls>,
    ) -> Self {
        let mut http = http1::Builder::new();
        // Queued, not flattened: a body's bytes are never copied on their way to the socket.
        http.writev(true)
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_header_size(settings.header_bytes)
            .max_buf_size(settings.header_bytes.max(READ_BUFFER));
        Self {
            http,
            service,
            counters,
            mappings,
            tls,
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            cut: Arc::default(),
        }
    }

    /// Tells all connections to end after the request they are at.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.drain.notify_waiters();
    }

    /// Notes that what still runs is now cut, for the log.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// Serves one connection to its end.
    pub(super) async fn run(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<(), Failed> {
        let client = Client::new(peer, Arc::clone(&self.cut));
        let address = client.address();
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some(tls) => match self.handshake(tls, stream).await {
                Ok(Some(stream)) => stream,
                Ok(None) => return Ok(()),
                Err(cause) => {
                    return Err(Failed {
                        client: address,
                        cause: Cause::Handshake(cause),
                    });
                }
            },
        };
        let service = service_fn(async |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            let response = self.service.answer(request.map(Body::new)).await;
            Ok::<_, Infallible>(response)
        });
        let socket = TokioIo::new(Counted::new(
            stream,
            &self.counters,
            client.clone(),
            self.mappings.clone(),
        ));
        let mut connection = pin!(self.http.serve_connection(socket, service));
        let mut drained = pin!(self.drain.notified());
        // Polled once, before the flag is looked at, so that no drain is missed; after that only
        // the flag is looked at, which costs a request nothing.
        let mut registered = false;
        let mut finishing = false;
        poll_fn(|context| {
            if !registered {
                registered = true;
                let _: Poll<()> = drained.as_mut().poll(context);
            }
            // First what has come already: a request in the socket is served, not dropped.
            let mut ended = connection.as_mut().poll(context);
            if ended.is_pending() && !finishing && self.draining.load(Ordering::Acquire) {
                finishing = true;
                connection.as_mut().graceful_shutdown();
                ended = connection.as_mut().poll(context);
            }
            ended
        })
        .await
        .map_err(|cause| Failed {
            client: address,
            cause: Cause::Http(cause),
        })
    }

    /// Begins TLS; `None`: the listener drains.
    async fn handshake(&self, tls: &Tls, stream: TcpStream) -> io::Result<Option<Stream>> {
        let mut drained = pin!(self.drain.notified());
        // Before the flag is looked at, so that no drain is missed.
        drained.as_mut().enable();
        if self.draining.load(Ordering::Acquire) {
            return Ok(None);
        }
        let accept = TlsAcceptor::from(tls.certificate.config()).accept(stream);
        tokio::select! {
            () = drained => Ok(None),
            accepted = tokio::time::timeout(tls.handshake_timeout, accept) => match accepted {
                Ok(accepted) => accepted.map(|stream| Some(Stream::Tls(Box::new(stream)))),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }
}
