//! An image as JSON, written straight to bytes: show and list spend their time here.

use glimpse_registry::{
    image::{Attributes, Image, Location},
    status::Status,
    task::Import,
};

use crate::{
    api::{attribute::LAST_IMPORT_ERROR, authorize, timestamp},
    app::App,
    auth::Context,
    data::learn::HASHING,
    policy::protection::Action,
};

/// Properties that no client sees (image-api 2.1).
const HIDDEN: [&str; 2] = ["os_glance_stage_host", HASHING];

/// Room for a record of usual size.
pub(super) const USUAL_BYTES: usize = 1024;

/// More bytes than [`write()`] appends for an image with these attributes, where its locations are of
/// usual size.
pub(super) fn most_bytes(attributes: &Attributes) -> usize {
    /// What has a bound of its own (names, tags, hashes, locations), and quotes and commas around it.
    const REST: usize = 16 << 10;
    /// A control character is written as `\u0001`.
    const ESCAPED: usize = 6;
    let properties = attributes.properties.iter();
    let text: usize = properties
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len) + 1)
        .chain(attributes.tags.iter().map(|tag| tag.len() + 1))
        .sum();
    REST + text * ESCAPED
}

/// Appends the image as the caller sees it.
pub(super) fn write(out: &mut Vec<u8>, app: &App, context: &Context, image: &Image) {
    let attributes = &image.attributes;
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = uuid::Uuid::from_bytes(image.id.0)
        .hyphenated()
        .encode_lower(&mut id)
        .as_bytes();

    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(id);
    out.extend_from_slice(b"\",\"name\":");
    optional(out, attributes.name.as_deref());
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(image.status.as_str().as_bytes());
    out.extend_from_slice(b"\",\"visibility\":\"");
    out.extend_from_slice(attributes.visibility.as_str().as_bytes());
    out.extend_from_slice(b"\",\"protected\":");
    boolean(out, attributes.protected);
    out.extend_from_slice(b",\"os_hidden\":");
    boolean(out, attributes.os_hidden);
    out.extend_from_slice(b",\"owner\":");
    optional(out, attributes.owner.as_deref());
    out.extend_from_slice(b",\"disk_format\":");
    optional(out, attributes.disk_format.as_deref());
    out.extend_from_slice(b",\"container_format\":");
    optional(out, attributes.container_format.as_deref());
    out.extend_from_slice(b",\"min_disk\":");
    number(out, u64::from(attributes.min_disk));
    out.extend_from_slice(b",\"min_ram\":");
    number(out, u64::from(attributes.min_ram));
    out.extend_from_slice(b",\"size\":");
    optional_number(out, image.size);
    out.extend_from_slice(b",\"virtual_size\":");
    optional_number(out, image.virtual_size);
    out.extend_from_slice(b",\"checksum\":");
    optional(out, image.checksum.as_deref());
    out.extend_from_slice(b",\"os_hash_algo\":");
    optional(out, image.os_hash_algo.as_deref());
    out.extend_from_slice(b",\"os_hash_value\":");
    optional(out, image.os_hash_value.as_deref());
    out.extend_from_slice(b",\"created_at\":\"");
    timestamp::write(out, image.created_at);
    out.extend_from_slice(b"\",\"updated_at\":\"");
    timestamp::write(out, image.updated_at);
    out.extend_from_slice(b"\",\"tags\":[");
    separated(out, &attributes.tags, |out, tag| string(out, tag));
    out.extend_from_slice(b"],\"self\":\"/v2/images/");
    out.extend_from_slice(id);
    out.extend_from_slice(b"\",\"file\":\"/v2/images/");
    out.extend_from_slice(id);
    out.extend_from_slice(b"/file\",\"schema\":\"/v2/schemas/image\"");
    for (name, value) in &attributes.properties {
        if HIDDEN.contains(&name.as_str()) || !app.policy.may(Action::Read, name, context) {
            continue;
        }
        out.push(b',');
        string(out, name);
        out.push(b':');
        optional(out, value.as_deref());
    }
    if let Some(import) = &image.import {
        imports(out, context, image, import);
    }
    locations(out, app, context, image);
    out.push(b'}');
}

/// What imports left: progress and lock for all (image-api 2.1), why the last one failed for the owner
/// and admins.
fn imports(out: &mut Vec<u8>, context: &Context, image: &Image, import: &Import) {
    if let Some(progress) = &import.progress {
        for (name, stores) in [
            ("os_glance_importing_to_stores", &progress.importing),
            ("os_glance_failed_import", &progress.failed),
        ] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            separated(out, stores, |out, store| inner(out, store));
            out.push(b'"');
        }
    }
    if let Some(task) = import.task {
        out.extend_from_slice(b",\"os_glance_import_task\":");
        string(out, &task.to_string());
    }
    let owner = &image.attributes.owner;
    if let Some(failure) = &import.failure
        && (context.is_admin || owner.is_some() && *owner == context.project_id)
    {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(LAST_IMPORT_ERROR.as_bytes());
        out.extend_from_slice(b"\":");
        string(out, failure);
    }
}

/// `stores`, `direct_url` and `locations`, as far as the caller may see them. A deactivated image
/// shows none of them but to admins (image-api 2.4).
fn locations(out: &mut Vec<u8>, app: &App, context: &Context, image: &Image) {
    let withheld = image.status == Status::Deactivated && !context.is_admin;
    let locations: &[Location] = if withheld { &[] } else { &image.locations };
    if !locations.is_empty() {
        out.extend_from_slice(b",\"stores\":\"");
        separated(out, locations, |out, location| {
            inner(out, &location.store);
        });
        out.push(b'"');
    }
    let api = &app.config.api;
    if !api.show_image_direct_url && !api.show_multiple_locations {
        return;
    }
    let may_see = authorize::allows(&app.policy, "get_image_location", context, image);
    let locations = if may_see { locations } else { &[] };
    if api.show_image_direct_url {
        // The first of the heaviest.
        let weight = |location: &Location| app.stores.get(&location.store).map_or(0, |s| s.weight);
        if let Some(best) = locations
            .iter()
            .rev()
            .max_by_key(|location| weight(location))
        {
            out.extend_from_slice(b",\"direct_url\":");
            string(out, &best.url);
        }
    }
    if api.show_multiple_locations {
        out.extend_from_slice(b",\"locations\":[");
        separated(out, locations, location);
        out.push(b']');
    }
}

/// Appends `{"url":..., "metadata":{...}}`.
pub(super) fn location(out: &mut Vec<u8>, location: &Location) {
    out.extend_from_slice(b"{\"url\":");
    string(out, &location.url);
    out.extend_from_slice(b",\"metadata\":{\"store\":");
    string(out, &location.store);
    for (name, value) in location
        .metadata
        .iter()
        .filter(|(name, _)| *name != "store")
    {
        out.push(b',');
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.extend_from_slice(b"}}");
}

/// Appends the items with commas between them.
pub(super) fn separated<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

/// Appends a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    inner(out, text);
    out.push(b'"');
}

/// Appends what stands between the quotes of a JSON string (RFC 8259 7).
fn inner(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if !text
        .bytes()
        .any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(b"\\u00");
                out.push(digit(byte >> 4));
                out.push(digit(byte & 0xF));
            }
            other => out.push(other),
        }
    }
}

fn optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn number(out: &mut Vec<u8>, value: u64) {
    use std::io::Write;
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

fn optional_number(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        Some(value) => number(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back_as_they_were(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            let read: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        string(&mut out, "a\"\\\n\r\t\u{1}\u{1f}é");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a\\\"\\\\\\n\\r\\t\\u0001\\u001fé\""
        );
    }

    #[test]
    fn a_location_names_its_store_once() {
        let mut out = Vec::new();
        let metadata = [("store", "other"), ("k", "v")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        location(
            &mut out,
            &Location {
                url: "file:///x".into(),
                store: "local".into(),
                metadata,
            },
        );
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"url": "file:///x", "metadata": {"store": "local", "k": "v"}})
        );
    }
}
