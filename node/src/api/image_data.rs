//! `PUT`, `GET` and `HEAD /v2/images/{id}/file`.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    response::Response,
};

use crate::{api::error::ApiError, app::App, auth::Context};

/// `PUT /v2/images/{id}/file`
pub async fn upload(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Arc<Context>>,
    Path(id): Path<String>,
    request: http::Request<Body>,
) -> Result<Response, ApiError> {
    let _ = (app, context, id, request);
    std::future::pending().await
}

/// `GET` and `HEAD /v2/images/{id}/file`
pub async fn download(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Arc<Context>>,
    Path(id): Path<String>,
    request: http::Request<Body>,
) -> Result<Response, ApiError> {
    let _ = (app, context, id, request);
    std::future::pending().await
}
