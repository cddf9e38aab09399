//! The table against the inventory of options, and whole conversions.

use super::*;

/// The options that image-api names, by section, written down from there and not from the table: group
/// (for stores the type) and names.
#[rustfmt::skip]
const INVENTORY: &[(&str, &str, &str)] = &[
    ("1.2", "healthcheck", "backends disable_by_file_path disable_by_file_paths enable_by_file_paths detailed allowed_source_ranges ignore_proxied_requests"),
    ("2.3", "DEFAULT", "image_member_quota image_property_quota image_tag_quota image_location_quota image_size_cap user_storage_quota api_limit_max limit_param_default use_keystone_limits"),
    ("3.3", "glance_download_properties", "extra_properties"),
    ("3.3", "image_import_opts", "max_parallel_stores"),
    ("3.4", "image_import_opts", "image_import_plugins"),
    ("3.4", "inject_metadata_properties", "ignore_user_roles inject"),
    ("3.4", "image_conversion", "output_format"),
    ("3.5", "os_glance_staging_store", "filesystem_store_datadir"),
    ("3.5", "os_glance_tasks_store", "filesystem_store_datadir"),
    ("3.5", "DEFAULT", "node_staging_uri worker_self_reference_url public_endpoint"),
    ("3.6", "import_filtering_opts", "allowed_schemes disallowed_schemes allowed_hosts disallowed_hosts allowed_ports disallowed_ports"),
    ("4.1", "keystone_authtoken", "www_authenticate_uri auth_url auth_type username password project_name user_domain_name user_domain_id project_domain_name project_domain_id application_credential_id application_credential_secret interface region_name cafile certfile keyfile insecure http_connect_timeout http_request_max_retries memcached_servers memcache_security_strategy memcache_secret_key token_cache_time include_service_catalog enforce_token_bind service_token_roles service_token_roles_required service_type delay_auth_decision"),
    ("5.1", "DEFAULT", "image_cache_dir image_cache_driver image_cache_max_size image_cache_stall_time image_cache_sqlite_db"),
    ("7.1", "DEFAULT", "enabled_backends"),
    ("7.1", "glance_store", "default_backend stores default_store"),
    ("7.1", "store", "store_description weight"),
    ("7.2", "file", "filesystem_store_datadir filesystem_store_datadirs filesystem_store_metadata_file filesystem_store_file_perm filesystem_store_chunk_size filesystem_thin_provisioning filesystem_store_timeout filesystem_store_thread_pool_size filesystem_store_threadpool_threshold"),
    ("7.2", "http", "https_ca_certificates_file https_insecure http_proxy_information"),
    ("7.2", "rbd", "rbd_store_pool rbd_store_user rbd_store_ceph_conf rbd_store_chunk_size rados_connect_timeout rbd_thin_provisioning"),
    ("7.2", "s3", "s3_store_host s3_store_access_key s3_store_secret_key s3_store_bucket s3_store_region_name s3_store_create_bucket_on_put s3_store_bucket_url_format s3_store_large_object_size s3_store_large_object_chunk_size s3_store_thread_pools s3_store_cacert s3_store_enable_data_integrity_protection s3_store_request_checksum_calculation s3_store_response_checksum_validation"),
    ("7.2", "swift", "default_swift_reference swift_store_config_file swift_store_container swift_store_large_object_size swift_store_large_object_chunk_size swift_store_create_container_on_put swift_store_multi_tenant swift_store_multiple_containers_seed swift_store_admin_tenants swift_store_endpoint swift_store_endpoint_type swift_store_service_type swift_store_region swift_store_auth_insecure swift_store_cacert swift_store_ssl_compression swift_store_retry_get_count swift_store_expire_soon_interval swift_store_use_trusts swift_buffer_on_upload swift_upload_buffer_dir swift_store_auth_version swift_store_auth_address swift_store_user swift_store_key swift_store_project_name swift_store_project_id swift_store_application_credential_id swift_store_application_credential_secret"),
    ("7.2", "cinder", "cinder_catalog_info cinder_volume_type rootwrap_config"),
    ("7.2", "vmware", "vmware_server_host vmware_datastores"),
    ("8.2", "DEFAULT", "public_endpoint worker_self_reference_url limit_param_default api_limit_max allow_anonymous_access max_request_id_length hashing_algorithm do_secure_hash http_retries show_image_direct_url show_multiple_locations enabled_backends enabled_import_methods node_staging_uri"),
    ("8.2", "DEFAULT", "delayed_delete scrub_time scrub_pool_size wakeup_time property_protection_file property_protection_rule_format default_publisher_id disabled_notifications transport_url"),
    ("8.2", "DEFAULT", "debug log_file log_dir log_config_append use_syslog use_journal use_json use_stderr logging_context_format_string default_log_levels log_rotation_type max_logfile_count max_logfile_size_mb log_rotate_interval log_rotate_interval_type metadata_encryption_key digest_algorithm metadata_source_path"),
    ("8.2", "image_format", "container_formats disk_formats vmdk_allowed_types require_image_format_match gpt_safety_checks_nonfatal"),
    ("8.2", "task", "task_time_to_live task_executor work_dir"),
    ("8.2", "taskflow_executor", "engine_mode max_workers conversion_format"),
    ("8.2", "wsgi", "task_pool_threads python_interpreter"),
    ("8.2", "paste_deploy", "flavor config_file"),
    ("8.2", "database", "connection max_retries retry_interval max_pool_size max_overflow pool_timeout connection_recycle_time mysql_sql_mode"),
    ("8.2", "oslo_policy", "policy_file policy_dirs enforce_new_defaults remote_content_type remote_ssl_verify_server_crt remote_ssl_ca_crt_file remote_ssl_client_crt_file remote_ssl_client_key_file remote_timeout"),
    ("8.2", "oslo_limit", "auth_url username password endpoint_id"),
    ("8.2", "oslo_messaging_notifications", "driver topics transport_url"),
    ("8.2", "cors", "allowed_origin allow_credentials expose_headers max_age allow_methods allow_headers"),
    ("8.2", "oslo_middleware", "enable_proxy_headers_parsing max_request_body_size"),
    ("8.2", "key_manager", "backend"),
    ("8.2", "barbican", "auth_endpoint"),
    ("8.2 removed", "DEFAULT", "bind_host bind_port workers backlog tcp_keepidle client_socket_timeout http_keepalive max_header_line enable_v1_api owner_is_tenant admin_role data_api location_strategy registry_host registry_port"),
];

#[test]
fn every_option_of_the_inventory_has_a_row() {
    let mut lacking = Vec::new();
    for (section, group, names) in INVENTORY {
        for name in names.split_whitespace() {
            if table::find(group, name).is_none() {
                lacking.push(format!("{section}: [{group}] {name}"));
            }
        }
    }
    assert_eq!(lacking, [""; 0]);
}

#[test]
fn no_option_has_two_rows() {
    let mut names: Vec<_> = table::all().map(|row| (row.group, row.name)).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// The result, and what is said besides.
fn converted(text: &str) -> (toml::Table, Vec<String>, bool) {
    let mut options = Options::default();
    options.read(text).unwrap();
    let files = Files {
        folder: PathBuf::from("/nonexistent"),
        named: &[],
    };
    let mut draft = Draft::default();
    convert(&mut options, &files, &mut draft);
    let table = draft.text().unwrap().parse().unwrap();
    (table, draft.said(), draft.has_lost())
}

fn value<'a>(table: &'a toml::Table, key: &str) -> Option<&'a toml::Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => value(table.get(first)?.as_table()?, rest),
    }
}

#[test]
fn a_file_without_words_means_all_addresses_and_no_tokens() {
    let (table, said, _) = converted("");
    assert_eq!(
        value(&table, "api.listen").unwrap().as_str(),
        Some("0.0.0.0:9292")
    );
    assert_eq!(value(&table, "auth.mode").unwrap().as_str(), Some("none"));
    assert_eq!(
        value(&table, "auth.allow_insecure").unwrap().as_bool(),
        Some(true)
    );
    assert!(
        said.iter()
            .any(|line| line.contains("[paste_deploy] flavor"))
    );
    let store = &table["stores"][0];
    assert_eq!(store["path"].as_str(), Some("/var/lib/glance/images"));
    assert_eq!(store["default"].as_bool(), Some(true));
}

#[test]
fn what_says_the_default_is_neither_carried_nor_told() {
    let (table, said, lost) = converted(
        "[glance_store]\nstores = file\n[DEFAULT]\nimage_tag_quota = 128\nscrub_time = 0\n\
         delayed_delete = False\n[import_filtering_opts]\nallowed_ports = [80, 443]\n",
    );
    assert!(value(&table, "limits").is_none() && value(&table, "import").is_none());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(!lost);
}

#[test]
fn what_changes_something_is_told_before_what_does_not() {
    let (_, said, lost) = converted(
        "[glance_store]\nstores = file\n[DEFAULT]\ndelayed_delete = true\nlog_file = /secret/path\n\
         workers = 4\nno_such_option = 1\nimage_tag_quota = hunter2\n",
    );
    assert!(lost);
    let starts = |word: &str| said.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!(
        (starts("lost"), starts("dropped"), starts("note")),
        (2, 3, 1),
        "{said:#?}"
    );
    assert!(said[0].starts_with("lost"), "{said:#?}");
    assert!(!said.join("\n").contains("hunter2") && !said.join("\n").contains("secret"));
}

#[test]
fn what_this_version_does_not_know_is_taken_out_by_name() {
    let mut draft = Draft::default();
    draft.set("limits.no_such_key", 1, "[DEFAULT] no_such_option");
    draft.set("limits.image_tag_quota", 7, "[DEFAULT] image_tag_quota");
    draft.set(
        "import.methods",
        vec!["glance-direct", "no method"],
        "[DEFAULT] methods",
    );
    draft.set("log.level", "no level", "[DEFAULT] debug");
    draft.add_store("first");
    draft.set_of_store("name", "first", "a");
    draft.set_of_store("type", "no type", "b");
    draft.set_of_store("default", true, "c");
    draft.add_store("second");
    draft.set_of_store("name", "second", "d");
    draft.set_of_store("type", "file", "e");
    draft.set_of_store("path", "/srv/second", "f");
    draft.set_of_store("no_such_key", 1, "[second] no_such_option");
    draft.settle();
    let table: toml::Table = draft.text().unwrap().parse().unwrap();
    assert_eq!(
        value(&table, "limits.image_tag_quota")
            .unwrap()
            .as_integer(),
        Some(7)
    );
    assert!(value(&table, "limits.no_such_key").is_none());
    assert!(value(&table, "log").is_none());
    let methods = value(&table, "import.methods").unwrap();
    assert_eq!(*methods, toml::Value::from(vec!["glance-direct"]));
    let stores = table["stores"].as_array().unwrap();
    assert_eq!(stores.len(), 1);
    assert_eq!(stores[0]["name"].as_str(), Some("second"));
    assert!(stores[0].get("no_such_key").is_none());
    let said = draft.said().join("\n");
    for option in [
        "[DEFAULT] no_such_option",
        "[DEFAULT] debug",
        "[first]",
        "[second] no_such_option",
    ] {
        assert!(
            said.contains(&format!("lost     {option}: ")),
            "{option}: {said}"
        );
    }
}

#[test]
fn import_and_policy_are_carried_with_their_options() {
    let (table, said, lost) = converted(
        "[glance_store]\nstores = file\n[DEFAULT]\nbind_host = 127.0.0.1\n\
         enabled_import_methods = ['web-download', 'copy-image']\n\
         [image_import_opts]\nimage_import_plugins = ['no_op', 'image_conversion']\n\
         [inject_metadata_properties]\ninject = a:b, c:d\n[image_conversion]\noutput_format = qcow2\n\
         [task]\ntask_time_to_live = 2\n[oslo_policy]\nremote_timeout = 7\n",
    );
    assert!(said.is_empty() && !lost, "{said:?}");
    for (key, expected) in [
        ("import.methods", "[\"web-download\", \"copy-image\"]"),
        ("import.plugins", "[\"no_op\", \"image_conversion\"]"),
        ("import.inject.properties", "[\"a=b\", \"c=d\"]"),
        ("import.conversion.output_format", "\"qcow2\""),
        ("import.task_time_to_live", "\"2h\""),
        ("auth.remote.timeout", "\"7s\""),
    ] {
        assert_eq!(value(&table, key).unwrap().to_string(), expected, "{key}");
    }
}

#[test]
fn the_environment_is_laid_over_the_files() {
    let mut options = Options::default();
    options
        .read("bind_port = 1\n[Store1]\nweight = 1\n")
        .unwrap();
    let mut draft = Draft::default();
    let variables = [
        ("OS_DEFAULT__BIND_PORT", "2"),
        ("OS_STORE1__WEIGHT", "3"),
        ("OS_CORS__MAX_AGE", "5"),
        ("OS_AUTH_URL", "x"),
    ];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    override_by(&mut options, variables, &mut draft);
    assert_eq!(options.get("DEFAULT", "bind_port").unwrap(), "2");
    assert_eq!(options.get("Store1", "weight").unwrap(), "3");
    assert_eq!(options.get("cors", "max_age").unwrap(), "5");
    assert_eq!(draft.said().len(), 3);
}
