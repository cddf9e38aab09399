//! Namespaces: list, create, show, update, delete.

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError, View,
    metadef::{Kind, MetadefCommand, Namespace, NamespaceId},
    outcome::Rejection,
};
use http::{HeaderMap, HeaderValue, Request, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{
    answer_json, answer_record, bodies, bounds, check, created, expected, find, list::Listing,
    no_namespace, refused, render, with_etag,
};
use crate::{
    api::{error::ApiError, images, list_query},
    app::App,
    auth::Context,
    policy::metadef::{self, check_project},
};

/// `GET /v2/metadefs/namespaces`
pub(super) async fn list(app: &App, context: &Context, query: &str) -> Result<Response, ApiError> {
    let listing = Listing::of_namespaces(query, &app.config.limits)?;
    check_project(&app.policy, "get_metadef_namespaces", context)?;
    check_project(&app.policy, "list_metadef_resource_types", context)?;
    let view = app.registry.read().await?;
    let mut found = view.namespaces()?;
    found.retain(|namespace| metadef::is_visible(context, namespace));
    let marker = match &listing.marker {
        None => None,
        Some(name) => Some(
            found
                .iter()
                .find(|namespace| namespace.attributes.name == *name)
                .cloned()
                .ok_or_else(|| no_namespace(name))?,
        ),
    };
    listing.filter_namespaces(&view, &mut found)?;
    listing.page(&mut found, marker.as_ref());
    let mut full = !found.is_empty() && found.len() == listing.limit;
    found.retain(|namespace| metadef::sees(&app.policy, context, namespace));
    let (mut shown, mut bytes, mut last) = (Vec::new(), 0, None);
    for namespace in &found {
        // A page ends early where its namespaces are large.
        if bytes >= app.config.limits.page_bytes {
            full = true;
            break;
        }
        let mut one = render::namespace(namespace);
        add_associations(&view, namespace, &mut one)?;
        let one = Value::Object(one);
        bytes += one.to_string().len();
        shown.push(one);
        last = Some(namespace);
    }
    let mut answer = json!({
        "namespaces": shown,
        "first": listing.link("/v2/metadefs/namespaces", None),
        "schema": "/v2/schemas/metadefs/namespaces",
    });
    if let Some(last) = last.filter(|_| full) {
        let marker = Some(last.attributes.name.as_str());
        answer["next"] = listing.link("/v2/metadefs/namespaces", marker).into();
    }
    answer_json(app, &answer)
}

/// `POST /v2/metadefs/namespaces`; `base` is the base of absolute URLs. All of it or nothing.
pub(super) async fn create(
    app: &App,
    context: &Context,
    request: Request<Body>,
    base: &str,
) -> Result<Response, ApiError> {
    let new = bodies::namespace(app, request, context.project_id.as_deref()).await?;
    check_project(&app.policy, "add_metadef_namespace", context)?;
    for (kind, rule) in [
        (Kind::ResourceType, "add_metadef_resource_type_association"),
        (Kind::Object, "add_metadef_object"),
        (Kind::Property, "add_metadef_property"),
        (Kind::Tag, "add_metadef_tag"),
    ] {
        if new.definitions.iter().any(|new| new.kind == kind) {
            check_project(&app.policy, rule, context)?;
        }
    }
    let name = new.attributes.name.clone();
    let command = MetadefCommand::CreateNamespace {
        id: NamespaceId(rand::random()),
        attributes: new.attributes,
        definitions: new.definitions,
        bounds: bounds(app),
    };
    let made = match app.registry.change_namespace(command).await {
        Err(RegistryError::Rejected(Rejection::NamespaceExists)) => return Err(exists(&name)),
        Err(RegistryError::Rejected(Rejection::DefinitionExists { name: twice })) => {
            return Err(ApiError::conflict(format!(
                "A metadata definition with name={twice} already exists in namespace={name}."
            )));
        }
        result => result?,
    };
    let mut shown = render::namespace(&made);
    shown.extend(new.children);
    let mut response = created(answer_json(app, &Value::Object(shown))?);
    let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    if let Ok(location) = HeaderValue::try_from(format!("{base}/v2/metadefs/namespaces/{name}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(with_etag(response, made.version))
}

/// `GET /v2/metadefs/namespaces/{namespace}`: with everything in it.
pub(super) async fn show(
    app: &App,
    context: &Context,
    name: &str,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let query = list_query::decode(query)?;
    let value_of = |wanted: &str| {
        let mut pairs = query.iter().rev();
        pairs
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    };
    if let Some(other) = value_of("visibility")
        && !matches!(other.as_str(), "" | "public" | "private")
    {
        return Err(ApiError::bad_request(format!(
            "Invalid visibility value: {other}"
        )));
    }
    let (view, namespace) = find(app, context, name).await?;
    for rule in [
        "get_metadef_namespace",
        "list_metadef_resource_types",
        "get_metadef_objects",
        "get_metadef_properties",
        "get_metadef_tags",
    ] {
        check(app, rule, context, &namespace)?;
    }
    let prefix = match value_of("resource_type").filter(|name| !name.is_empty()) {
        Some(name) => {
            let association = view.definition(namespace.id, Kind::ResourceType, name)?;
            association.and_then(|found| render::prefix(&found))
        }
        None => None,
    };
    let shown = whole(&view, &namespace, &prefix.unwrap_or_default())?;
    answer_record(app, headers, namespace.version, &Value::Object(shown))
}

/// A namespace with everything in it; `prefix` goes before the names of properties.
fn whole(view: &View, namespace: &Namespace, prefix: &str) -> Result<Map<String, Value>, ApiError> {
    let mut shown = render::namespace(namespace);
    let id = namespace.id;
    let objects = view.definitions(id, Kind::Object)?;
    let properties = view.definitions(id, Kind::Property)?;
    let tags = view.definitions(id, Kind::Tag)?;
    if !objects.is_empty() {
        let objects = objects.iter();
        let objects = objects.map(|object| render::object(namespace, object, prefix));
        shown.insert("objects".to_owned(), objects.collect());
    }
    if !properties.is_empty() {
        let properties = render::properties(&properties, prefix);
        shown.insert("properties".to_owned(), properties);
    }
    if !tags.is_empty() {
        let names = tags.iter().rev().map(|tag| tag.name.as_str());
        shown.insert("tags".to_owned(), render::tags(names));
    }
    add_associations(view, namespace, &mut shown)?;
    Ok(shown)
}

fn add_associations(
    view: &View,
    namespace: &Namespace,
    shown: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    let found = view.definitions(namespace.id, Kind::ResourceType)?;
    if !found.is_empty() {
        let found = found.iter().map(render::association).collect();
        shown.insert("resource_type_associations".to_owned(), found);
    }
    Ok(())
}

/// `PUT /v2/metadefs/namespaces/{namespace}`: its attributes. What else the body says is checked and
/// not looked at, as in the reference.
pub(super) async fn update(
    app: &App,
    context: &Context,
    name: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let new = bodies::namespace(app, request, context.project_id.as_deref()).await?;
    let (_, namespace) = find(app, context, name).await?;
    check(app, "modify_metadef_namespace", context, &namespace)?;
    let wanted = new.attributes.name.clone();
    let command = MetadefCommand::UpdateNamespace {
        id: namespace.id,
        expected: expected(&headers, namespace.version)?,
        attributes: new.attributes,
    };
    let updated = match app.registry.change_namespace(command).await {
        Err(RegistryError::Rejected(Rejection::NamespaceExists)) => return Err(exists(&wanted)),
        result => result.map_err(|error| refused(error, name))?,
    };
    let shown = Value::Object(render::namespace(&updated));
    Ok(with_etag(answer_json(app, &shown)?, updated.version))
}

/// `DELETE /v2/metadefs/namespaces/{namespace}`: with everything in it.
pub(super) async fn delete(
    app: &App,
    context: &Context,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (_, namespace) = find(app, context, name).await?;
    check(app, "delete_metadef_namespace", context, &namespace)?;
    let command = MetadefCommand::DeleteNamespace {
        id: namespace.id,
        expected: expected(headers, namespace.version)?,
    };
    let deleted = app.registry.change_metadefs(command).await;
    deleted.map_err(|error| refused(error, name))?;
    Ok(images::no_content())
}

fn exists(name: &str) -> ApiError {
    ApiError::conflict(format!(
        "The metadata definition namespace={name} already exists."
    ))
}
