//! `PATCH /v2/images/{id}`: the JSON-patch document in both media types, and its application to an
//! image's attributes (image-api 1.10). Pure: who may do it is asked elsewhere.

use glimpse_registry::{image::Attributes, status::Status};
use serde_json::Value;

use crate::{
    api::{
        attribute::{self, Invalid, Kind},
        placement::{BadLocation, LocationChange},
    },
    config::ImageFormatConfig,
};

/// The media types of a PATCH body, as `Accept-Patch` lists them.
pub(super) const ACCEPT_PATCH: &str = "application/openstack-images-v2.0-json-patch, \
     application/openstack-images-v2.1-json-patch";

/// Why a document is refused; nothing of it is then applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPatch {
    /// 415
    #[error("Image PATCH expects Content-Type one of: {ACCEPT_PATCH}")]
    MediaType,
    /// The document or one of its operations is not well formed.
    #[error("{0}")]
    Malformed(String),
    /// A change of `/locations`.
    #[error(transparent)]
    Location(#[from] BadLocation),
    /// An operation breaks a rule of its attribute.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

fn malformed(message: impl Into<String>) -> BadPatch {
    BadPatch::Malformed(message.into())
}

/// The two forms of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `{"add": "/name", "value": "x"}`
    V20,
    /// `{"op": "add", "path": "/name", "value": "x"}`
    V21,
}

impl MediaType {
    /// Reads a `Content-Type`; its parameters do not matter.
    pub(super) fn parse(content_type: Option<&str>) -> Result<Self, BadPatch> {
        let name = content_type
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim();
        if name.eq_ignore_ascii_case("application/openstack-images-v2.1-json-patch") {
            Ok(Self::V21)
        } else if name.eq_ignore_ascii_case("application/openstack-images-v2.0-json-patch") {
            Ok(Self::V20)
        } else {
            Err(BadPatch::MediaType)
        }
    }
}

/// One operation on one attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Creates or overwrites; `fresh`: only creates (v2.0).
    Add {
        name: String,
        value: Value,
        fresh: bool,
    },
    /// Overwrites.
    Replace { name: String, value: Value },
    /// Removes.
    Remove { name: String },
    /// Changes the locations.
    Locations(LocationChange),
}

impl Change {
    /// The attribute.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Add { name, .. } | Self::Replace { name, .. } | Self::Remove { name } => name,
            Self::Locations(_) => "locations",
        }
    }

    /// What it is to be.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Add { value, .. } | Self::Replace { value, .. } => Some(value),
            Self::Remove { .. } | Self::Locations(_) => None,
        }
    }
}

/// The operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Replace,
    Remove,
}

const OPERATIONS: [(&str, Operation); 3] = [
    ("add", Operation::Add),
    ("remove", Operation::Remove),
    ("replace", Operation::Replace),
];

/// Reads a document, with every check that does not need the image: form, names, values.
pub(super) fn parse(
    media: MediaType,
    document: Value,
    formats: &ImageFormatConfig,
) -> Result<Vec<Change>, BadPatch> {
    let Value::Array(operations) = document else {
        return Err(malformed(
            "Request body must be a JSON array of operation objects.",
        ));
    };
    // A place for values to be tried in, so that what is refused here is refused for its value.
    let mut trial = attribute::defaults();
    operations
        .into_iter()
        .map(|operation| parse_one(media, operation, &mut trial, formats))
        .collect()
}

fn parse_one(
    media: MediaType,
    operation: Value,
    trial: &mut Attributes,
    formats: &ImageFormatConfig,
) -> Result<Change, BadPatch> {
    let Value::Object(mut members) = operation else {
        return Err(malformed("Operations must be JSON objects."));
    };
    let (kind, pointer) = match media {
        MediaType::V21 => {
            let name = match members.get("op") {
                Some(Value::String(name)) => name.as_str(),
                Some(_) => "",
                None => return Err(malformed("Unable to find 'op' in the operation.")),
            };
            let kind = OPERATIONS
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| {
                    malformed(format!(
                        "Invalid operation: `{name:.32}`. It must be one of the following: \
                         add, remove, replace."
                    ))
                })?
                .1;
            let pointer = members
                .get("path")
                .ok_or_else(|| malformed("Unable to find 'path' in the operation."))?;
            (kind, pointer)
        }
        MediaType::V20 => {
            let mut named = OPERATIONS
                .iter()
                .filter_map(|(name, kind)| Some((*kind, members.get(*name)?)));
            match (named.next(), named.next()) {
                (Some(one), None) => one,
                _ => {
                    return Err(malformed(
                        "Operation objects must contain exactly one member named \"add\", \
                         \"remove\", or \"replace\".",
                    ));
                }
            }
        }
    };
    let pointer = pointer
        .as_str()
        .ok_or_else(|| malformed("The path of an operation must be a string."))?;
    let path = decode(pointer)?;
    let (name, position) = match (path.as_slice(), kind) {
        ([root], Operation::Replace) if root == "locations" => (root.clone(), None),
        ([root, at], Operation::Add | Operation::Remove) if root == "locations" => {
            (root.clone(), Some(at.as_str()))
        }
        ([root], _) if root != "locations" => (root.clone(), None),
        _ => {
            return Err(malformed(format!(
                "Invalid JSON pointer for this resource: '/{:.64}'",
                path.join("/")
            )));
        }
    };
    let change = match kind {
        Operation::Remove if name == "locations" => {
            Change::Locations(LocationChange::remove(position)?)
        }
        Operation::Remove => Change::Remove { name },
        Operation::Add | Operation::Replace => {
            let value = members
                .remove("value")
                .ok_or_else(|| malformed("The operation requires a member named \"value\"."))?;
            if name == "locations" {
                Change::Locations(LocationChange::write(position, &value)?)
            } else if kind == Operation::Add {
                let fresh = media == MediaType::V20;
                Change::Add { name, value, fresh }
            } else {
                Change::Replace { name, value }
            }
        }
    };
    if change.name() != "locations" {
        attribute::kind(change.name())?;
        if let Some(value) = change.value() {
            attribute::set(trial, change.name(), value, formats)?;
        }
    }
    Ok(change)
}

/// The tokens of a JSON pointer, in the narrow form that images take.
fn decode(pointer: &str) -> Result<Vec<String>, BadPatch> {
    let Some(path) = pointer.strip_prefix('/') else {
        return Err(malformed(format!(
            "Pointer `{pointer:.64}` does not start with \"/\"."
        )));
    };
    path.split('/')
        .map(|token| {
            let token = token.trim();
            if token.is_empty() {
                return Err(malformed(format!(
                    "Pointer `{pointer:.64}` contains an empty token."
                )));
            }
            let mut plain = String::with_capacity(token.len());
            let mut characters = token.chars();
            while let Some(character) = characters.next() {
                plain.push(match character {
                    '~' => match characters.next() {
                        Some('0') => '~',
                        Some('1') => '/',
                        _ => {
                            return Err(malformed(format!(
                                "Pointer `{pointer:.64}` contains \"~\" not part of a \
                                 recognized escape sequence."
                            )));
                        }
                    },
                    other => other,
                });
            }
            Ok(plain)
        })
        .collect()
}

/// Applies one operation to the attributes of an image in `status`.
pub(super) fn apply(
    change: &Change,
    attributes: &mut Attributes,
    status: Status,
    formats: &ImageFormatConfig,
) -> Result<(), BadPatch> {
    let name = change.name();
    let base = attribute::kind(name)? == Kind::Base;
    let present = base || attributes.properties.contains_key(name);
    match change {
        Change::Remove { .. } if base => Err(Invalid::NotRemovable(name.to_owned()).into()),
        Change::Remove { .. } | Change::Replace { .. } if !present => {
            Err(Invalid::Absent(name.to_owned()).into())
        }
        Change::Add { fresh: true, .. } if present => Err(Invalid::Present(name.to_owned()).into()),
        Change::Remove { .. } => {
            attributes.properties.remove(name);
            Ok(())
        }
        // `placement` applies these; `kind` has refused them here.
        Change::Locations(_) => Ok(()),
        Change::Add { value, .. } | Change::Replace { value, .. } => {
            let frozen = !matches!(status, Status::Queued | Status::Importing);
            if frozen && matches!(name, "disk_format" | "container_format") {
                return Err(Invalid::FormatsFrozen(name.to_owned()).into());
            }
            Ok(attribute::set(attributes, name, value, formats)?)
        }
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
