//! The default rules of image-api 4.2, word for word, with what they are for. All of them apply to
//! tokens scoped to a project only, but for those that other rules refer to.

/// One default rule.
#[derive(Debug, Clone, Copy)]
pub struct DefaultRule {
    /// Its name; handlers and policy files use it.
    pub name: &'static str,
    /// What it says, in the policy language.
    pub check: &'static str,
    /// What it said before; holds beside `check` where `auth.enforce_new_defaults` is off.
    pub deprecated: Option<&'static str>,
    /// Applies to tokens scoped to a project only.
    pub project_scoped: bool,
    /// What it guards, in words.
    pub description: &'static str,
    /// The operations that it guards: method and path.
    pub operations: &'static [&'static str],
}

const ALWAYS: &str = "";
const ROLE_ADMIN: &str = "role:admin";
const ROLE_SERVICE: &str = "role:service or role:admin";
const ADMIN_OR_MEMBER_CREATES: &str = "rule:context_is_admin or (role:member and project_id:%(project_id)s and \
    project_id:%(owner)s)";
const ADMIN_OR_MEMBER: &str =
    "rule:context_is_admin or (role:member and project_id:%(project_id)s)";
const ADMIN_OR_READER_SEES: &str = "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or \
    project_id:%(member_id)s or 'community':%(visibility)s or \
    'public':%(visibility)s or 'shared':%(visibility)s))";
const ADMIN_OR_READER: &str =
    "rule:context_is_admin or (role:reader and project_id:%(project_id)s)";
const ADMIN: &str = "rule:context_is_admin";
const ADMIN_OR_MEMBER_SEES: &str = "rule:context_is_admin or (role:member and (project_id:%(project_id)s or \
    project_id:%(member_id)s or 'community':%(visibility)s or \
    'public':%(visibility)s or 'shared':%(visibility)s))";
const SERVICE_OR_MEMBER: &str = "rule:service_api or (role:member and project_id:%(project_id)s and \
    project_id:%(owner)s)";
const SERVICE: &str = "rule:service_api";
const ADMIN_OR_READER_OR_SHARED: &str = "rule:context_is_admin or role:reader and (project_id:%(project_id)s or \
    project_id:%(member_id)s)";
const ADMIN_OR_SHARED: &str = "rule:context_is_admin or (role:member and project_id:%(member_id)s)";
const DEFAULT: &str = "rule:default";
const ADMIN_OR_READER_SEES_METADEF: &str = "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or \
    'public':%(visibility)s))";
const METADEF_ADMIN: &str = "rule:metadef_admin";
const METADEF_DEFAULT: &str = "rule:metadef_default";
const MANAGE_IMAGE_CACHE: &str = "rule:manage_image_cache";
const ADMIN_OR_SERVICE: &str = "rule:context_is_admin or rule:service_api";

impl DefaultRule {
    /// With what it said before.
    const fn was(self, check: &'static str) -> Self {
        Self {
            deprecated: Some(check),
            ..self
        }
    }
}

const fn rule(
    name: &'static str,
    check: &'static str,
    description: &'static str,
    operations: &'static [&'static str],
) -> DefaultRule {
    DefaultRule {
        name,
        check,
        deprecated: None,
        project_scoped: true,
        description,
        operations,
    }
}

/// A rule that others refer to.
const fn base(name: &'static str, check: &'static str, description: &'static str) -> DefaultRule {
    DefaultRule {
        project_scoped: false,
        ..rule(name, check, description, &[])
    }
}

/// The default rule of that name.
pub(super) fn find(name: &str) -> Option<&'static DefaultRule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// All default rules.
pub const RULES: [DefaultRule; 67] = [
    base(
        "default",
        ALWAYS,
        "Rules that historically had an empty rule",
    )
    .was(ADMIN),
    base(
        "context_is_admin",
        ROLE_ADMIN,
        "Whether the caller is an admin",
    ),
    base("service_api", ROLE_SERVICE, "Calls between services"),
    rule(
        "add_image",
        ADMIN_OR_MEMBER_CREATES,
        "Create an image",
        &["POST /v2/images"],
    )
    .was(DEFAULT),
    rule(
        "delete_image",
        ADMIN_OR_MEMBER,
        "Delete an image",
        &["DELETE /v2/images/{image_id}"],
    )
    .was(DEFAULT),
    rule(
        "get_image",
        ADMIN_OR_READER_SEES,
        "Show an image",
        &["GET /v2/images/{image_id}"],
    )
    .was(DEFAULT),
    rule(
        "get_images",
        ADMIN_OR_READER,
        "List images",
        &["GET /v2/images"],
    )
    .was(DEFAULT),
    rule(
        "modify_image",
        ADMIN_OR_MEMBER,
        "Change an image",
        &["PATCH /v2/images/{image_id}"],
    )
    .was(DEFAULT),
    rule(
        "publicize_image",
        ADMIN,
        "Make an image public",
        &["POST /v2/images", "PATCH /v2/images/{image_id}"],
    ),
    rule(
        "communitize_image",
        ADMIN_OR_MEMBER,
        "Make an image community",
        &["POST /v2/images", "PATCH /v2/images/{image_id}"],
    )
    .was(DEFAULT),
    rule(
        "download_image",
        ADMIN_OR_MEMBER_SEES,
        "Download the data of an image",
        &["GET /v2/images/{image_id}/file"],
    )
    .was(DEFAULT),
    rule(
        "download_from_store",
        ADMIN_OR_MEMBER_SEES,
        "Choose the store to download from",
        &["GET /v2/images/{image_id}/file"],
    ),
    rule(
        "upload_image",
        ADMIN_OR_MEMBER,
        "Upload the data of an image",
        &["PUT /v2/images/{image_id}/file"],
    )
    .was(DEFAULT),
    rule(
        "delete_image_location",
        ADMIN,
        "Remove a location of an image",
        &[
            "PATCH /v2/images/{image_id}",
            "DELETE /v2/stores/{store_id}/{image_id}",
        ],
    )
    .was(DEFAULT),
    rule(
        "get_image_location",
        ADMIN_OR_READER,
        "Read the locations of an image",
        &["GET /v2/images/{image_id}"],
    )
    .was(DEFAULT),
    rule(
        "set_image_location",
        ADMIN_OR_MEMBER,
        "Set a location of an image",
        &["PATCH /v2/images/{image_id}"],
    )
    .was(DEFAULT),
    rule(
        "add_image_location",
        SERVICE_OR_MEMBER,
        "Add a location to an image",
        &["POST /v2/images/{image_id}/locations"],
    ),
    rule(
        "fetch_image_location",
        SERVICE,
        "List the locations of an image",
        &["GET /v2/images/{image_id}/locations"],
    ),
    rule(
        "add_member",
        ADMIN_OR_MEMBER,
        "Share an image",
        &["POST /v2/images/{image_id}/members"],
    )
    .was(DEFAULT),
    rule(
        "delete_member",
        ADMIN_OR_MEMBER,
        "Unshare an image",
        &["DELETE /v2/images/{image_id}/members/{member_id}"],
    )
    .was(DEFAULT),
    rule(
        "get_member",
        ADMIN_OR_READER_OR_SHARED,
        "Show a member of an image",
        &["GET /v2/images/{image_id}/members/{member_id}"],
    )
    .was(DEFAULT),
    rule(
        "get_members",
        ADMIN_OR_READER_OR_SHARED,
        "List the members of an image",
        &["GET /v2/images/{image_id}/members"],
    )
    .was(DEFAULT),
    rule(
        "modify_member",
        ADMIN_OR_SHARED,
        "Answer to being made a member",
        &["PUT /v2/images/{image_id}/members/{member_id}"],
    )
    .was(DEFAULT),
    rule("manage_image_cache", ADMIN, "Manage the image cache", &[]),
    rule(
        "deactivate",
        ADMIN_OR_MEMBER,
        "Deactivate an image",
        &["POST /v2/images/{image_id}/actions/deactivate"],
    )
    .was(DEFAULT),
    rule(
        "reactivate",
        ADMIN_OR_MEMBER,
        "Reactivate an image",
        &["POST /v2/images/{image_id}/actions/reactivate"],
    )
    .was(DEFAULT),
    rule(
        "copy_image",
        ADMIN,
        "Copy an image to other stores",
        &["POST /v2/images/{image_id}/import"],
    ),
    rule(
        "list_cached_nodes",
        ADMIN,
        "List the nodes that have an image cached",
        &["GET /v2/cache/nodes/{image_id}"],
    ),
    rule(
        "get_task",
        DEFAULT,
        "Show a task (checked inside other operations)",
        &["GET /v2/tasks/{task_id}"],
    )
    .was(DEFAULT),
    rule(
        "get_tasks",
        DEFAULT,
        "List tasks (checked inside other operations)",
        &["GET /v2/tasks"],
    )
    .was(DEFAULT),
    rule(
        "add_task",
        DEFAULT,
        "Create a task (checked inside other operations)",
        &["POST /v2/tasks"],
    )
    .was(DEFAULT),
    rule(
        "modify_task",
        DEFAULT,
        "Not used",
        &["DELETE /v2/tasks/{task_id}"],
    ),
    rule(
        "tasks_api_access",
        ADMIN,
        "All of the task API",
        &[
            "GET /v2/tasks/{task_id}",
            "GET /v2/tasks",
            "POST /v2/tasks",
            "DELETE /v2/tasks/{task_id}",
        ],
    ),
    base(
        "metadef_default",
        ALWAYS,
        "Metadata definitions: rules that historically had an empty rule",
    ),
    base(
        "metadef_admin",
        ADMIN,
        "Metadata definitions: whether the caller manages them",
    ),
    rule(
        "get_metadef_namespace",
        ADMIN_OR_READER_SEES_METADEF,
        "Show a namespace",
        &["GET /v2/metadefs/namespaces/{namespace_name}"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "get_metadef_namespaces",
        ADMIN_OR_READER,
        "List namespaces",
        &["GET /v2/metadefs/namespaces"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "modify_metadef_namespace",
        METADEF_ADMIN,
        "Change a namespace",
        &["PUT /v2/metadefs/namespaces/{namespace_name}"],
    ),
    rule(
        "add_metadef_namespace",
        METADEF_ADMIN,
        "Create a namespace",
        &["POST /v2/metadefs/namespaces"],
    ),
    rule(
        "delete_metadef_namespace",
        METADEF_ADMIN,
        "Delete a namespace",
        &["DELETE /v2/metadefs/namespaces/{namespace_name}"],
    ),
    rule(
        "get_metadef_object",
        ADMIN_OR_READER_SEES_METADEF,
        "Show an object of a namespace",
        &["GET /v2/metadefs/namespaces/{namespace_name}/objects/{object_name}"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "get_metadef_objects",
        ADMIN_OR_READER_SEES_METADEF,
        "List the objects of a namespace",
        &["GET /v2/metadefs/namespaces/{namespace_name}/objects"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "modify_metadef_object",
        METADEF_ADMIN,
        "Change an object of a namespace",
        &["PUT /v2/metadefs/namespaces/{namespace_name}/objects/{object_name}"],
    ),
    rule(
        "add_metadef_object",
        METADEF_ADMIN,
        "Create an object of a namespace",
        &["POST /v2/metadefs/namespaces/{namespace_name}/objects"],
    ),
    rule(
        "delete_metadef_object",
        METADEF_ADMIN,
        "Delete an object of a namespace",
        &["DELETE /v2/metadefs/namespaces/{namespace_name}/objects/{object_name}"],
    ),
    rule(
        "list_metadef_resource_types",
        ADMIN_OR_READER_SEES_METADEF,
        "List resource types",
        &["GET /v2/metadefs/resource_types"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "get_metadef_resource_type",
        ADMIN_OR_READER_SEES_METADEF,
        "Show resource types of a namespace",
        &["GET /v2/metadefs/namespaces/{namespace_name}/resource_types"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "add_metadef_resource_type_association",
        METADEF_ADMIN,
        "Create a resource type association",
        &["POST /v2/metadefs/namespaces/{namespace_name}/resource_types"],
    ),
    rule(
        "remove_metadef_resource_type_association",
        METADEF_ADMIN,
        "Remove a resource type association",
        &["DELETE /v2/metadefs/namespaces/{namespace_name}/resource_types/{name}"],
    ),
    rule(
        "get_metadef_property",
        ADMIN_OR_READER_SEES_METADEF,
        "Show a property definition",
        &["GET /v2/metadefs/namespaces/{namespace_name}/properties/{property_name}"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "get_metadef_properties",
        ADMIN_OR_READER_SEES_METADEF,
        "List property definitions",
        &["GET /v2/metadefs/namespaces/{namespace_name}/properties"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "modify_metadef_property",
        METADEF_ADMIN,
        "Change a property definition",
        &["PUT /v2/metadefs/namespaces/{namespace_name}/properties/{property_name}"],
    ),
    rule(
        "add_metadef_property",
        METADEF_ADMIN,
        "Create a property definition",
        &["POST /v2/metadefs/namespaces/{namespace_name}/properties"],
    ),
    rule(
        "remove_metadef_property",
        METADEF_ADMIN,
        "Remove a property definition",
        &["DELETE /v2/metadefs/namespaces/{namespace_name}/properties/{property_name}"],
    ),
    rule(
        "get_metadef_tag",
        ADMIN_OR_READER_SEES_METADEF,
        "Show a tag definition",
        &["GET /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "get_metadef_tags",
        ADMIN_OR_READER_SEES_METADEF,
        "List tag definitions",
        &["GET /v2/metadefs/namespaces/{namespace_name}/tags"],
    )
    .was(METADEF_DEFAULT),
    rule(
        "modify_metadef_tag",
        METADEF_ADMIN,
        "Change a tag definition",
        &["PUT /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"],
    ),
    rule(
        "add_metadef_tag",
        METADEF_ADMIN,
        "Create a tag definition",
        &["POST /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"],
    ),
    rule(
        "add_metadef_tags",
        METADEF_ADMIN,
        "Create tag definitions",
        &["POST /v2/metadefs/namespaces/{namespace_name}/tags"],
    ),
    rule(
        "delete_metadef_tag",
        METADEF_ADMIN,
        "Delete a tag definition",
        &["DELETE /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"],
    ),
    rule(
        "delete_metadef_tags",
        METADEF_ADMIN,
        "Delete tag definitions",
        &["DELETE /v2/metadefs/namespaces/{namespace_name}/tags"],
    ),
    rule(
        "cache_image",
        ADMIN,
        "Queue an image for caching",
        &["PUT /v2/cache/{image_id}"],
    )
    .was(MANAGE_IMAGE_CACHE),
    rule(
        "cache_list",
        ADMIN,
        "Show the state of the cache",
        &["GET /v2/cache"],
    )
    .was(MANAGE_IMAGE_CACHE),
    rule(
        "cache_delete",
        ADMIN,
        "Remove images from the cache or its queue",
        &["DELETE /v2/cache", "DELETE /v2/cache/{image_id}"],
    )
    .was(MANAGE_IMAGE_CACHE),
    rule(
        "cache_clean",
        ADMIN,
        "Remove invalid and stalled images from the cache",
        &["POST /v2/cache/clean"],
    ),
    rule(
        "cache_prune",
        ADMIN,
        "Shrink the cache",
        &["POST /v2/cache/prune"],
    ),
    rule(
        "stores_info_detail",
        ADMIN_OR_SERVICE,
        "Show details of the stores",
        &["GET /v2/info/stores/detail"],
    )
    .was(ADMIN),
];
