//! `/v2/metadefs`: metadata definitions (image-api 1.9).
//!
//! Every kind of definition goes the same way: its body is checked, its namespace found, the policy
//! asked about the namespace, one command proposed. What differs between the kinds stands in
//! `definitions::Words`.

mod bodies;
mod definitions;
mod list;
mod namespaces;
mod render;

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError, View,
    metadef::{Kind, MetadefBounds, Namespace},
    outcome::Rejection,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response as HttpResponse, StatusCode, header};
use serde_json::Value;

use crate::{
    api::{
        error::ApiError,
        images,
        layers::Api,
        precondition::{self, Failed, Read},
        router::Resource,
    },
    app::App,
    auth::Context,
    policy::{
        image::Denied,
        metadef::{self, check_project},
    },
};

/// The table of its resources and methods.
pub(super) async fn answer(
    api: &Api,
    context: &Context,
    resource: Resource<'_>,
    method: Method,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    type R<'p> = Resource<'p>;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;

    let app = &*api.app;
    let query = request.uri().query().unwrap_or_default().to_owned();
    match (resource, method) {
        (R::Namespaces, GET) => namespaces::list(app, context, &query).await,
        (R::Namespaces, POST) => {
            let base = api.base(request.headers());
            namespaces::create(app, context, request, &base).await
        }
        (R::Namespace(name), GET) => {
            namespaces::show(app, context, name, &query, request.headers()).await
        }
        (R::Namespace(name), PUT) => namespaces::update(app, context, name, request).await,
        (R::Namespace(name), DELETE) => {
            namespaces::delete(app, context, name, request.headers()).await
        }
        (R::MetadefTypes, GET) => resource_types(app, context).await,
        (R::NamespacePart(name, part), method) => {
            let kind = kind(part);
            match (kind, method) {
                (_, GET) => definitions::list(app, context, name, kind, &query).await,
                (Kind::Tag, POST) => definitions::add_tags(app, context, name, request).await,
                (_, POST) => definitions::add(app, context, name, kind, request).await,
                (Kind::Object | Kind::Property | Kind::Tag, DELETE) => {
                    definitions::clear(app, context, name, kind).await
                }
                _ => Err(ApiError::method_not_allowed(resource.allow())),
            }
        }
        (R::NamespaceItem(name, part, item), method) => {
            let kind = kind(part);
            match (kind, method) {
                (Kind::Object | Kind::Property | Kind::Tag, GET) => {
                    let headers = request.headers();
                    definitions::show(app, context, name, kind, item, &query, headers).await
                }
                (Kind::Tag, POST) => definitions::add_tag(app, context, name, item).await,
                (Kind::Object | Kind::Property | Kind::Tag, PUT) => {
                    definitions::update(app, context, name, kind, item, request).await
                }
                (_, DELETE) => {
                    definitions::remove(app, context, name, kind, item, request.headers()).await
                }
                _ => Err(ApiError::method_not_allowed(resource.allow())),
            }
        }
        (resource, _) => Err(ApiError::method_not_allowed(resource.allow())),
    }
}

/// What a part of a path names; the router knows no others.
fn kind(part: &str) -> Kind {
    match part {
        "objects" => Kind::Object,
        "properties" => Kind::Property,
        "tags" => Kind::Tag,
        _ => Kind::ResourceType,
    }
}

/// `GET /v2/metadefs/resource_types`
async fn resource_types(app: &App, context: &Context) -> Result<Response, ApiError> {
    check_project(&app.policy, "list_metadef_resource_types", context)?;
    let types = app.registry.read().await?.resource_types()?;
    let types: Value = types.iter().map(render::resource_type).collect();
    answer_json(app, &serde_json::json!({"resource_types": types}))
}

/// The namespace of the path, if it is there for the caller, and where it was found.
async fn find(app: &App, context: &Context, name: &str) -> Result<(View, Namespace), ApiError> {
    let view = app.registry.read().await?;
    match view.namespace(name)? {
        Some(namespace) if metadef::is_visible(context, &namespace) => Ok((view, namespace)),
        _ => Err(no_namespace(name)),
    }
}

/// Asks the policy about a namespace.
fn check(app: &App, rule: &str, context: &Context, namespace: &Namespace) -> Result<(), ApiError> {
    metadef::check(&app.policy, rule, context, namespace).map_err(|denied| match denied {
        Denied::NotFound => no_namespace(&namespace.attributes.name),
        Denied::Forbidden(_) => denied.into(),
    })
}

fn no_namespace(name: &str) -> ApiError {
    ApiError::not_found(format!(
        "Metadata definition namespace={name} was not found."
    ))
}

/// What a refused change to a namespace, or to something in it, is answered with.
fn refused(error: RegistryError, namespace: &str) -> ApiError {
    if let RegistryError::Rejected(rejection) = &error {
        if *rejection == Rejection::NamespaceNotFound {
            return no_namespace(namespace);
        }
        if *rejection == Rejection::NamespaceProtected {
            return ApiError::forbidden(format!(
                "Metadata definition namespace {namespace} is protected: nothing in it can be \
                 deleted."
            ));
        }
        // Only a change with a condition expects a version.
        if matches!(rejection, Rejection::VersionConflict { .. }) {
            return Failed.into();
        }
    }
    error.into()
}

fn bounds(app: &App) -> MetadefBounds {
    let limits = &app.config.limits;
    MetadefBounds {
        namespaces: limits.metadef_namespaces,
        resource_types: limits.metadef_resource_types,
        definitions: limits.metadef_definitions,
        bytes: limits.metadef_namespace_size,
    }
}

/// 200 with a JSON body.
fn answer_json(app: &App, value: &Value) -> Result<Response, ApiError> {
    images::large(app.memory.room(), value.to_string().into_bytes())
}

/// 200, or 304 where the client has it, of a record at a version.
fn answer_record(
    app: &App,
    headers: &HeaderMap,
    version: u64,
    value: &Value,
) -> Result<Response, ApiError> {
    match precondition::read(headers, version)? {
        Read::Whole => Ok(with_etag(answer_json(app, value)?, version)),
        Read::Unchanged => {
            let mut response = HttpResponse::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            Ok(with_etag(response, version))
        }
    }
}

fn with_etag(mut response: Response, version: u64) -> Response {
    let tag = precondition::etag(version);
    response.headers_mut().insert(header::ETAG, tag);
    response
}

fn created(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::CREATED;
    response
}

/// The version to expect of a change to a record at `version`, if the request has a condition.
fn expected(headers: &HeaderMap, version: u64) -> Result<Option<u64>, ApiError> {
    precondition::write(headers, version)?;
    Ok(precondition::conditional(headers).then_some(version))
}

/// A header that says yes, as the reference reads it.
fn says_yes(value: Option<&HeaderValue>) -> bool {
    let text = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ["1", "t", "true", "on", "y", "yes"]
        .iter()
        .any(|yes| yes.eq_ignore_ascii_case(text.trim()))
}
