//! Who is at the other end of a connection, and why the connection was lost: what a request's line in
//! the log says of both. Every request carries it as an extension.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::io::Errno;

/// The client of one connection; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    address: SocketAddr,
    /// The kernel gave up on the peer.
    slow: AtomicBool,
    /// What was to be sent could not be read.
    unreadable: AtomicBool,
    /// The listener's time to drain is over: it cuts what still runs.
    cut: Arc<AtomicBool>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, cut: Arc<AtomicBool>) -> Self {
        Self(Arc::new(Connection {
            address,
            slow: AtomicBool::new(false),
            unreadable: AtomicBool::new(false),
            cut,
        }))
    }

    /// Where it calls from: its own address, or that of the proxy before this node.
    pub fn address(&self) -> IpAddr {
        self.0.address.ip().to_canonical()
    }

    /// Why an answer did not reach its end: `broken` (the disk failed while the kernel sent from it),
    /// `slow` (the client took no byte for `limits.slow_client_timeout`, or is cut off from the
    /// network), `drained` (this node stopped), or else `left`.
    pub fn lost(&self) -> &'static str {
        if self.0.unreadable.load(Ordering::Relaxed) {
            "broken"
        } else if self.0.slow.load(Ordering::Relaxed) {
            "slow"
        } else if self.0.cut.load(Ordering::Relaxed) {
            "drained"
        } else {
            "left"
        }
    }

    /// Remembers what an error of the socket says of the client.
    pub(super) fn note(&self, error: &io::Error) {
        // What TCP_USER_TIMEOUT ends with.
        if error.kind() == io::ErrorKind::TimedOut {
            self.0.slow.store(true, Ordering::Relaxed);
        }
        // No socket says that of itself.
        let of_disk = Errno::from_io_error(error) == Some(Errno::IO);
        if of_disk || error.kind() == io::ErrorKind::UnexpectedEof {
            self.0.unreadable.store(true, Ordering::Relaxed);
            tracing::error!(%error, "cached bytes could not be sent from their file");
        }
    }
}

/// One at this address that is still there.
#[cfg(test)]
pub(crate) fn client(address: &str) -> Client {
    Client::new(address.parse().unwrap(), Arc::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_connection_was_lost_is_told_by_its_errors() {
        for (error, why) in [
            (io::ErrorKind::TimedOut.into(), "slow"),
            (Errno::IO.into(), "broken"),
            (io::ErrorKind::UnexpectedEof.into(), "broken"),
            (io::Error::from(Errno::PIPE), "left"),
            (Errno::CONNRESET.into(), "left"),
        ] {
            let client = client("192.0.2.1:1");
            client.note(&error);
            assert_eq!(client.lost(), why, "{error}");
        }
    }
}
