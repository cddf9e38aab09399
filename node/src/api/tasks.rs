//! `/v2/tasks` and `/v2/images/{id}/tasks`: nothing runs as a task yet, so lists are empty and none
//! can be made (image-api 1.7).

use axum::{body::Body, response::Response};
use http::{HeaderValue, Request, StatusCode, header};

use crate::{
    api::{
        authorize, body,
        error::ApiError,
        images,
        list_query::{self, BadQuery},
    },
    app::App,
    auth::Context,
    policy::image::check_project,
};

/// `GET /v2/tasks`
pub(super) fn list(
    app: &App,
    context: &Context,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    check(app, context)?;
    for (name, value) in list_query::decode(query.unwrap_or_default())? {
        let (name, known): (_, &[&str]) = match name.as_str() {
            "status" => (
                "status",
                &["", "pending", "processing", "success", "failure"],
            ),
            "type" => ("type", &["", "import"]),
            "sort_dir" => ("sort_dir", &["asc", "desc"]),
            // There is no task to start after.
            "marker" => ("marker", &[""]),
            "limit" => {
                list_query::parse_limit(&value)?;
                continue;
            }
            _ => continue,
        };
        if !known.contains(&value.as_str()) {
            return Err(BadQuery::Value { name, value }.into());
        }
    }
    Ok(images::json(
        "{\"tasks\":[],\"first\":\"/v2/tasks\",\"schema\":\"/v2/schemas/tasks\"}",
    ))
}

/// `POST /v2/tasks`
pub(super) async fn create(
    app: &App,
    context: &Context,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    check(app, context)?;
    let (body, _room) = body::json(request, app).await?;
    for required in ["type", "input"] {
        if body.get(required).is_none() {
            return Err(ApiError::bad_request(format!(
                "Task '{required}' is required"
            )));
        }
    }
    Err(ApiError::bad_request(
        "Tasks of this type cannot be made at this site.",
    ))
}

/// `GET /v2/tasks/{id}`
pub(super) fn show(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    check(app, context)?;
    Err(ApiError::not_found(format!("No task found with ID {id}")))
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

/// `GET /v2/images/{id}/tasks`
pub(super) async fn of_image(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    let image = images::find(app, context, id).await?;
    if !authorize::allows(&app.policy, "get_image", context, &image) {
        return Err(ApiError::no_image(id));
    }
    Ok(images::json("{\"tasks\":[]}"))
}

fn check(app: &App, context: &Context) -> Result<(), ApiError> {
    Ok(check_project(&app.policy, "tasks_api_access", context)?)
}
