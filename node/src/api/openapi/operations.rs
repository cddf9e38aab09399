//! What each method of each path of the router's table takes and gives (image-api 1.4 to 1.9). A method
//! without a line here, or a line without a method, fails a test.

mod metadefs;

use super::operation::{
    Body::{Data, Json, Nothing, Patch},
    Operation,
    Parameter::{self, Header, Integer, Query},
    op,
};

const GET: &str = "GET";
const HEAD: &str = "HEAD";
const POST: &str = "POST";
const PUT: &str = "PUT";
const PATCH: &str = "PATCH";
const DELETE: &str = "DELETE";

/// Every one.
pub(super) fn all() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(metadefs::OPERATIONS)
}

/// Those of images, and all but metadata definitions, in the order of the router's table.
const OPERATIONS: &[Operation] = &[
    op(GET, "images", "List images", "get_images")
        .with(&[
            Integer("limit", "Images of the page at most"),
            Query("marker", "Id of the last image of the page before"),
            Query("sort", "Keys with directions: name:asc,created_at:desc"),
            Query("sort_key", "A key to sort by; may be repeated"),
            Query("sort_dir", "asc or desc"),
            Query("name", "Equal to this, or in:a,b"),
            Query("id", "Equal to this, or in:a,b"),
            Query("status", "Equal to this, or in:a,b"),
            Query("disk_format", "Equal to this, or in:a,b"),
            Query("container_format", "Equal to this, or in:a,b"),
            Query("owner", "Equal to this"),
            Query("visibility", "public, private, shared, community or all"),
            Query("member_status", "accepted, pending, rejected or all"),
            Query("protected", "true or false"),
            Query("os_hidden", "true or false"),
            Query("tag", "Has this tag; may be repeated"),
            Integer("size_min", "Bytes at least"),
            Integer("size_max", "Bytes at most"),
            Query(
                "created_at",
                "A time, or an operator and a time: gt:2026-01-01T00:00:00Z",
            ),
            Query("updated_at", "A time, or an operator and a time"),
        ])
        .gives(200, Json("images"))
        .fails(&[400, 403]),
    op(POST, "images", "Create an image", "add_image")
        .takes(Json("image"))
        .gives(201, Json("image"))
        .fails(&[400, 403, 408, 409, 413]),
    op(GET, "images/{id}", "Show an image", "get_image")
        .with(&[Header(
            "If-None-Match",
            "Answer 304 if the record has this tag",
        )])
        .gives(200, Json("image"))
        .gives(304, Nothing)
        .fails(&[400, 404, 412]),
    op(PATCH, "images/{id}", "Change an image", "modify_image")
        .with(&[Header("If-Match", "Only if the record has this tag")])
        .takes(Patch)
        .gives(200, Json("image"))
        .fails(&[400, 403, 404, 408, 409, 412, 413, 415]),
    op(DELETE, "images/{id}", "Delete an image", "delete_image")
        .with(&[Header("If-Match", "Only if the record has this tag")])
        .gives(204, Nothing)
        .fails(&[400, 403, 404, 409, 412]),
    op(
        GET,
        "images/{id}/file",
        "Download image data",
        "download_image",
    )
    .with(DOWNLOAD)
    .gives(200, Data)
    .gives(206, Data)
    .gives(204, Nothing)
    .gives(304, Nothing)
    .fails(&[400, 403, 404, 412, 416]),
    op(
        HEAD,
        "images/{id}/file",
        "Ask about image data",
        "download_image",
    )
    .with(DOWNLOAD)
    .gives(200, Nothing)
    .gives(204, Nothing)
    .gives(304, Nothing)
    .fails(&[400, 403, 404, 412, 416]),
    op(PUT, "images/{id}/file", "Upload image data", "upload_image")
        .with(&[
            Header("x-image-meta-store", "The store that takes the data"),
            Header("x-openstack-image-size", "Bytes that will come"),
        ])
        .takes(Data)
        .gives(204, Nothing)
        .fails(&[400, 403, 404, 408, 409, 410, 413, 415]),
    op(
        PUT,
        "images/{id}/stage",
        "Stage image data for an import",
        "modify_image",
    )
    .takes(Data)
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 408, 409, 413, 415]),
    op(
        POST,
        "images/{id}/import",
        "Import image data",
        "modify_image",
    )
    .takes(Json("import"))
    .gives(202, Nothing)
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        GET,
        "images/{id}/tasks",
        "List the tasks of an image",
        "get_image",
    )
    .gives(200, Json("image_tasks"))
    .fails(&[400, 404]),
    op(
        GET,
        "images/{id}/locations",
        "List the locations of an image",
        "fetch_image_location",
    )
    .gives(200, Json("locations"))
    .fails(&[403, 404]),
    op(
        POST,
        "images/{id}/locations",
        "Add a location to an image",
        "add_image_location",
    )
    .takes(Json("location"))
    .gives(202, Nothing)
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        POST,
        "images/{id}/actions/deactivate",
        "Withhold image data",
        "deactivate",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409]),
    op(
        POST,
        "images/{id}/actions/reactivate",
        "Give image data again",
        "reactivate",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409]),
    op(
        PUT,
        "images/{id}/tags/{tag}",
        "Tag an image",
        "modify_image",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409, 413]),
    op(
        DELETE,
        "images/{id}/tags/{tag}",
        "Take a tag off an image",
        "modify_image",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409]),
    op(
        GET,
        "images/{id}/members",
        "List the members of an image",
        "get_members",
    )
    .gives(200, Json("members"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "images/{id}/members",
        "Share an image with a project",
        "add_member",
    )
    .takes(Json("new_member"))
    .gives(200, Json("member"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        GET,
        "images/{id}/members/{member}",
        "Show a member",
        "get_member",
    )
    .gives(200, Json("member"))
    .fails(&[400, 403, 404]),
    op(
        PUT,
        "images/{id}/members/{member}",
        "Accept or reject an image",
        "modify_member",
    )
    .takes(Json("member_status"))
    .gives(200, Json("member"))
    .fails(&[400, 403, 404, 408, 413]),
    op(
        DELETE,
        "images/{id}/members/{member}",
        "End the sharing with a project",
        "delete_member",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        DELETE,
        "stores/{store}/{id}",
        "Delete an image's data from one store",
        "delete_image_location",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409]),
    op(
        GET,
        "schemas/metadefs/{name}",
        "Show a schema of metadata definitions",
        "",
    )
    .gives(200, Json("schema"))
    .fails(&[400, 404]),
    op(GET, "schemas/{name}", "Show a schema", "")
        .gives(200, Json("schema"))
        .fails(&[400, 404]),
    op(GET, "info/import", "List the import methods", "")
        .gives(200, Json("import_methods"))
        .fails(&[400]),
    op(GET, "info/stores", "List the stores", "")
        .gives(200, Json("stores"))
        .fails(&[400, 404]),
    op(
        GET,
        "info/stores/detail",
        "List the stores with their properties",
        "stores_info_detail",
    )
    .gives(200, Json("stores"))
    .fails(&[400, 403, 404]),
    op(GET, "info/usage", "Show the usage of limits", "").gives(200, Json("usage")),
    op(GET, "tasks", "List tasks", "tasks_api_access")
        .with(&[
            Integer("limit", "Tasks of the page at most"),
            Query("marker", "Id of the last task of the page before"),
            Query("status", "pending, processing, success or failure"),
            Query("type", "import"),
            Query("sort_dir", "asc or desc"),
        ])
        .gives(200, Json("tasks"))
        .fails(&[400, 403]),
    op(POST, "tasks", "Make a task", "tasks_api_access")
        .takes(Json("new_task"))
        .gives(201, Json("task"))
        .fails(&[400, 403, 408, 413]),
    op(GET, "tasks/{id}", "Show a task", "tasks_api_access")
        .gives(200, Json("task"))
        .fails(&[403, 404]),
    op(
        DELETE,
        "tasks/{id}",
        "Never: tasks expire by themselves",
        "tasks_api_access",
    )
    .fails(&[403, 404, 405]),
    op(
        POST,
        "tasks/{id}/actions/cancel",
        "End a task",
        "tasks_api_access",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409]),
    op(
        GET,
        "cache",
        "List what the cache holds and is to fetch",
        "cache_list",
    )
    .gives(200, Json("cache"))
    .fails(&[400, 403, 404]),
    op(
        DELETE,
        "cache",
        "Clear the cache, its queue, or both",
        "cache_delete",
    )
    .with(&[Header(
        "x-image-cache-clear-target",
        "cache, queue, or empty for both",
    )])
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        POST,
        "cache/clean",
        "Forget images that are gone",
        "cache_clean",
    )
    .gives(200, Nothing)
    .fails(&[403, 404]),
    op(
        POST,
        "cache/prune",
        "Bring the cache below its bound",
        "cache_prune",
    )
    .gives(200, Json("pruned"))
    .fails(&[403, 404]),
    op(
        PUT,
        "cache/{id}",
        "Queue an image for the cache",
        "cache_image",
    )
    .gives(202, Nothing)
    .fails(&[400, 403, 404]),
    op(
        DELETE,
        "cache/{id}",
        "Drop an image from cache and queue",
        "cache_delete",
    )
    .gives(204, Nothing)
    .fails(&[403, 404]),
    op(
        GET,
        "cache/nodes/{id}",
        "List the nodes that have an image cached",
        "list_cached_nodes",
    )
    .gives(200, Json("nodes"))
    .fails(&[400, 403, 404]),
    op(
        GET,
        "cached_images",
        "List cached images",
        "manage_image_cache",
    )
    .gives(200, Json("cached_images"))
    .fails(&[403]),
    op(
        DELETE,
        "cached_images",
        "Clear the cache",
        "manage_image_cache",
    )
    .gives(200, Json("deleted"))
    .fails(&[403]),
    op(
        DELETE,
        "cached_images/{id}",
        "Drop an image from the cache",
        "manage_image_cache",
    )
    .gives(200, Json("null"))
    .fails(&[403]),
    op(
        GET,
        "queued_images",
        "List queued images",
        "manage_image_cache",
    )
    .gives(200, Json("queued_images"))
    .fails(&[403]),
    op(
        DELETE,
        "queued_images",
        "Clear the queue",
        "manage_image_cache",
    )
    .gives(200, Json("deleted"))
    .fails(&[403]),
    op(
        PUT,
        "queued_images/{id}",
        "Queue an image",
        "manage_image_cache",
    )
    .gives(200, Json("null"))
    .fails(&[400, 403, 404]),
    op(
        DELETE,
        "queued_images/{id}",
        "Drop an image from the queue",
        "manage_image_cache",
    )
    .gives(200, Json("null"))
    .fails(&[403]),
];

const DOWNLOAD: &[Parameter] = &[
    Query("prefer", "Stores to read from first: a,b"),
    Header("Range", "One range of bytes"),
    Header("If-Range", "The tag that the range is of"),
    Header("If-Match", "Only if the data has this tag"),
    Header("If-None-Match", "Answer 304 if the data has this tag"),
];
