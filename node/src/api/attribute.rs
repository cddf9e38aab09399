//! What clients may set on an image, one attribute at a time: the image schema's rules on names and
//! values (image-api 2.1), shared by create and PATCH.

use std::collections::{BTreeMap, BTreeSet};

use glimpse_registry::image::{Attributes, ImageId, Visibility};
use serde_json::Value;

use crate::config::{ImageFormatConfig, Limits};

/// Characters of a name, an owner, a tag, a property's key.
const TEXT_LENGTH: usize = 255;
/// `min_disk` and `min_ram` at most.
const INTEGER_MAX: u64 = (1 << 31) - 1;
/// Keys with this beginning belong to the service.
const RESERVED_NAMESPACE: &str = "os_glance";

/// Shown on an image whose last import failed: why. An additional property to clients that do not know
/// it; set by the service only.
pub(super) const LAST_IMPORT_ERROR: &str = "last_import_error";

/// Why an attribute is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Set by the service only.
    #[error("Attribute '{0}' is read-only.")]
    ReadOnly(String),
    /// A name that the service keeps for itself.
    #[error("Attribute '{0}' is reserved.")]
    Reserved(String),
    /// Not of the schema.
    #[error("Provided object does not match schema 'image': {name}: {reason}")]
    Schema {
        /// Which attribute.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A custom property's key is empty or too long.
    #[error("Custom property '{0:.32}' must have a name of 1 to 255 characters.")]
    KeyLength(String),
    /// A character beyond U+FFFF, which the 3-byte tables of existing databases cannot hold.
    #[error("Invalid input: characters above U+FFFF (4 bytes in UTF-8) are not supported.")]
    WideCharacter,
    /// Formats stay once data has arrived.
    #[error("Attribute {0} can be only replaced for a queued image.")]
    FormatsFrozen(String),
    /// A base attribute is always there.
    #[error("Property {0} may not be removed.")]
    NotRemovable(String),
    /// v2.0 `add` of what is there.
    #[error("Property {0} already present.")]
    Present(String),
    /// `replace` or `remove` of what is not there.
    #[error("Property {0} does not exist.")]
    Absent(String),
    /// A custom property, or all of an image together, are too long.
    #[error(
        "The limit has been exceeded on the length of {what}. Attempted: {attempted} bytes, \
         Maximum: {limit} bytes"
    )]
    Length {
        /// `custom property x`, say.
        what: String,
        /// Would be.
        attempted: usize,
        /// Allowed.
        limit: usize,
    },
    /// Too many of them.
    #[error(
        "The limit has been exceeded on the number of allowed image {what}. \
         Attempted: {attempted}, Maximum: {limit}"
    )]
    Quota {
        /// `properties`, `tags` or `locations`.
        what: &'static str,
        /// Would be.
        attempted: u64,
        /// Allowed.
        limit: u64,
    },
}

impl Invalid {
    pub(super) fn schema(name: &str, reason: impl Into<String>) -> Self {
        Self::Schema {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An attribute of every image that clients set.
    Base,
    /// Anything else.
    Custom,
}

/// The attributes of an image of which nothing was said.
pub(super) fn defaults() -> Attributes {
    Attributes {
        name: None,
        visibility: Visibility::Shared,
        protected: false,
        os_hidden: false,
        owner: None,
        disk_format: None,
        container_format: None,
        min_disk: 0,
        min_ram: 0,
        tags: BTreeSet::new(),
        properties: BTreeMap::new(),
    }
}

/// Whether clients may set the name at all, and as what.
///
/// # Errors
/// 403 for names of the service, 400 for one that is no key.
pub(super) fn kind(name: &str) -> Result<Kind, Invalid> {
    match name {
        "name" | "visibility" | "protected" | "os_hidden" | "owner" | "disk_format"
        | "container_format" | "min_disk" | "min_ram" | "tags" => Ok(Kind::Base),
        "created_at" | "updated_at" | "status" | "checksum" | "size" | "virtual_size"
        | "direct_url" | "self" | "file" | "schema" | "stores" | "id" | "os_hash_algo"
        | "os_hash_value" => Err(Invalid::ReadOnly(name.to_owned())),
        "location" | "locations" | "deleted" | "deleted_at" | LAST_IMPORT_ERROR => {
            Err(Invalid::Reserved(name.to_owned()))
        }
        _ if name.starts_with(RESERVED_NAMESPACE) => Err(Invalid::Reserved(name.to_owned())),
        _ if name.is_empty() || name.chars().count() > TEXT_LENGTH => {
            Err(Invalid::KeyLength(name.to_owned()))
        }
        _ => {
            narrow(name)?;
            Ok(Kind::Custom)
        }
    }
}

/// Sets one attribute or custom property, adding it where it is not there yet.
///
/// # Errors
/// See [`Invalid`]; `attributes` is then unchanged.
pub(super) fn set(
    attributes: &mut Attributes,
    name: &str,
    value: &Value,
    formats: &ImageFormatConfig,
) -> Result<(), Invalid> {
    if kind(name)? == Kind::Custom {
        let value = property(name, value, formats)?;
        attributes.properties.insert(name.to_owned(), value);
        return Ok(());
    }
    match name {
        "name" => attributes.name = optional_text(name, value)?,
        "owner" => attributes.owner = optional_text(name, value)?,
        "visibility" => {
            attributes.visibility =
                value.as_str().and_then(Visibility::parse).ok_or_else(|| {
                    Invalid::schema(
                        name,
                        format!("{value} is not one of community, public, private, shared"),
                    )
                })?;
        }
        "protected" => attributes.protected = boolean(name, value)?,
        "os_hidden" => attributes.os_hidden = boolean(name, value)?,
        "disk_format" => attributes.disk_format = format(name, value, &formats.disk_formats)?,
        "container_format" => {
            attributes.container_format = format(name, value, &formats.container_formats)?;
        }
        "min_disk" => attributes.min_disk = integer(name, value)?,
        "min_ram" => attributes.min_ram = integer(name, value)?,
        "tags" => attributes.tags = tags(value)?,
        other => return Err(Invalid::ReadOnly(other.to_owned())),
    }
    Ok(())
}

/// A tag, as in `PUT /v2/images/{id}/tags/{tag}`.
pub(super) fn check_tag(tag: &str) -> Result<(), Invalid> {
    length("tags", tag)?;
    narrow(tag)
}

/// The id that a client chose.
pub(super) fn image_id(value: &Value) -> Result<ImageId, Invalid> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Invalid::schema("id", format!("{value} is not a UUID")))
}

/// The quotas on counts and lengths, looked at only where something was added or changed
/// (image-api 2.3).
pub(super) fn check_quotas(
    before: Option<&Attributes>,
    after: &Attributes,
    limits: &Limits,
) -> Result<(), Invalid> {
    let added_property = after
        .properties
        .keys()
        .any(|key| before.is_none_or(|before| !before.properties.contains_key(key)));
    let added_tag = after
        .tags
        .iter()
        .any(|tag| before.is_none_or(|before| !before.tags.contains(tag)));
    if added_property {
        count(
            "properties",
            after.properties.len(),
            limits.image_property_quota,
        )?;
    }
    if added_tag {
        count("tags", after.tags.len(), limits.image_tag_quota)?;
    }
    check_lengths(before, after, limits)
}

/// What a record may hold is bounded, since pages of a thousand records lie in memory.
fn check_lengths(
    before: Option<&Attributes>,
    after: &Attributes,
    limits: &Limits,
) -> Result<(), Invalid> {
    let mut changed = false;
    let mut total = 0_usize;
    for (key, value) in &after.properties {
        let length = value.as_ref().map_or(0, String::len);
        total = total.saturating_add(key.len()).saturating_add(length);
        if before.is_none_or(|before| before.properties.get(key) != Some(value)) {
            changed = true;
            let what = || format!("custom property {key}");
            within(what, length, limits.image_property_bytes)?;
        }
    }
    if changed {
        let what = || "all custom properties".to_owned();
        within(what, total, limits.image_properties_bytes)?;
    }
    Ok(())
}

/// Checks the number of locations, where it grew.
pub(super) fn check_locations(before: usize, after: usize, limits: &Limits) -> Result<(), Invalid> {
    match after > before {
        true => count("locations", after, limits.image_location_quota),
        false => Ok(()),
    }
}

fn within(what: impl FnOnce() -> String, attempted: usize, limit: usize) -> Result<(), Invalid> {
    if attempted <= limit {
        return Ok(());
    }
    Err(Invalid::Length {
        what: what(),
        attempted,
        limit,
    })
}

fn count(what: &'static str, attempted: usize, limit: Option<u64>) -> Result<(), Invalid> {
    match limit {
        Some(limit) if attempted as u64 > limit => Err(Invalid::Quota {
            what,
            attempted: attempted as u64,
            limit,
        }),
        _ => Ok(()),
    }
}

/// No character beyond U+FFFF (image-api 1.1): those and only those take 4 bytes in UTF-8, whose
/// first is 0xF0 or above.
pub(super) fn narrow(text: &str) -> Result<(), Invalid> {
    if text.bytes().any(|byte| byte >= 0xF0) {
        Err(Invalid::WideCharacter)
    } else {
        Ok(())
    }
}

fn length(name: &str, text: &str) -> Result<(), Invalid> {
    // Bytes are never fewer than characters, and counting those is slower.
    if text.len() > TEXT_LENGTH && text.chars().count() > TEXT_LENGTH {
        Err(Invalid::schema(
            name,
            format!("longer than {TEXT_LENGTH} characters"),
        ))
    } else {
        Ok(())
    }
}

fn text<'v>(name: &str, value: &'v Value) -> Result<&'v str, Invalid> {
    let text = value
        .as_str()
        .ok_or_else(|| Invalid::schema(name, format!("{} is not a string", short(value))))?;
    narrow(text)?;
    Ok(text)
}

fn optional_text(name: &str, value: &Value) -> Result<Option<String>, Invalid> {
    if value.is_null() {
        return Ok(None);
    }
    let text = text(name, value)?;
    length(name, text)?;
    Ok(Some(text.to_owned()))
}

fn boolean(name: &str, value: &Value) -> Result<bool, Invalid> {
    value
        .as_bool()
        .ok_or_else(|| Invalid::schema(name, format!("{} is not a boolean", short(value))))
}

fn integer(name: &str, value: &Value) -> Result<u32, Invalid> {
    let whole = value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..=INTEGER_MAX as f64).contains(number))
            .map(|number| number as u64)
    });
    whole
        .filter(|number| *number <= INTEGER_MAX)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| {
            Invalid::schema(
                name,
                format!("{} is not an integer from 0 to {INTEGER_MAX}", short(value)),
            )
        })
}

fn format(name: &str, value: &Value, allowed: &[String]) -> Result<Option<String>, Invalid> {
    if value.is_null() {
        return Ok(None);
    }
    match value.as_str() {
        Some(text) if allowed.iter().any(|format| format == text) => Ok(Some(text.to_owned())),
        _ => Err(Invalid::schema(
            name,
            format!("{} is not one of {}", short(value), allowed.join(", ")),
        )),
    }
}

fn tags(value: &Value) -> Result<BTreeSet<String>, Invalid> {
    let list = value
        .as_array()
        .ok_or_else(|| Invalid::schema("tags", format!("{} is not an array", short(value))))?;
    let mut tags = BTreeSet::new();
    for tag in list {
        let tag = text("tags", tag)?;
        length("tags", tag)?;
        tags.insert(tag.to_owned());
    }
    Ok(tags)
}

/// The value of a custom property: a string, and what its definition says where it has one.
fn property(
    name: &str,
    value: &Value,
    formats: &ImageFormatConfig,
) -> Result<Option<String>, Invalid> {
    if value.is_null() && formats.properties.nullable(name) {
        return Ok(None);
    }
    let text = text(name, value)?;
    match formats.properties.check(name, text) {
        Ok(()) => Ok(Some(text.to_owned())),
        Err(why) => Err(Invalid::schema(name, format!("{} {why}", short(value)))),
    }
}

/// The value as text for a message, cut where it is long.
fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 64 {
        let end = (0..=64).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}
