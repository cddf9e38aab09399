//! `/v2/tasks` and `/v2/images/{id}/tasks` (image-api 1.7).

use axum::{body::Body, response::Response};
use glimpse_registry::task::{Source, Task, TaskId, TaskKind, TaskStatus};
use http::{HeaderValue, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    api::{
        authorize, body,
        error::ApiError,
        images, import,
        list_query::{self, BadQuery},
        task_view,
    },
    app::App,
    auth::Context,
    policy::image::check_project,
};

/// What a list is asked for.
#[derive(Default)]
struct Query {
    status: Option<TaskStatus>,
    import_only: bool,
    owner: Option<String>,
    marker: Option<TaskId>,
    limit: Option<usize>,
    oldest_first: bool,
    /// All but the marker, for links.
    rest: Vec<(String, String)>,
}

/// `GET /v2/tasks`
pub(super) async fn list(
    app: &App,
    context: &Context,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    check(app, context)?;
    let query = parse(query.unwrap_or_default())?;
    let limits = &app.config.limits;
    let limit = query.limit.unwrap_or(limits.limit_param_default);
    let limit = limit.min(limits.api_limit_max);
    let view = app.registry.read().await?;
    let from = match query.marker {
        None => None,
        Some(id) => Some(
            visible(&view, context, id)?
                .ok_or_else(|| ApiError::bad_request(format!("No task found with ID {id}")))?,
        )
        .map(|task| task.sequence),
    };
    let tasks = view.tasks(from, !query.oldest_first, limit, |task| {
        sees(context, task)
            && query.status.is_none_or(|status| task.status == status)
            && (!query.import_only || task.made.kind.as_str() == "import")
            && query
                .owner
                .as_ref()
                .is_none_or(|owner| task.made.owner.as_ref() == Some(owner))
    })?;
    let mut answer = json!({
        "tasks": tasks.iter().map(|task| Value::Object(task_view::stub(task))).collect::<Vec<_>>(),
        "first": link(&query.rest, None),
        "schema": "/v2/schemas/tasks",
    });
    if let (Some(last), true) = (tasks.last(), tasks.len() == limit) {
        answer["next"] = link(&query.rest, Some(last.id)).into();
    }
    images::large(app.memory.room(), answer.to_string().into_bytes())
}

fn parse(query: &str) -> Result<Query, ApiError> {
    let mut parsed = Query::default();
    for (name, value) in list_query::decode(query)? {
        let refused = |name| BadQuery::Value {
            name,
            value: value.clone(),
        };
        match (name.as_str(), value.as_str()) {
            ("status" | "type" | "marker", "") => {}
            ("status", text) => {
                let status = TaskStatus::parse(text).ok_or_else(|| refused("status"))?;
                parsed.status = Some(status);
            }
            ("type", "import") => parsed.import_only = true,
            ("type", _) => return Err(refused("type").into()),
            ("sort_dir", "asc") => parsed.oldest_first = true,
            ("sort_dir", "desc") => parsed.oldest_first = false,
            ("sort_dir", _) => return Err(refused("sort_dir").into()),
            ("marker", text) => {
                let marker = text.parse().map_err(|_| refused("marker"))?;
                parsed.marker = Some(marker);
            }
            ("limit", text) => parsed.limit = Some(list_query::parse_limit(text)?),
            ("owner", text) => parsed.owner = Some(text.to_owned()),
            _ => {}
        }
        if name != "marker" {
            parsed.rest.push((name, value));
        }
    }
    Ok(parsed)
}

fn link(query: &[(String, String)], marker: Option<TaskId>) -> String {
    let marker = marker.map(|id| ("marker".to_owned(), id.to_string()));
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = query
        .iter()
        .chain(&marker)
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    match pairs.is_empty() {
        true => "/v2/tasks".to_owned(),
        false => format!("/v2/tasks?{}", pairs.join("&")),
    }
}

/// `POST /v2/tasks`: of type `import`, which makes an image and fetches its data (deprecated in the
/// reference). `base` is the base of absolute URLs.
pub(super) async fn create(
    app: &App,
    context: &Context,
    request: Request<Body>,
    base: &str,
) -> Result<Response, ApiError> {
    check(app, context)?;
    let headers = request.headers().clone();
    let (body, _room) = body::json(request, app).await?;
    for required in ["type", "input"] {
        if body.get(required).is_none() {
            return Err(ApiError::bad_request(format!(
                "Task '{required}' is required"
            )));
        }
    }
    let bad = |text: &str| Err(ApiError::bad_request(text));
    let (Some("import"), Some(input)) = (body["type"].as_str(), body["input"].as_object()) else {
        return bad("Tasks of this type cannot be made at this site.");
    };
    if !app.config.import.offers("web-download") {
        return bad("Tasks of this type cannot be made at this site.");
    }
    let mut texts = ["import_from", "import_from_format"].map(|key| input.get(key)?.as_str());
    let [Some(uri), Some(format)] = &mut texts else {
        return bad("Input must have 'import_from', 'import_from_format' and 'image_properties'.");
    };
    let Some(Value::Object(properties)) = input.get("image_properties") else {
        return bad("Input must have 'import_from', 'import_from_format' and 'image_properties'.");
    };
    import::check_uri(app, uri).await?;
    let mut properties = properties.clone();
    for (key, value) in [("disk_format", *format), ("container_format", "bare")] {
        properties.entry(key).or_insert_with(|| value.into());
    }
    let input = json!({
        "import_from": *uri,
        "import_from_format": *format,
        "image_properties": properties,
    });
    let source = Source::Web {
        uri: (*uri).to_owned(),
    };
    let (image, _room) = images::make(app, context, &properties).await?;
    let making = import::Making {
        kind: TaskKind::Import,
        input,
        source,
        stores: vec![app.stores.default.clone()],
        must_succeed: true,
    };
    let begun = import::begin(app, context, &image, making, &headers).await;
    let task = match begun {
        Ok(task) => task,
        Err(error) => {
            // Nobody has seen it.
            drop(app.registry.delete_image(image.id, None).await);
            return Err(error);
        }
    };
    let mut response = images::json(task_view::whole(&task).to_string());
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(format!("{base}/v2/tasks/{}", task.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /v2/tasks/{id}`
pub(super) async fn show(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    check(app, context)?;
    let task = find(app, context, id).await?;
    Ok(images::json(task_view::whole(&task).to_string()))
}

/// `DELETE /v2/tasks/{id}`: never; tasks expire by themselves.
pub(super) fn delete(app: &App, context: &Context) -> Result<Response, ApiError> {
    check(app, context)?;
    Err(ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "This operation is not permitted on tasks: they are deleted after the time in their \
         expires_at property.",
    )
    .with_header(header::ALLOW, HeaderValue::from_static("GET")))
}

/// `POST /v2/tasks/{id}/actions/cancel`, which the reference does not have: 204 once the task is to
/// end; everything it did is then undone, but for what the image has already. For whoever may change
/// the image, and for those who may use tasks.
pub(super) async fn cancel(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    let task = find(app, context, id).await?;
    if check(app, context).is_err() {
        let image = images::find(app, context, &task.image.to_string()).await?;
        authorize::check(&app.policy, "modify_image", context, &image)?;
    }
    app.registry.cancel_task(task.id).await?;
    app.data.jobs.end_task(task.id);
    app.data.jobs.wake.notify_one();
    Ok(images::no_content())
}

/// `GET /v2/images/{id}/tasks`
pub(super) async fn of_image(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    let image = images::find(app, context, id).await?;
    if !authorize::allows(&app.policy, "get_image", context, &image) {
        return Err(ApiError::no_image(id));
    }
    let tasks = app.registry.read_local().image_tasks(image.id)?;
    let tasks: Vec<Value> = tasks.iter().map(task_view::row).collect();
    let answer = json!({ "tasks": tasks }).to_string();
    images::large(app.memory.room(), answer.into_bytes())
}

/// The task, if it exists for the caller.
async fn find(app: &App, context: &Context, id: &str) -> Result<Task, ApiError> {
    let none = || ApiError::not_found(format!("No task found with ID {id}"));
    let parsed = id.parse::<TaskId>().map_err(|_| none())?;
    let view = app.registry.read().await?;
    visible(&view, context, parsed)?.ok_or_else(none)
}

fn visible(
    view: &glimpse_registry::View,
    context: &Context,
    id: TaskId,
) -> Result<Option<Task>, ApiError> {
    Ok(view.task(id)?.filter(|task| sees(context, task)))
}

/// A task is its project's.
fn sees(context: &Context, task: &Task) -> bool {
    context.is_admin || context.project_id.is_some() && context.project_id == task.made.owner
}

fn check(app: &App, context: &Context) -> Result<(), ApiError> {
    Ok(check_project(&app.policy, "tasks_api_access", context)?)
}
