//! The client: every hop goes through the filter, connections go to addresses that it let through.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::{Certificate, Client, Response, Url, redirect::Policy};
use tokio::time::{Instant, timeout_at};

use super::{
    dns::{Dns, Filtered, SystemDns},
    error::{FetchError, chain},
    fetch::Fetch,
    filter::{Filter, Refused},
};
use crate::config::{Config, OutboundConfig};

/// Idle connections kept to one source.
const IDLE_PER_HOST: usize = 4;

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// 301, 302, 303, 307 and 308.
    All,
    /// 301 and 302 (the `http` store, image-api 7.3).
    Found,
}

/// How a source's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Taken whatever it is.
    pub insecure: bool,
    /// Who must have signed it, PEM; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

/// Fetches from outside (image-api 3.6). Cheap to share; nothing is read from the system before the
/// first fetch.
pub struct Outbound {
    filter: Arc<Filter>,
    dns: Arc<dyn Dns>,
    bounds: OutboundConfig,
    tls: Tls,
    client: OnceLock<Result<Client, String>>,
}

/// What a source said of its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Bytes of the whole; `None`: not said.
    pub size: Option<u64>,
    /// By which it can be told that it is still the same data.
    pub(super) validator: Option<HeaderValue>,
}

impl Outbound {
    /// With the filter and the bounds of a configuration.
    pub fn new(config: &Config, tls: Tls) -> Self {
        Self::with_dns(config, tls, Arc::new(SystemDns))
    }

    /// The same with another way to look names up.
    pub fn with_dns(config: &Config, tls: Tls, dns: Arc<dyn Dns>) -> Self {
        Self {
            filter: Arc::new(Filter::new(&config.import.uri_filter)),
            dns,
            bounds: config.outbound.clone(),
            tls,
            client: OnceLock::new(),
        }
    }

    /// Whether a URL may be fetched now. A fetch asks again.
    pub async fn check(&self, url: &str) -> Result<(), Refused> {
        let url = self.filter.url(url)?;
        let host = url.host_str().unwrap_or_default();
        // An address, which `url` has judged.
        if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
            return Ok(());
        }
        let looked = timeout_at(
            Instant::now() + self.bounds.connect_timeout,
            self.dns.lookup(host),
        );
        let Ok(Ok(found)) = looked.await else {
            return Err(Refused("the host is not found"));
        };
        self.filter.addresses(host, &found).map(drop)
    }

    /// Asks for what a source has, without the data. The size is always said.
    pub async fn size(&self, url: &str, follow: Follow) -> Result<u64, FetchError> {
        let deadline = Instant::now() + self.bounds.connect_timeout + self.bounds.idle_timeout;
        let open = |method| self.open(method, url, HeaderMap::new(), follow, deadline);
        let mut response = open(Method::HEAD).await?;
        // Some servers know no HEAD; the data is left where it is.
        if matches!(response.status().as_u16(), 405 | 501) {
            response = open(Method::GET).await?;
        }
        succeeded(&response)?;
        length(response.headers()).ok_or(FetchError::BadAnswer("no Content-Length"))
    }

    /// Opens a source: its data from `range` on, all of it without. At most `cap` bytes of the whole
    /// are taken.
    pub async fn get(
        self: &Arc<Self>,
        url: &str,
        range: Option<Range<u64>>,
        follow: Follow,
        cap: u64,
    ) -> Result<Fetch, FetchError> {
        let deadline = Instant::now() + self.bounds.timeout;
        Fetch::open(Arc::clone(self), url, range, follow, cap, deadline).await
    }

    pub(super) fn bounds(&self) -> &OutboundConfig {
        &self.bounds
    }

    /// One request with its redirects; each hop is checked as the first one was.
    pub(super) async fn open(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        follow: Follow,
        deadline: Instant,
    ) -> Result<Response, FetchError> {
        let mut url = self.filter.url(url)?;
        let client = self.client()?;
        for _ in 0..=self.bounds.redirects {
            let request = client
                .request(method.clone(), url.clone())
                .headers(headers.clone())
                .send();
            let answered = Instant::now() + self.bounds.connect_timeout + self.bounds.idle_timeout;
            let response = match timeout_at(deadline.min(answered), request).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Err(FetchError::no_answer(error)),
                Err(_) => return Err(FetchError::Unreachable("no answer in time".to_owned())),
            };
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED
            {
                return Ok(response);
            }
            url = self.next_hop(&url, &response, follow)?;
        }
        Err(FetchError::Redirects)
    }

    fn next_hop(&self, url: &Url, response: &Response, follow: Follow) -> Result<Url, FetchError> {
        let followed = match response.status().as_u16() {
            301 | 302 => true,
            303 | 307 | 308 => follow == Follow::All,
            _ => false,
        };
        let to = response.headers().get(header::LOCATION);
        let to = to.and_then(|value| value.to_str().ok());
        let Some(to) = to.filter(|_| followed) else {
            return Err(FetchError::Redirects);
        };
        // As spelled if it is whole, so that the spelling is judged; else it stays on the host.
        if to.contains("://") || to.starts_with("//") {
            let whole = if to.starts_with("//") {
                format!("{}:{to}", url.scheme())
            } else {
                to.to_owned()
            };
            return Ok(self.filter.url(&whole)?);
        }
        let joined = url.join(to).map_err(|_| FetchError::Redirects)?;
        if joined.host_str() != url.host_str() {
            return Err(Refused("a host in an odd form").into());
        }
        Ok(self.filter.url(joined.as_str())?)
    }

    fn client(&self) -> Result<&Client, FetchError> {
        let built = self.client.get_or_init(|| self.build());
        built
            .as_ref()
            .map_err(|cause| FetchError::Unreachable(cause.clone()))
    }

    fn build(&self) -> Result<Client, String> {
        // The process has one; whoever comes first installs the same.
        crate::tls::use_ring();
        let trusted = match &self.tls.ca_file {
            None => None,
            Some(path) => {
                let pem =
                    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Some(Certificate::from_pem_bundle(&pem).map_err(chain)?)
            }
        };
        let built = self.builder(trusted).build();
        match built {
            // No certificates on this system: all that is plain goes on.
            Err(error) if self.tls.ca_file.is_none() => {
                tracing::warn!(
                    error = chain(error),
                    "no certificates are trusted: nothing is fetched over https"
                );
                self.builder(Some(Vec::new())).build().map_err(chain)
            }
            built => built.map_err(chain),
        }
    }

    fn builder(&self, trusted: Option<Vec<Certificate>>) -> reqwest::ClientBuilder {
        let mut builder = Client::builder()
            .dns_resolver(Filtered {
                filter: Arc::clone(&self.filter),
                dns: Arc::clone(&self.dns),
            })
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.bounds.connect_timeout)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_danger_accept_invalid_certs(self.tls.insecure);
        if let Some(trusted) = trusted {
            builder = builder.tls_certs_only(trusted);
        }
        builder
    }
}

/// The URL without what may be secret in it: user, password, query and fragment. For the log.
pub fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "(no URL)".to_owned();
    };
    // Fails where there cannot be any.
    let _none = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// Refuses an answer without success.
pub(super) fn succeeded(response: &Response) -> Result<(), FetchError> {
    let status = response.status();
    if status.is_success() {
        Ok(())
    } else {
        Err(FetchError::Status(status.as_u16()))
    }
}

/// `Content-Length`.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    number(headers, &header::CONTENT_LENGTH)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A strong tag, or the time of the last change.
pub(super) fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = |tag: &&HeaderValue| tag.as_bytes().starts_with(b"\"");
    headers
        .get(header::ETAG)
        .filter(strong)
        .or_else(|| headers.get(header::LAST_MODIFIED))
        .cloned()
}
