//! The identity service (Keystone, API v3) as this node uses it: its own token, renewed ahead of
//! expiry, and what other tokens say.
//!
//! Whatever the service answers is judged before it counts: an answer that is late, too large, or not
//! what was asked for is an [`Error`], never a token. What a valid token entitles to is `auth/keystone.rs`.

mod limits;
mod own_token;
mod token;
mod transport;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, StatusCode};
use reqwest::Method;

use crate::config::KeystoneConfig;
pub use limits::Limits;
use own_token::OwnToken;
pub use token::{AccessRule, Project, Scope, Token, User};
use transport::{Answer, Transport};

/// The header with the token of who asks.
const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
/// The header with the token that is asked about, or was made.
const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");
/// Says that this node checks access rules of application credentials; without it Keystone calls such
/// tokens invalid.
const ACCESS_RULES: HeaderName = HeaderName::from_static("openstack-identity-access-rules");

/// Why the identity service did not do what it was asked. The texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("the identity service cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer within `auth.keystone.timeout`.
    #[error("the identity service did not answer in time")]
    Late,
    /// It refuses this node's own user or application credential.
    #[error("the identity service refuses this node's own account with status {0}")]
    Refused(StatusCode),
    /// It answered what it should not.
    #[error("the identity service answered wrongly: {0}")]
    Answer(String),
}

/// Why the HTTP client to the identity service cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("auth.keystone.{key}: {cause}")]
pub struct SetupError {
    /// The key below `auth.keystone`.
    pub key: &'static str,
    /// Why.
    pub cause: String,
}

/// A client of the identity service with this node's account.
#[derive(Debug)]
pub struct Keystone {
    transport: Transport,
    own: OwnToken,
    system: OwnToken,
    /// What the catalog calls this service,
    service_type: String,
    /// and where it is; empty: anywhere.
    region: String,
    /// For a call with all that it needs.
    timeout: Duration,
    /// Whether the log has been told that the service fails.
    failing: AtomicBool,
}

impl Keystone {
    /// Of this configuration. Reads the certificates; calls nobody.
    pub fn new(config: &KeystoneConfig) -> Result<Self, SetupError> {
        Ok(Self {
            transport: Transport::new(config)?,
            own: OwnToken::new(config),
            system: OwnToken::of_system(config),
            service_type: config.service_type.clone(),
            region: config.region_name.clone(),
            timeout: config.timeout,
            failing: AtomicBool::new(false),
        })
    }

    /// Tells the log when the service begins to fail, and when it is well again.
    fn noted<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        match &answer {
            Ok(_) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the identity service answers again");
                }
            }
            Err(cause) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%cause, "what is not remembered of the identity service is 503");
                }
            }
        }
        answer
    }

    /// What the identity service says of `token`; `None` where it says that it is none of its own, or
    /// revoked, or expired and not `allow_expired`.
    pub async fn validate(
        &self,
        token: &HeaderValue,
        allow_expired: bool,
    ) -> Result<Option<Token>, Error> {
        self.noted(self.ask(token, allow_expired).await)
    }

    async fn ask(&self, token: &HeaderValue, allow_expired: bool) -> Result<Option<Token>, Error> {
        let path = match allow_expired {
            false => "/auth/tokens?nocatalog",
            true => "/auth/tokens?nocatalog&allow_expired=1",
        };
        let headers = [
            (SUBJECT_TOKEN, token.clone()),
            (ACCESS_RULES, HeaderValue::from_static("1")),
        ];
        let answer = self.call(&self.own, Method::GET, path, &headers).await?;
        match answer.status {
            StatusCode::OK => {
                let token = Token::parse(&answer.body).map_err(Error::Answer)?;
                let holds = allow_expired || token.expires_at > SystemTime::now();
                Ok(Some(token).filter(|_| holds))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Error::Answer(format!("a token's validation with {status}"))),
        }
    }

    /// Calls `path` below `/v3` as this node, within the time that a call may take.
    async fn call(
        &self,
        own: &OwnToken,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Error> {
        let answer = self.authorized(own, method, path, headers);
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(done) => done,
            Err(_) => Err(Error::Late),
        }
    }

    /// A token of this node that has become invalid is renewed once.
    async fn authorized(
        &self,
        account: &OwnToken,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, Error> {
        let mut refused = None;
        loop {
            let own = account.get(&self.transport, refused.as_ref()).await?;
            let answer = self
                .transport
                .call(|| {
                    let mut request = self.transport.request(method.clone(), path);
                    request = request.header(AUTH_TOKEN, own.value.clone());
                    for (name, value) in headers {
                        request = request.header(name, value);
                    }
                    request
                })
                .await?;
            match answer.status {
                StatusCode::UNAUTHORIZED if refused.is_none() => refused = Some(own),
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                    return Err(Error::Refused(status));
                }
                _ => return Ok(answer),
            }
        }
    }
}
