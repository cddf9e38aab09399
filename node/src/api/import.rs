//! `POST /v2/images/{id}/import`: the checks in the order in which they win, then a task that does the
//! work (image-api 3.1).

use std::sync::Arc;

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError,
    image::Image,
    outcome::Rejection,
    status::Status,
    task::{NewTask, Plan, Source, Task, TaskId, TaskKind},
};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    api::{authorize, body, error::ApiError, images},
    app::App,
    auth::Context,
};

/// Bytes of a text within an import request at most: what clients send here are names and URLs.
const TEXT: usize = 2048;

/// What is asked for.
pub(super) struct Asked {
    source: Source,
    /// `stores`, or the header's one.
    stores: Option<Vec<String>>,
    all_stores: bool,
    must_succeed: bool,
    /// What a task shows of it.
    shown: Value,
}

/// `POST .../import`
pub(super) async fn start(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let (body, _room) = body::json(request, app).await?;
    let asked = parse(app, &body)?;
    let image = images::find(app, context, id).await?;
    check_state(&image, &asked.source)?;
    let rule = match asked.source {
        Source::Store => "copy_image",
        Source::Staged | Source::Web { .. } | Source::Region { .. } => "modify_image",
    };
    authorize::check(&app.policy, rule, context, &image)?;
    check_lock(app, &image)?;
    let Some(stores) = targets(app, &image, &asked, &headers)? else {
        return Ok(accepted());
    };
    if let Source::Web { uri } = &asked.source {
        check_uri(app, uri).await?;
    }
    let input = json!({
        "image_id": image.id.to_string(),
        "import_req": asked.shown,
        "backend": stores,
    });
    let making = Making {
        kind: TaskKind::ApiImageImport,
        input,
        source: asked.source,
        stores,
        must_succeed: asked.must_succeed,
    };
    begin(app, context, &image, making, &headers).await?;
    Ok(accepted())
}

/// 400 for what may not be fetched (image-api 3.6), whatever the reason.
pub(super) async fn check_uri(app: &App, uri: &str) -> Result<(), ApiError> {
    app.outbound.check(uri).await.map_err(|refused| ApiError {
        cause: refused.to_string(),
        ..ApiError::bad_request("URI for web-download does not pass filtering")
    })
}

/// What a task is made of.
pub(super) struct Making {
    /// Shown as.
    pub(super) kind: TaskKind,
    /// What was asked for, as it is shown.
    pub(super) input: Value,
    /// From where,
    pub(super) source: Source,
    /// to these stores.
    pub(super) stores: Vec<String>,
    /// Whether all of them must take it.
    pub(super) must_succeed: bool,
}

/// Makes the task.
pub(super) async fn begin(
    app: &App,
    context: &Context,
    image: &Image,
    making: Making,
    headers: &HeaderMap,
) -> Result<Task, ApiError> {
    let config = &app.config.import;
    let exempt = &config.inject.ignore_user_roles;
    let task = NewTask {
        kind: making.kind,
        owner: context.project_id.clone(),
        user: context.user_id.clone(),
        request: headers
            .get("x-openstack-request-id")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned),
        input: making.input.to_string(),
        plan: Plan {
            source: making.source,
            stores: making.stores,
            must_succeed: making.must_succeed,
            inject: !context.roles.iter().any(|role| exempt.contains(role)),
            keep: u64::try_from(config.task_time_to_live.as_micros()).unwrap_or(u64::MAX),
        },
    };
    let id = TaskId::from_random(rand::random());
    let allowed = app.allowed(image.attributes.owner.as_deref()).await?;
    let most = u64::try_from(config.max_jobs).unwrap_or(u64::MAX);
    let begun = app
        .registry
        .within(allowed.bounds)
        .begin_task(id, image.id, task, allowed.bytes, config.lock_timeout, most)
        .await;
    app.data.jobs.wake.notify_one();
    begun.map_err(|error| match error {
        RegistryError::Rejected(Rejection::ImageNotFound) => {
            ApiError::no_image(&image.id.to_string())
        }
        RegistryError::Rejected(Rejection::FormatsUnset) => {
            ApiError::conflict("the formats of the image need to be set before import")
        }
        error @ (RegistryError::Rejected(_)
        | RegistryError::Unavailable(_)
        | RegistryError::Fault(_)) => error.into(),
    })
}

/// Reads the body. Keys that are not known are ignored, and not kept.
fn parse(app: &App, body: &Value) -> Result<Asked, ApiError> {
    let bad = |text: &str| Err(ApiError::bad_request(text));
    let Some(method) = body.get("method") else {
        return bad("Import request requires a 'method' field.");
    };
    let Some(name) = method.get("name") else {
        return bad("Import request requires a 'name' field.");
    };
    let source = match name.as_str().filter(|name| app.config.import.offers(name)) {
        Some("glance-direct") => Source::Staged,
        Some("copy-image") => Source::Store,
        Some("web-download") => match method.get("uri").and_then(Value::as_str) {
            Some(uri) => Source::Web {
                uri: uri.to_owned(),
            },
            None => return bad("'uri' needs to be set for web-download import method"),
        },
        _ => {
            let name = name
                .as_str()
                .map_or_else(|| name.to_string(), str::to_owned);
            return Err(ApiError::bad_request(format!(
                "Unknown import method name '{name}'."
            )));
        }
    };
    let flag = |key: &str, default| match body.get(key) {
        None => Ok(default),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(ApiError::bad_request(format!(
            "'{key}' must be boolean value only"
        ))),
    };
    let must_succeed = flag("all_stores_must_succeed", true)?;
    let all_stores = flag("all_stores", false)?;
    let stores = match body.get("stores") {
        None => None,
        Some(stores) => Some(names(stores)?),
    };
    let mut shown = Map::new();
    for key in ["method", "stores", "all_stores", "all_stores_must_succeed"] {
        let value = match (key, body.get(key)) {
            ("method", _) => known_keys(method)?,
            (_, Some(value)) => value.clone(),
            (_, None) => continue,
        };
        shown.insert(key.to_owned(), value);
    }
    Ok(Asked {
        source,
        stores,
        all_stores,
        must_succeed,
        shown: Value::Object(shown),
    })
}

/// A list of names of stores, none twice.
fn names(value: &Value) -> Result<Vec<String>, ApiError> {
    let bad = || ApiError::bad_request("'stores' must be a list of names of stores");
    let mut names: Vec<String> = Vec::new();
    for name in value.as_array().ok_or_else(bad)? {
        let name = name
            .as_str()
            .filter(|name| name.len() <= TEXT)
            .ok_or_else(bad)?;
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    match names.is_empty() {
        true => Err(bad()),
        false => Ok(names),
    }
}

/// The keys of a method that mean something.
fn known_keys(method: &Value) -> Result<Value, ApiError> {
    const KEYS: [&str; 5] = [
        "name",
        "uri",
        "glance_region",
        "glance_image_id",
        "glance_service_interface",
    ];
    let mut known = Map::new();
    for key in KEYS {
        match method.get(key) {
            None => {}
            Some(Value::String(text)) if text.len() <= TEXT => {
                known.insert(key.to_owned(), text.as_str().into());
            }
            Some(_) => {
                return Err(ApiError::bad_request(format!(
                    "'{key}' must be a text of {TEXT} bytes at most"
                )));
            }
        }
    }
    Ok(Value::Object(known))
}

/// 409 where the method does not begin with such an image.
fn check_state(image: &Image, source: &Source) -> Result<(), ApiError> {
    let (status, refusal) = match source {
        Source::Store => (
            Status::Active,
            "Only images with status active can be targeted for copying",
        ),
        _ if image.status == Status::Active => (
            Status::Queued,
            "Image with status active cannot be target for import",
        ),
        Source::Staged => (
            Status::Uploading,
            "Image needs to be staged before 'glance-direct' method can be used",
        ),
        Source::Web { .. } | Source::Region { .. } => (
            Status::Queued,
            "Image needs to be in 'queued' state to use this method",
        ),
    };
    if image.status != status {
        return Err(ApiError::conflict(refusal));
    }
    let attributes = &image.attributes;
    for (name, format) in [
        ("container_format", &attributes.container_format),
        ("disk_format", &attributes.disk_format),
    ] {
        if format.is_none() {
            return Err(ApiError::conflict(format!(
                "'{name}' needs to be set before import"
            )));
        }
    }
    Ok(())
}

/// 409 where another task holds the image. Whether its lock can be taken, the registry decides.
fn check_lock(app: &App, image: &Image) -> Result<(), ApiError> {
    let Some(holder) = image.import.as_ref().and_then(|import| import.task) else {
        return Ok(());
    };
    let Some(task) = app.registry.read_local().task(holder)? else {
        return Ok(());
    };
    let age = app.registry.clock().0.saturating_sub(task.updated_at.0);
    match u128::from(age) < app.config.import.lock_timeout.as_micros() {
        true => Err(Rejection::ImportLocked.into()),
        false => Ok(()),
    }
}

/// The stores to fill; `None`: there is nothing to do.
fn targets(
    app: &App,
    image: &Image,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Option<Vec<String>>, ApiError> {
    let header = headers
        .get("x-image-meta-store")
        .map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
    let takes = |name: &String| {
        app.stores
            .get(name)
            .is_some_and(|s| s.store.capabilities().writable)
    };
    let mut stores = match (asked.all_stores, &asked.stores, header) {
        (true, None, None) => app
            .stores
            .by_name
            .keys()
            .filter(|n| takes(n))
            .cloned()
            .collect(),
        (true, ..) => {
            return Err(ApiError::bad_request(
                "All_stores parameter can't be used with x-image-meta-store header or stores \
                 parameter",
            ));
        }
        (false, Some(_), Some(_)) => {
            return Err(ApiError::bad_request(
                "Stores parameter and x-image-meta-store header can't be both specified",
            ));
        }
        (false, Some(stores), None) => stores.clone(),
        (false, None, Some(header)) => vec![header],
        (false, None, None) => vec![app.stores.default.clone()],
    };
    if let Some(unknown) = stores.iter().find(|name| !takes(name)) {
        return Err(ApiError::conflict(match app.stores.get(unknown) {
            Some(_) => format!("store {unknown:?} takes no data"),
            None => format!("store {unknown:?} is not configured"),
        }));
    }
    if asked.source == Source::Store {
        let holds = |name: &String| image.locations.iter().any(|l| l.store == *name);
        if asked.all_stores {
            stores.retain(|name| !holds(name));
        } else if let Some(held) = stores.iter().find(|name| holds(name)) {
            return Err(Rejection::StoreHolds(held.clone()).into());
        }
    }
    Ok(Some(stores).filter(|stores| !stores.is_empty()))
}

/// 202 without a body.
fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
