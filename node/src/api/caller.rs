//! Who calls: the request's headers to the one [`Context`] that handlers and rules see, or 401, or 503
//! where the identity service cannot be call.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};

use crate::{
    api::error::ApiError,
    app::App,
    auth::{AuthError, Call, Context},
};

/// The caller, or 401 naming the identity service. One that is anonymous may only read.
pub(super) async fn identify(app: &App, call: &Call<'_>) -> Result<Arc<Context>, ApiError> {
    let context = match app.auth.caller(call, &app.policy).await {
        Ok(context) => context,
        Err(cause) => return Err(refused(app, &cause)),
    };
    if context.read_only && !matches!(*call.method, Method::GET | Method::HEAD) {
        return Err(ApiError::forbidden("Anonymous callers may only read."));
    }
    Ok(context)
}

fn refused(app: &App, cause: &AuthError) -> ApiError {
    let error = match cause {
        AuthError::Unauthorized(_) => ApiError::new(StatusCode::UNAUTHORIZED, ""),
        AuthError::Unavailable(_) | AuthError::Busy => {
            return ApiError {
                cause: cause.to_string(),
                ..ApiError::unavailable("The identity service cannot be asked; try again later")
            };
        }
    };
    let error = ApiError {
        cause: cause.to_string(),
        ..error
    };
    // Where tokens are made (image-api 4.1). Nothing that the caller sent.
    let uri = app.config.auth.keystone.www_authenticate_uri();
    match HeaderValue::try_from(format!("Keystone uri=\"{uri}\"")) {
        Ok(value) => error.with_header(header::WWW_AUTHENTICATE, value),
        Err(_) => error,
    }
}
