//! A listener: takes connections up to a bound, serves HTTP/1.1 on them, and drains.
//!
//! Answers go out vectored and unflattened: the bytes of a body are written from where they lie, or
//! sent by the kernel from the file that they are mapped from. Under TLS they are encrypted on the way,
//! and a connection's handshake takes its place among `limits.connections` from its first byte.
//! A client that takes nothing is cut by the kernel (`TCP_USER_TIMEOUT`): it alone knows whether
//! the peer takes bytes, since a write ends in the socket's buffer, which may hold minutes of a
//! slow but honest client.

mod client;
mod connection;
pub mod open_files;
mod peers;
mod refuse;
mod send;
mod service;
mod socket;
mod sparse;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use glimpse_cache::Mappings;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use client::Client;
#[cfg(test)]
pub(crate) use client::client;
pub use service::Service;

use sparse::Sparse;

use crate::{
    config::{AdminConfig, Limits},
    metrics::Metrics,
    tls::Certificate,
};

/// Connections that the kernel completes before we accept them.
const BACKLOG: u32 = 1024;

/// The pause after a failed accept (out of file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The log speaks of a state that lasts once in this time.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Of requests that are none, more often: each may be another client's.
const SAY_UNREADABLE_EVERY: Duration = Duration::from_secs(1);

/// While it drains, more often.
const SAY_DRAIN_EVERY: Duration = Duration::from_secs(5);

/// Bounds of one listener.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at once.
    pub connections: usize,
    /// Of one peer; 0: as many as there are.
    pub connections_per_peer: usize,
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// For a complete request head.
    pub header_timeout: Duration,
    /// Without a byte taken by the peer.
    pub slow_client_timeout: Duration,
    /// For what runs when the listener is stopped.
    pub drain_timeout: Duration,
}

impl Settings {
    /// Of the API.
    pub fn api(limits: &Limits) -> Self {
        Self {
            connections: limits.connections,
            connections_per_peer: limits.connections_per_peer,
            header_bytes: limits.header_bytes,
            header_timeout: limits.header_timeout,
            slow_client_timeout: limits.slow_client_timeout,
            drain_timeout: limits.drain_timeout,
        }
    }

    /// Of the admin listener.
    pub fn admin(config: &AdminConfig, limits: &Limits) -> Self {
        Self {
            connections: config.connections,
            // Whoever scrapes may be the only one.
            connections_per_peer: 0,
            // Scrapes are short; the node waits for none of them.
            drain_timeout: Duration::from_secs(1),
            ..Self::api(limits)
        }
    }
}

/// What a listener counts.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Open connections.
    pub open: Gauge,
    /// Taken in all.
    pub accepted: Counter,
    /// Refused in all.
    pub refused: Counter,
    /// Ended with an error.
    pub failed: Counter,
    /// Bytes read.
    pub received: Counter,
    /// Bytes written.
    pub sent: Counter,
}

impl Counters {
    /// Those of the API.
    pub fn api(metrics: &Metrics) -> Self {
        Self {
            open: metrics.http_connections.clone(),
            accepted: metrics.http_accepted_connections.clone(),
            refused: metrics.http_refused_connections.clone(),
            failed: metrics.http_failed_connections.clone(),
            received: metrics.http_received_bytes.clone(),
            sent: metrics.http_sent_bytes.clone(),
        }
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their time was over.
    pub cut: usize,
}

/// A bound listener, not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
    counters: Counters,
    tls: Option<Tls>,
}

/// What a listener needs for TLS.
#[derive(Clone)]
struct Tls {
    certificate: Arc<Certificate>,
    handshake_timeout: Duration,
}

impl Server {
    /// Binds. Connections queue in the kernel from here on.
    pub fn bind(listen: SocketAddr, settings: Settings, counters: Counters) -> io::Result<Self> {
        let socket = if listen.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            settings,
            counters,
            tls: None,
        })
    }

    /// The same speaking TLS. A connection whose handshake takes longer than that is closed.
    pub fn with_tls(mut self, certificate: Arc<Certificate>, handshake_timeout: Duration) -> Self {
        self.tls = Some(Tls {
            certificate,
            handshake_timeout,
        });
        self
    }

    /// Where it listens, with the port that the kernel chose when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then closes the listener and idle connections at once, and lets running
    /// requests end for the drain timeout. Of bodies, what lies in `mappings` is sent from its files.
    pub async fn run(
        self,
        service: impl Service,
        mappings: Mappings,
        stop: CancellationToken,
    ) -> Drained {
        let Self {
            listener,
            address,
            settings,
            counters,
            tls,
        } = self;
        let speaks_tls = tls.is_some();
        let serving = Arc::new(connection::Serving::new(
            &settings,
            service,
            counters.clone(),
            mappings,
            tls,
        ));
        let mut connections = JoinSet::new();
        let mut refusals = refuse::Refusals::default();
        let mut unreadable = Sparse::new(SAY_UNREADABLE_EVERY);
        let peers = peers::Peers::new(settings.connections_per_peer);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    note_end(&counters, &mut unreadable, ended);
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let place = (connections.len() < settings.connections)
                            .then(|| peers.enter(peer.ip()))
                            .flatten();
                        let Some(place) = place else {
                            counters.refused.inc();
                            if let Some(count) = refusals.say(Instant::now()) {
                                tracing::warn!(
                                    count,
                                    listener = %address,
                                    open = connections.len(),
                                    last_from = %peer.ip(),
                                    "connections are answered 503: too many, of all or of one peer"
                                );
                            }
                            // Under TLS an answer would take a handshake.
                            if !speaks_tls {
                                refusals.answer(stream);
                            }
                            continue;
                        };
                        // The peer may be gone already.
                        if set_options(&stream, settings.slow_client_timeout).is_err() {
                            continue;
                        }
                        counters.accepted.inc();
                        counters.open.inc();
                        let serving = Arc::clone(&serving);
                        connections.spawn(async move {
                            let _place = place;
                            serving.run(stream, peer).await
                        });
                    }
                    Err(cause) => {
                        tracing::warn!(%cause, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        serving.drain();
        let deadline = Instant::now() + settings.drain_timeout;
        while !connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match tokio::time::timeout(left.min(SAY_DRAIN_EVERY), connections.join_next()).await {
                Ok(Some(ended)) => note_end(&counters, &mut unreadable, ended),
                Ok(None) => break,
                Err(_) => tracing::info!(
                    open = connections.len(),
                    seconds_left = deadline.saturating_duration_since(Instant::now()).as_secs(),
                    "draining"
                ),
            }
        }
        let cut = connections.len();
        serving.cut();
        connections.abort_all();
        while let Some(ended) = connections.join_next().await {
            note_end(&counters, &mut unreadable, ended);
        }
        Drained { cut }
    }
}

fn note_end(
    counters: &Counters,
    unreadable: &mut Sparse,
    ended: Result<Result<(), connection::Failed>, tokio::task::JoinError>,
) {
    counters.open.dec();
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(connection::Failed { client, cause })) => {
            counters.failed.inc();
            // Such a request has no line of its own: it never reached the API.
            if cause.is_unreadable()
                && let Some(count) = unreadable.say(Instant::now())
            {
                tracing::info!(
                    client.address = %client,
                    %cause,
                    count,
                    "a request that is not HTTP was refused, and its connection closed"
                );
            } else {
                tracing::debug!(client.address = %client, %cause, "connection ended");
            }
        }
        Err(cause) => {
            counters.failed.inc();
            if cause.is_panic() {
                tracing::error!(%cause, "a handler panicked; its connection is closed");
            }
        }
    }
}

fn set_options(stream: &TcpStream, slow_client_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(slow_client_timeout))
}
