//! One call to the identity service: in its turn, tried again where that can do no harm, with an
//! answer of bounded size. The caller bounds its time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::{Certificate, Identity, Method, RequestBuilder};
use tokio::sync::Semaphore;

use super::{Error, SetupError};
use crate::{config::KeystoneConfig, outbound::chain};

/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What the service answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    /// Ends in `/v3`.
    base: String,
    turns: Semaphore,
    retries: u32,
    answer_bytes: usize,
}

impl Transport {
    pub(super) fn new(config: &KeystoneConfig) -> Result<Self, SetupError> {
        let bare = config.auth_url.trim_end_matches('/');
        let base = match bare.ends_with("/v3") {
            true => bare.to_owned(),
            false => format!("{bare}/v3"),
        };
        crate::tls::use_ring();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            // A redirect would take tokens elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(config.http_connect_timeout);
        if let Some(path) = &config.cafile {
            let trusted = read("cafile", path)?;
            let trusted = Certificate::from_pem_bundle(&trusted).map_err(of_key("cafile"))?;
            builder = builder.tls_certs_only(trusted);
        } else if base.starts_with("http://") {
            // The system's are neither needed nor read.
            builder = builder.tls_certs_only([]);
        }
        if let (Some(certificate), Some(key)) = (&config.certfile, &config.keyfile) {
            let mut both = read("keyfile", key)?;
            both.extend(read("certfile", certificate)?);
            let identity = Identity::from_pem(&both).map_err(of_key("certfile"))?;
            builder = builder.identity(identity);
        }
        if config.insecure {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        Ok(Self {
            http: builder.build().map_err(of_key("cafile"))?,
            base,
            turns: Semaphore::new(config.concurrent_calls.min(Semaphore::MAX_PERMITS)),
            retries: config.http_request_max_retries,
            answer_bytes: config.answer_size,
        })
    }

    /// The beginning of a request to `path`, which begins with a slash.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends what `make` makes, again after a failure that is likely to pass.
    ///
    /// Both calls that this node makes may be made twice.
    pub(super) async fn call(&self, make: impl Fn() -> RequestBuilder) -> Result<Answer, Error> {
        let _turn = self.turns.acquire().await.map_err(|_| Error::Late)?;
        let mut pause = FIRST_PAUSE;
        for _ in 0..self.retries {
            match self.attempt(make()).await {
                Err(Error::Unreachable(_)) => {}
                Ok(answer) if passes(answer.status) => {}
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        self.attempt(make()).await
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let mut response = request.send().await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > self.answer_bytes {
                let text = format!("with more than {} bytes", self.answer_bytes);
                return Err(Error::Answer(text));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }
}

/// Whether what answers so may do better in a moment.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

/// Without the URL, which the configuration has.
fn failed(error: reqwest::Error) -> Error {
    Error::Unreachable(chain(error))
}

fn read(key: &'static str, path: &std::path::Path) -> Result<Vec<u8>, SetupError> {
    std::fs::read(path).map_err(|cause| SetupError {
        key,
        cause: format!("{}: {cause}", path.display()),
    })
}

fn of_key(key: &'static str) -> impl Fn(reqwest::Error) -> SetupError {
    move |error| SetupError {
        key,
        cause: error.to_string(),
    }
}
