//! `/v2/cache`: not offered yet, so 404, but only to those who might manage it (image-api 1.8).

use axum::response::Response;

use crate::{api::error::ApiError, app::App, auth::Context, policy::image::check_project};

/// Every call: 403 by the rule, else 404.
pub(super) fn refuse(app: &App, context: &Context, rule: &str) -> Result<Response, ApiError> {
    check_project(&app.policy, rule, context)?;
    Err(ApiError::not_found(
        "Caching via API is not supported at this site.",
    ))
}
