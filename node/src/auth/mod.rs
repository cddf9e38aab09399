//! Who calls: every auth mode fills one [`Context`].

mod none;
mod trusted_headers;

use std::sync::Arc;

use crate::{config::AuthMode, policy::Policy};

/// The caller of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// User id.
    pub user_id: Option<String>,
    /// Project id.
    pub project_id: Option<String>,
    /// Role names, lower case.
    pub roles: Vec<String>,
    /// Roles of the service token, lower case.
    pub service_roles: Vec<String>,
    /// Whether the policy rule `context_is_admin` holds; computed once per request.
    pub is_admin: bool,
    /// Token scoped to the system or a domain: no project rule applies to it.
    pub foreign_scope: bool,
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
}

/// The caller of a request with these headers.
pub fn authenticate(
    mode: AuthMode,
    headers: &http::HeaderMap,
    policy: &Policy,
) -> Result<Arc<Context>, Unauthorized> {
    match mode {
        AuthMode::None => Ok(none::context()),
        AuthMode::TrustedHeaders => trusted_headers::context(headers, policy).map(Arc::new),
    }
}

#[cfg(test)]
mod tests;
