//! A task as JSON: whole, as a stub, and as the row that the list of an image shows (image-api 1.7).

use glimpse_registry::{
    image::Timestamp,
    task::{Task, TaskStatus},
};
use serde_json::{Map, Value, json};

use crate::api::timestamp;

/// As in lists: without input, result and message.
pub(super) fn stub(task: &Task) -> Map<String, Value> {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| shown.insert(key.to_owned(), value);
    put("id", task.id.to_string().into());
    put("type", task.made.kind.as_str().into());
    put("status", task.status.as_str().into());
    put("owner", task.made.owner.clone().unwrap_or_default().into());
    put("created_at", seconds(task.created_at).into());
    put("updated_at", seconds(task.updated_at).into());
    if let Some(at) = task.expires_at {
        put("expires_at", seconds(at).into());
    }
    put("self", format!("/v2/tasks/{}", task.id).into());
    put("schema", "/v2/schemas/task".into());
    shown
}

/// The whole.
pub(super) fn whole(task: &Task) -> Value {
    let mut shown = stub(task);
    let mut put = |key: &str, value: Value| shown.insert(key.to_owned(), value);
    put("input", input(task));
    put("result", result(task));
    put("message", task.message.as_str().into());
    put("image_id", task.image.to_string().into());
    if let Some(request) = &task.made.request {
        put("request_id", request.as_str().into());
    }
    if let Some(user) = &task.made.user {
        put("user_id", user.as_str().into());
    }
    Value::Object(shown)
}

/// As the reference keeps it: times with microseconds and without a zone.
pub(super) fn row(task: &Task) -> Value {
    json!({
        "id": task.id.to_string(),
        "type": task.made.kind.as_str(),
        "status": task.status.as_str(),
        "owner": task.made.owner,
        "expires_at": task.expires_at.map(micros),
        "created_at": micros(task.created_at),
        "updated_at": micros(task.updated_at),
        "deleted_at": null,
        "deleted": false,
        "image_id": task.image.to_string(),
        "request_id": task.made.request,
        "user_id": task.made.user,
        "input": input(task),
        "result": result(task),
        "message": task.message,
    })
}

fn input(task: &Task) -> Value {
    serde_json::from_str(&task.made.input).unwrap_or_default()
}

fn result(task: &Task) -> Value {
    match task.status {
        TaskStatus::Success => json!({"image_id": task.image.to_string()}),
        TaskStatus::Pending | TaskStatus::Processing | TaskStatus::Failure => Value::Null,
    }
}

fn seconds(time: Timestamp) -> String {
    let mut out = Vec::new();
    timestamp::write(&mut out, time);
    String::from_utf8_lossy(&out).into_owned()
}

fn micros(time: Timestamp) -> String {
    let seconds = seconds(time);
    format!(
        "{}.{:06}",
        seconds.trim_end_matches('Z'),
        time.0 % 1_000_000
    )
}
