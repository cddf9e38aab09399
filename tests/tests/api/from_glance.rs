//! `glimpse config from-glance` (image-api 8): files as deployments have them, to a node that serves.

use std::path::Path;

use glimpse_tests::{Output, Setup, glimpse};
use toml::Table;

/// Writes the files into a folder and converts them; the result is `glimpse.toml` there.
async fn convert(folder: &Path, files: &[(&str, &str)], environment: &[(&str, &str)]) -> Output {
    let mut words = vec!["config", "from-glance"];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
        words.push(name);
    }
    let output = glimpse(folder, &words, environment).await;
    std::fs::write(folder.join("glimpse.toml"), &output.stdout).unwrap();
    output
}

/// What `glimpse check` says of it.
async fn check(folder: &Path) -> Output {
    glimpse(folder, &["check", "-c", "glimpse.toml"], &[]).await
}

const SMALL: &str = "[DEFAULT]\nbind_host = 127.0.0.1\nbind_port = 9999\nimage_tag_quota = 7\n\
    [glance_store]\nstores = file\nfilesystem_store_datadir = /srv/images\n";

#[tokio::test]
async fn a_small_file_is_carried_whole_and_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let output = convert(folder.path(), &[("glance-api.conf", SMALL)], &[]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stderr, "");
    let table: Table = output.stdout.parse().unwrap();
    assert_eq!(table["api"]["listen"].as_str(), Some("127.0.0.1:9999"));
    assert_eq!(table["limits"]["image_tag_quota"].as_integer(), Some(7));
    assert_eq!(table["stores"][0]["path"].as_str(), Some("/srv/images"));
    assert_eq!(table["auth"]["mode"].as_str(), Some("none"));
    let checked = check(folder.path()).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
}

#[tokio::test]
async fn glance_api_conf_has_the_last_word_and_the_environment_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let other = "[DEFAULT]\nbind_port = 1\nimage_member_quota = 5\n";
    let files = [
        ("glance-api.conf", SMALL),
        ("glance-image-import.conf", other),
    ];
    let output = convert(folder.path(), &files, &[]).await;
    let table: Table = output.stdout.parse().unwrap();
    assert_eq!(table["api"]["listen"].as_str(), Some("127.0.0.1:9999"));
    assert_eq!(table["limits"]["image_member_quota"].as_integer(), Some(5));
    let environment = [("OS_DEFAULT__BIND_PORT", "8888")];
    let output = convert(folder.path(), &files, &environment).await;
    let table: Table = output.stdout.parse().unwrap();
    assert_eq!(table["api"]["listen"].as_str(), Some("127.0.0.1:8888"));
    assert!(
        output.stderr.contains("OS_DEFAULT__BIND_PORT"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn what_changes_behaviour_ends_with_3_and_no_secret_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{SMALL}[DEFAULT]\ndelayed_delete = true\nmetadata_encryption_key = hunter2hunter2xx\n\
         workers = 8\n[paste_deploy]\nflavor = keystone\n[keystone_authtoken]\n\
         auth_url = http://127.0.0.1:5000\npassword = hunter2\nuser_domain_id = default\n\
         [database]\nconnection = mysql+pymysql://glance:hunter2@db/glance\n"
    );
    let output = convert(folder.path(), &[("glance-api.conf", &text)], &[]).await;
    assert_eq!(output.code, Some(3), "{}", output.stderr);
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    for (what, option) in [
        ("lost", "[DEFAULT] delayed_delete"),
        ("lost", "[DEFAULT] metadata_encryption_key"),
        ("lost", "[database] connection"),
        ("dropped", "[DEFAULT] workers"),
    ] {
        let line = format!("glimpse: {what:<8} {option}: ");
        assert!(output.stderr.contains(&line), "{line}: {}", output.stderr);
    }
    let table: Table = output.stdout.parse().unwrap();
    assert_eq!(table["auth"]["mode"].as_str(), Some("keystone"));
    let keystone = &table["auth"]["keystone"];
    assert_eq!(keystone["password"].as_str(), Some("hunter2"));
    let checked = check(folder.path()).await;
    assert_eq!(checked.code, Some(0), "{}", checked.stdout);
}

#[tokio::test]
async fn what_cannot_be_read_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = convert(folder.path(), &[("glance-api.conf", "hunter2\n")], &[]).await;
    assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""));
    assert!(
        output.stderr.contains("glance-api.conf: line 1"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    let output = glimpse(folder.path(), &["config", "from-glance", "absent"], &[]).await;
    assert_eq!(output.code, Some(2));
    let output = glimpse(folder.path(), &["config", "from-glance"], &[]).await;
    assert_eq!(output.code, Some(2));
}

/// A file as a whole deployment has it: several stores, Keystone, cache, import, policy.
#[tokio::test]
async fn the_file_of_a_deployment_makes_a_node_that_starts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display().to_string();
    for store in ["store1", "store2", "staging", "tasks"] {
        std::fs::create_dir(folder.path().join(store)).unwrap();
    }
    std::fs::write(folder.path().join("policy.yaml"), "{}").unwrap();
    let text = format!(
        "[DEFAULT]\nlog_file = {root}/app.log\nbind_host = 127.0.0.1\n\
         enabled_backends = store1:file,store2:file,web:http\n\
         enabled_import_methods = [glance-direct,web-download,copy-image,glance-download]\n\
         show_multiple_locations = true\nshow_image_direct_url = true\n\
         worker_self_reference_url = http://127.0.0.1:9292\npublic_endpoint = http://127.0.0.1:9292\n\
         image_cache_dir = {root}/cache\nimage_cache_max_size = 67108864\ndo_secure_hash = true\n\
         image_tag_quota = 128\nimage_member_quota = 128\n\
         [database]\nconnection = sqlite:///{root}/glance.db\n\
         [glance_store]\ndefault_backend = store1\n\
         [store1]\nfilesystem_store_datadir = {root}/store1\nweight = 100\n\
         [store2]\nfilesystem_store_datadir = {root}/store2\nweight = 50\n[web]\n\
         [os_glance_staging_store]\nfilesystem_store_datadir = {root}/staging\n\
         [os_glance_tasks_store]\nfilesystem_store_datadir = {root}/tasks\n\
         [import_filtering_opts]\nallowed_hosts = [127.0.0.1]\nallowed_ports = []\n\
         [wsgi]\npython_interpreter = /usr/bin/python3\ntask_pool_threads = 16\n\
         [paste_deploy]\nflavor = keystone+cachemanagement\n\
         [image_format]\ndisk_formats = ami,ari,aki,vhd,vhdx,vmdk,raw,qcow2,vdi,iso,ploop,gpt\n\
         require_image_format_match = true\n\
         [image_import_opts]\nimage_import_plugins = ['no_op']\n[image_conversion]\noutput_format = raw\n\
         [oslo_policy]\npolicy_file = {root}/policy.yaml\nenforce_scope = true\nenforce_new_defaults = true\n\
         [keystone_authtoken]\nwww_authenticate_uri = http://127.0.0.1:5000\n\
         auth_url = http://127.0.0.1:5000\nauth_type = password\nusername = glance\npassword = secret\n\
         project_name = service\nuser_domain_id = default\nproject_domain_id = default\n\
         service_type = image\n[oslo_concurrency]\nlock_path = {root}/lock\n"
    );
    let output = convert(folder.path(), &[("glance-api.conf", &text)], &[]).await;
    // The images of its database are not taken over.
    assert_eq!(output.code, Some(3), "{}", output.stderr);
    let checked = check(folder.path()).await;
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, output.stderr);
    let table: Table = output.stdout.parse().unwrap();
    assert_eq!(table["auth"]["mode"].as_str(), Some("keystone"));
    assert_eq!(table["cache"]["legacy_api"].as_bool(), Some(true));
    assert_eq!(table["stores"][0]["weight"].as_integer(), Some(100));
    assert_eq!(table["stores"][1]["name"].as_str(), Some("store2"));
    let formats = table["image_format"]["disk_formats"].as_array().unwrap();
    assert_eq!(formats.last().unwrap().as_str(), Some("gpt"));
    let node = Setup::of_file(folder, &output.stdout).start().await;
    let refused = node.client().get("/v2/images").await.expect(401);
    let told = refused.header("www-authenticate").unwrap();
    assert_eq!(told, "Keystone uri=\"http://127.0.0.1:5000\"");
    node.client().get("/healthcheck").await.expect(200);
}
