//! `/v2/images/{id}/members`: the projects that a shared image is shared with (image-api 1.5, 4.3).

use std::sync::Arc;

use axum::{body::Body, response::Response};
use glimpse_registry::{
    Error as RegistryError, View,
    image::{Image, Member, MemberStatus, Visibility},
    outcome::Rejection,
};
use http::{Request, StatusCode};
use serde_json::Value;

use crate::{
    api::{
        attribute, authorize, body,
        error::ApiError,
        image_view::{separated, string},
        images, timestamp,
    },
    app::App,
    auth::Context,
};

/// Characters of a project id.
const MEMBER_LENGTH: usize = 255;

/// `GET .../members`
pub(super) async fn list(app: &App, context: &Context, id: &str) -> Result<Response, ApiError> {
    let view = app.registry.read().await?;
    let image = authorize::find(&view, context, id)?;
    shared(app, context, &image)?;
    authorize::check(&app.policy, "get_members", context, &image)?;
    let members = view.members(image.id)?;
    let mut out = Vec::with_capacity(64 + members.len() * 256);
    out.extend_from_slice(b"{\"members\":[");
    let visible = members
        .iter()
        .filter(|member| sees(app, context, &image, &member.member_id));
    separated(&mut out, visible, write);
    out.extend_from_slice(b"],\"schema\":\"/v2/schemas/members\"}");
    images::large(app.memory.room(), out)
}

/// `POST .../members`
pub(super) async fn create(
    app: &App,
    context: &Context,
    id: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let member = text(
        app,
        request,
        "member",
        "Expected a member in the form: {\"member\": \"project_id\"}",
    )
    .await?;
    if member.is_empty() {
        return Err(ApiError::bad_request("Member can't be empty"));
    }
    if member.chars().count() > MEMBER_LENGTH {
        return Err(ApiError::bad_request(format!(
            "Member can't be longer than {MEMBER_LENGTH} characters"
        )));
    }
    attribute::narrow(&member)?;
    let image = images::find(app, context, id).await?;
    shared(app, context, &image)?;
    authorize::check(&app.policy, "add_member", context, &image)?;
    let quota = app.config.limits.image_member_quota;
    let added = app
        .registry
        .add_member(image.id, member.clone(), quota)
        .await;
    match added {
        Err(RegistryError::Rejected(Rejection::MemberExists)) => Err(ApiError::conflict(format!(
            "Member {member} is duplicated for image {id}"
        ))),
        Err(RegistryError::Rejected(Rejection::CountQuota {
            attempted, limit, ..
        })) => Err(ApiError::too_large(format!(
            "Image member limit exceeded for image {id}: attempted: {attempted}, maximum: {limit}."
        ))),
        result => Ok(render(&result?)),
    }
}

/// `GET .../members/{member}`; every refusal is 404.
pub(super) async fn show(
    app: &App,
    context: &Context,
    id: &str,
    member: &str,
) -> Result<Response, ApiError> {
    let view = app.registry.read().await?;
    let image = authorize::find(&view, context, id)?;
    shared(app, context, &image)
        .and_then(|()| look_up(app, context, &view, &image, member))
        .map(|found| render(&found))
        .map_err(|error| match error.status {
            StatusCode::FORBIDDEN => ApiError::not_found(error.message),
            _ => error,
        })
}

/// `PUT .../members/{member}`
pub(super) async fn update(
    app: &App,
    context: &Context,
    id: &str,
    member: &str,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let status = text(
        app,
        request,
        "status",
        "Expected a status in the form: {\"status\": \"status\"}",
    )
    .await?;
    let image = existing(app, context, id, member).await?;
    authorize::check_member(&app.policy, "modify_member", context, &image, member)?;
    let status = MemberStatus::parse(&status).ok_or_else(|| {
        ApiError::bad_request(
            "Incorrect request: Status must be \"pending\", \"accepted\" or \"rejected\".",
        )
    })?;
    let updated = app
        .registry
        .set_member_status(image.id, member.to_owned(), status)
        .await?;
    Ok(render(&updated))
}

/// `DELETE .../members/{member}`
pub(super) async fn delete(
    app: &App,
    context: &Context,
    id: &str,
    member: &str,
) -> Result<Response, ApiError> {
    let image = existing(app, context, id, member).await?;
    authorize::check_member(&app.policy, "delete_member", context, &image, member)?;
    app.registry
        .remove_member(image.id, member.to_owned())
        .await?;
    Ok(images::no_content())
}

/// The image, if it is shared and the caller sees that member of it.
async fn existing(
    app: &App,
    context: &Context,
    id: &str,
    member: &str,
) -> Result<Arc<Image>, ApiError> {
    let view = app.registry.read().await?;
    let image = authorize::find(&view, context, id)?;
    shared(app, context, &image)?;
    look_up(app, context, &view, &image, member)?;
    Ok(image)
}

fn look_up(
    app: &App,
    context: &Context,
    view: &View,
    image: &Image,
    member: &str,
) -> Result<Member, ApiError> {
    let found = if sees(app, context, image, member) {
        view.member(image.id, member)?
    } else {
        None
    };
    found.ok_or_else(|| {
        ApiError::not_found(format!(
            "{member} not found in the member list of the image {}.",
            image.id
        ))
    })
}

/// Whom a caller sees among the members: the owner and admins all, a member itself.
fn sees(app: &App, context: &Context, image: &Image, member: &str) -> bool {
    authorize::check_member(&app.policy, "get_member", context, image, member).is_ok()
}

/// Whether the image may have members; one that the caller may not see says nothing about itself.
fn shared(app: &App, context: &Context, image: &Image) -> Result<(), ApiError> {
    authorize::check(&app.policy, "get_image", context, image)?;
    if image.attributes.visibility == Visibility::Shared {
        Ok(())
    } else {
        Err(ApiError::forbidden("Only shared images have members."))
    }
}

/// The one string that a member's body holds.
async fn text(
    app: &App,
    request: Request<Body>,
    name: &str,
    expected: &str,
) -> Result<String, ApiError> {
    let (Value::Object(mut members), _) = body::json(request, app).await? else {
        return Err(ApiError::bad_request(expected));
    };
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ApiError::bad_request(expected)),
        None => Err(ApiError::bad_request(format!("{name} not specified"))),
    }
}

fn render(member: &Member) -> Response {
    let mut out = Vec::with_capacity(256);
    write(&mut out, member);
    images::json(out)
}

fn write(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(b"{\"member_id\":");
    string(out, &member.member_id);
    out.extend_from_slice(b",\"image_id\":\"");
    out.extend_from_slice(member.image_id.to_string().as_bytes());
    out.extend_from_slice(b"\",\"status\":\"");
    out.extend_from_slice(member.status.as_str().as_bytes());
    out.extend_from_slice(b"\",\"created_at\":\"");
    timestamp::write(out, member.created_at);
    out.extend_from_slice(b"\",\"updated_at\":\"");
    timestamp::write(out, member.updated_at);
    out.extend_from_slice(b"\",\"schema\":\"/v2/schemas/member\"}");
}
