//! The one mapping from errors to status and body.

use axum::{body::Body, response::Response};
use glimpse_registry::{Error as RegistryError, outcome::Rejection};
use glimpse_replication::Unavailable;
use glimpse_store::StoreError;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    api::{
        attribute::Invalid, list_query::BadQuery, patch::BadPatch, placement::BadLocation,
        precondition::Failed,
    },
    data::{manifests::ManifestError, pipeline::Broken, upload::UploadError},
    http::range::{self, RangeError},
    policy::image::Denied,
};

/// Seconds that a client should wait after any 503 (`Retry-After`). Longer than an election takes, and
/// than a full queue takes to empty; short enough that a person who waits for it notices nothing.
pub const RETRY_AFTER_SECONDS: u32 = 2;

/// An answer that is an error. `message` is for the client and is escaped when shown as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Status code.
    pub status: StatusCode,
    /// The cause in words.
    pub message: String,
    /// What the client is not told, for the log.
    pub cause: String,
    /// `Retry-After` in seconds (503, 429).
    pub retry_after: Option<u32>,
    /// Headers that belong to this answer (`Accept-Patch`, `Content-Range`, `Allow`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with a status and its cause.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            cause: String::new(),
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 403
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// 404
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 413
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// 503 with `Retry-After`
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
        }
    }

    /// The 503 of a bound on what is in progress.
    pub fn busy(what: &str) -> Self {
        Self::unavailable(format!("too many {what} are in progress; try again later"))
    }

    /// The 404 of an image that does not exist for the caller.
    pub fn no_image(id: &str) -> Self {
        Self::not_found(format!("No image found with ID {id}"))
    }

    /// 405 with the methods that the resource has.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "")
            .with_header(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// The same error with one header more.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What a registry error means to a caller whose status move may be refused: the refusal is
    /// 409 for an upload, 403 for (re|de)activation, 400 for a delete (image-api 1.4).
    pub fn moving(error: RegistryError, refused: StatusCode) -> Self {
        let moved = matches!(
            error,
            RegistryError::Rejected(Rejection::ForbiddenMove { .. })
        );
        let mut answer = Self::from(error);
        if moved {
            answer.status = refused;
        }
        answer
    }

    /// What an upload to the image `id` has come to.
    pub fn of_upload(error: UploadError, id: &str) -> Self {
        match error {
            UploadError::Begin(RegistryError::Rejected(Rejection::ImageNotFound)) => {
                Self::no_image(id)
            }
            UploadError::Begin(error) => error.into(),
            UploadError::Quota(error) => error.into(),
            UploadError::Broken(broken) => broken.into(),
            UploadError::Gone => Self::new(StatusCode::GONE, error.to_string()),
            UploadError::Abandoned => Self::conflict(error.to_string()),
            UploadError::Unknown => Self::unavailable(error.to_string()),
        }
    }

    /// A range that image data of `length` bytes does not have.
    pub fn of_range(error: RangeError, length: u64) -> Self {
        match error {
            RangeError::Several => Self::bad_request(error.to_string()),
            RangeError::Unsatisfiable => {
                Self::new(StatusCode::RANGE_NOT_SATISFIABLE, error.to_string())
                    .with_header(header::CONTENT_RANGE, range::unsatisfied_range(length))
            }
        }
    }

    /// The answer, its body chosen by the request's `Accept` (image-api 1.1).
    pub fn render(self, accept: Option<&HeaderValue>) -> Response {
        let (content_type, body) = match preferred(accept) {
            Form::Plain => ("text/plain; charset=UTF-8", plain(&self)),
            Form::Html => ("text/html; charset=UTF-8", html(&self)),
            Form::Json => ("application/json", json(&self)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Rejected(rejection) => rejection.into(),
            RegistryError::Unavailable(Unavailable::TooLarge { .. }) => {
                Self::too_large(error.to_string())
            }
            RegistryError::Unavailable(
                Unavailable::Overloaded
                | Unavailable::NoLeader
                | Unavailable::Full
                | Unavailable::Timeout
                | Unavailable::Stopped(_),
            ) => Self::unavailable(error.to_string()),
            RegistryError::Fault(fault) => {
                tracing::error!(error = %fault, "the registry failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "")
            }
        }
    }
}

impl From<crate::keystone::Error> for ApiError {
    fn from(error: crate::keystone::Error) -> Self {
        Self {
            cause: error.to_string(),
            ..Self::unavailable("The identity service cannot be asked; try again later")
        }
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let status = match &rejection {
            Rejection::ImageNotFound
            | Rejection::MemberNotFound
            | Rejection::TagNotFound
            | Rejection::TaskNotFound
            | Rejection::NamespaceNotFound
            | Rejection::DefinitionNotFound => StatusCode::NOT_FOUND,
            Rejection::IdTaken
            | Rejection::VersionConflict { .. }
            | Rejection::ForbiddenMove { .. }
            | Rejection::UploadAlive
            | Rejection::ImportLocked
            | Rejection::TaskEnded
            | Rejection::TaskLost
            | Rejection::TaskCancelled
            | Rejection::NamespaceExists
            | Rejection::DefinitionExists { .. }
            | Rejection::MemberExists => StatusCode::CONFLICT,
            Rejection::Protected
            | Rejection::FormatsFrozen
            | Rejection::NotShared
            | Rejection::LastLocation
            | Rejection::NamespaceProtected => StatusCode::FORBIDDEN,
            Rejection::FormatsUnset | Rejection::StoreHolds(_) => StatusCode::BAD_REQUEST,
            Rejection::TooManyTasks => return Self::busy("tasks"),
            Rejection::StorageQuota { .. } | Rejection::CountQuota { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Rejection::UploadLost => StatusCode::GONE,
        };
        Self::new(status, rejection.to_string())
    }
}

/// Only writers see a store's error: readers try another location, and tell no more than that the
/// data cannot be read now. So "not found" is a store that has lost its directory (image-api 7.3).
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Exists | StoreError::InUse => Self::conflict(message),
            StoreError::Full | StoreError::KeptFree => Self::too_large(message),
            StoreError::Denied(_) | StoreError::Unavailable(_) => Self::unavailable(message),
            StoreError::Unsupported(_) => Self::new(StatusCode::GONE, message),
            StoreError::BadLocation => Self::bad_request(message),
            StoreError::NotFound | StoreError::Damaged(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
        }
    }
}

/// An upload whose data did not arrive whole, or must not be kept (image-api 1.4).
impl From<Broken> for ApiError {
    fn from(broken: Broken) -> Self {
        let status = match broken {
            Broken::Store(error) => return error.into(),
            Broken::Registry(error) => return error.into(),
            Broken::WrongSize { .. } | Broken::Cut { .. } => StatusCode::BAD_REQUEST,
            Broken::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Broken::Refused(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Broken::Idle(_) => StatusCode::REQUEST_TIMEOUT,
            Broken::Lost => StatusCode::GONE,
            Broken::Fault(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, broken.to_string())
    }
}

impl From<ManifestError> for ApiError {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::Lost
            | ManifestError::Differs
            | ManifestError::Busy
            | ManifestError::Missing
            | ManifestError::Damaged
            | ManifestError::Mismatch => Self::unavailable(error.to_string()),
            // What exactly is for the log.
            ManifestError::Cache(_) | ManifestError::Task(_) => {
                Self::unavailable("the manifest of the image cannot be read now")
            }
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotFound => Self::not_found(""),
            Denied::Forbidden(cause) => Self {
                cause,
                ..Self::forbidden("")
            },
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let status = match &invalid {
            Invalid::ReadOnly(_)
            | Invalid::Reserved(_)
            | Invalid::FormatsFrozen(_)
            | Invalid::NotRemovable(_) => StatusCode::FORBIDDEN,
            Invalid::Schema { .. } | Invalid::KeyLength(_) | Invalid::WideCharacter => {
                StatusCode::BAD_REQUEST
            }
            Invalid::Present(_) | Invalid::Absent(_) => StatusCode::CONFLICT,
            Invalid::Quota { .. } | Invalid::Length { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, invalid.to_string())
    }
}

impl From<BadPatch> for ApiError {
    fn from(bad: BadPatch) -> Self {
        match bad {
            BadPatch::Invalid(invalid) => invalid.into(),
            BadPatch::MediaType => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, bad.to_string())
                .with_header(
                    HeaderName::from_static("accept-patch"),
                    HeaderValue::from_static(crate::api::patch::ACCEPT_PATCH),
                ),
            BadPatch::Malformed(_) => Self::bad_request(bad.to_string()),
            BadPatch::Location(bad) => bad.into(),
        }
    }
}

impl From<BadLocation> for ApiError {
    fn from(bad: BadLocation) -> Self {
        let status = match &bad {
            BadLocation::Form(_)
            | BadLocation::Invalid
            | BadLocation::Position
            | BadLocation::Duplicate
            | BadLocation::NotTheSame => StatusCode::BAD_REQUEST,
            BadLocation::Hidden | BadLocation::Empty | BadLocation::Last => StatusCode::FORBIDDEN,
            BadLocation::Status { .. } | BadLocation::Validation(_) => StatusCode::CONFLICT,
        };
        Self::new(status, bad.to_string())
    }
}

impl From<BadQuery> for ApiError {
    fn from(bad: BadQuery) -> Self {
        Self::bad_request(bad.to_string())
    }
}

impl From<Failed> for ApiError {
    fn from(_: Failed) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "The record has changed: it is not in the state that the request's conditions ask for.",
        )
    }
}

/// The forms that an error body takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `text/plain`
    Plain,
    /// `text/html`
    Html,
    /// `application/json`
    Json,
}

/// Which form the client wants most: HTML before JSON at the same weight, plain text when it wants
/// neither or does not say.
pub(super) fn preferred(accept: Option<&HeaderValue>) -> Form {
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else {
        return Form::Plain;
    };
    let html = quality(accept, "text", "html");
    let json = quality(accept, "application", "json");
    if html > 0 && html >= json {
        Form::Html
    } else if json > 0 {
        Form::Json
    } else {
        Form::Plain
    }
}

/// The weight in thousandths of a media type; the most exact range counts (RFC 9110 12.5.1).
fn quality(accept: &str, kind: &str, subtype: &str) -> u32 {
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let exactness = match name.split_once('/') {
            Some((k, s)) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 3,
            Some((k, "*")) if k.eq_ignore_ascii_case(kind) => 2,
            Some(("*", "*")) => 1,
            _ => continue,
        };
        let weight = parts
            .filter_map(|parameter| parameter.trim().strip_prefix("q="))
            .find_map(|q| q.trim().parse::<f32>().ok())
            .map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32);
        if exactness > best.0 {
            best = (exactness, weight);
        }
    }
    best.1
}

/// `404 Not Found`
fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), title(status))
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// Characters of a cause that are shown. It may repeat what the client sent, which may be as long as
/// a body, and in HTML six times as long.
const CAUSE: usize = 1024;

/// The cause, or what the status says by itself.
fn explanation(error: &ApiError) -> &str {
    let message = error.message.as_str();
    if !message.is_empty() {
        let end = message.char_indices().nth(CAUSE).map(|(end, _)| end);
        return end.and_then(|end| message.get(..end)).unwrap_or(message);
    }
    match error.status {
        StatusCode::UNAUTHORIZED => {
            "This server could not verify that you are authorized to \
            access the document you requested."
        }
        StatusCode::FORBIDDEN => "You are not authorized to complete this action.",
        StatusCode::NOT_FOUND => "The resource could not be found.",
        StatusCode::METHOD_NOT_ALLOWED => "The method is not allowed for this resource.",
        StatusCode::NOT_IMPLEMENTED => "The method is not implemented.",
        StatusCode::INTERNAL_SERVER_ERROR => {
            "The server has either erred or is incapable of \
            performing the requested operation."
        }
        status => title(status),
    }
}

fn plain(error: &ApiError) -> String {
    format!(
        "{}\n\n{}\n\n   ",
        status_line(error.status),
        explanation(error)
    )
}

fn html(error: &ApiError) -> String {
    let status = status_line(error.status);
    format!(
        "<html>\n <head>\n  <title>{status}</title>\n </head>\n <body>\n  <h1>{status}</h1>\n  \
         {}<br /><br />\n\n\n </body>\n</html>",
        escape(explanation(error))
    )
}

fn json(error: &ApiError) -> String {
    serde_json::json!({
        "message": explanation(error),
        "code": status_line(error.status),
        "title": title(error.status),
    })
    .to_string()
}

/// The text with all that HTML gives a meaning to replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Form {
        preferred(Some(&HeaderValue::from_static(accept)))
    }

    #[test]
    fn the_body_form_follows_accept() {
        assert_eq!(preferred(None), Form::Plain);
        assert_eq!(form(""), Form::Plain);
        assert_eq!(form("*/*"), Form::Html);
        assert_eq!(form("text/html"), Form::Html);
        assert_eq!(form("text/*;q=0.5, application/json"), Form::Json);
        assert_eq!(form("application/json"), Form::Json);
        assert_eq!(form("application/json, */*"), Form::Html);
        assert_eq!(form("application/json, */*;q=0.8"), Form::Json);
        assert_eq!(form("text/plain"), Form::Plain);
        assert_eq!(form("text/html;q=0, */*"), Form::Json);
        assert_eq!(form("image/png;q=x, TEXT/HTML"), Form::Html);
    }

    #[test]
    fn html_bodies_escape_what_the_client_sent() {
        let error = ApiError::bad_request("<script>alert('x & \"y\"')</script>");
        let body = html(&error);
        assert!(!body.contains("<script>"), "{body}");
        assert!(body.contains("&lt;script&gt;alert(&#x27;x &amp; &quot;y&quot;&#x27;)"));
    }

    #[test]
    fn what_an_error_repeats_of_a_request_has_a_bound() {
        let error = ApiError::bad_request("é".repeat(1 << 20));
        assert_eq!(explanation(&error), "é".repeat(CAUSE));
    }

    #[test]
    fn json_bodies_name_message_code_and_title() {
        let error = ApiError::no_image("x\"y");
        let value: serde_json::Value = serde_json::from_str(&json(&error)).unwrap();
        assert_eq!(value["code"], "404 Not Found");
        assert_eq!(value["title"], "Not Found");
        assert_eq!(value["message"], "No image found with ID x\"y");
    }

    #[test]
    fn a_405_lists_the_methods_and_a_503_says_when_to_come_back() {
        let response = ApiError::method_not_allowed("GET, POST").render(None);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "GET, POST");
        let response =
            ApiError::from(RegistryError::Unavailable(Unavailable::NoLeader)).render(None);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        let silent = || RegistryError::Unavailable(Unavailable::NoLeader);
        for error in [
            ApiError::busy("uploads"),
            ApiError::from(silent()),
            ApiError::from(StoreError::Denied("x".into())),
            ApiError::from(Broken::Store(StoreError::Unavailable("x".into()))),
            ApiError::from(Broken::Registry(silent())),
            ApiError::of_upload(UploadError::Begin(silent()), "id"),
            ApiError::of_upload(UploadError::Unknown, "id"),
        ] {
            assert_eq!(error.status, 503, "{error:?}");
            assert_eq!(error.retry_after, Some(RETRY_AFTER_SECONDS), "{error:?}");
        }
    }

    #[test]
    fn an_error_has_one_status_on_whichever_way_it_comes() {
        for rejection in [
            Rejection::FormatsUnset,
            Rejection::UploadLost,
            Rejection::Protected,
        ] {
            let refused = || RegistryError::Rejected(rejection.clone());
            let plain = ApiError::from(rejection.clone());
            assert_eq!(ApiError::from(Broken::Registry(refused())), plain);
            let begun = ApiError::of_upload(UploadError::Begin(refused()), "id");
            assert_eq!(begun, plain);
        }
        let stored = ApiError::of_upload(Broken::Store(StoreError::Full).into(), "id");
        assert_eq!(stored, ApiError::from(StoreError::Full));
    }

    #[test]
    fn a_refused_status_move_answers_as_its_caller_says() {
        use glimpse_registry::status::Status;
        let refusal = || {
            RegistryError::Rejected(Rejection::ForbiddenMove {
                from: Status::Queued,
                to: Status::Deactivated,
            })
        };
        assert_eq!(ApiError::from(refusal()).status, 409);
        assert_eq!(
            ApiError::moving(refusal(), StatusCode::FORBIDDEN).status,
            403
        );
        let other = RegistryError::Rejected(Rejection::ImageNotFound);
        assert_eq!(ApiError::moving(other, StatusCode::FORBIDDEN).status, 404);
    }
}
