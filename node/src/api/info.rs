//! `/v2/info`: import methods, stores, usage (image-api 1.7). Flags of stores are strings.

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::{
    api::{error::ApiError, images},
    app::{App, NamedStore},
    auth::Context,
    policy::image::check_project,
    quotas,
};

/// Bytes in which the `file` driver reads and writes, as `/v2/info/stores/detail` shows them.
const FILE_CHUNK_BYTES: u64 = 1 << 20;

/// `GET /v2/info/import`
pub(super) fn import(app: &App) -> Response {
    let methods = json!({
        "import-methods": {
            "description": "Import methods available.",
            "type": "array",
            "value": app.config.import.methods,
        }
    });
    images::json(methods.to_string())
}

/// `GET /v2/info/usage`: what the caller's project has and may have, where unified limits are in use.
pub(super) async fn usage(app: &App, context: &Context) -> Result<Response, ApiError> {
    let project = context.project_id.as_deref();
    let mut shown = Map::new();
    if let Some(project) = project.filter(|project| !project.is_empty())
        && let Some(limits) = app.quotas.limits(project).await?
    {
        let view = app.registry.read().await?;
        let (live, reserved) = view.usage(project)?;
        let (images, transfers) = view.counts(project)?;
        for (name, usage) in [
            (quotas::SIZE_TOTAL, live.saturating_add(reserved) >> 20),
            // Nothing is staged yet.
            (quotas::STAGE_TOTAL, 0),
            (quotas::COUNT_TOTAL, images),
            (quotas::COUNT_UPLOADING, transfers),
        ] {
            let limit = limits.get(name).copied().unwrap_or(0);
            shown.insert(name.into(), json!({"usage": usage, "limit": limit}));
        }
    }
    Ok(images::json(json!({"usage": shown}).to_string()))
}

/// `GET /v2/info/stores`
pub(super) fn stores(app: &App) -> Response {
    answer(app.stores.by_name.values().map(|store| brief(app, store)))
}

/// `GET /v2/info/stores/detail`
pub(super) fn stores_detail(app: &App, context: &Context) -> Result<Response, ApiError> {
    check_project(&app.policy, "stores_info_detail", context)?;
    Ok(answer(app.stores.by_name.values().map(|store| {
        let mut shown = brief(app, store);
        shown.insert("type".into(), store.store.kind().into());
        shown.insert("weight".into(), store.weight.into());
        shown.insert("properties".into(), properties(app, store));
        shown
    })))
}

fn answer(stores: impl Iterator<Item = Map<String, Value>>) -> Response {
    let stores: Vec<Value> = stores.map(Value::Object).collect();
    images::json(json!({ "stores": stores }).to_string())
}

fn brief(app: &App, store: &NamedStore) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".into(), store.name.as_str().into());
    if !store.description.is_empty() {
        shown.insert("description".into(), store.description.as_str().into());
    }
    if store.name == app.stores.default {
        shown.insert("default".into(), "true".into());
    }
    if !store.store.capabilities().writable {
        shown.insert("read-only".into(), "true".into());
    }
    shown
}

/// What the driver's options are, without secrets.
fn properties(app: &App, store: &NamedStore) -> Value {
    let configured = app
        .config
        .stores
        .iter()
        .find(|config| config.name == store.name);
    match configured {
        Some(config) if store.store.kind() == "file" => json!({
            "data_dir": config.path,
            "chunk_size": FILE_CHUNK_BYTES,
            "thin_provisioning": config.thin_provisioning,
        }),
        _ => json!({}),
    }
}
