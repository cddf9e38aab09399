//! Objects, properties, tags and associations with types of resources.

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError,
    metadef::{Definition, Kind, MetadefCommand, Namespace},
    outcome::Rejection,
};
use http::{HeaderMap, Request};
use serde_json::{Value, json};

use super::{
    answer_json, answer_record, bodies, bounds, check, created, expected, find, list::Listing,
    refused, render, says_yes, with_etag,
};
use crate::{
    api::{error::ApiError, images, list_query},
    app::App,
    auth::Context,
};

/// The rules and words of one kind.
struct Words {
    what: &'static str,
    list: &'static str,
    get: &'static str,
    add: &'static str,
    modify: &'static str,
    remove: &'static str,
}

const fn words(kind: Kind) -> Words {
    match kind {
        Kind::Object => Words {
            what: "metadata object",
            list: "get_metadef_objects",
            get: "get_metadef_object",
            add: "add_metadef_object",
            modify: "modify_metadef_object",
            remove: "delete_metadef_object",
        },
        Kind::Property => Words {
            what: "property",
            list: "get_metadef_properties",
            get: "get_metadef_property",
            add: "add_metadef_property",
            modify: "modify_metadef_property",
            remove: "remove_metadef_property",
        },
        Kind::Tag => Words {
            what: "metadata tag",
            list: "get_metadef_tags",
            get: "get_metadef_tag",
            add: "add_metadef_tag",
            modify: "modify_metadef_tag",
            remove: "delete_metadef_tag",
        },
        Kind::ResourceType => Words {
            what: "resource type",
            list: "list_metadef_resource_types",
            get: "get_metadef_resource_type",
            add: "add_metadef_resource_type_association",
            // No route changes or shows one.
            modify: "",
            remove: "remove_metadef_resource_type_association",
        },
    }
}

/// `GET .../{part}`
pub(super) async fn list(
    app: &App,
    context: &Context,
    name: &str,
    kind: Kind,
    query: &str,
) -> Result<Response, ApiError> {
    let listing = match kind {
        Kind::Tag => Some(Listing::of_tags(query)?),
        Kind::Object => {
            // All objects are shown, whatever the query says; it is checked all the same.
            if Listing::of_tags(query)?.limit == 0 {
                return Err(list_query::BadQuery::Limit("positive").into());
            }
            None
        }
        Kind::Property | Kind::ResourceType => None,
    };
    let (view, namespace) = find(app, context, name).await?;
    check(app, words(kind).list, context, &namespace)?;
    let mut found = view.definitions(namespace.id, kind)?;
    if let Some(listing) = listing {
        let marker = match &listing.marker {
            Some(marker) => Some(
                view.definition(namespace.id, kind, marker)?
                    .ok_or_else(|| not_found(kind, marker))?,
            ),
            None => None,
        };
        listing.page(&mut found, marker.as_ref());
    }
    // The two lists whose items the policy hides one by one; all have the same target.
    let hides = matches!(kind, Kind::Object | Kind::ResourceType);
    if hides && check(app, words(kind).get, context, &namespace).is_err() {
        found.clear();
    }
    answer_json(app, &list_of(&namespace, kind, &found))
}

fn list_of(namespace: &Namespace, kind: Kind, found: &[Definition]) -> Value {
    match kind {
        Kind::Object => {
            let objects = found.iter();
            let objects: Value = objects
                .map(|object| render::object(namespace, object, ""))
                .collect();
            // Without a slash in front, as clients know it.
            json!({"objects": objects, "schema": "v2/schemas/metadefs/objects"})
        }
        Kind::Property => json!({"properties": render::properties(found, "")}),
        Kind::Tag => {
            let names = found.iter().map(|tag| tag.name.as_str());
            json!({"tags": render::tags(names)})
        }
        Kind::ResourceType => {
            let found: Value = found.iter().map(render::association).collect();
            json!({"resource_type_associations": found})
        }
    }
}

/// `POST .../{part}`, but for tags.
pub(super) async fn add(
    app: &App,
    context: &Context,
    name: &str,
    kind: Kind,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let definition = bodies::definition(app, request, kind).await?;
    let (_, namespace) = find(app, context, name).await?;
    check(app, words(kind).add, context, &namespace)?;
    let command = MetadefCommand::AddDefinition {
        id: namespace.id,
        definition,
        bounds: bounds(app),
    };
    change(app, &namespace, kind, "", command)
        .await
        .map(created)
}

/// `POST .../tags/{tag}`
pub(super) async fn add_tag(
    app: &App,
    context: &Context,
    name: &str,
    tag: &str,
) -> Result<Response, ApiError> {
    let (_, namespace) = find(app, context, name).await?;
    let definition = bodies::tag(tag)?;
    check(app, "add_metadef_tag", context, &namespace)?;
    let command = MetadefCommand::AddDefinition {
        id: namespace.id,
        definition,
        bounds: bounds(app),
    };
    change(app, &namespace, Kind::Tag, tag, command)
        .await
        .map(created)
}

/// `POST .../tags`: replaces all tags, or adds to them where `X-Openstack-Append` says so. An empty
/// list changes nothing, as in the reference.
pub(super) async fn add_tags(
    app: &App,
    context: &Context,
    name: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let append = says_yes(request.headers().get("x-openstack-append"));
    let definitions = bodies::tags(app, request).await?;
    let (_, namespace) = find(app, context, name).await?;
    check(app, "add_metadef_tags", context, &namespace)?;
    let names = definitions.iter().map(|tag| tag.name.as_str());
    let shown = json!({"tags": render::tags(names)});
    if !definitions.is_empty() {
        let command = MetadefCommand::AddDefinitions {
            id: namespace.id,
            replace: (!append).then_some(Kind::Tag),
            definitions,
            bounds: bounds(app),
        };
        let added = app.registry.change_metadefs(command).await;
        added.map_err(|error| of_change(error, &namespace, Kind::Tag, ""))?;
    }
    answer_json(app, &shown).map(created)
}

/// `GET .../{part}/{name}`. A property may be asked for by its name with the prefix of
/// `?resource_type=`.
pub(super) async fn show(
    app: &App,
    context: &Context,
    name: &str,
    kind: Kind,
    item: &str,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let query = list_query::decode(query)?;
    let resource_type = query.iter().rev().find(|(name, value)| {
        kind == Kind::Property && name == "resource_type" && !value.is_empty()
    });
    let (view, namespace) = find(app, context, name).await?;
    check(app, words(kind).get, context, &namespace)?;
    let mut wanted = item;
    if let Some((_, resource_type)) = resource_type {
        check(app, "get_metadef_resource_type", context, &namespace)?;
        let association = view
            .definition(namespace.id, Kind::ResourceType, resource_type)?
            .ok_or_else(|| not_found(Kind::ResourceType, resource_type))?;
        let prefix = render::prefix(&association).filter(|prefix| !prefix.is_empty());
        wanted = prefix
            .as_deref()
            .and_then(|prefix| item.strip_prefix(prefix))
            .ok_or_else(|| {
                ApiError::not_found(format!(
                    "Property {item} does not start with the expected resource type association \
                     prefix of '{}'.",
                    prefix.as_deref().unwrap_or("None")
                ))
            })?;
    }
    let found = view
        .definition(namespace.id, kind, wanted)?
        .ok_or_else(|| not_found(kind, wanted))?;
    let shown = one(&namespace, kind, &found);
    answer_record(app, headers, found.version, &shown)
}

/// `PUT .../{part}/{name}`
pub(super) async fn update(
    app: &App,
    context: &Context,
    name: &str,
    kind: Kind,
    item: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let definition = bodies::definition(app, request, kind).await?;
    let (view, namespace) = find(app, context, name).await?;
    check(app, words(kind).modify, context, &namespace)?;
    let found = view
        .definition(namespace.id, kind, item)?
        .ok_or_else(|| not_found(kind, item))?;
    let command = MetadefCommand::UpdateDefinition {
        id: namespace.id,
        name: item.to_owned(),
        expected: expected(&headers, found.version)?,
        definition,
        bounds: bounds(app),
    };
    change(app, &namespace, kind, item, command).await
}

/// `DELETE .../{part}/{name}`
pub(super) async fn remove(
    app: &App,
    context: &Context,
    name: &str,
    kind: Kind,
    item: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (view, namespace) = find(app, context, name).await?;
    check(app, words(kind).remove, context, &namespace)?;
    let found = view
        .definition(namespace.id, kind, item)?
        .ok_or_else(|| not_found(kind, item))?;
    let command = MetadefCommand::RemoveDefinition {
        id: namespace.id,
        kind,
        name: item.to_owned(),
        expected: expected(headers, found.version)?,
    };
    let removed = app.registry.change_metadefs(command).await;
    removed.map_err(|error| of_change(error, &namespace, kind, item))?;
    Ok(images::no_content())
}

/// `DELETE .../{part}`
pub(super) async fn clear(
    app: &App,
    context: &Context,
    name: &str,
    kind: Kind,
) -> Result<Response, ApiError> {
    let (_, namespace) = find(app, context, name).await?;
    check(app, "delete_metadef_namespace", context, &namespace)?;
    if kind == Kind::Tag {
        check(app, "delete_metadef_tags", context, &namespace)?;
    }
    let command = MetadefCommand::ClearDefinitions {
        id: namespace.id,
        kind,
    };
    let cleared = app.registry.change_metadefs(command).await;
    cleared.map_err(|error| refused(error, name))?;
    Ok(images::no_content())
}

/// Proposes a change to one definition and shows what came of it.
async fn change(
    app: &App,
    namespace: &Namespace,
    kind: Kind,
    item: &str,
    command: MetadefCommand,
) -> Result<Response, ApiError> {
    let changed = app.registry.change_definition(command).await;
    let changed = changed.map_err(|error| of_change(error, namespace, kind, item))?;
    let shown = match kind {
        Kind::Object => render::changed_object(namespace, &changed),
        Kind::Property | Kind::Tag | Kind::ResourceType => one(namespace, kind, &changed),
    };
    let response = answer_json(app, &shown)?;
    Ok(with_etag(response, changed.version))
}

fn one(namespace: &Namespace, kind: Kind, definition: &Definition) -> Value {
    match kind {
        Kind::Object => render::object(namespace, definition, ""),
        Kind::Property => render::property(definition),
        Kind::Tag => render::tag(definition),
        Kind::ResourceType => render::association(definition),
    }
}

fn not_found(kind: Kind, name: &str) -> ApiError {
    ApiError::not_found(format!("Could not find {} {name}", words(kind).what))
}

fn of_change(error: RegistryError, namespace: &Namespace, kind: Kind, item: &str) -> ApiError {
    let of = &namespace.attributes.name;
    if let RegistryError::Rejected(Rejection::DefinitionNotFound) = error {
        return not_found(kind, item);
    }
    if let RegistryError::Rejected(Rejection::DefinitionExists { name }) = error {
        return ApiError::conflict(format!(
            "A {} with name={name} already exists in namespace={of}.",
            words(kind).what
        ));
    }
    refused(error, of)
}
