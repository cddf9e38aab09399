//! Those of metadata definitions (image-api 1.9).

use super::{DELETE, GET, POST, PUT};
use crate::api::openapi::operation::{
    Body::{Json, Nothing},
    Operation,
    Parameter::{self, Header, Integer, Query},
    op,
};

/// In the order of the router's table.
pub(super) const OPERATIONS: &[Operation] = &[
    op(
        GET,
        "metadefs/namespaces",
        "List namespaces",
        "get_metadef_namespaces",
    )
    .with(&[
        Query("visibility", "public or private"),
        Query("resource_types", "Associated with one of these: a,b"),
        Integer("limit", "Namespaces of the page at most"),
        Query("marker", "Name of the last namespace of the page before"),
        Query("sort_key", "The key to sort by"),
        Query("sort_dir", "asc or desc"),
    ])
    .gives(200, Json("metadefs.namespaces"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "metadefs/namespaces",
        "Create a namespace",
        "add_metadef_namespace",
    )
    .takes(Json("metadefs.namespace"))
    .gives(201, Json("metadefs.namespace"))
    .fails(&[400, 403, 408, 409, 413]),
    op(
        GET,
        "metadefs/resource_types",
        "List resource types",
        "list_metadef_resource_types",
    )
    .gives(200, Json("any"))
    .fails(&[400, 403]),
    op(
        GET,
        "metadefs/namespaces/{namespace}",
        "Show a namespace with all in it",
        "get_metadef_namespace",
    )
    .with(RESOURCE_TYPE)
    .gives(200, Json("metadefs.namespace"))
    .fails(&[400, 403, 404]),
    op(
        PUT,
        "metadefs/namespaces/{namespace}",
        "Change a namespace",
        "modify_metadef_namespace",
    )
    .takes(Json("metadefs.namespace"))
    .gives(200, Json("metadefs.namespace"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}",
        "Delete a namespace with all in it",
        "delete_metadef_namespace",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404, 409]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/resource_types",
        "List the associations of a namespace",
        "get_metadef_resource_type",
    )
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "metadefs/namespaces/{namespace}/resource_types",
        "Associate a resource type",
        "add_metadef_resource_type_association",
    )
    .takes(Json("metadefs.resource_type"))
    .gives(201, Json("metadefs.resource_type"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/properties",
        "List properties",
        "get_metadef_properties",
    )
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "metadefs/namespaces/{namespace}/properties",
        "Create a property",
        "add_metadef_property",
    )
    .takes(Json("metadefs.property"))
    .gives(201, Json("any"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/properties",
        "Delete all properties",
        "delete_metadef_namespace",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/objects",
        "List objects",
        "get_metadef_objects",
    )
    .with(PAGE)
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "metadefs/namespaces/{namespace}/objects",
        "Create an object",
        "add_metadef_object",
    )
    .takes(Json("metadefs.object"))
    .gives(201, Json("any"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/objects",
        "Delete all objects",
        "delete_metadef_namespace",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/tags",
        "List tags",
        "get_metadef_tags",
    )
    .with(PAGE)
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "metadefs/namespaces/{namespace}/tags",
        "Replace all tags",
        "add_metadef_tags",
    )
    .with(&[Header(
        "X-Openstack-Append",
        "True: add to the tags instead",
    )])
    .takes(Json("metadef_tags"))
    .gives(201, Json("any"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/tags",
        "Delete all tags",
        "delete_metadef_tags",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/resource_types/{name}",
        "End an association",
        "remove_metadef_resource_type_association",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/properties/{name}",
        "Show a property",
        "get_metadef_property",
    )
    .with(RESOURCE_TYPE)
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        PUT,
        "metadefs/namespaces/{namespace}/properties/{name}",
        "Change a property",
        "modify_metadef_property",
    )
    .takes(Json("metadefs.property"))
    .gives(200, Json("any"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/properties/{name}",
        "Delete a property",
        "remove_metadef_property",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/objects/{name}",
        "Show an object",
        "get_metadef_object",
    )
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        PUT,
        "metadefs/namespaces/{namespace}/objects/{name}",
        "Change an object",
        "modify_metadef_object",
    )
    .takes(Json("metadefs.object"))
    .gives(200, Json("any"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/objects/{name}",
        "Delete an object",
        "delete_metadef_object",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
    op(
        GET,
        "metadefs/namespaces/{namespace}/tags/{name}",
        "Show a tag",
        "get_metadef_tag",
    )
    .gives(200, Json("any"))
    .fails(&[400, 403, 404]),
    op(
        POST,
        "metadefs/namespaces/{namespace}/tags/{name}",
        "Create a tag",
        "add_metadef_tag",
    )
    .gives(201, Json("any"))
    .fails(&[400, 403, 404, 409]),
    op(
        PUT,
        "metadefs/namespaces/{namespace}/tags/{name}",
        "Rename a tag",
        "modify_metadef_tag",
    )
    .takes(Json("metadefs.tag"))
    .gives(200, Json("any"))
    .fails(&[400, 403, 404, 408, 409, 413]),
    op(
        DELETE,
        "metadefs/namespaces/{namespace}/tags/{name}",
        "Delete a tag",
        "delete_metadef_tag",
    )
    .gives(204, Nothing)
    .fails(&[400, 403, 404]),
];

const PAGE: &[Parameter] = &[
    Integer("limit", "Items of the page at most"),
    Query("marker", "Name of the last item of the page before"),
    Query("sort_key", "The key to sort by"),
    Query("sort_dir", "asc or desc"),
];

const RESOURCE_TYPE: &[Parameter] = &[Query(
    "resource_type",
    "Names as this resource type has them",
)];
