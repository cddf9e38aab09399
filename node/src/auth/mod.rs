//! Who calls: every auth mode fills one [`Context`].

pub mod keystone;
mod none;
mod trusted_headers;

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, Method};

use crate::{
    config::{AuthConfig, AuthMode},
    keystone::{Keystone, SetupError},
    metrics::Metrics,
    policy::{Policy, Target},
};
use keystone::Tokens;

/// The caller of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// User id.
    pub user_id: Option<String>,
    /// Id of the user's domain.
    pub user_domain_id: Option<String>,
    /// Project id.
    pub project_id: Option<String>,
    /// Id of the project's domain.
    pub project_domain_id: Option<String>,
    /// Role names, lower case.
    pub roles: Vec<String>,
    /// Roles of the service token, lower case.
    pub service_roles: Vec<String>,
    /// Whether the policy rule `context_is_admin` holds; computed once per request.
    pub is_admin: bool,
    /// Token scoped to the system or a domain: no project rule applies to it.
    pub foreign_scope: bool,
    /// May change nothing: an anonymous caller.
    pub read_only: bool,
}

/// What of a request says who calls.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, decoded, as it is routed.
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The request proves no identity: 401. The text is for the log; the client learns no more than
/// that it is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// `X-Identity-Status` is not `Confirmed`.
    #[error("the identity is not confirmed")]
    NotConfirmed,
    /// An identity header is not printable ASCII, or is given more than once: it does not come
    /// from the proxy.
    #[error("header `{0}` is malformed or given twice")]
    Malformed(&'static str),
    /// There is none.
    #[error("no token")]
    NoToken,
    /// The identity service does not know it, or not any more.
    #[error("the token is invalid")]
    InvalidToken,
    /// The application credential is not for this call.
    #[error("no access rule of the application credential allows this")]
    AccessRules,
}

/// Why a request has no caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// 401
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// Nobody can tell: 503. The text is for the log.
    #[error(transparent)]
    Unavailable(#[from] crate::keystone::Error),
    /// As many tokens as may wait to be validated: 503.
    #[error("auth.keystone.queued_validations are running or waiting")]
    Busy,
}

/// The configured way to tell who calls.
#[derive(Debug)]
pub struct Auth {
    mode: Mode,
    allow_anonymous: bool,
}

#[derive(Debug)]
enum Mode {
    None,
    Keystone(Tokens),
    TrustedHeaders,
}

impl Auth {
    /// Of this configuration. Calls nobody.
    pub fn new(config: &AuthConfig, metrics: &Arc<Metrics>) -> Result<Self, SetupError> {
        let mode = match config.mode {
            AuthMode::None => Mode::None,
            AuthMode::Keystone => {
                let service = Arc::new(Keystone::new(&config.keystone)?);
                Mode::Keystone(Tokens::new(service, &config.keystone, metrics))
            }
            AuthMode::TrustedHeaders => Mode::TrustedHeaders,
        };
        Ok(Self {
            mode,
            allow_anonymous: config.allow_anonymous,
        })
    }

    /// The caller of a request.
    pub async fn caller(
        &self,
        call: &Call<'_>,
        policy: &Policy,
    ) -> Result<Arc<Context>, AuthError> {
        let caller = match &self.mode {
            Mode::None => return Ok(none::context()),
            Mode::Keystone(tokens) => tokens.caller(call, policy).await,
            Mode::TrustedHeaders => trusted_headers::context(call.headers, policy)
                .map(Arc::new)
                .map_err(AuthError::from),
        };
        match caller {
            Err(AuthError::Unauthorized(_)) if self.allow_anonymous => Ok(ANONYMOUS.clone()),
            caller => caller,
        }
    }

    /// Tokens of the identity service, in the mode that has them.
    pub fn tokens(&self) -> Option<&Tokens> {
        match &self.mode {
            Mode::Keystone(tokens) => Some(tokens),
            Mode::None | Mode::TrustedHeaders => None,
        }
    }
}

/// `auth.allow_anonymous`: who proves no identity sees what a reader of any project sees. The project is
/// one that there is not: no token and no proxy can name it, and no image or member is of it. Without
/// one, rules about the caller's own project would refuse even a list of what is public.
static ANONYMOUS: LazyLock<Arc<Context>> = LazyLock::new(|| {
    Arc::new(Context {
        project_id: Some(String::new()),
        roles: vec!["reader".to_owned()],
        read_only: true,
        ..Context::default()
    })
});

/// The token that a request came with, for what is done with the caller's own rights elsewhere.
pub fn token(headers: &HeaderMap) -> Option<&HeaderValue> {
    keystone::user_token(headers).ok().flatten()
}

/// Whether the policy calls this caller an admin; it is asked about the caller itself.
fn is_admin(policy: &Policy, context: &Context) -> bool {
    let own_project = Target {
        owner: context.project_id.as_deref(),
        ..Target::default()
    };
    policy.allows("context_is_admin", context, &own_project)
}

#[cfg(test)]
mod tests;
