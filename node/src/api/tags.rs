//! `/v2/images/{id}/tags/{tag}` (image-api 1.5).

use axum::response::Response;
use glimpse_registry::{Error as RegistryError, image::Image, outcome::Rejection};

use crate::{
    api::{attribute, authorize, error::ApiError, images},
    app::App,
    auth::Context,
};

/// `PUT`: adds the tag; 204 also when it is there.
pub(super) async fn add(
    app: &App,
    context: &Context,
    id: &str,
    tag: &str,
) -> Result<Response, ApiError> {
    attribute::check_tag(tag)?;
    let image = modifiable(app, context, id).await?;
    let quota = app.config.limits.image_tag_quota;
    match app.registry.add_tag(image.id, tag.to_owned(), quota).await {
        Err(RegistryError::Rejected(Rejection::CountQuota {
            attempted, limit, ..
        })) => Err(ApiError::too_large(format!(
            "Image tag limit exceeded for image {id}: attempted: {attempted}, maximum: {limit}."
        ))),
        result => {
            result?;
            Ok(images::no_content())
        }
    }
}

/// `DELETE`: removes the tag; 404 when it is not there.
pub(super) async fn remove(
    app: &App,
    context: &Context,
    id: &str,
    tag: &str,
) -> Result<Response, ApiError> {
    let image = modifiable(app, context, id).await?;
    app.registry.remove_tag(image.id, tag.to_owned()).await?;
    Ok(images::no_content())
}

async fn modifiable(
    app: &App,
    context: &Context,
    id: &str,
) -> Result<std::sync::Arc<Image>, ApiError> {
    let image = images::find(app, context, id).await?;
    authorize::check(&app.policy, "modify_image", context, &image)?;
    Ok(image)
}
