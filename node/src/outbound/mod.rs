//! Fetches from outside (image-api 3.6): by URLs that users name, so that none may lead where the user
//! could not go: to this machine, its link, or a host, port or scheme that the operator excludes.
//!
//! One [`Outbound`] serves what is fetched under one way to judge certificates: imports, `http(s)`
//! locations, the `http` store. Its filter sees each URL as it is spelled ([`Filter::url`]) and each
//! name's addresses as they are connected to ([`Filter::addresses`]), at first and after every redirect.
//! Proxies named in the environment are not used: they would resolve names themselves.

mod client;
mod dns;
mod error;
mod fetch;
mod filter;
#[cfg(test)]
mod tests;

pub use client::{Follow, Head, Outbound, Tls, shown};
pub use dns::{Dns, SystemDns};
pub use error::FetchError;
pub(crate) use error::chain;
pub use fetch::Fetch;
pub use filter::{Filter, Refused};
