//! `/v2/metadefs`: there are no metadata definitions yet: lists are empty, names are not found, and
//! nothing can be written (image-api 1.9).

use axum::response::Response;

use crate::{
    api::{error::ApiError, images, list_query::BadQuery},
    app::App,
    auth::Context,
    policy::image::check_project,
};

/// `GET /v2/metadefs/namespaces`
pub(super) fn namespaces(
    app: &App,
    context: &Context,
    query: Option<&str>,
) -> Result<Response, ApiError> {
    check_project(&app.policy, "get_metadef_namespaces", context)?;
    for pair in query.unwrap_or_default().split('&') {
        match pair.split_once('=') {
            Some(("visibility", value)) if !matches!(value, "" | "public" | "private") => {
                return Err(ApiError::bad_request(format!(
                    "Invalid visibility value: {value}"
                )));
            }
            Some(("limit", value)) if value.parse::<u64>().is_err() => {
                return Err(BadQuery::Limit("a positive integer").into());
            }
            Some(("sort_dir", value)) if !matches!(value, "asc" | "desc") => {
                return Err(BadQuery::SortDir(value.to_owned()).into());
            }
            Some(("marker", value)) if !value.is_empty() => {
                return Err(no_namespace(value));
            }
            _ => {}
        }
    }
    Ok(images::json(
        "{\"namespaces\":[],\"first\":\"/v2/metadefs/namespaces\",\
         \"schema\":\"/v2/schemas/metadefs/namespaces\"}",
    ))
}

/// `GET /v2/metadefs/resource_types`
pub(super) fn resource_types(app: &App, context: &Context) -> Result<Response, ApiError> {
    check_project(&app.policy, "list_metadef_resource_types", context)?;
    Ok(images::json("{\"resource_types\":[]}"))
}

/// `POST /v2/metadefs/namespaces`
pub(super) fn create(app: &App, context: &Context) -> Result<Response, ApiError> {
    check_project(&app.policy, "add_metadef_namespace", context)?;
    Err(ApiError::forbidden(
        "Metadata definitions cannot be added at this site.",
    ))
}

/// Everything within a namespace: there is none.
pub(super) fn within(namespace: &str) -> Result<Response, ApiError> {
    Err(no_namespace(namespace))
}

fn no_namespace(name: &str) -> ApiError {
    ApiError::not_found(format!(
        "Metadata definition namespace={name} was not found."
    ))
}
