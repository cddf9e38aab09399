//! `/v2/cache`: not offered yet, so 404, but only to those who might manage it (image-api 1.8).

use axum::response::Response;

use crate::{
    api::{authorize, error::ApiError},
    app::App,
    auth::Context,
};

/// Every call: 403 by the rule, else 404.
pub(super) fn refuse(app: &App, context: &Context, rule: &str) -> Result<Response, ApiError> {
    authorize::check_own(&app.policy, rule, context)?;
    Err(ApiError::not_found(
        "Caching via API is not supported at this site.",
    ))
}
