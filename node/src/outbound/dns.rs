//! Names to addresses, through the filter. The connection goes to what was let through here: there
//! is no second look-up between the check and the connect.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::filter::Filter;

/// Looks names up. A seam: tests answer what a hostile name server would.
#[async_trait]
pub trait Dns: Send + Sync {
    /// The addresses of a name.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the system does.
pub struct SystemDns;

#[async_trait]
impl Dns for SystemDns {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// What `reqwest` asks for addresses.
pub(super) struct Filtered {
    pub(super) filter: Arc<Filter>,
    pub(super) dns: Arc<dyn Dns>,
}

impl Resolve for Filtered {
    fn resolve(&self, name: Name) -> Resolving {
        let (filter, dns) = (Arc::clone(&self.filter), Arc::clone(&self.dns));
        Box::pin(async move {
            let found = dns.lookup(name.as_str()).await?;
            let passed = filter.addresses(name.as_str(), &found)?;
            // Port 0: that of the URL.
            let addresses = passed.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
