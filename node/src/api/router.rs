//! The route table: which resource a path names, which methods it has, and who answers.
//!
//! Paths are matched by hand, after the version is split off: the reference decodes a path before
//! it routes it, answers `405` with its own lists of methods, and never takes a trailing slash or
//! HEAD, none of which a generic router does (image-api 1.1).

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    response::Response,
};
use http::{Method, Request, StatusCode};

use crate::{
    api::{
        actions, body, cache, error::ApiError, image_data, images, import, info, layers,
        layers::Api, locations, members, metadefs, tags, tasks,
    },
    app::App,
    auth::Context,
};

/// The whole Image API of a node.
pub fn router(app: Arc<App>) -> Router {
    let api = Arc::new(Api::new(app));
    Router::new().fallback(move |request: Request<Body>| {
        let api = Arc::clone(&api);
        async move { layers::serve(&api, request).await }
    })
}

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
    Cache,
    CacheImage(&'p str),
    CacheNodes(&'p str),
    CacheClean,
    CachePrune,
    Namespaces,
    MetadefTypes,
    Namespace(&'p str),
    NamespacePart(&'p str, &'p str),
    NamespaceItem(&'p str, &'p str),
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
        Some(match *parts.get(..count)? {
            ["images"] => Self::Images,
            ["images", id] => Self::Image(id),
            ["images", id, "file"] => Self::File(id),
            ["images", id, "stage"] => Self::Stage(id),
            ["images", id, "import"] => Self::Import(id),
            ["images", id, "tasks"] => Self::ImageTasks(id),
            ["images", id, "locations"] => Self::Locations(id),
            ["images", id, "actions", "deactivate"] => Self::Deactivate(id),
            ["images", id, "actions", "reactivate"] => Self::Reactivate(id),
            ["images", id, "tags", tag] => Self::Tag(id, tag),
            ["images", id, "members"] => Self::Members(id),
            ["images", id, "members", member] => Self::Member(id, member),
            ["stores", store, id] => Self::StoreImage(store, id),
            ["schemas", "metadefs", _] => Self::Schema(path.strip_prefix("schemas/")?),
            ["schemas", name] => Self::Schema(name),
            ["info", "import"] => Self::InfoImport,
            ["info", "stores"] => Self::InfoStores,
            ["info", "stores", "detail"] => Self::InfoStoresDetail,
            ["info", "usage"] => Self::InfoUsage,
            ["tasks"] => Self::Tasks,
            ["tasks", id] => Self::Task(id),
            ["cache"] => Self::Cache,
            ["cache", "clean"] => Self::CacheClean,
            ["cache", "prune"] => Self::CachePrune,
            ["cache", id] => Self::CacheImage(id),
            ["cache", "nodes", id] => Self::CacheNodes(id),
            ["metadefs", "namespaces"] => Self::Namespaces,
            ["metadefs", "resource_types"] => Self::MetadefTypes,
            ["metadefs", "namespaces", name] => Self::Namespace(name),
            [
                "metadefs",
                "namespaces",
                name,
                part @ ("resource_types" | "properties" | "objects" | "tags"),
            ] => Self::NamespacePart(name, part),
            [
                "metadefs",
                "namespaces",
                name,
                part @ ("resource_types" | "properties" | "objects" | "tags"),
                _,
            ] => Self::NamespaceItem(name, part),
            _ => return None,
        })
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
            Self::Cache => "/v2/cache",
            Self::CacheImage(_) => "/v2/cache/{id}",
            Self::CacheNodes(_) => "/v2/cache/nodes/{id}",
            Self::CacheClean => "/v2/cache/clean",
            Self::CachePrune => "/v2/cache/prune",
            Self::Namespaces => "/v2/metadefs/namespaces",
            Self::MetadefTypes => "/v2/metadefs/resource_types",
            Self::Namespace(_) => "/v2/metadefs/namespaces/{namespace}",
            Self::NamespacePart(..) => "/v2/metadefs/namespaces/{namespace}/{part}",
            Self::NamespaceItem(..) => "/v2/metadefs/namespaces/{namespace}/{part}/{name}",
        }
    }

    /// The methods it has, as `Allow` lists them.
    const fn allow(self) -> &'static str {
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
            Self::Tag(..) | Self::CacheImage(_) => "PUT, DELETE",
            Self::Member(..) | Self::Namespace(_) => "GET, PUT, DELETE",
            Self::StoreImage(..) => "DELETE",
            Self::Task(_) => "GET, DELETE",
            Self::Cache => "GET, DELETE",
            Self::NamespacePart(_, part) => match part.as_bytes() {
                b"resource_types" => "GET, POST",
                _ => "GET, POST, DELETE",
            },
            Self::NamespaceItem(_, part) => match part.as_bytes() {
                b"resource_types" => "DELETE",
                b"tags" => "GET, POST, PUT, DELETE",
                _ => "GET, PUT, DELETE",
            },
        }
    }

    /// Whether the resource has the method.
    fn has(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|known| known == method.as_str())
    }

    /// Whether a body on it is refused (image-api 1.1); the rest reads or tolerates one.
    fn refuses_body(self, method: &Method) -> bool {
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
            | Self::Tag(..)
            | Self::StoreImage(..)
            | Self::InfoImport
            | Self::InfoStores
            | Self::InfoStoresDetail => true,
            Self::Namespace(_) => matches!(*method, Method::GET | Method::DELETE),
            Self::NamespacePart(..) => *method == Method::GET,
            Self::NamespaceItem(_, part) => {
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
    let unknown = |resource: &Resource<'_>| matches!(resource, Resource::Schema(name) if api.schemas.get(name).is_none());
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

/// The table. Every method of [`Resource::allow`] has its line.
async fn answer(
    api: &Api,
    context: Arc<Context>,
    resource: Resource<'_>,
    method: Method,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let app: &App = &api.app;
    let caller: &Context = &context;
    let query = request.uri().query();
    match (resource, &method) {
        (Resource::Images, &Method::POST) => {
            let base = api.base(request.headers());
            images::create(app, caller, request, &base).await
        }
        (Resource::Images, _) => images::list(api, Arc::clone(&context), query).await,
        (Resource::Image(id), &Method::PATCH) => {
            images::update(app, &api.turns, caller, id, request).await
        }
        (Resource::Image(id), &Method::DELETE) => {
            images::delete(app, caller, id, request.headers()).await
        }
        (Resource::Image(id), _) => images::show(app, caller, id, request.headers()).await,
        // Boxed: these futures are large, and all others would pay for their room.
        (Resource::File(id), &Method::PUT) => {
            Box::pin(image_data::upload(
                State(Arc::clone(&api.app)),
                Extension(context.clone()),
                Path(id.to_owned()),
                request,
            ))
            .await
        }
        (Resource::File(id), _) => {
            Box::pin(image_data::download(
                State(Arc::clone(&api.app)),
                Extension(context.clone()),
                Path(id.to_owned()),
                request,
            ))
            .await
        }
        (Resource::Stage(_), _) => import::stage(),
        (Resource::Import(_), _) => import::start(app, request).await,
        (Resource::ImageTasks(id), _) => tasks::of_image(app, caller, id).await,
        (Resource::Locations(id), &Method::POST) => locations::add(app, caller, id, request).await,
        (Resource::Locations(id), _) => locations::list(app, caller, id).await,
        (Resource::Deactivate(id), _) => actions::deactivate(app, caller, id).await,
        (Resource::Reactivate(id), _) => actions::reactivate(app, caller, id).await,
        (Resource::Tag(id, tag), &Method::PUT) => tags::add(app, caller, id, tag).await,
        (Resource::Tag(id, tag), _) => tags::remove(app, caller, id, tag).await,
        (Resource::Members(id), &Method::POST) => members::create(app, caller, id, request).await,
        (Resource::Members(id), _) => members::list(app, caller, id).await,
        (Resource::Member(id, member), &Method::PUT) => {
            members::update(app, caller, id, member, request).await
        }
        (Resource::Member(id, member), &Method::DELETE) => {
            members::delete(app, caller, id, member).await
        }
        (Resource::Member(id, member), _) => members::show(app, caller, id, member).await,
        (Resource::StoreImage(store, id), _) => {
            locations::remove_from_store(app, caller, store, id).await
        }
        (Resource::Schema(name), _) => match api.schemas.get(name) {
            Some(document) => Ok(images::json(document)),
            None => Err(ApiError::not_found("")),
        },
        (Resource::InfoImport, _) => Ok(info::import()),
        (Resource::InfoStores, _) => Ok(info::stores(app)),
        (Resource::InfoStoresDetail, _) => info::stores_detail(app, caller),
        (Resource::InfoUsage, _) => Ok(info::usage()),
        (Resource::Tasks, &Method::POST) => tasks::create(app, caller, request).await,
        (Resource::Tasks, _) => tasks::list(app, caller, query),
        (Resource::Task(_), &Method::DELETE) => tasks::delete(app, caller),
        (Resource::Task(id), _) => tasks::show(app, caller, id),
        (Resource::Cache | Resource::CacheImage(_), &Method::DELETE) => {
            cache::refuse(app, caller, "cache_delete")
        }
        (Resource::Cache, _) => cache::refuse(app, caller, "cache_list"),
        (Resource::CacheImage(_), _) => cache::refuse(app, caller, "cache_image"),
        (Resource::CacheNodes(_), _) => cache::refuse(app, caller, "list_cached_nodes"),
        (Resource::CacheClean, _) => cache::refuse(app, caller, "cache_clean"),
        (Resource::CachePrune, _) => cache::refuse(app, caller, "cache_prune"),
        (Resource::Namespaces, &Method::POST) => metadefs::create(app, caller),
        (Resource::Namespaces, _) => metadefs::namespaces(app, caller, query),
        (Resource::MetadefTypes, _) => metadefs::resource_types(app, caller),
        (
            Resource::Namespace(name)
            | Resource::NamespacePart(name, _)
            | Resource::NamespaceItem(name, _),
            _,
        ) => metadefs::within(name),
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
                Resource::NamespaceItem("n", "tags"),
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

    #[test]
    fn unknown_methods_on_unknown_paths_are_501() {
        assert_eq!(unroutable(&Method::GET).status, 404);
        assert_eq!(
            unroutable(&Method::from_bytes(b"BREW").unwrap()).status,
            501
        );
    }
}
