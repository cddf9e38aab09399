//! `/v2/images/{id}/stage` and `/v2/images/{id}/import`: no import method is enabled yet
//! (image-api 1.4, 3.1).

use axum::{body::Body, response::Response};
use http::Request;

use crate::{
    api::{body, error::ApiError},
    app::App,
};

/// `PUT .../stage`: 404, as wherever `glance-direct` is not enabled.
pub(super) fn stage() -> Result<Response, ApiError> {
    Err(ApiError::not_found(
        "Staging needs the import method glance-direct, which is not enabled.",
    ))
}

/// `POST .../import`: 400, since the body can name no enabled method.
pub(super) async fn start(app: &App, request: Request<Body>) -> Result<Response, ApiError> {
    let (body, _room) = body::json(request, app).await?;
    let Some(method) = body.get("method") else {
        return Err(ApiError::bad_request(
            "Import request requires a 'method' field.",
        ));
    };
    Err(match method.get("name") {
        Some(name) => ApiError::bad_request(format!("Unknown import method name {name}.")),
        None => ApiError::bad_request("Import request requires a 'name' field."),
    })
}
