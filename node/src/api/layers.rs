//! What surrounds every request, in one pass: request id, version, caller, rendered error, and one
//! line of log.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use crate::{
    api::{
        access::Line,
        caller, cors,
        error::ApiError,
        framing, healthcheck,
        images::{self, Turns},
        openapi,
        router::{self, Resource},
        schemas::Schemas,
        versions::{self, Asked, Offer},
    },
    app::App,
    auth::Call,
    data::download::ChunkUse,
    metrics::Metrics,
    serve::{Client, Service},
    telemetry::{self, AccessLog},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The whole Image API of a node.
pub struct Api {
    /// The node.
    pub(super) app: Arc<App>,
    /// The schema documents.
    pub(super) schemas: Schemas,
    /// The description of the API.
    description: Bytes,
    /// Updates that met a conflict.
    pub(super) turns: Turns,
    /// Pages that cost more than reading their images.
    pub(super) pages: Arc<Semaphore>,
    /// Where lines of requests go.
    log: &'static AccessLog,
}

impl Api {
    /// Of this node.
    pub fn new(app: Arc<App>) -> Self {
        let schemas = Schemas::new(&app.config.image_format);
        let turns = Turns::new();
        let pages = app.config.limits.concurrent_pages;
        let description = openapi::document(&app.config, &schemas);
        Self {
            app,
            schemas,
            description,
            turns,
            pages: Arc::new(Semaphore::new(pages.min(Semaphore::MAX_PERMITS))),
            log: telemetry::access_log(),
        }
    }

    /// The base of absolute URLs, without a slash at its end: as configured, or as the client
    /// reached this node. What it says of that is the name of a host, or refused in `framing`.
    pub(super) fn base(&self, headers: &HeaderMap) -> String {
        let api = &self.app.config.api;
        if !api.public_endpoint.is_empty() {
            return api.public_endpoint.trim_end_matches('/').to_owned();
        }
        let forwarded = if api.enable_proxy_headers_parsing {
            Forwarded::of(headers)
        } else {
            Forwarded::default()
        };
        let host = forwarded
            .host
            .or_else(|| text(headers, "host"))
            .unwrap_or(&api.listen);
        let spoken = match api.tls.files() {
            Some(_) => "https",
            None => "http",
        };
        let scheme = forwarded.scheme.unwrap_or(spoken);
        let prefix = forwarded.prefix.unwrap_or_default();
        format!("{scheme}://{host}{prefix}")
    }
}

/// What a proxy says of the request as it got it (image-api 1.1; oslo.middleware's
/// `HTTPProxyToWSGI`). Links are made of it: what is no scheme, host or path counts as not said.
#[derive(Debug, Default, PartialEq)]
struct Forwarded<'a> {
    scheme: Option<&'static str>,
    host: Option<&'a str>,
    /// Begins with a slash and does not end with one.
    prefix: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// `Forwarded` of the first proxy, or where there is none `X-Forwarded-Proto` and `-Host`; with
    /// either `X-Forwarded-Prefix`.
    fn of(headers: &'a HeaderMap) -> Self {
        let (proto, host) = match text(headers, "forwarded") {
            Some(all) => {
                let (mut proto, mut host) = (None, None);
                for pair in all.split(',').next().unwrap_or_default().split(';') {
                    let (name, value) = pair.split_once('=').unwrap_or_default();
                    // A host with a port must be quoted (RFC 7239 4).
                    let value = value.trim().trim_matches('"');
                    match name.trim() {
                        name if name.eq_ignore_ascii_case("proto") => proto = Some(value),
                        name if name.eq_ignore_ascii_case("host") => host = Some(value),
                        _ => {}
                    }
                }
                (proto, host)
            }
            None => (
                text(headers, "x-forwarded-proto"),
                text(headers, "x-forwarded-host"),
            ),
        };
        let of_a_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
        Self {
            scheme: proto.and_then(|proto| {
                ["http", "https"]
                    .into_iter()
                    .find(|scheme| proto.eq_ignore_ascii_case(scheme))
            }),
            host: host.filter(|host| !host.is_empty() && framing::is_authority(host.as_bytes())),
            prefix: text(headers, "x-forwarded-prefix")
                .filter(|path| path.starts_with('/') && path.bytes().all(of_a_path))
                .map(|path| path.trim_end_matches('/')),
        }
    }
}

/// A header that says something.
fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty()).then_some(value)
}

impl Service for Api {
    async fn answer(&self, request: Request<Body>) -> Response {
        serve(self, request).await
    }
}

/// Answers one request.
async fn serve(api: &Api, mut request: Request<Body>) -> Response {
    let method = request.method().clone();
    let accept = request.headers().get(header::ACCEPT).cloned();
    let limit = api.app.config.limits.max_request_id_length;
    let (id, refused) = match adopted(request.headers().get(&REQUEST_ID), limit) {
        Ok(id) => (id, None),
        Err(error) => (generated(), Some(error)),
    };
    if method == Method::POST {
        // Tasks are made of the request that asked for them.
        request.headers_mut().insert(REQUEST_ID, id.clone());
    }
    let mut line = Line::new(api.log, method.clone(), id.clone());
    line.client = request.extensions().get::<Client>().cloned();
    let granted = cors::granted(&api.app.config.api.cors, &method, request.headers());
    let result = match refused {
        None => {
            // Nothing of ours is left half done by a panic but what the handler itself owned.
            let answer = AssertUnwindSafe(answer(api, request, &mut line));
            match answer.catch_unwind().await {
                Ok(result) => result,
                Err(panic) => Err(panicked(&api.app.metrics, panic.as_ref())),
            }
        }
        Some(error) => Err(error),
    };
    let mut response = match result {
        Ok(response) => response,
        Err(error) => {
            if matches!(
                error.status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            ) {
                note_refusal(&line, &error);
            }
            error.render(accept.as_ref())
        }
    };
    api.app
        .metrics
        .request(line.route, &method, response.status(), line.elapsed());
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(granted) = granted {
        granted.put(response.headers_mut());
    }
    line.answered(response)
}

/// Why a caller may not, for who sets proxy and policy up (`log.level = "debug"`).
fn note_refusal(line: &Line, error: &ApiError) {
    let caller = line.caller.as_deref();
    tracing::debug!(
        request.id = line.id.to_str().unwrap_or_default(),
        http.route = line.route,
        user.id = caller.and_then(|caller| caller.user_id.as_deref()),
        project.id = caller.and_then(|caller| caller.project_id.as_deref()),
        roles = caller.map(|caller| caller.roles.join(",")),
        http.status = error.status.as_u16(),
        cause = match error.cause.as_str() {
            "" => &error.message,
            cause => cause,
        },
        "refused"
    );
}

/// 500 for a request whose handler panicked. What panics once on damaged data may do so again:
/// the node says that it is not ready for a while.
fn panicked(metrics: &Metrics, panic: &(dyn std::any::Any + Send)) -> ApiError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    tracing::error!(panic = text, "a handler panicked");
    metrics.note_panic();
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "")
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

async fn answer(
    api: &Api,
    mut request: Request<Body>,
    line: &mut Line,
) -> Result<Response, ApiError> {
    framing::check(&request)?;
    let options = request.method() == Method::OPTIONS;
    let uri = request.uri().clone();
    // Decoded before it is split, so that an escaped slash separates as a plain one does.
    let path: Cow<'_, str> = match percent_decode_str(uri.path()).decode_utf8() {
        Ok(path) => path,
        Err(_) if options => Cow::Borrowed(""),
        Err(_) => {
            return Err(ApiError::bad_request(
                "The path contains characters that are not UTF-8.",
            ));
        }
    };
    if path == "/healthcheck" {
        line.route = "/healthcheck";
        if options {
            return Ok(Response::new(Body::empty()));
        }
        let client = line.client.as_ref().map(Client::address);
        let (method, headers) = (request.method(), request.headers());
        return healthcheck::answer(method, headers, client, &api.app.config.api).await;
    }
    if path == openapi::PATH {
        line.route = openapi::PATH;
        return match *request.method() {
            Method::GET => Ok(images::json(api.description.clone())),
            Method::OPTIONS => Ok(Response::new(Body::empty())),
            _ => Err(ApiError::method_not_allowed("GET")),
        };
    }
    let offer = Offer::of(&api.app.config);
    let asked = versions::negotiate(&path, request.headers(), offer);
    let resource = match &asked {
        Asked::Resource(rest) => Resource::find(rest),
        Asked::Versions(_) | Asked::Root => None,
    };
    line.route = match &asked {
        Asked::Versions(_) => "/versions",
        Asked::Root => "/v2",
        Asked::Resource(_) => resource.map_or("unknown", Resource::template),
    };
    line.image = resource.and_then(Resource::image);
    if options {
        return Ok(Response::new(Body::empty()));
    }
    match asked {
        Asked::Versions(status) => {
            let base = api.base(request.headers());
            Ok(versions::document(status, &base, offer))
        }
        Asked::Root => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::FOUND;
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("/v2/"));
            Ok(response)
        }
        Asked::Resource(_) => {
            if matches!(resource, Some(Resource::File(_))) && *request.method() == Method::GET {
                let chunks = Arc::new(ChunkUse::default());
                request.extensions_mut().insert(Arc::clone(&chunks));
                line.chunks = Some(chunks);
            }
            let call = Call {
                method: request.method(),
                path: &path,
                headers: request.headers(),
            };
            let context = caller::identify(&api.app, &call).await?;
            line.caller = Some(Arc::clone(&context));
            router::call(api, context, resource, request).await
        }
    }
}

/// The client's request id, with `req-` before it, or a new one where it sends none.
fn adopted(sent: Option<&HeaderValue>, limit: usize) -> Result<HeaderValue, ApiError> {
    let Some(text) = sent.and_then(|value| value.to_str().ok()) else {
        return Ok(generated());
    };
    if text.len() > limit {
        return Err(ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("The request id is longer than {limit} characters."),
        ));
    }
    if text.starts_with("req-") {
        return Ok(sent.cloned().unwrap_or_else(generated));
    }
    Ok(HeaderValue::try_from(format!("req-{text}")).unwrap_or_else(|_| generated()))
}

/// `req-` and a random UUID.
fn generated() -> HeaderValue {
    let mut text = *b"req-00000000-0000-0000-0000-000000000000";
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    if let Some(place) = text.last_chunk_mut::<{ uuid::fmt::Hyphenated::LENGTH }>() {
        id.hyphenated().encode_lower(place);
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopt(text: &'static str) -> Result<HeaderValue, u16> {
        adopted(Some(&HeaderValue::from_static(text)), 64).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn what_a_proxy_forwards_is_taken_only_if_a_link_can_be_made_of_it() {
        let of = |sent: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let found = Forwarded::of(&headers);
            (
                found.scheme,
                found.host.map(str::to_owned),
                found.prefix.map(str::to_owned),
            )
        };
        let host = |name: &str| Some(name.to_owned());
        let (one, two) = (
            "for=192.0.2.1;Proto=HTTPS;host=\"a:8\", host=b",
            "proto=http",
        );
        assert_eq!(
            of(&[("forwarded", one), ("x-forwarded-prefix", "/p/")]),
            (Some("https"), host("a:8"), host("/p"))
        );
        // One of the two kinds speaks.
        let old = [("x-forwarded-proto", "https"), ("x-forwarded-host", "c")];
        assert_eq!(of(&old), (Some("https"), host("c"), None));
        assert_eq!(
            of(&[("forwarded", two), old[0], old[1]]),
            (Some("http"), None, None)
        );
        for bad in ["evil/x", "x@evil", "a, b", "<evil>", ""] {
            assert_eq!(
                of(&[("x-forwarded-host", bad), ("x-forwarded-proto", bad)]),
                (None, None, None)
            );
            assert_eq!(of(&[("x-forwarded-prefix", bad)]), (None, None, None));
        }
        assert_eq!(of(&[("forwarded", "host=\"a/b\";;=")]), (None, None, None));
    }

    #[test]
    fn a_panic_is_a_500_that_is_counted_and_ends_the_connection() {
        let metrics = Metrics::default();
        let error = panicked(&metrics, &"asked for");
        assert_eq!(error.status, 500);
        assert_eq!(error.message, "");
        assert_eq!(error.headers[0].1, "close");
        assert_eq!(metrics.http_panics.get(), 1);
        assert!(metrics.http_last_panic.get() > 1_700_000_000);
    }

    #[test]
    fn a_clients_request_id_is_adopted() {
        assert_eq!(adopt("req-1").unwrap(), "req-1");
        assert_eq!(adopt("1").unwrap(), "req-1");
        assert!(adopt("0123456789012345678901234567890123456789012345678901234567890123").is_ok());
        assert_eq!(
            adopt("01234567890123456789012345678901234567890123456789012345678901234"),
            Err(431)
        );
    }

    #[test]
    fn a_new_request_id_is_made_where_none_is_sent() {
        let (one, two) = (adopted(None, 64).unwrap(), adopted(None, 64).unwrap());
        assert_ne!(one, two);
        let text = one.to_str().unwrap();
        assert_eq!(text.len(), 40);
        assert!(uuid::Uuid::parse_str(text.strip_prefix("req-").unwrap()).is_ok());
    }
}
