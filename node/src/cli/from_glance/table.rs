//! Every option of the reference, and what becomes of it (image-api 2.3, 3, 4.1, 5.1, 7.2 and 8.2).

use super::{
    store_table,
    write::{
        Write, assignments, boolean, bytes, hours, integer, list, ports, quota, seconds,
        storage_quota, text,
    },
};

/// What becomes of an option.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It sets this key.
    Key(&'static str, Write),
    /// It is read together with others (`joint.rs`, `stores.rs`).
    Joint,
    /// It was an option once; what it was for is no more.
    Removed,
    /// It is dropped, and nothing that a client sees changes.
    Dropped(&'static str),
    /// It is dropped, and something changes.
    Lost(&'static str),
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Its group; of the options of a store the type of the store.
    pub(super) group: &'static str,
    /// Its name; one that ends with `*` stands for all that begin so.
    pub(super) name: &'static str,
    /// What it is where no file says anything. A file that says just that asks for nothing.
    pub(super) default: &'static str,
    /// What becomes of it.
    pub(super) fate: Fate,
}

pub(super) const fn row(
    group: &'static str,
    name: &'static str,
    default: &'static str,
    fate: Fate,
) -> Row {
    Row {
        group,
        name,
        default,
        fate,
    }
}

/// All rows.
pub(super) fn all() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().chain(store_table::TABLE)
}

/// The row of an option; an exact one before one that stands for many.
pub(super) fn find(group: &str, name: &str) -> Option<&'static Row> {
    let of_group = || all().filter(|row| row.group == group);
    let many = |row: &&Row| {
        row.name
            .strip_suffix('*')
            .is_some_and(|begin| name.starts_with(begin))
    };
    of_group()
        .find(|row| row.name == name)
        .or_else(|| of_group().find(many))
}

/// Group and name of an option.
type Name = (&'static str, &'static str);

/// Old names of options, and what they are called now.
#[rustfmt::skip]
pub(super) const RENAMED: [(Name, Name); 14] = [
    (("DEFAULT", "container_formats"), ("image_format", "container_formats")),
    (("DEFAULT", "disk_formats"), ("image_format", "disk_formats")),
    (("DEFAULT", "task_time_to_live"), ("task", "task_time_to_live")),
    (("DEFAULT", "sql_connection"), ("database", "connection")),
    (("DEFAULT", "policy_file"), ("oslo_policy", "policy_file")),
    (("DEFAULT", "policy_dirs"), ("oslo_policy", "policy_dirs")),
    (("DEFAULT", "flavor"), ("paste_deploy", "flavor")),
    (("keystone_authtoken", "auth_uri"), ("keystone_authtoken", "www_authenticate_uri")),
    (("keystone_authtoken", "auth_plugin"), ("keystone_authtoken", "auth_type")),
    (("keystone_authtoken", "memcache_servers"), ("keystone_authtoken", "memcached_servers")),
    (("keystone_authtoken", "user_name"), ("keystone_authtoken", "username")),
    (("keystone_authtoken", "tenant_name"), ("keystone_authtoken", "project_name")),
    (("keystone_authtoken", "tenant_id"), ("keystone_authtoken", "project_id")),
    (("image_import_opts", "image_import_plugin"), ("image_import_opts", "image_import_plugins")),
];

const LOG: Fate = Fate::Dropped("the log goes to standard error; what runs the node keeps it");
const SCRUB: Fate =
    Fate::Dropped("data of deleted images is removed at once, see [workers.reaper]");
const TOKENS: Fate = Fate::Dropped("tokens are remembered in the process itself");
const POOL: Fate = Fate::Dropped("the cache is a pool of chunks with a hard bound");
const NO_NOTE: Fate = Fate::Dropped("nothing is sent");
const LIMITS: Fate = Fate::Dropped("limits of the identity service are not asked");
const DATABASE: Fate = Fate::Dropped("the registry is the node's own");
const SIGNATURES: Fate = Fate::Lost("signatures of images are not verified, keys not deleted");

use Fate::{Dropped, Joint, Key, Lost, Removed};

/// All options but those of single stores.
// One option, one line.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // The API.
    row("DEFAULT", "bind_host", "0.0.0.0", Joint),
    row("DEFAULT", "bind_port", "9292", Joint),
    row("DEFAULT", "cert_file", "", Key("api.tls.cert", text)),
    row("DEFAULT", "key_file", "", Key("api.tls.key", text)),
    row("DEFAULT", "ca_file", "", Lost("clients are not asked for certificates")),
    row("DEFAULT", "public_endpoint", "", Key("api.public_endpoint", text)),
    row("DEFAULT", "worker_self_reference_url", "", Dropped("data is staged on the node that imports it")),
    row("DEFAULT", "limit_param_default", "25", Key("limits.limit_param_default", integer)),
    row("DEFAULT", "api_limit_max", "1000", Key("limits.api_limit_max", integer)),
    row("DEFAULT", "allow_anonymous_access", "false", Key("auth.allow_anonymous", boolean)),
    row("DEFAULT", "max_request_id_length", "64", Key("limits.max_request_id_length", integer)),
    row("DEFAULT", "hashing_algorithm", "sha512", Key("api.hashing_algorithm", text)),
    row("DEFAULT", "do_secure_hash", "true", Key("locations.do_secure_hash", boolean)),
    row("DEFAULT", "http_retries", "3", Key("locations.http_retries", integer)),
    row("DEFAULT", "show_image_direct_url", "false", Key("api.show_image_direct_url", boolean)),
    row("DEFAULT", "show_multiple_locations", "false", Key("api.show_multiple_locations", boolean)),
    row("DEFAULT", "enabled_backends", "", Joint),
    row("DEFAULT", "enabled_import_methods", "", Key("import.methods", list)),
    row("DEFAULT", "node_staging_uri", "file:///tmp/staging/", Joint),
    // Limits.
    row("DEFAULT", "image_member_quota", "128", Key("limits.image_member_quota", quota)),
    row("DEFAULT", "image_property_quota", "128", Key("limits.image_property_quota", quota)),
    row("DEFAULT", "image_tag_quota", "128", Key("limits.image_tag_quota", quota)),
    row("DEFAULT", "image_location_quota", "10", Key("limits.image_location_quota", quota)),
    row("DEFAULT", "image_size_cap", "1099511627776", Key("limits.image_size_cap", bytes)),
    row("DEFAULT", "user_storage_quota", "0", Key("limits.user_storage_quota", storage_quota)),
    row("DEFAULT", "use_keystone_limits", "false", Key("limits.use_keystone_limits", boolean)),
    // Delete.
    row("DEFAULT", "delayed_delete", "false", Lost("images are deleted at once, they cannot be restored")),
    row("DEFAULT", "scrub_time", "0", SCRUB),
    row("DEFAULT", "scrub_pool_size", "1", SCRUB),
    row("DEFAULT", "wakeup_time", "300", SCRUB),
    row("DEFAULT", "daemon", "false", SCRUB),
    row("DEFAULT", "restore", "", SCRUB),
    // Cache.
    row("DEFAULT", "image_cache_dir", "", Joint),
    row("DEFAULT", "image_cache_driver", "centralized_db", POOL),
    row("DEFAULT", "image_cache_max_size", "10737418240", Joint),
    row("DEFAULT", "image_cache_stall_time", "86400", POOL),
    row("DEFAULT", "image_cache_sqlite_db", "cache.db", POOL),
    // Properties.
    row("DEFAULT", "property_protection_file", "", Joint),
    row("DEFAULT", "property_protection_rule_format", "roles", Key("auth.property_protection_rule_format", text)),
    // Notifications.
    row("DEFAULT", "default_publisher_id", "image.localhost", NO_NOTE),
    row("DEFAULT", "disabled_notifications", "", NO_NOTE),
    row("DEFAULT", "transport_url", "", NO_NOTE),
    row("DEFAULT", "control_exchange", "", NO_NOTE),
    row("DEFAULT", "rpc_*", "", NO_NOTE),
    row("DEFAULT", "executor_thread_pool_size", "", NO_NOTE),
    row("oslo_messaging_notifications", "driver", "", Joint),
    row("oslo_messaging_notifications", "topics", "notifications", NO_NOTE),
    row("oslo_messaging_notifications", "transport_url", "", NO_NOTE),
    row("oslo_messaging_notifications", "retry", "-1", NO_NOTE),
    row("oslo_messaging_rabbit", "*", "", NO_NOTE),
    row("oslo_messaging_kafka", "*", "", NO_NOTE),
    // Log.
    row("DEFAULT", "debug", "false", Joint),
    row("DEFAULT", "verbose", "", Removed),
    row("DEFAULT", "use_json", "false", Joint),
    row("DEFAULT", "log_config_append", "", LOG),
    row("DEFAULT", "log_config", "", LOG),
    row("DEFAULT", "log_file", "", LOG),
    row("DEFAULT", "logfile", "", LOG),
    row("DEFAULT", "log_dir", "", LOG),
    row("DEFAULT", "logdir", "", LOG),
    row("DEFAULT", "watch_log_file", "false", LOG),
    row("DEFAULT", "use_syslog", "false", LOG),
    row("DEFAULT", "syslog_log_facility", "LOG_USER", LOG),
    row("DEFAULT", "use_journal", "false", LOG),
    row("DEFAULT", "use_eventlog", "false", LOG),
    row("DEFAULT", "use_stderr", "", LOG),
    row("DEFAULT", "log_color", "", LOG),
    row("DEFAULT", "log_date_format", "", LOG),
    row("DEFAULT", "log_format", "", LOG),
    row("DEFAULT", "logging_*", "", LOG),
    row("DEFAULT", "default_log_levels", "", LOG),
    row("DEFAULT", "log_rotate_interval", "1", LOG),
    row("DEFAULT", "log_rotate_interval_type", "days", LOG),
    row("DEFAULT", "log_rotation_type", "none", LOG),
    row("DEFAULT", "max_logfile_count", "30", LOG),
    row("DEFAULT", "max_logfile_size_mb", "200", LOG),
    row("DEFAULT", "publish_errors", "false", LOG),
    row("DEFAULT", "instance_*", "", LOG),
    row("DEFAULT", "rate_limit_*", "", LOG),
    row("DEFAULT", "fatal_deprecations", "false", LOG),
    row("DEFAULT", "pydev_worker_debug_*", "", Dropped("is for who works on the reference")),
    // Secrets.
    row("DEFAULT", "metadata_encryption_key", "", Lost("URLs of locations are kept as they are")),
    row("DEFAULT", "digest_algorithm", "sha256", Dropped("is for signatures of old clients")),
    row("DEFAULT", "metadata_source_path", "/etc/glance/metadefs/", Dropped("definitions are loaded through the API")),
    // Formats.
    row("image_format", "container_formats", "", Key("image_format.container_formats", list)),
    row("image_format", "disk_formats", "", Key("image_format.disk_formats", list)),
    row("image_format", "vmdk_allowed_types", "", Key("image_format.vmdk_allowed_types", list)),
    row("image_format", "require_image_format_match", "true", Key("image_format.require_image_format_match", boolean)),
    row("image_format", "gpt_safety_checks_nonfatal", "", Key("image_format.gpt_safety_checks_nonfatal", list)),
    // Tasks and import.
    row("task", "task_time_to_live", "48", Key("import.task_time_to_live", hours)),
    row("task", "task_executor", "taskflow", Dropped("tasks are the node's own")),
    row("task", "work_dir", "", Dropped("tasks work in the staging directory")),
    row("task", "eventlet_executor_pool_size", "", Removed),
    row("taskflow_executor", "engine_mode", "parallel", Dropped("tasks are the node's own")),
    row("taskflow_executor", "max_workers", "10", Dropped("see import.concurrent_jobs")),
    row("taskflow_executor", "conversion_format", "", Lost("only imports convert images, not tasks of the old kind")),
    row("wsgi", "task_pool_threads", "16", Key("import.concurrent_jobs", integer)),
    row("wsgi", "python_interpreter", "", Dropped("there is none")),
    row("image_import_opts", "image_import_plugins", "", Key("import.plugins", list)),
    row("image_import_opts", "max_parallel_stores", "1", Key("import.max_parallel_stores", integer)),
    row("image_conversion", "output_format", "raw", Key("import.conversion.output_format", text)),
    row("inject_metadata_properties", "ignore_user_roles", "admin", Key("import.inject.ignore_user_roles", list)),
    row("inject_metadata_properties", "inject", "", Key("import.inject.properties", assignments)),
    row("glance_download_properties", "extra_properties", "hw_,trait:,os_distro,os_secure_boot,os_type", Key("import.glance_download.extra_properties", list)),
    row("import_filtering_opts", "allowed_schemes", "http,https", Key("import.uri_filter.allowed_schemes", list)),
    row("import_filtering_opts", "disallowed_schemes", "", Key("import.uri_filter.disallowed_schemes", list)),
    row("import_filtering_opts", "allowed_hosts", "", Key("import.uri_filter.allowed_hosts", list)),
    row("import_filtering_opts", "disallowed_hosts", "", Key("import.uri_filter.disallowed_hosts", list)),
    row("import_filtering_opts", "allowed_ports", "80,443", Key("import.uri_filter.allowed_ports", ports)),
    row("import_filtering_opts", "disallowed_ports", "", Key("import.uri_filter.disallowed_ports", ports)),
    // Stores as such; those of one store are below.
    row("glance_store", "stores", "file,http", Joint),
    row("glance_store", "default_store", "file", Joint),
    row("glance_store", "default_backend", "", Joint),
    row("glance_store", "store_capabilities_update_min_interval", "0", Dropped("what a store can is looked at when it is used")),
    row("os_glance_staging_store", "filesystem_store_datadir", "/var/lib/glance/os_glance_staging_store", Joint),
    row("os_glance_staging_store", "*", "", Dropped("staged data has a directory and nothing else")),
    row("os_glance_tasks_store", "*", "", Dropped("tasks work in the staging directory")),
    // Pipeline.
    row("paste_deploy", "flavor", "", Joint),
    row("paste_deploy", "config_file", "", Dropped("pipelines are built in; filters of your own are not run")),
    row("database", "connection", "", Lost("images that this database knows are not taken over")),
    row("database", "*", "", DATABASE),
    // Identity.
    row("keystone_authtoken", "www_authenticate_uri", "", Key("auth.keystone.www_authenticate_uri", text)),
    row("keystone_authtoken", "auth_url", "", Joint),
    row("keystone_authtoken", "auth_type", "password", Joint),
    row("keystone_authtoken", "auth_section", "", Joint),
    row("keystone_authtoken", "username", "", Joint),
    row("keystone_authtoken", "user_id", "", Joint),
    row("keystone_authtoken", "password", "", Joint),
    row("keystone_authtoken", "project_name", "", Joint),
    row("keystone_authtoken", "project_id", "", Joint),
    row("keystone_authtoken", "user_domain_name", "", Joint),
    row("keystone_authtoken", "user_domain_id", "", Joint),
    row("keystone_authtoken", "project_domain_name", "", Joint),
    row("keystone_authtoken", "project_domain_id", "", Joint),
    row("keystone_authtoken", "default_domain_id", "", Joint),
    row("keystone_authtoken", "default_domain_name", "", Joint),
    row("keystone_authtoken", "application_credential_id", "", Joint),
    row("keystone_authtoken", "application_credential_name", "", Joint),
    row("keystone_authtoken", "application_credential_secret", "", Joint),
    row("keystone_authtoken", "interface", "internal", Dropped("the identity service is asked at auth_url itself")),
    row("keystone_authtoken", "region_name", "", Dropped("the identity service is asked at auth_url itself")),
    row("keystone_authtoken", "cafile", "", Key("auth.keystone.cafile", text)),
    row("keystone_authtoken", "certfile", "", Key("auth.keystone.certfile", text)),
    row("keystone_authtoken", "keyfile", "", Key("auth.keystone.keyfile", text)),
    row("keystone_authtoken", "insecure", "false", Key("auth.keystone.insecure", boolean)),
    row("keystone_authtoken", "http_connect_timeout", "", Key("auth.keystone.http_connect_timeout", seconds)),
    row("keystone_authtoken", "http_request_max_retries", "3", Key("auth.keystone.http_request_max_retries", integer)),
    row("keystone_authtoken", "memcached_servers", "", TOKENS),
    row("keystone_authtoken", "memcache_*", "", TOKENS),
    row("keystone_authtoken", "cache", "", TOKENS),
    row("keystone_authtoken", "token_cache_time", "300", Key("auth.keystone.token_cache_time", seconds)),
    row("keystone_authtoken", "include_service_catalog", "true", Dropped("nothing here reads the catalog of a caller")),
    row("keystone_authtoken", "enforce_token_bind", "permissive", Lost("tokens that are bound to a client are not checked for it")),
    row("keystone_authtoken", "service_token_roles", "service", Key("auth.keystone.service_token_roles", list)),
    row("keystone_authtoken", "service_token_roles_required", "true", Key("auth.keystone.service_token_roles_required", boolean)),
    row("keystone_authtoken", "service_type", "image", Key("auth.keystone.service_type", text)),
    row("keystone_authtoken", "delay_auth_decision", "true", Dropped("anonymous callers are let in by allow_anonymous_access alone")),
    row("keystone_authtoken", "auth_version", "", Dropped("version 3 is spoken")),
    row("keystone_authtoken", "identity_uri", "", Removed),
    row("keystone_authtoken", "admin_*", "", Removed),
    row("keystone_authtoken", "auth_host", "", Removed),
    row("keystone_authtoken", "auth_port", "", Removed),
    row("keystone_authtoken", "auth_protocol", "", Removed),
    row("keystone_authtoken", "signing_dir", "", Removed),
    row("keystone_authtoken", "check_revocations_for_cached", "", Removed),
    row("keystone_authtoken", "hash_algorithms", "", Removed),
    // Policy and limits.
    row("oslo_policy", "policy_file", "policy.yaml", Joint),
    row("oslo_policy", "policy_dirs", "policy.d", Joint),
    row("oslo_policy", "policy_default_rule", "default", Lost("the default rule is called \"default\"")),
    row("oslo_policy", "enforce_new_defaults", "true", Key("auth.enforce_new_defaults", boolean)),
    row("oslo_policy", "enforce_scope", "true", Lost("scopes of tokens are always looked at")),
    row("oslo_policy", "remote_content_type", "application/x-www-form-urlencoded", Key("auth.remote.content_type", text)),
    row("oslo_policy", "remote_ssl_verify_server_crt", "", Key("auth.remote.ssl_verify_server_crt", boolean)),
    row("oslo_policy", "remote_ssl_ca_crt_file", "", Key("auth.remote.ssl_ca_crt_file", text)),
    row("oslo_policy", "remote_ssl_client_crt_file", "", Key("auth.remote.ssl_client_crt_file", text)),
    row("oslo_policy", "remote_ssl_client_key_file", "", Key("auth.remote.ssl_client_key_file", text)),
    row("oslo_policy", "remote_timeout", "", Key("auth.remote.timeout", seconds)),
    row("oslo_limit", "*", "", LIMITS),
    // Middleware.
    row("cors", "allowed_origin", "", Key("api.cors.allowed_origin", list)),
    row("cors", "allow_credentials", "false", Key("api.cors.allow_credentials", boolean)),
    row("cors", "expose_headers", "", Key("api.cors.expose_headers", list)),
    row("cors", "max_age", "3600", Key("api.cors.max_age", seconds)),
    row("cors", "allow_methods", "", Key("api.cors.allow_methods", list)),
    row("cors", "allow_headers", "", Key("api.cors.allow_headers", list)),
    row("oslo_middleware", "enable_proxy_headers_parsing", "false", Key("api.enable_proxy_headers_parsing", boolean)),
    row("oslo_middleware", "max_request_body_size", "114688", Dropped("no pipeline of the reference looks at it; see limits.json_body")),
    row("oslo_middleware", "secure_proxy_ssl_header", "", Removed),
    row("healthcheck", "backends", "", Joint),
    row("healthcheck", "disable_by_file_path", "", Joint),
    row("healthcheck", "disable_by_file_paths", "", Joint),
    row("healthcheck", "enable_by_file_paths", "", Joint),
    row("healthcheck", "allowed_source_ranges", "", Key("api.healthcheck_allowed_sources", list)),
    row("healthcheck", "ignore_proxied_requests", "false", Key("api.healthcheck_ignore_proxied", boolean)),
    row("healthcheck", "detailed", "false", Dropped("details of a node are shown by its admin listener only")),
    row("healthcheck", "path", "/healthcheck", Removed),
    row("key_manager", "*", "", SIGNATURES),
    row("barbican", "*", "", SIGNATURES),
    row("barbican_service_user", "*", "", SIGNATURES),
    row("vault", "*", "", SIGNATURES),
    row("profiler", "*", "", Dropped("is for who works on the reference")),
    row("oslo_concurrency", "*", "", Dropped("no locks in files are taken")),
    row("oslo_reports", "*", "", Dropped("the admin listener reports")),
    // Met in old files only (image-api 8.2).
    row("DEFAULT", "workers", "", Removed),
    row("DEFAULT", "backlog", "", Removed),
    row("DEFAULT", "tcp_keepidle", "", Removed),
    row("DEFAULT", "client_socket_timeout", "", Removed),
    row("DEFAULT", "http_keepalive", "", Removed),
    row("DEFAULT", "max_header_line", "", Removed),
    row("DEFAULT", "enable_*", "", Removed),
    row("DEFAULT", "owner_is_tenant", "", Removed),
    row("DEFAULT", "admin_role", "", Removed),
    row("DEFAULT", "data_api", "", Removed),
    row("DEFAULT", "location_strategy", "", Removed),
    row("DEFAULT", "registry_*", "", Removed),
    row("DEFAULT", "use_user_token", "", Removed),
    row("DEFAULT", "send_identity_headers", "", Removed),
    row("DEFAULT", "allow_additional_image_properties", "", Removed),
    row("DEFAULT", "default_store", "", Removed),
    row("store_type_location_strategy", "*", "", Removed),
];
