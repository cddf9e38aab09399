//! `/v2/cache` (image-api 1.8), and the older `/v2/cached_images` and `/v2/queued_images`: what this
//! node's cache holds, what it is to fetch, what it is to drop.
//!
//! The cache is of chunks that images share. An image is listed as cached when every chunk of it is
//! in the pool; those of which a part is stand in a list of their own that older clients do not look
//! at, and so do fetches that were given up.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use glimpse_registry::{
    View,
    image::{Image, ImageId},
    status::Status,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::{
    api::{authorize, error::ApiError, images},
    app::App,
    auth::Context,
    data::cached::{self, CachedImage, Survey},
    policy::image::check_project,
};

/// Says what `DELETE /v2/cache` is about.
const TARGET: &str = "x-image-cache-clear-target";

/// `GET /v2/cache`
pub(super) async fn list(app: &Arc<App>, context: &Context) -> Result<Response, ApiError> {
    check(app, context, "cache_list")?;
    let Survey {
        cached,
        partial,
        left_out,
    } = surveyed(app).await?;
    let failures = app.data.cached.failures();
    let failed = failures.iter().map(|failure| {
        json!({
            "image_id": failure.image.to_string(),
            "message": failure.cause,
            "failed_at": seconds(failure.at.0),
        })
    });
    let mut answer = json!({
        "cached_images": cached.iter().map(shown).collect::<Vec<_>>(),
        "queued_images": queued(app),
        "partial_images": partial.iter().map(shown).collect::<Vec<_>>(),
        "failed_images": failed.collect::<Vec<_>>(),
    });
    if left_out > 0 {
        answer["images_left_out"] = left_out.into();
    }
    images::large(app.memory.room(), answer.to_string().into_bytes())
}

/// `DELETE /v2/cache`
pub(super) async fn clear(
    app: &Arc<App>,
    context: &Context,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    check(app, context, "cache_delete")?;
    let target = headers.get(TARGET).map(|value| value.as_bytes());
    let target = target.unwrap_or_default().to_ascii_lowercase();
    let (pool, queue) = match target.as_slice() {
        b"" => (true, true),
        b"cache" => (true, false),
        b"queue" => (false, true),
        _ => {
            return Err(ApiError::bad_request(format!(
                "If provided '{TARGET}' must be 'cache', 'queue' or empty string."
            )));
        }
    };
    if queue {
        app.data.cached.clear_queue();
    }
    if pool {
        clear_pool(app).await?;
    }
    save(app).await?;
    Ok(images::no_content())
}

/// `PUT /v2/cache/{id}`
pub(super) async fn queue(
    app: &Arc<App>,
    context: &Context,
    id: &str,
) -> Result<Response, ApiError> {
    offered(app, context, "cache_image")?;
    let image = images::find(app, context, id).await?;
    authorize::check(&app.policy, "cache_image", context, &image)?;
    enqueue(app, &image).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// `DELETE /v2/cache/{id}`
pub(super) async fn drop_image(
    app: &Arc<App>,
    context: &Context,
    id: &str,
) -> Result<Response, ApiError> {
    offered(app, context, "cache_delete")?;
    let view = app.registry.read().await?;
    let found = authorize::find(&view, context, id);
    match &found {
        Ok(image) => authorize::check(&app.policy, "cache_delete", context, image)?,
        // It may be gone and still be known here; who may not manage the cache is not told.
        Err(_) => check_project(&app.policy, "cache_delete", context)?,
    }
    let known = id.parse().ok().filter(|id| app.data.cached.knows(*id));
    let Some(id) = found.as_ref().ok().map(|image| image.id).or(known) else {
        return Err(found.err().unwrap_or_else(|| ApiError::no_image(id)));
    };
    forget(app, view, id).await?;
    Ok(images::no_content())
}

/// `GET /v2/cache/nodes/{id}`: the nodes that have it cached, that is this one or none; `base` is its
/// URL.
pub(super) async fn nodes(
    app: &Arc<App>,
    context: &Context,
    id: &str,
    base: &str,
) -> Result<Response, ApiError> {
    check(app, context, "list_cached_nodes")?;
    let image = images::find(app, context, id).await?;
    let Survey { cached, .. } = surveyed(app).await?;
    let here = cached.iter().any(|entry| entry.image.id == image.id);
    let nodes: &[&str] = if here { &[base] } else { &[] };
    Ok(images::json(json!(nodes).to_string()))
}

/// `POST /v2/cache/clean`: what is known of images that are gone goes. Half-fetched and damaged data
/// needs no cleaning: each chunk stands for itself, and none is served unproved.
pub(super) async fn clean(app: &Arc<App>, context: &Context) -> Result<Response, ApiError> {
    check(app, context, "cache_clean")?;
    let view = app.registry.read().await?;
    let known = &app.data.cached;
    let gone = |id: ImageId| -> Result<bool, ApiError> {
        let image = view.image(id)?;
        Ok(image.is_none_or(|i| !matches!(i.status, Status::Active | Status::Deactivated)))
    };
    for (id, _) in known.accounts() {
        if gone(id)? {
            known.forget(id);
        }
    }
    for id in known.queue() {
        if gone(id)? {
            known.dequeue(id);
        }
    }
    for failure in known.failures() {
        if gone(failure.image)? {
            known.forget(failure.image);
        }
    }
    save(app).await?;
    Ok(Response::new(Body::empty()))
}

/// `POST /v2/cache/prune`: brings the cache below `cache.size`. That is a hard bound, below which it
/// always is, so nothing ever goes.
pub(super) fn prune(app: &App, context: &Context) -> Result<Response, ApiError> {
    check(app, context, "cache_prune")?;
    Ok(images::json(
        "{\"total_files_pruned\":0,\"total_bytes_pruned\":0}",
    ))
}

/// The routes of the older interface.
pub(super) mod legacy {
    use super::*;

    const RULE: &str = "manage_image_cache";

    /// `GET /v2/cached_images`
    pub(in crate::api) async fn cached(
        app: &Arc<App>,
        context: &Context,
    ) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        let Survey { cached, .. } = surveyed(app).await?;
        let shown: Vec<Value> = cached.iter().map(shown).collect();
        let answer = json!({ "cached_images": shown }).to_string();
        images::large(app.memory.room(), answer.into_bytes())
    }

    /// `DELETE /v2/cached_images`
    pub(in crate::api) async fn clear_cached(
        app: &Arc<App>,
        context: &Context,
    ) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        let count = surveyed(app).await?.cached.len();
        clear_pool(app).await?;
        save(app).await?;
        Ok(deleted(count))
    }

    /// `DELETE /v2/cached_images/{id}`
    pub(in crate::api) async fn drop_cached(
        app: &Arc<App>,
        context: &Context,
        id: &str,
    ) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        // As it is for the queue: what is not there need not go.
        if let Ok(id) = id.parse() {
            let view = app.registry.read().await?;
            let waited = app.data.cached.queue().contains(&id);
            forget(app, view, id).await?;
            if waited {
                app.data.cached.enqueue(id);
                save(app).await?;
            }
        }
        Ok(images::json("null"))
    }

    /// `GET /v2/queued_images`
    pub(in crate::api) fn queue(app: &App, context: &Context) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        let answer = json!({ "queued_images": queued(app) });
        images::large(app.memory.room(), answer.to_string().into_bytes())
    }

    /// `DELETE /v2/queued_images`
    pub(in crate::api) async fn clear_queue(
        app: &Arc<App>,
        context: &Context,
    ) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        let count = app.data.cached.clear_queue();
        save(app).await?;
        Ok(deleted(count))
    }

    /// `PUT /v2/queued_images/{id}`
    pub(in crate::api) async fn enqueue_image(
        app: &Arc<App>,
        context: &Context,
        id: &str,
    ) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        let image = images::find(app, context, id).await?;
        enqueue(app, &image).await?;
        Ok(images::json("null"))
    }

    /// `DELETE /v2/queued_images/{id}`
    pub(in crate::api) async fn dequeue(
        app: &Arc<App>,
        context: &Context,
        id: &str,
    ) -> Result<Response, ApiError> {
        check_project(&app.policy, RULE, context)?;
        if let Ok(id) = id.parse() {
            app.data.cached.dequeue(id);
            save(app).await?;
        }
        Ok(images::json("null"))
    }

    fn deleted(count: usize) -> Response {
        images::json(json!({ "num_deleted": count }).to_string())
    }
}

/// 403 by the rule, else 404 where the API is off.
fn check(app: &App, context: &Context, rule: &str) -> Result<(), ApiError> {
    check_project(&app.policy, rule, context)?;
    offered(app, context, rule)
}

/// 404 where the API is off, but only for those who might manage the cache.
fn offered(app: &App, context: &Context, rule: &str) -> Result<(), ApiError> {
    if app.config.cache.api {
        return Ok(());
    }
    check_project(&app.policy, rule, context)?;
    Err(ApiError::not_found(
        "Caching via API is not supported at this site.",
    ))
}

async fn enqueue(app: &Arc<App>, image: &Image) -> Result<(), ApiError> {
    if image.status != Status::Active {
        return Err(ApiError::bad_request(
            "Only images with status active can be targeted for queueing",
        ));
    }
    if !app.data.cached.enqueue(image.id) {
        return Err(ApiError::busy("fetches into the cache"));
    }
    save(app).await
}

fn queued(app: &App) -> Vec<String> {
    let queue = app.data.cached.queue();
    queue.iter().map(ImageId::to_string).collect()
}

/// One image of a list.
fn shown(entry: &CachedImage) -> Value {
    let CachedImage {
        account,
        image,
        chunks,
        held,
    } = entry;
    json!({
        "image_id": image.id.to_string(),
        "hits": account.hits,
        "last_accessed": seconds(account.accessed),
        "last_modified": seconds(account.modified),
        "size": image.size,
        "checksum": image.checksum,
        "chunks": chunks,
        "chunks_cached": held,
    })
}

/// Seconds since 1970 with a fraction, as clients of these lists expect times.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

async fn surveyed(app: &Arc<App>) -> Result<Survey, ApiError> {
    let turn = Arc::clone(&app.data.cached.surveys).acquire_owned();
    let one = images::turn(app, turn).await?;
    let view = app.registry.read().await?;
    let app = Arc::clone(app);
    images::blocking(move || {
        // Works on when its client has gone.
        let _one = one;
        cached::survey(&app, &view)
    })
    .await?
    .map_err(ApiError::from)
}

async fn forget(app: &Arc<App>, view: View, id: ImageId) -> Result<(), ApiError> {
    let turn = Arc::clone(&app.data.cached.surveys).acquire_owned();
    let one = images::turn(app, turn).await?;
    let working = Arc::clone(app);
    let dropped = images::blocking(move || {
        let _one = one;
        cached::forget(&working, &view, id)
    });
    let bytes = dropped.await??;
    tracing::info!(image.id = %id, bytes, "dropped from the cache");
    save(app).await
}

async fn clear_pool(app: &Arc<App>) -> Result<(), ApiError> {
    app.data.cached.clear();
    let working = Arc::clone(app);
    let bytes = images::blocking(move || working.cache.clear()).await?;
    tracing::info!(bytes, "the cache was cleared");
    Ok(())
}

/// Makes what was changed durable, before it is answered.
async fn save(app: &Arc<App>) -> Result<(), ApiError> {
    let app = Arc::clone(app);
    let saved = images::blocking(move || app.data.cached.save()).await?;
    saved.map_err(|cause| {
        tracing::warn!(cause, "what is known of cached images was not written");
        ApiError::unavailable("The change could not be written to disk.")
    })
}
