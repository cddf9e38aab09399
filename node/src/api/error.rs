//! The one mapping from errors to status and body.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// An answer that is an error. `message` is for the client and is escaped when shown as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Status code.
    pub status: StatusCode,
    /// The cause in words.
    pub message: String,
    /// `Retry-After` in seconds (503, 429).
    pub retry_after: Option<u32>,
    /// Headers that belong to this answer (`Accept-Patch`, `Content-Range`, `Allow`).
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

impl ApiError {
    /// An error with a status and its cause.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            headers: Vec::new(),
        }
    }
}

impl IntoResponse for ApiError {
    /// The status with the error as an extension; the outermost layer renders the body by `Accept`.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<glimpse_registry::Error> for ApiError {
    fn from(error: glimpse_registry::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<glimpse_store::StoreError> for ApiError {
    fn from(error: glimpse_store::StoreError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}
