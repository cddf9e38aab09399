//! The route table: which resource a path names, which methods it has, and who answers.
//!
//! Paths are matched by hand, after the version is split off: the reference decodes a path before
//! it routes it, answers `405` with its own lists of methods, and never takes a trailing slash or
//! HEAD, none of which a generic router does (image-api 1.1).

use std::sync::Arc;

use axum::{body::Body, response::Response};
use glimpse_registry::image::ImageId;
use http::{Method, Request, StatusCode};

use crate::{
    api::{
        actions, body, cache, error::ApiError, image_data, images, import, info, layers::Api,
        locations, members, metadefs, tags, tasks,
    },
    auth::Context,
};

/// A resource below `/v2/`, with the parameters of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource<'p> {
    Images,
    Image(&'p str),
    File(&'p str),
    Stage(&'p str),
    Import(&'p str),
    ImageTasks(&'p str),
    Locations(&'p str),
    Deactivate(&'p str),
    Reactivate(&'p str),
    Tag(&'p str, &'p str),
    Members(&'p str),
    Member(&'p str, &'p str),
    StoreImage(&'p str, &'p str),
    Schema(&'p str),
    InfoImport,
    InfoStores,
    InfoStoresDetail,
    InfoUsage,
    Tasks,
    Task(&'p str),
    TaskCancel(&'p str),
    Cache,
    CacheImage(&'p str),
    CacheNodes(&'p str),
    CacheClean,
    CachePrune,
    CachedImages,
    CachedImage(&'p str),
    QueuedImages,
    QueuedImage(&'p str),
    Namespaces,
    MetadefTypes,
    Namespace(&'p str),
    NamespacePart(&'p str, &'p str),
    NamespaceItem(&'p str, &'p str, &'p str),
}

/// The one table of paths: it routes, and the API's description is made of it (`openapi`). Each line
/// has the paths as they are described, the pattern that takes them, and the resource.
macro_rules! routes {
    ($rest:ident; $($($path:literal)|+ => $pattern:pat => $resource:expr,)+) => {
        /// Every path below `/v2/`, with its parameters in braces.
        pub(super) const PATHS: &[&str] = &[$($($path,)+)+];

        fn of_parts<'p>($rest: &'p str, parts: &[&'p str]) -> Option<Resource<'p>> {
            Some(match *parts {
                $($pattern => $resource,)+
                _ => return None,
            })
        }
    };
}

routes! { path;
    "images" => ["images"] => Resource::Images,
    "images/{id}" => ["images", id] => Resource::Image(id),
    "images/{id}/file" => ["images", id, "file"] => Resource::File(id),
    "images/{id}/stage" => ["images", id, "stage"] => Resource::Stage(id),
    "images/{id}/import" => ["images", id, "import"] => Resource::Import(id),
    "images/{id}/tasks" => ["images", id, "tasks"] => Resource::ImageTasks(id),
    "images/{id}/locations" => ["images", id, "locations"] => Resource::Locations(id),
    "images/{id}/actions/deactivate" => ["images", id, "actions", "deactivate"]
        => Resource::Deactivate(id),
    "images/{id}/actions/reactivate" => ["images", id, "actions", "reactivate"]
        => Resource::Reactivate(id),
    "images/{id}/tags/{tag}" => ["images", id, "tags", tag] => Resource::Tag(id, tag),
    "images/{id}/members" => ["images", id, "members"] => Resource::Members(id),
    "images/{id}/members/{member}" => ["images", id, "members", member]
        => Resource::Member(id, member),
    "stores/{store}/{id}" => ["stores", store, id] => Resource::StoreImage(store, id),
    "schemas/metadefs/{name}" => ["schemas", "metadefs", _]
        => Resource::Schema(path.strip_prefix("schemas/")?),
    "schemas/{name}" => ["schemas", name] => Resource::Schema(name),
    "info/import" => ["info", "import"] => Resource::InfoImport,
    "info/stores" => ["info", "stores"] => Resource::InfoStores,
    "info/stores/detail" => ["info", "stores", "detail"] => Resource::InfoStoresDetail,
    "info/usage" => ["info", "usage"] => Resource::InfoUsage,
    "tasks" => ["tasks"] => Resource::Tasks,
    "tasks/{id}" => ["tasks", id] => Resource::Task(id),
    "tasks/{id}/actions/cancel" => ["tasks", id, "actions", "cancel"] => Resource::TaskCancel(id),
    "cache" => ["cache"] => Resource::Cache,
    "cache/clean" => ["cache", "clean"] => Resource::CacheClean,
    "cache/prune" => ["cache", "prune"] => Resource::CachePrune,
    "cache/{id}" => ["cache", id] => Resource::CacheImage(id),
    "cache/nodes/{id}" => ["cache", "nodes", id] => Resource::CacheNodes(id),
    "cached_images" => ["cached_images"] => Resource::CachedImages,
    "cached_images/{id}" => ["cached_images", id] => Resource::CachedImage(id),
    "queued_images" => ["queued_images"] => Resource::QueuedImages,
    "queued_images/{id}" => ["queued_images", id] => Resource::QueuedImage(id),
    "metadefs/namespaces" => ["metadefs", "namespaces"] => Resource::Namespaces,
    "metadefs/resource_types" => ["metadefs", "resource_types"] => Resource::MetadefTypes,
    "metadefs/namespaces/{namespace}" => ["metadefs", "namespaces", name]
        => Resource::Namespace(name),
    "metadefs/namespaces/{namespace}/resource_types"
    | "metadefs/namespaces/{namespace}/properties"
    | "metadefs/namespaces/{namespace}/objects"
    | "metadefs/namespaces/{namespace}/tags" => [
        "metadefs",
        "namespaces",
        name,
        part @ ("resource_types" | "properties" | "objects" | "tags"),
    ] => Resource::NamespacePart(name, part),
    "metadefs/namespaces/{namespace}/resource_types/{name}"
    | "metadefs/namespaces/{namespace}/properties/{name}"
    | "metadefs/namespaces/{namespace}/objects/{name}"
    | "metadefs/namespaces/{namespace}/tags/{name}" => [
        "metadefs",
        "namespaces",
        name,
        part @ ("resource_types" | "properties" | "objects" | "tags"),
        item,
    ] => Resource::NamespaceItem(name, part, item),
}

impl<'p> Resource<'p> {
    /// The resource of a decoded path without its version, if there is one.
    pub(super) fn find(path: &'p str) -> Option<Self> {
        let mut parts = [""; 6];
        let mut count = 0;
        for part in path.split('/') {
            if part.is_empty() {
                return None;
            }
            *parts.get_mut(count)? = part;
            count += 1;
        }
        of_parts(path, parts.get(..count)?)
    }

    /// The path without its parameters, for logs and metrics.
    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::Images => "/v2/images",
            Self::Image(_) => "/v2/images/{id}",
            Self::File(_) => "/v2/images/{id}/file",
            Self::Stage(_) => "/v2/images/{id}/stage",
            Self::Import(_) => "/v2/images/{id}/import",
            Self::ImageTasks(_) => "/v2/images/{id}/tasks",
            Self::Locations(_) => "/v2/images/{id}/locations",
            Self::Deactivate(_) => "/v2/images/{id}/actions/deactivate",
            Self::Reactivate(_) => "/v2/images/{id}/actions/reactivate",
            Self::Tag(..) => "/v2/images/{id}/tags/{tag}",
            Self::Members(_) => "/v2/images/{id}/members",
            Self::Member(..) => "/v2/images/{id}/members/{member}",
            Self::StoreImage(..) => "/v2/stores/{store}/{id}",
            Self::Schema(_) => "/v2/schemas/{name}",
            Self::InfoImport => "/v2/info/import",
            Self::InfoStores => "/v2/info/stores",
            Self::InfoStoresDetail => "/v2/info/stores/detail",
            Self::InfoUsage => "/v2/info/usage",
            Self::Tasks => "/v2/tasks",
            Self::Task(_) => "/v2/tasks/{id}",
            Self::TaskCancel(_) => "/v2/tasks/{id}/actions/cancel",
            Self::Cache => "/v2/cache",
            Self::CacheImage(_) => "/v2/cache/{id}",
            Self::CacheNodes(_) => "/v2/cache/nodes/{id}",
            Self::CacheClean => "/v2/cache/clean",
            Self::CachePrune => "/v2/cache/prune",
            Self::CachedImages => "/v2/cached_images",
            Self::CachedImage(_) => "/v2/cached_images/{id}",
            Self::QueuedImages => "/v2/queued_images",
            Self::QueuedImage(_) => "/v2/queued_images/{id}",
            Self::Namespaces => "/v2/metadefs/namespaces",
            Self::MetadefTypes => "/v2/metadefs/resource_types",
            Self::Namespace(_) => "/v2/metadefs/namespaces/{namespace}",
            Self::NamespacePart(..) => "/v2/metadefs/namespaces/{namespace}/{part}",
            Self::NamespaceItem(..) => "/v2/metadefs/namespaces/{namespace}/{part}/{name}",
        }
    }

    /// The image that it is, or is part of.
    pub(super) fn image(self) -> Option<ImageId> {
        match self {
            Self::Image(id)
            | Self::File(id)
            | Self::Stage(id)
            | Self::Import(id)
            | Self::ImageTasks(id)
            | Self::Locations(id)
            | Self::Deactivate(id)
            | Self::Reactivate(id)
            | Self::Tag(id, _)
            | Self::Members(id)
            | Self::Member(id, _)
            | Self::StoreImage(_, id)
            | Self::CacheImage(id)
            | Self::CacheNodes(id)
            | Self::CachedImage(id)
            | Self::QueuedImage(id) => id.parse().ok(),
            Self::Images
            | Self::Schema(_)
            | Self::InfoImport
            | Self::InfoStores
            | Self::InfoStoresDetail
            | Self::InfoUsage
            | Self::Tasks
            | Self::Task(_)
            | Self::TaskCancel(_)
            | Self::Cache
            | Self::CacheClean
            | Self::CachePrune
            | Self::CachedImages
            | Self::QueuedImages
            | Self::Namespaces
            | Self::MetadefTypes
            | Self::Namespace(_)
            | Self::NamespacePart(..)
            | Self::NamespaceItem(..) => None,
        }
    }

    /// The methods it has, as `Allow` lists them.
    pub(super) const fn allow(self) -> &'static str {
        match self {
            Self::Images
            | Self::Members(_)
            | Self::Locations(_)
            | Self::Tasks
            | Self::Namespaces => "GET, POST",
            Self::Image(_) => "GET, PATCH, DELETE",
            Self::File(_) => "GET, HEAD, PUT",
            Self::Stage(_) => "PUT",
            Self::Import(_)
            | Self::Deactivate(_)
            | Self::Reactivate(_)
            | Self::TaskCancel(_)
            | Self::CacheClean
            | Self::CachePrune => "POST",
            Self::ImageTasks(_)
            | Self::Schema(_)
            | Self::InfoImport
            | Self::InfoStores
            | Self::InfoStoresDetail
            | Self::InfoUsage
            | Self::CacheNodes(_)
            | Self::MetadefTypes => "GET",
            Self::Tag(..) | Self::CacheImage(_) | Self::QueuedImage(_) => "PUT, DELETE",
            Self::Member(..) | Self::Namespace(_) => "GET, PUT, DELETE",
            Self::StoreImage(..) | Self::CachedImage(_) => "DELETE",
            Self::Task(_) => "GET, DELETE",
            Self::Cache | Self::CachedImages | Self::QueuedImages => "GET, DELETE",
            Self::NamespacePart(_, part) => match part.as_bytes() {
                b"resource_types" => "GET, POST",
                _ => "GET, POST, DELETE",
            },
            Self::NamespaceItem(_, part, _) => match part.as_bytes() {
                b"resource_types" => "DELETE",
                b"tags" => "GET, POST, PUT, DELETE",
                _ => "GET, PUT, DELETE",
            },
        }
    }

    /// Whether it is of the older interface to the cache, which is there only if it is asked for.
    pub(super) const fn is_legacy_cache(self) -> bool {
        matches!(
            self,
            Self::CachedImages | Self::CachedImage(_) | Self::QueuedImages | Self::QueuedImage(_)
        )
    }

    /// Whether the resource has the method.
    pub(super) fn has(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|known| known == method.as_str())
    }

    /// Whether a body on it is refused (image-api 1.1); the rest reads or tolerates one.
    pub(super) fn refuses_body(self, method: &Method) -> bool {
        match self {
            Self::Image(_) => matches!(*method, Method::GET | Method::DELETE),
            Self::File(_) => matches!(*method, Method::GET | Method::HEAD),
            Self::Members(_) | Self::CacheNodes(_) | Self::Cache | Self::MetadefTypes => {
                *method == Method::GET
            }
            Self::Member(..) => matches!(*method, Method::GET | Method::DELETE),
            Self::Schema(name) => !matches!(name, "task" | "tasks"),
            Self::ImageTasks(_)
            | Self::Deactivate(_)
            | Self::Reactivate(_)
            | Self::TaskCancel(_)
            | Self::Tag(..)
            | Self::StoreImage(..)
            | Self::InfoImport
            | Self::InfoStores
            | Self::InfoStoresDetail => true,
            Self::Namespace(_) => matches!(*method, Method::GET | Method::DELETE),
            Self::NamespacePart(..) => *method == Method::GET,
            Self::NamespaceItem(_, part, _) => {
                part != "properties" && matches!(*method, Method::GET | Method::DELETE)
            }
            Self::Images
            | Self::Stage(_)
            | Self::Import(_)
            | Self::Locations(_)
            | Self::InfoUsage
            | Self::Tasks
            | Self::Task(_)
            | Self::CacheImage(_)
            | Self::CacheClean
            | Self::CachePrune
            | Self::CachedImages
            | Self::CachedImage(_)
            | Self::QueuedImages
            | Self::QueuedImage(_)
            | Self::Namespaces => false,
        }
    }
}

/// Asks the resource that `path` (without version) names; the caller is known.
pub(super) async fn call(
    api: &Api,
    context: Arc<Context>,
    resource: Option<Resource<'_>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let method = request.method().clone();
    let legacy_cache = api.app.config.cache.legacy_api;
    let unknown = |resource: &Resource<'_>| {
        matches!(resource, Resource::Schema(name) if api.schemas.get(name).is_none())
            || resource.is_legacy_cache() && !legacy_cache
    };
    let Some(resource) = resource.filter(|resource| !unknown(resource)) else {
        return Err(unroutable(&method));
    };
    if !resource.has(&method) {
        // The reference has no list of methods for it.
        return Err(if resource == Resource::InfoUsage {
            unroutable(&method)
        } else {
            ApiError::method_not_allowed(resource.allow())
        });
    }
    if resource.refuses_body(&method) && body::present(&method, request.headers()) {
        return Err(ApiError::bad_request(
            "A body is not expected with this request.",
        ));
    }
    answer(api, context, resource, method, request).await
}

/// The table. A method of [`Resource::allow`] without a line of its own is a 405, and a failing test.
async fn answer(
    api: &Api,
    context: Arc<Context>,
    resource: Resource<'_>,
    method: Method,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    type R<'p> = Resource<'p>;
    const GET: Method = Method::GET;
    const HEAD: Method = Method::HEAD;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const PATCH: Method = Method::PATCH;
    const DELETE: Method = Method::DELETE;

    let app = &api.app;
    let caller: &Context = &context;
    let query = request.uri().query();
    match (resource, method) {
        (R::Images, GET) => images::list(api, Arc::clone(&context), query).await,
        (R::Images, POST) => {
            let base = api.base(request.headers());
            images::create(app, caller, request, &base).await
        }
        (R::Image(id), GET) => images::show(app, caller, id, request.headers()).await,
        (R::Image(id), PATCH) => images::update(app, &api.turns, caller, id, request).await,
        (R::Image(id), DELETE) => images::delete(app, caller, id, request.headers()).await,
        // Boxed: these futures are large, and all others would pay for their room.
        (R::File(id), PUT) => Box::pin(image_data::upload(app, caller, id, request)).await,
        (R::File(id), GET | HEAD) => Box::pin(image_data::download(app, caller, id, request)).await,
        (R::Stage(id), PUT) => Box::pin(image_data::stage(app, caller, id, request)).await,
        (R::Import(id), POST) => Box::pin(import::start(app, caller, id, request)).await,
        (R::ImageTasks(id), GET) => tasks::of_image(app, caller, id).await,
        (R::Locations(id), GET) => locations::list(app, caller, id).await,
        (R::Locations(id), POST) => locations::add(app, caller, id, request).await,
        (R::Deactivate(id), POST) => actions::deactivate(app, caller, id).await,
        (R::Reactivate(id), POST) => actions::reactivate(app, caller, id).await,
        (R::Tag(id, tag), PUT) => tags::add(app, caller, id, tag).await,
        (R::Tag(id, tag), DELETE) => tags::remove(app, caller, id, tag).await,
        (R::Members(id), GET) => members::list(app, caller, id).await,
        (R::Members(id), POST) => members::create(app, caller, id, request).await,
        (R::Member(id, member), GET) => members::show(app, caller, id, member).await,
        (R::Member(id, member), PUT) => members::update(app, caller, id, member, request).await,
        (R::Member(id, member), DELETE) => members::delete(app, caller, id, member).await,
        (R::StoreImage(store, id), DELETE) => {
            locations::remove_from_store(app, caller, store, id).await
        }
        (R::Schema(name), GET) => match api.schemas.get(name) {
            Some(document) => Ok(images::json(document)),
            None => Err(ApiError::not_found("")),
        },
        (R::InfoImport, GET) => Ok(info::import(app)),
        (R::InfoStores, GET) => Ok(info::stores(app)),
        (R::InfoStoresDetail, GET) => info::stores_detail(app, caller),
        (R::InfoUsage, GET) => info::usage(app, caller).await,
        (R::Tasks, GET) => tasks::list(app, caller, query).await,
        (R::Tasks, POST) => {
            let base = api.base(request.headers());
            Box::pin(tasks::create(app, caller, request, &base)).await
        }
        (R::Task(id), GET) => tasks::show(app, caller, id).await,
        (R::TaskCancel(id), POST) => tasks::cancel(app, caller, id).await,
        (R::Task(_), DELETE) => tasks::delete(app, caller),
        (R::Cache, GET) => cache::list(app, caller).await,
        (R::Cache, DELETE) => cache::clear(app, caller, request.headers()).await,
        (R::CacheImage(id), PUT) => cache::queue(app, caller, id).await,
        (R::CacheImage(id), DELETE) => cache::drop_image(app, caller, id).await,
        (R::CacheNodes(id), GET) => {
            cache::nodes(app, caller, id, &api.base(request.headers())).await
        }
        (R::CacheClean, POST) => cache::clean(app, caller).await,
        (R::CachePrune, POST) => cache::prune(app, caller),
        (R::CachedImages, GET) => cache::legacy::cached(app, caller).await,
        (R::CachedImages, DELETE) => cache::legacy::clear_cached(app, caller).await,
        (R::CachedImage(id), DELETE) => cache::legacy::drop_cached(app, caller, id).await,
        (R::QueuedImages, GET) => cache::legacy::queue(app, caller),
        (R::QueuedImages, DELETE) => cache::legacy::clear_queue(app, caller).await,
        (R::QueuedImage(id), PUT) => cache::legacy::enqueue_image(app, caller, id).await,
        (R::QueuedImage(id), DELETE) => cache::legacy::dequeue(app, caller, id).await,
        (
            R::Namespaces
            | R::MetadefTypes
            | R::Namespace(_)
            | R::NamespacePart(..)
            | R::NamespaceItem(..),
            method,
        ) => Box::pin(metadefs::answer(api, caller, resource, method, request)).await,
        (resource, _) => Err(ApiError::method_not_allowed(resource.allow())),
    }
}

/// A path that names nothing: 404, or 501 for a method that no resource has.
fn unroutable(method: &Method) -> ApiError {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::DELETE
        | Method::PATCH => ApiError::not_found(""),
        _ => ApiError::new(StatusCode::NOT_IMPLEMENTED, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::rig::{Rig, person};

    #[test]
    fn paths_name_resources() {
        for (path, resource) in [
            ("images", Resource::Images),
            ("images/a", Resource::Image("a")),
            ("images/a/file", Resource::File("a")),
            ("images/a/tags/t x", Resource::Tag("a", "t x")),
            ("images/a/members", Resource::Members("a")),
            ("images/a/members/m", Resource::Member("a", "m")),
            ("images/a/actions/deactivate", Resource::Deactivate("a")),
            ("schemas/images", Resource::Schema("images")),
            ("schemas/metadefs/tag", Resource::Schema("metadefs/tag")),
            ("info/stores/detail", Resource::InfoStoresDetail),
            ("cache/clean", Resource::CacheClean),
            ("cache/x", Resource::CacheImage("x")),
            (
                "metadefs/namespaces/n/tags/t",
                Resource::NamespaceItem("n", "tags", "t"),
            ),
        ] {
            assert_eq!(Resource::find(path), Some(resource), "{path}");
        }
    }

    #[test]
    fn a_trailing_slash_or_a_slash_in_a_parameter_names_nothing() {
        for path in [
            "",
            "images/",
            "images/a/",
            "/images",
            "images//file",
            "images/a/tags/x/y",
            "images/a/tags",
            "images/a/actions",
            "images/a/actions/delete",
            "metadefs",
            "a/b/c/d/e/f/g",
            "info",
        ] {
            assert_eq!(Resource::find(path), None, "{path}");
        }
    }

    #[test]
    fn head_is_on_file_only() {
        assert!(Resource::File("a").has(&Method::HEAD));
        for resource in [Resource::Images, Resource::Image("a"), Resource::InfoStores] {
            assert!(!resource.has(&Method::HEAD));
        }
    }

    #[test]
    fn allow_is_a_list_of_whole_methods() {
        assert!(Resource::Image("a").has(&Method::PATCH));
        for part in ["GE", "PATC", "ELETE"] {
            let part = Method::from_bytes(part.as_bytes()).unwrap();
            assert!(!Resource::Image("a").has(&part));
        }
        assert_eq!(Resource::Images.allow(), "GET, POST");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_method_that_a_resource_lists_has_an_answer_and_no_other_has_one() {
        let rig = Rig::new();
        let api = Api::new(Arc::clone(&rig.app));
        for resource in crate::api::operations::every() {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let listed = resource.has(&method);
                let request = Request::builder()
                    .method(&method)
                    .uri("/")
                    .body(Body::empty())
                    .unwrap();
                let caller = Arc::new(person("p", &["admin", "member", "reader"], true));
                let answer = answer(&api, caller, resource, method.clone(), request).await;
                // Never allowed, and listed: `tasks::delete` says why.
                let task = matches!(resource, Resource::Task(_)) && method == Method::DELETE;
                let none = answer.is_err_and(|error| error.status == 405);
                assert_eq!(none, !listed || task, "{method} {resource:?}");
            }
        }
    }

    #[test]
    fn unknown_methods_on_unknown_paths_are_501() {
        assert_eq!(unroutable(&Method::GET).status, 404);
        assert_eq!(
            unroutable(&Method::from_bytes(b"BREW").unwrap()).status,
            501
        );
    }
}
