//! Who calls: the request's headers to the one [`Context`] that handlers and rules see, or 401.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    api::error::ApiError,
    app::App,
    auth::{self, Context},
};

/// The caller, or 401 naming the identity service.
pub(super) fn identify(app: &App, headers: &HeaderMap) -> Result<Arc<Context>, ApiError> {
    auth::authenticate(app.config.auth.mode, headers, &app.policy).map_err(|cause| {
        let error = ApiError {
            cause: cause.to_string(),
            ..ApiError::new(StatusCode::UNAUTHORIZED, "")
        };
        // Where tokens are made (image-api 4.1). Nothing that the caller sent.
        let uri = &app.config.auth.keystone.auth_url;
        match HeaderValue::try_from(format!("Keystone uri=\"{uri}\"")) {
            Ok(value) => error.with_header(header::WWW_AUTHENTICATE, value),
            Err(_) => error,
        }
    })
}
