//! How many connections each peer has, so that one peer's do not take all places.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// The peers of one listener, as many as there are connections at most.
pub(super) struct Peers {
    /// Connections of one peer at once; 0: as many as there are.
    bound: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place, free again when this is dropped.
pub(super) struct Place {
    peer: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Peers {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound,
            open: Arc::default(),
        }
    }

    /// A place for one more connection, unless the peer has all that it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let peer = whole(address);
        let mut open = self.open.lock();
        let count = open.entry(peer).or_default();
        if self.bound != 0 && *count >= self.bound {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place {
            peer,
            open: Arc::clone(&self.open),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

/// What counts as one peer: an IPv4 address, or an IPv6 network of the size that one subscriber
/// gets (/64).
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_has_its_bound_and_others_have_theirs() {
        let peers = Peers::new(2);
        let first = peers.enter(ip("10.0.0.1")).unwrap();
        let _second = peers.enter(ip("::ffff:10.0.0.1")).unwrap();
        assert!(peers.enter(ip("10.0.0.1")).is_none());
        assert!(peers.enter(ip("10.0.0.2")).is_some());
        drop(first);
        assert!(peers.enter(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn an_ipv6_network_is_one_peer() {
        let peers = Peers::new(1);
        let _one = peers.enter(ip("2001:db8::1")).unwrap();
        assert!(peers.enter(ip("2001:db8::ffff:2")).is_none());
        assert!(peers.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn peers_that_left_take_no_memory() {
        let peers = Peers::new(0);
        let places: Vec<_> = (0..9).map(|_| peers.enter(ip("10.0.0.1"))).collect();
        assert!(places.iter().all(Option::is_some));
        drop(places);
        assert!(peers.open.lock().is_empty());
    }
}
