//! `/v2/images/{id}/locations` and `DELETE /v2/stores/{store}/{id}` (image-api 1.4, 1.6). Locations
//! are read; the job that would add one is not there yet, and an image has one only.

use axum::{body::Body, response::Response};
use glimpse_registry::status::Status;
use http::Request;
use serde_json::{Map, Value};

use crate::{
    api::{
        authorize, body,
        error::ApiError,
        image_view::{self, separated},
        images,
    },
    app::App,
    auth::Context,
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

/// `POST /v2/images/{id}/locations`: every refusal that needs no job; nothing is added.
pub(super) async fn add(
    app: &App,
    context: &Context,
    id: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (Value::Object(members), _room) = body::json(request, app).await? else {
        return Err(ApiError::bad_request("A location must be a JSON object."));
    };
    check_body(&members).map_err(ApiError::bad_request)?;
    let image = images::find(app, context, id).await?;
    if image.status != Status::Queued {
        return Err(ApiError::conflict(format!(
            "It's not allowed to add locations if image status is {}.",
            image.status.as_str()
        )));
    }
    authorize::check(&app.policy, "add_image_location", context, &image)?;
    let mut roles = context.roles.iter().chain(&context.service_roles);
    if !roles.any(|role| role == "service") {
        return Err(ApiError::forbidden(
            "http store must be enabled to use location API by normal user.",
        ));
    }
    Err(ApiError::bad_request(
        "No configured store takes locations by URL.",
    ))
}

/// The schema of a location to add.
fn check_body(members: &Map<String, Value>) -> Result<(), String> {
    if !members.get("url").is_some_and(Value::is_string) {
        return Err("A location needs a 'url', a string.".to_owned());
    }
    let data = match members.get("validation_data") {
        None => return Ok(()),
        Some(Value::Object(data)) => data,
        Some(_) => return Err("'validation_data' must be an object.".to_owned()),
    };
    if let Some(other) = data
        .keys()
        .find(|key| !matches!(key.as_str(), "os_hash_algo" | "os_hash_value"))
    {
        return Err(format!("'validation_data' has no '{other}'."));
    }
    let digits = match (data.get("os_hash_algo"), data.get("os_hash_value")) {
        (None, None) => return Ok(()),
        (Some(Value::String(algorithm)), Some(Value::String(value))) => {
            let length = match algorithm.as_str() {
                "md5" => 32,
                "sha1" => 40,
                "sha256" => 64,
                "sha512" => 128,
                other => return Err(format!("os_hash_algo: '{other}' is not supported.")),
            };
            (value, length)
        }
        _ => return Err("os_hash_algo and os_hash_value come together, as strings.".to_owned()),
    };
    let (value, length) = digits;
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
    Ok(())
}

/// `DELETE /v2/stores/{store}/{id}`: refused, since the last copy of the data is never removed so.
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
    let image = images::find(app, context, id).await?;
    authorize::check(&app.policy, "get_image_location", context, &image)?;
    authorize::check(&app.policy, "delete_image_location", context, &image)?;
    if image.status != Status::Active {
        return Err(ApiError::conflict(
            "It's not allowed to remove image data from store if image status is not 'active'",
        ));
    }
    if image.locations.len() > 1 && !image.locations.iter().any(|at| at.store == store) {
        return Err(ApiError::not_found(format!(
            "Image {id} is not stored in store {store}."
        )));
    }
    Err(ApiError::forbidden(
        "Cannot delete image data from the only store containing it. Consider deleting the image \
         instead.",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_location_has_a_url_and_both_hash_fields_or_none() {
        let check = |body: Value| check_body(body.as_object().unwrap()).is_ok();
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
