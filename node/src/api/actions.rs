//! `POST /v2/images/{id}/actions/{deactivate, reactivate}` (image-api 1.4).

use axum::response::Response;
use glimpse_registry::status::Status;
use http::StatusCode;

use crate::{
    api::{authorize, error::ApiError, images},
    app::App,
    auth::Context,
};

/// Withholds the data from all but admins; 204 also when it is withheld already.
pub(super) async fn deactivate(
    app: &App,
    context: &Context,
    id: &str,
) -> Result<Response, ApiError> {
    set(app, context, id, "deactivate", Status::Deactivated).await
}

/// Gives the data back; 204 also when it is active already.
pub(super) async fn reactivate(
    app: &App,
    context: &Context,
    id: &str,
) -> Result<Response, ApiError> {
    set(app, context, id, "reactivate", Status::Active).await
}

async fn set(
    app: &App,
    context: &Context,
    id: &str,
    action: &'static str,
    to: Status,
) -> Result<Response, ApiError> {
    let image = images::find(app, context, id).await?;
    authorize::check(&app.policy, action, context, &image)?;
    // Looked at here too: `queued` → `active` is lawful for an upload, but no reactivation.
    if !matches!(image.status, Status::Active | Status::Deactivated) {
        return Err(ApiError::forbidden(format!(
            "Not allowed to {action} image in status '{}'",
            image.status.as_str()
        )));
    }
    app.registry
        .set_status(image.id, to)
        .await
        .map_err(|error| ApiError::moving(error, StatusCode::FORBIDDEN))?;
    Ok(images::no_content())
}
