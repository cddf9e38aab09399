//! Bodies of requests on metadata definitions, read and checked.

use std::sync::LazyLock;

use axum::body::Body;
use glimpse_registry::metadef::{Kind, NamespaceAttributes, NewDefinition};
use http::Request;
use serde_json::{Map, Value};

use crate::{
    api::{
        attribute::{self, Invalid},
        body,
        error::ApiError,
        memory::Room,
        schema_check,
        schemas::{MetadefBodies, metadef_bodies},
    },
    app::App,
};

/// What bodies are checked against.
static SCHEMAS: LazyLock<MetadefBodies> = LazyLock::new(metadef_bodies);

/// Characters of a name.
const NAME_LENGTH: usize = 80;

/// What the service says of a namespace or an object, and nobody else.
const READ_ONLY: [&str; 4] = ["self", "schema", "created_at", "updated_at"];

/// The same of what has no links.
const READ_ONLY_TIMES: [&str; 2] = ["created_at", "updated_at"];

/// A namespace with everything in it, as `POST` and `PUT` bring it.
pub(super) struct NewNamespace {
    /// Its attributes; `owner`: that of the caller unless the request says otherwise.
    pub(super) attributes: NamespaceAttributes,
    /// In the order in which they are made.
    pub(super) definitions: Vec<NewDefinition>,
    /// As they came, for the answer.
    pub(super) children: Map<String, Value>,
    /// What the body takes while the request lasts.
    pub(super) _room: Room,
}

/// Reads a namespace.
///
/// # Errors
/// 400 for what does not match the schema, 403 for what is read-only.
pub(super) async fn namespace(
    app: &App,
    request: Request<Body>,
    project: Option<&str>,
) -> Result<NewNamespace, ApiError> {
    let (members, room) = read(app, request, &READ_ONLY, &SCHEMAS.namespace).await?;
    let mut children = members;
    let attributes = attributes(&mut children, project)?;
    let definitions = definitions(&mut children)?;
    Ok(NewNamespace {
        attributes,
        definitions,
        children,
        _room: room,
    })
}

/// Reads one definition of a kind. A tag has a name only.
///
/// # Errors
/// 400 for what does not match the schema, 403 for what is read-only.
pub(super) async fn definition(
    app: &App,
    request: Request<Body>,
    kind: Kind,
) -> Result<NewDefinition, ApiError> {
    let (read_only, schema): (&[&str], _) = match kind {
        Kind::Object => (&READ_ONLY, &SCHEMAS.object),
        Kind::Property => (&READ_ONLY_TIMES, &SCHEMAS.property),
        Kind::Tag => (&READ_ONLY_TIMES, &SCHEMAS.tag),
        Kind::ResourceType => (&READ_ONLY_TIMES, &SCHEMAS.resource_type),
    };
    let (members, _room) = read(app, request, read_only, schema).await?;
    named(kind, members)
}

/// Reads `{"tags": [{"name": ...}]}`.
///
/// # Errors
/// 400 for what does not match the schema, 403 for what is read-only.
pub(super) async fn tags(
    app: &App,
    request: Request<Body>,
) -> Result<Vec<NewDefinition>, ApiError> {
    let (members, _room) = read(app, request, &READ_ONLY_TIMES, &SCHEMAS.tags).await?;
    each(members.get("tags"), |tag| named(Kind::Tag, tag)).collect()
}

/// A tag of this name.
///
/// # Errors
/// 400 for a name that cannot be one.
pub(super) fn tag(name: &str) -> Result<NewDefinition, ApiError> {
    check_name(name)?;
    Ok(NewDefinition {
        kind: Kind::Tag,
        name: name.to_owned(),
        body: "{}".to_owned(),
    })
}

async fn read(
    app: &App,
    request: Request<Body>,
    read_only: &[&str],
    schema: &Value,
) -> Result<(Map<String, Value>, Room), ApiError> {
    let (value, room) = body::json(request, app).await?;
    if let Some(name) = read_only.iter().find(|name| value.get(**name).is_some()) {
        return Err(ApiError::forbidden(format!(
            "Attribute '{name}' is read-only."
        )));
    }
    schema_check::check(schema, &value).map_err(ApiError::bad_request)?;
    let Value::Object(members) = value else {
        return Err(ApiError::bad_request("The body must be a JSON object."));
    };
    Ok((members, room))
}

/// Takes the attributes out of a namespace.
fn attributes(
    members: &mut Map<String, Value>,
    project: Option<&str>,
) -> Result<NamespaceAttributes, ApiError> {
    let mut text = |name: &str| match members.remove(name) {
        Some(Value::String(text)) => attribute::narrow(&text).map(|()| Some(text)),
        _ => Ok(None),
    };
    let attributes = NamespaceAttributes {
        name: text("namespace")?.unwrap_or_default(),
        display_name: text("display_name")?,
        description: text("description")?,
        public: text("visibility")?.as_deref() == Some("public"),
        owner: text("owner")?.or_else(|| project.map(str::to_owned)),
        protected: members.remove("protected") == Some(Value::Bool(true)),
    };
    check_name(&attributes.name)?;
    Ok(attributes)
}

/// The definitions that a namespace brings with it, in the order in which they are made.
fn definitions(members: &mut Map<String, Value>) -> Result<Vec<NewDefinition>, ApiError> {
    let mut found = Vec::new();
    for (key, kind) in [
        ("resource_type_associations", Kind::ResourceType),
        ("objects", Kind::Object),
        ("tags", Kind::Tag),
    ] {
        if let Some(Value::Array(items)) = members.get_mut(key) {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                // They are there in what was read from another service.
                item.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
            }
        }
        for new in each(members.get(key), |item| named(kind, item)) {
            found.push(new?);
        }
    }
    if let Some(Value::Object(properties)) = members.get("properties") {
        for (name, definition) in properties {
            check_name(name)?;
            found.push(NewDefinition {
                kind: Kind::Property,
                name: name.clone(),
                body: definition.to_string(),
            });
        }
    }
    // An empty list is not shown.
    members.retain(|_, value| {
        value.as_array().is_none_or(|items| !items.is_empty())
            && value.as_object().is_none_or(|members| !members.is_empty())
    });
    Ok(found)
}

fn each<T>(
    list: Option<&Value>,
    read: impl Fn(Map<String, Value>) -> T,
) -> impl Iterator<Item = T> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(move |item| item.as_object().cloned().map(&read))
}

/// The definition that a checked body says. Its name is kept apart, and in the body of a property
/// besides, where lists show it (image-api 1.9).
fn named(kind: Kind, mut body: Map<String, Value>) -> Result<NewDefinition, ApiError> {
    let name = match kind {
        Kind::Property => body.get("name").cloned(),
        Kind::ResourceType | Kind::Object | Kind::Tag => body.remove("name"),
    };
    let Some(Value::String(name)) = name else {
        return Err(ApiError::bad_request("'name' is a required property"));
    };
    check_name(&name)?;
    if let Some(Value::String(description)) = body.get("description") {
        attribute::narrow(description)?;
    }
    Ok(NewDefinition {
        kind,
        name,
        body: Value::Object(body).to_string(),
    })
}

/// Whether a name can be one: what is empty, or has a slash, could not be asked for by its path.
fn check_name(name: &str) -> Result<(), ApiError> {
    attribute::narrow(name).map_err(|_: Invalid| {
        ApiError::bad_request("Name can't contain 4 byte unicode characters.")
    })?;
    if name.is_empty() || name.contains('/') {
        return Err(ApiError::bad_request(
            "A name must not be empty and must not contain '/'.",
        ));
    }
    if name.chars().count() > NAME_LENGTH {
        return Err(ApiError::bad_request(format!(
            "A name can't be longer than {NAME_LENGTH} characters."
        )));
    }
    Ok(())
}
