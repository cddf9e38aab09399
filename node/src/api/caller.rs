//! Who calls: the request's headers to the one [`Context`] that handlers and rules see, or 401.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    api::error::ApiError,
    app::App,
    auth::{self, Context},
};

/// The caller, or 401 naming the identity service.
pub(super) fn identify(
    app: &App,
    headers: &HeaderMap,
    base: impl FnOnce() -> String,
) -> Result<Arc<Context>, ApiError> {
    auth::authenticate(app.config.auth.mode, headers, &app.policy).map_err(|cause| {
        tracing::debug!(%cause, "a request without identity");
        let error = ApiError::new(StatusCode::UNAUTHORIZED, "");
        match HeaderValue::try_from(format!("Keystone uri=\"{}\"", base())) {
            Ok(value) => error.with_header(header::WWW_AUTHENTICATE, value),
            Err(_) => error,
        }
    })
}
