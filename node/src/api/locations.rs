//! `/v2/images/{id}/locations` and `DELETE /v2/stores/{store}/{id}` (image-api 1.4, 1.6).

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError, command::ImageData, outcome::Rejection, status::Status,
};
use http::{Request, StatusCode};
use serde_json::{Map, Value};

use crate::{
    api::{
        attribute, authorize, body,
        error::ApiError,
        image_view::{self, separated},
        images,
        placement::{self, Placement},
    },
    app::App,
    auth::Context,
    data::learn::HASHING,
};

/// `GET /v2/images/{id}/locations`
pub(super) async fn list(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    let image = images::find(app, context, id).await?;
    authorize::check(&app.policy, "fetch_image_location", context, &image)?;
    let withheld = image.status == Status::Deactivated && !context.is_admin;
    let mut out = Vec::with_capacity(256);
    out.push(b'[');
    separated(
        &mut out,
        image.locations.iter().filter(|_| !withheld),
        image_view::location,
    );
    out.push(b']');
    images::large(app.memory.room(), out)
}

/// `POST /v2/images/{id}/locations`: takes the location at once, with the size that it has; whether its
/// data is hashed before the image is active, or after, or not, is image-api 1.6. The hashing is
/// `workers/hashing.rs`.
pub(super) async fn add(
    app: &App,
    context: &Context,
    id: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (Value::Object(members), _room) = body::json(request, app).await? else {
        return Err(ApiError::bad_request("A location must be a JSON object."));
    };
    let New { url, hash } = New::parse(&members).map_err(ApiError::bad_request)?;
    let image = images::find(app, context, id).await?;
    if image.status != Status::Queued {
        return Err(ApiError::conflict(format!(
            "It's not allowed to add locations if image status is {}.",
            image.status.as_str()
        )));
    }
    authorize::check(&app.policy, "add_image_location", context, &image)?;
    let mut roles = context.roles.iter().chain(&context.service_roles);
    if !roles.any(|role| role == "service") && placement::store_of(app, &url, None).is_none() {
        return Err(ApiError::forbidden(
            "http store must be enabled to use location API by normal user.",
        ));
    }
    attribute::check_locations(0, 1, &app.config.limits)?;
    let mut data = ImageData::of(&image);
    let location = Placement::default().admit_url(app, &url, &mut data).await?;
    data.locations.push(location);
    let hashes = app.config.locations.do_secure_hash;
    data.status = match hashes && hash.is_some() {
        true => Status::Importing,
        false => Status::Active,
    };
    if let Some((algorithm, value)) = hash {
        (data.os_hash_algo, data.os_hash_value) = (Some(algorithm), Some(value));
    }
    let mut attributes = image.attributes.clone();
    if hashes {
        let node = app.config.node.name.clone();
        attributes.properties.insert(HASHING.to_owned(), Some(node));
    }
    let quota = app.config.limits.user_storage_quota;
    let set = app
        .registry
        .set_data(image.id, image.version, attributes, data, quota);
    match set.await {
        Ok(_) => {}
        Err(RegistryError::Rejected(Rejection::VersionConflict { .. })) => {
            return Err(ApiError::conflict("The image was changed meanwhile."));
        }
        Err(RegistryError::Rejected(Rejection::ImageNotFound)) => {
            return Err(ApiError::no_image(id));
        }
        Err(error) => return Err(error.into()),
    }
    app.data.hashing_wake.notify_one();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// A location to add.
struct New {
    url: String,
    /// The name of a hash and its value.
    hash: Option<(String, String)>,
}

impl New {
    /// The schema of a location to add.
    fn parse(members: &Map<String, Value>) -> Result<Self, String> {
        let url = members.get("url").and_then(Value::as_str);
        let url = url.ok_or("A location needs a 'url', a string.")?;
        Ok(Self {
            url: url.to_owned(),
            hash: hash(members)?,
        })
    }
}

/// `validation_data`: both fields or none.
fn hash(members: &Map<String, Value>) -> Result<Option<(String, String)>, String> {
    let data = match members.get("validation_data") {
        None => return Ok(None),
        Some(Value::Object(data)) => data,
        Some(_) => return Err("'validation_data' must be an object.".to_owned()),
    };
    if let Some(other) = data
        .keys()
        .find(|key| !matches!(key.as_str(), "os_hash_algo" | "os_hash_value"))
    {
        return Err(format!("'validation_data' has no '{other}'."));
    }
    let (algorithm, value, length) = match (data.get("os_hash_algo"), data.get("os_hash_value")) {
        (None, None) => return Ok(None),
        (Some(Value::String(algorithm)), Some(Value::String(value))) => {
            let length = match algorithm.as_str() {
                "md5" => 32,
                "sha1" => 40,
                "sha256" => 64,
                "sha512" => 128,
                other => return Err(format!("os_hash_algo: '{other}' is not supported.")),
            };
            (algorithm, value, length)
        }
        _ => return Err("os_hash_algo and os_hash_value come together, as strings.".to_owned()),
    };
    if !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!(
            "os_hash_value ({value}) is not a valid hexadecimal value"
        ));
    }
    if value.len() != length {
        return Err(format!(
            "os_hash_value ({value}) must have {length} hexadecimal digits"
        ));
    }
    Ok(Some((algorithm.clone(), value.to_ascii_lowercase())))
}

/// `DELETE /v2/stores/{store}/{id}`: removes the copy in that store, unless it is the last one.
pub(super) async fn remove_from_store(
    app: &App,
    context: &Context,
    store: &str,
    id: &str,
) -> Result<Response, ApiError> {
    if app.stores.get(store).is_none() {
        return Err(ApiError::conflict(format!(
            "The selected store {store} is not available on this node."
        )));
    }
    for _ in 0..images::ATTEMPTS {
        let image = images::find(app, context, id).await?;
        authorize::check(&app.policy, "get_image_location", context, &image)?;
        authorize::check(&app.policy, "delete_image_location", context, &image)?;
        if image.status != Status::Active {
            return Err(ApiError::conflict(
                "It's not allowed to remove image data from store if image status is not 'active'",
            ));
        }
        let found = image
            .locations
            .iter()
            .position(|location| location.store == store);
        if image.locations.len() <= 1 {
            return Err(ApiError::forbidden(
                "Cannot delete image data from the only store containing it. Consider deleting the \
                 image instead.",
            ));
        }
        let Some(position) = found else {
            return Err(ApiError::not_found(format!(
                "Image {id} is not stored in store {store}."
            )));
        };
        let mut data = ImageData::of(&image);
        data.locations.remove(position);
        let attributes = image.attributes.clone();
        let set = app
            .registry
            .set_data(image.id, image.version, attributes, data, None);
        match set.await {
            Ok(_) => {
                app.data.reaper_wake.notify_one();
                return Ok(images::no_content());
            }
            Err(RegistryError::Rejected(Rejection::VersionConflict { .. })) => {}
            Err(RegistryError::Rejected(Rejection::ImageNotFound)) => {
                return Err(ApiError::no_image(id));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(images::contended())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_location_has_a_url_and_both_hash_fields_or_none() {
        let check = |body: Value| New::parse(body.as_object().unwrap()).is_ok();
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        assert!(check(json!({"url": "http://x/y"})));
        assert!(check(json!({"url": "x", "validation_data": {}})));
        assert!(check(json!({"url": "x", "validation_data":
            {"os_hash_algo": "md5", "os_hash_value": md5}})));
        for bad in [
            json!({}),
            json!({"url": 1}),
            json!({"url": "x", "validation_data": []}),
            json!({"url": "x", "validation_data": {"os_hash_algo": "md5"}}),
            json!({"url": "x", "validation_data": {"os_hash_value": md5}}),
            json!({"url": "x", "validation_data": {"checksum": md5}}),
            json!({"url": "x", "validation_data":
                {"os_hash_algo": "sha1", "os_hash_value": md5}}),
            json!({"url": "x", "validation_data":
                {"os_hash_algo": "md5", "os_hash_value": "zz1d8cd98f00b204e9800998ecf8427e"}}),
            json!({"url": "x", "validation_data":
                {"os_hash_algo": "crc32", "os_hash_value": "00000000"}}),
        ] {
            assert!(!check(bad.clone()), "{bad}");
        }
    }
}
