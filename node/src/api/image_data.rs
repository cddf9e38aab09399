//! `PUT`, `GET` and `HEAD /v2/images/{id}/file`: parse, authorize, call `data`, render
//! (image-api 1.4).

use std::sync::Arc;

use axum::{body::Body, response::Response};
use glimpse_registry::{image::Image, outcome::Rejection, status::Status};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;

use crate::{
    api::{authorize, error::ApiError, images},
    app::{App, NamedStore},
    auth::Context,
    data::{
        download::{ChunkBody, ChunkUse},
        manifests::Known,
        pipeline::Broken,
        slots::{Slot, Taken},
        source::Locations,
        upload::{self, Job},
    },
    http::{
        conditional::{self, Condition},
        range::{self, Wanted},
    },
};

/// `PUT /v2/images/{id}/file`
pub(crate) async fn upload(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    request: http::Request<Body>,
) -> Result<Response, ApiError> {
    receive(app, context, id, request, Target::Store).await
}

/// `PUT /v2/images/{id}/stage`: the same to staging, to be imported from there.
pub(crate) async fn stage(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    request: http::Request<Body>,
) -> Result<Response, ApiError> {
    receive(app, context, id, request, Target::Staging).await
}

/// Where data is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Store,
    Staging,
}

async fn receive(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    request: http::Request<Body>,
    target: Target,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let expects_continue = parts.headers.contains_key(header::EXPECT);
    let accepted = match accept_upload(app, context, id, &parts.headers, target).await {
        Ok(accepted) => accepted,
        Err(error) => {
            if !expects_continue {
                upload::drain(app, body);
            }
            return Err(closing(error));
        }
    };
    let Accepted {
        image,
        store,
        declared,
        slot,
    } = accepted;
    let job = Job {
        image,
        store,
        declared,
        body,
        expects_continue,
    };
    match upload::run(Arc::clone(app), job, slot).await {
        Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(error) => Err(closing(ApiError::of_upload(error, id))),
    }
}

/// An upload whose head is in order.
struct Accepted {
    image: Arc<Image>,
    store: NamedStore,
    declared: Option<u64>,
    slot: Slot,
}

/// Every check that needs no byte of the body, in the order of image-api 1.4.
async fn accept_upload(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    headers: &HeaderMap,
    target: Target,
) -> Result<Accepted, ApiError> {
    let staging = target == Target::Staging;
    if staging && !app.config.import.offers("glance-direct") {
        return Err(ApiError::not_found(
            "Staging needs the import method glance-direct, which is not enabled.",
        ));
    }
    if !is_octet_stream(headers) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "image data must be sent as Content-Type application/octet-stream",
        ));
    }
    let (rule, to) = match target {
        Target::Store => ("upload_image", Status::Saving),
        Target::Staging => ("modify_image", Status::Uploading),
    };
    let image = find(app, context, id, &[rule]).await?;
    let store = match target {
        Target::Store => target_store(app, headers)?,
        Target::Staging => app.staging.named.clone(),
    };
    let declared = declared_size(headers)?;
    if image.status != Status::Queued {
        let from = image.status;
        return Err(Rejection::ForbiddenMove { from, to }.into());
    }
    let formats = (
        &image.attributes.disk_format,
        &image.attributes.container_format,
    );
    if !staging && (formats.0.is_none() || formats.1.is_none()) {
        return Err(Rejection::FormatsUnset.into());
    }
    let cap = app.config.limits.image_size_cap;
    if declared.is_some_and(|size| size > cap) {
        return Err(Broken::TooLarge { cap }.into());
    }
    let slot = app
        .upload_slots
        .take(context.project_id.as_deref())
        .map_err(|taken| {
            app.metrics.refuse_upload("slots");
            ApiError::busy(match taken {
                Taken::Node => "uploads",
                Taken::Project => "uploads of the project",
            })
        })?;
    Ok(Accepted {
        image,
        store,
        declared,
        slot,
    })
}

/// `GET` and `HEAD /v2/images/{id}/file`
pub(crate) async fn download(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    request: http::Request<Body>,
) -> Result<Response, ApiError> {
    // A body is refused by the router, and is not read here.
    let (request, _) = request.into_parts();
    let prefer = preferred_stores(request.uri.query().unwrap_or_default());
    let rules: &[&str] = match prefer.is_empty() {
        true => &["download_image"],
        false => &["download_image", "download_from_store"],
    };
    let image = find(app, context, id, rules).await?;
    if image.status == Status::Deactivated && !context.is_admin {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "the image has been deactivated; its data cannot be downloaded",
        ));
    }
    if let Some(unknown) = prefer.iter().find(|name| app.stores.get(name).is_none()) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("store {unknown:?} is not configured"),
        ));
    }
    if image.locations.is_empty() {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    // HEAD too: both may have to wait until a lost manifest is made from all of the data.
    let slot = app
        .download_slots
        .take(context.project_id.as_deref())
        .map_err(|taken| {
            app.metrics.refuse_download("slots");
            ApiError::busy(match taken {
                Taken::Node => "downloads",
                Taken::Project => "downloads of the project",
            })
        })?;
    // Bytes that no manifest vouches for are not served: whoever is first waits until there is one.
    let known = app
        .data
        .manifests
        .of(&image, app)
        .await
        .inspect_err(|error| {
            app.metrics.refuse_download("manifest");
            if app.data.said.first(image.id, "no manifest") {
                tracing::error!(image.id = %image.id, %error, "no manifest");
            }
        })?;
    answer(app, &image, known, &prefer, &request, slot).await
}

/// Conditions, range, headers and body of a download that is allowed.
async fn answer(
    app: &Arc<App>,
    image: &Image,
    known: Arc<Known>,
    prefer: &[String],
    request: &http::request::Parts,
    slot: Slot,
) -> Result<Response, ApiError> {
    let (method, headers) = (&request.method, &request.headers);
    let length = known.manifest.length();
    let etag = known.etag.clone();
    let tag = etag.to_str().unwrap_or_default();
    match conditional::evaluate(method, headers, Some(tag)) {
        Condition::Proceed => {}
        Condition::NotModified => {
            let mut response = empty(StatusCode::NOT_MODIFIED);
            response.headers_mut().insert(header::ETAG, etag);
            return Ok(response);
        }
        Condition::Failed => {
            return Err(ApiError::new(
                StatusCode::PRECONDITION_FAILED,
                "the image data is not what If-Match names",
            ));
        }
    }
    // RFC 9110 14.2: a range means something to GET only.
    let wanted = if *method == Method::GET && conditional::if_range_holds(headers, tag) {
        range::wanted(headers, length).map_err(|error| ApiError::of_range(error, length))?
    } else {
        Wanted::Whole
    };
    let (status, part) = match &wanted {
        Wanted::Whole => (StatusCode::OK, 0..length),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part.clone()),
    };
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        let locations = Arc::new(Locations::of(image, &app.stores, prefer));
        let chunks = request.extensions.get::<Arc<ChunkUse>>();
        let mut body = ChunkBody::new(
            Arc::clone(app),
            known,
            locations,
            chunks.cloned().unwrap_or_default(),
            part.clone(),
            slot,
        );
        body.first().await.map_err(|error| {
            let no_room = error == glimpse_cache::Error::NoRoom;
            app.metrics
                .refuse_download(if no_room { "cache" } else { "unreadable" });
            ApiError::unavailable(format!("the image data cannot be read now: {error}"))
        })?;
        Body::new(body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let out = response.headers_mut();
    // Those below, and the request's id that `layers` adds: past its room the map is made anew.
    out.reserve(7);
    out.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    out.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::ETAG, etag);
    // Hex of the whole image, as clients expect it, also on 206 (image-api 1.4).
    if let Some(md5) = image.checksum.as_deref()
        && let Ok(md5) = HeaderValue::from_str(md5)
    {
        out.insert(header::HeaderName::from_static("content-md5"), md5);
    }
    if let Wanted::Part(part) = &wanted {
        out.insert(header::CONTENT_RANGE, range::content_range(part, length));
    }
    Ok(response)
}

/// The image, if every rule allows the caller to use it so.
async fn find(
    app: &App,
    context: &Context,
    id: &str,
    rules: &[&str],
) -> Result<Arc<Image>, ApiError> {
    let image = images::find(app, context, id).await?;
    for rule in rules {
        authorize::check(&app.policy, rule, context, &image)?;
    }
    Ok(image)
}

fn is_octet_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| {
            media
                .trim()
                .eq_ignore_ascii_case("application/octet-stream")
        })
}

/// `x-image-meta-store`, or the default store.
fn target_store(app: &App, headers: &HeaderMap) -> Result<NamedStore, ApiError> {
    let name = match headers.get("x-image-meta-store") {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => app.stores.default.clone(),
    };
    let store = app.stores.get(&name).ok_or_else(|| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("store {name:?} is not configured"),
        )
    })?;
    if !store.store.capabilities().writable {
        return Err(ApiError::new(
            StatusCode::GONE,
            format!("store {name:?} takes no uploads"),
        ));
    }
    Ok(store.clone())
}

/// The announced size: `x-openstack-image-size`, else `Content-Length`; both must agree.
fn declared_size(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let read = |name: &str| match headers.get(name) {
        None => Ok(None),
        Some(value) => value
            .to_str()
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse::<u64>().ok())
            .map(Some)
            .ok_or_else(|| {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    format!("{name} is not a number of bytes"),
                )
            }),
    };
    match (read("x-openstack-image-size")?, read("content-length")?) {
        (Some(declared), Some(length)) if declared != length => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!(
                "x-openstack-image-size announces {declared} bytes, Content-Length {length} bytes"
            ),
        )),
        (declared, length) => Ok(declared.or(length)),
    }
}

/// The names in `prefer=a,b`.
fn preferred_stores(query: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("prefer="))
        .flat_map(|value| {
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            value
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The body was not read to its end, so the connection cannot be used again.
fn closing(mut error: ApiError) -> ApiError {
    error
        .headers
        .push((header::CONNECTION, HeaderValue::from_static("close")));
    error
}
