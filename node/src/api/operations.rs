//! The table of all operations of the API (image-api 1), and that the router has these and no others.

use std::collections::BTreeSet;

use http::Method;

use super::router::Resource;

impl Resource<'_> {
    /// The template with the part of a namespace that it is about.
    fn kind(self) -> String {
        let template = self.template();
        if let Self::NamespacePart(_, part) | Self::NamespaceItem(_, part, _) = self {
            return template.replace("{part}", part);
        }
        template.to_owned()
    }
}

/// Method, path, and whether it takes a body: `-` refuses one, `b` reads or tolerates it.
const TABLE: &str = "
POST   /v2/images b
GET    /v2/images b
GET    /v2/images/{id} -
PATCH  /v2/images/{id} b
DELETE /v2/images/{id} -
PUT    /v2/images/{id}/file b
GET    /v2/images/{id}/file -
PUT    /v2/images/{id}/stage b
POST   /v2/images/{id}/import b
GET    /v2/images/{id}/tasks -
POST   /v2/images/{id}/actions/deactivate -
POST   /v2/images/{id}/actions/reactivate -
DELETE /v2/stores/{store}/{id} -
PUT    /v2/images/{id}/tags/{tag} -
DELETE /v2/images/{id}/tags/{tag} -
GET    /v2/images/{id}/members -
POST   /v2/images/{id}/members b
GET    /v2/images/{id}/members/{member} -
PUT    /v2/images/{id}/members/{member} b
DELETE /v2/images/{id}/members/{member} -
GET    /v2/images/{id}/locations b
POST   /v2/images/{id}/locations b
GET    /v2/info/import -
GET    /v2/info/stores -
GET    /v2/info/stores/detail -
GET    /v2/info/usage b
GET    /v2/tasks b
POST   /v2/tasks b
GET    /v2/tasks/{id} b
DELETE /v2/tasks/{id} b
GET    /v2/cache -
DELETE /v2/cache b
PUT    /v2/cache/{id} b
DELETE /v2/cache/{id} b
GET    /v2/cache/nodes/{id} -
POST   /v2/cache/clean b
POST   /v2/cache/prune b
GET    /v2/schemas/image -
GET    /v2/schemas/images -
GET    /v2/schemas/member -
GET    /v2/schemas/members -
GET    /v2/schemas/task b
GET    /v2/schemas/tasks b
GET    /v2/schemas/metadefs/namespace -
GET    /v2/schemas/metadefs/namespaces -
GET    /v2/schemas/metadefs/resource_type -
GET    /v2/schemas/metadefs/resource_types -
GET    /v2/schemas/metadefs/property -
GET    /v2/schemas/metadefs/properties -
GET    /v2/schemas/metadefs/object -
GET    /v2/schemas/metadefs/objects -
GET    /v2/schemas/metadefs/tag -
GET    /v2/schemas/metadefs/tags -
GET    /v2/metadefs/namespaces b
POST   /v2/metadefs/namespaces b
GET    /v2/metadefs/resource_types -
GET    /v2/metadefs/namespaces/{namespace} -
PUT    /v2/metadefs/namespaces/{namespace} b
DELETE /v2/metadefs/namespaces/{namespace} -
GET    /v2/metadefs/namespaces/{namespace}/objects -
POST   /v2/metadefs/namespaces/{namespace}/objects b
DELETE /v2/metadefs/namespaces/{namespace}/objects b
GET    /v2/metadefs/namespaces/{namespace}/objects/{object} -
PUT    /v2/metadefs/namespaces/{namespace}/objects/{object} b
DELETE /v2/metadefs/namespaces/{namespace}/objects/{object} -
GET    /v2/metadefs/namespaces/{namespace}/properties -
POST   /v2/metadefs/namespaces/{namespace}/properties b
DELETE /v2/metadefs/namespaces/{namespace}/properties b
GET    /v2/metadefs/namespaces/{namespace}/properties/{property} b
PUT    /v2/metadefs/namespaces/{namespace}/properties/{property} b
DELETE /v2/metadefs/namespaces/{namespace}/properties/{property} b
GET    /v2/metadefs/namespaces/{namespace}/tags -
POST   /v2/metadefs/namespaces/{namespace}/tags b
DELETE /v2/metadefs/namespaces/{namespace}/tags b
GET    /v2/metadefs/namespaces/{namespace}/tags/{tag} -
POST   /v2/metadefs/namespaces/{namespace}/tags/{tag} b
PUT    /v2/metadefs/namespaces/{namespace}/tags/{tag} b
DELETE /v2/metadefs/namespaces/{namespace}/tags/{tag} -
GET    /v2/metadefs/namespaces/{namespace}/resource_types -
POST   /v2/metadefs/namespaces/{namespace}/resource_types b
DELETE /v2/metadefs/namespaces/{namespace}/resource_types/{resource_type} -
GET    /v2/cached_images b
DELETE /v2/cached_images b
DELETE /v2/cached_images/{id} b
GET    /v2/queued_images b
DELETE /v2/queued_images b
PUT    /v2/queued_images/{id} b
DELETE /v2/queued_images/{id} b
GET    / b
GET    /versions b
GET    /healthcheck b
";

/// Operations of the reference that nothing routes here: versions and health are answered before.
const BEFORE_THE_ROUTER: [&str; 3] = ["/", "/versions", "/healthcheck"];

const ID: &str = "11111111-2222-3333-4444-555555555555";

/// One resource of each kind, and of each part of a namespace.
pub(super) fn every() -> Vec<Resource<'static>> {
    let mut all = vec![
        Resource::Images,
        Resource::Image(ID),
        Resource::File(ID),
        Resource::Stage(ID),
        Resource::Import(ID),
        Resource::ImageTasks(ID),
        Resource::Locations(ID),
        Resource::Deactivate(ID),
        Resource::Reactivate(ID),
        Resource::Tag(ID, "t"),
        Resource::Members(ID),
        Resource::Member(ID, "m"),
        Resource::StoreImage("local", ID),
        Resource::Schema("image"),
        Resource::InfoImport,
        Resource::InfoStores,
        Resource::InfoStoresDetail,
        Resource::InfoUsage,
        Resource::Tasks,
        Resource::Task(ID),
        Resource::TaskCancel(ID),
        Resource::Cache,
        Resource::CacheImage(ID),
        Resource::CacheNodes(ID),
        Resource::CacheClean,
        Resource::CachePrune,
        Resource::CachedImages,
        Resource::CachedImage(ID),
        Resource::QueuedImages,
        Resource::QueuedImage(ID),
        Resource::Namespaces,
        Resource::MetadefTypes,
        Resource::Namespace("n"),
    ];
    for part in ["resource_types", "properties", "objects", "tags"] {
        all.push(Resource::NamespacePart("n", part));
        all.push(Resource::NamespaceItem("n", part, "i"));
    }
    all
}

struct Row {
    method: Method,
    /// As `TABLE` writes it.
    template: &'static str,
    /// With values for its parameters, without the version.
    path: String,
    takes_body: bool,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.is_empty());
    let rows = lines.map(|line| {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap();
        let (method, template, body) = (word(), word(), word());
        let filled = template.split('/').map(|part| match part {
            "{id}" => ID,
            part => part.trim_matches(['{', '}']),
        });
        let path = filled.collect::<Vec<_>>().join("/");
        Row {
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            template,
            path: path.strip_prefix("/v2/").unwrap_or(&path).to_owned(),
            takes_body: body == "b",
        }
    });
    rows.collect()
}

#[test]
fn the_table_has_as_many_operations_as_the_reference() {
    let rows = rows();
    let listed: BTreeSet<_> = rows
        .iter()
        .map(|row| (row.template, row.method.as_str()))
        .collect();
    assert_eq!(listed.len(), rows.len(), "a row stands twice");
    assert_eq!(rows.len(), 91);
}

#[test]
fn every_row_is_routed_and_takes_a_body_or_refuses_it_as_it_says() {
    for row in rows() {
        if BEFORE_THE_ROUTER.contains(&row.template) {
            continue;
        }
        let what = format!("{} {}", row.method, row.template);
        let Some(resource) = Resource::find(&row.path) else {
            panic!("{what} names nothing");
        };
        assert!(resource.has(&row.method), "{what}");
        assert_eq!(
            !resource.refuses_body(&row.method),
            row.takes_body,
            "{what}"
        );
    }
}

/// What the router allows, of each resource, is in the table: a row that is missing fails.
#[test]
fn every_operation_of_the_router_has_a_row() {
    let listed: BTreeSet<_> = rows()
        .iter()
        .filter_map(|row| Some((Resource::find(&row.path)?.kind(), row.method.to_string())))
        .collect();
    let routed = every().into_iter().flat_map(|resource| {
        let methods = resource.allow().split(", ").map(str::to_owned);
        methods.map(move |method| (resource.kind(), method))
    });
    // Ours, beyond the reference.
    let ours = [
        (Resource::File(ID), "HEAD"),
        (Resource::TaskCancel(ID), "POST"),
    ];
    let ours = ours.map(|(resource, method)| (resource.kind(), method.to_owned()));
    let routed: BTreeSet<_> = routed.filter(|one| !ours.contains(one)).collect();
    assert_eq!(routed, listed);
}

/// The list above is written by hand, so the enum's own text says whether it is whole.
#[test]
fn every_kind_of_resource_is_in_the_list() {
    let source = include_str!("router.rs");
    let body = source.split_once("enum Resource<'p> {").unwrap().1;
    let body = body.split_once("\n}").unwrap().0;
    let variants = body
        .lines()
        .filter_map(|line| line.trim().split(['(', ',']).next())
        .filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()));
    let kinds: BTreeSet<String> = every()
        .iter()
        .map(|resource| format!("{resource:?}"))
        .map(|shown| shown.split('(').next().unwrap().to_owned())
        .collect();
    assert_eq!(variants.map(str::to_owned).collect::<BTreeSet<_>>(), kinds);
}
