//! The contract: defaults, names, environment, refusals, secrets.

mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::{
    AuthMode, Config, ConfigError, Problem, schema,
    values::{Secret, show_duration},
};

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn load_with(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("glimpse.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path), environment(pairs))
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &[])
}

fn problems(result: Result<Config, ConfigError>) -> Vec<Problem> {
    match result {
        Err(ConfigError::Invalid(problems)) => {
            assert!(!problems.is_empty());
            problems
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

/// That exactly one problem is reported, with this key and these words.
#[track_caller]
fn refused(result: Result<Config, ConfigError>, key: &str, words: &str) {
    let problems = problems(result);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].key, key, "{problems:?}");
    assert!(problems[0].message.contains(words), "{problems:?}");
}

const EXAMPLE: &str = include_str!("../../../ops/glimpse.example.toml");

#[test]
fn the_example_file_is_the_defaults_key_by_key() {
    let example: toml::Table = EXAMPLE.parse().unwrap();
    let known = schema::known();
    let lines = |table: &toml::Table| {
        let mut lines = Vec::new();
        flatten("", &toml::Value::Table(table.clone()), &mut lines);
        lines.sort();
        lines
    };
    assert!(known.len() > 10, "the defaults are written as TOML");
    assert_eq!(lines(&example), lines(&known));
}

fn flatten(prefix: &str, value: &toml::Value, lines: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&format!("{prefix}.{key}"), value, lines);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{prefix}[{index}]"), item, lines);
            }
        }
        toml::Value::Array(_)
        | toml::Value::String(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_) => lines.push(format!("{prefix} = {value}")),
    }
}

#[test]
fn every_key_of_the_example_file_has_a_doc_line() {
    let mut before = "";
    for line in EXAMPLE.lines() {
        if !line.starts_with('#') && line.contains(" = ") {
            assert!(before.starts_with("# "), "{line:?} has no doc line");
        }
        before = line;
    }
}

#[test]
fn the_example_file_loads_and_is_what_no_file_gives() {
    let mut example = load(EXAMPLE).unwrap();
    example.file = None;
    let none = Config::load(None, environment(&[])).unwrap();
    assert_eq!(format!("{example:?}"), format!("{none:?}"));
    assert_eq!(none.stores.len(), 1);
    assert_eq!(none.stores[0].path, PathBuf::from("./glimpse-data/images"));
    assert_eq!(none.limits.image_size_cap, 1 << 40);
    assert_eq!(none.limits.image_member_quota, Some(128));
    assert_eq!(none.limits.user_storage_quota, None);
}

#[test]
fn the_documented_keys_of_all_versions_are_taken() {
    let config = load(
        r#"
        [node]
        name = "node-1"
        data_dir = "/var/lib/glimpse"
        [api]
        listen = "127.0.0.1:9292"
        public_endpoint = ""
        tls = { cert = "", key = "" }
        [auth]
        mode = "none"
        policy_file = ""
        [auth.keystone]
        auth_url = "http://127.0.0.1:5000/v3"
        username = "glance"
        password = ""
        project_name = "service"
        user_domain_name = "Default"
        project_domain_name = "Default"
        [cluster]
        listen = ""
        advertise = ""
        bootstrap = ["node-1@127.0.0.1:9393", "node-2@127.0.0.1:9394"]
        tls = { cert = "", key = "", ca = "" }
        [registry]
        type = "replicated"
        url = ""
        [[stores]]
        name = "local"
        type = "file"
        path = "/var/lib/glimpse/images"
        default = true
        [cache]
        enabled = true
        size = "20GiB"
        memory = "512MiB"
        [edge]
        upstream = ""
        "#,
    )
    .unwrap();
    assert_eq!(config.node.data_dir, PathBuf::from("/var/lib/glimpse"));
    // What has no effect yet is told.
    let warned: Vec<String> = config.warnings().into_iter().map(|w| w.key).collect();
    assert_eq!(warned, ["auth.mode", "cluster.bootstrap"]);
}

#[test]
fn unknown_keys_are_all_refused_by_name_at_once() {
    let found = problems(load(
        r#"
        wrong = 1
        [api]
        lisen = "127.0.0.1:9292"
        tls = { certificate = "" }
        [nodes]
        name = "a"
        [[stores]]
        name = "a"
        [[stores]]
        nmae = "b"
        "#,
    ));
    let keys: Vec<&str> = found.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "api.lisen",
            "api.tls.certificate",
            "nodes",
            "stores[1].nmae",
            "wrong"
        ]
    );
    assert_eq!(
        found[0].to_string(),
        r#"api.lisen: unknown key; did you mean "listen"?"#
    );
    assert_eq!(found[1].message, "unknown key");
}

#[test]
fn unknown_variables_with_our_prefix_are_refused_by_name() {
    for (name, words) in [
        ("GLIMPSE_API__LISEN", "did you mean GLIMPSE_API__LISTEN?"),
        ("GLIMPSE_API_LISTEN", "did you mean GLIMPSE_API__LISTEN?"),
        ("GLIMPSE_LGO__LEVEL", "did you mean GLIMPSE_LOG__LEVEL?"),
        ("GLIMPSE_", "unknown key"),
        ("GLIMPSE_API__LISTEN__X", "has no keys below it"),
        ("GLIMPSE_STORES__0__NAME", "has no keys below it"),
    ] {
        refused(load_with("", &[(name, "x")]), name, words);
    }
    // Others' variables are none of ours.
    load_with("", &[("GLIMPSED", "x"), ("PATH", "/bin")]).unwrap();
}

#[test]
fn variables_override_the_file_and_are_read_by_the_type_of_their_key() {
    let config = load_with(
        "[api]\nlisten = \"127.0.0.1:1\"\npublic_endpoint = \"https://kept.example\"\n",
        &[
            ("GLIMPSE_API__LISTEN", "127.0.0.1:2"),
            ("GLIMPSE_API__SHOW_IMAGE_DIRECT_URL", "true"),
            ("GLIMPSE_AUTH__MODE", "trusted-headers"),
            ("GLIMPSE_AUTH__KEYSTONE__USERNAME", "123"),
            ("GLIMPSE_CACHE__SIZE", "1073741824"),
            ("GLIMPSE_IMAGE_FORMAT__DISK_FORMATS", "raw, qcow2"),
            ("GLIMPSE_IMAGE_FORMAT__CONTAINER_FORMATS", r#"["bare"]"#),
            ("GLIMPSE_IMPORT__URI_FILTER__ALLOWED_PORTS", "80,8080"),
            ("GLIMPSE_LIMITS__IMAGE_TAG_QUOTA", "-1"),
            ("GLIMPSE_LIMITS__UPLOAD_LEASE", "1h30m"),
            (
                "GLIMPSE_STORES",
                r#"[{name="a", path="/a", default=true}, {name="b", path="/b"}]"#,
            ),
        ],
    )
    .unwrap();
    assert_eq!(config.api.listen, "127.0.0.1:2");
    assert_eq!(config.api.public_endpoint, "https://kept.example");
    assert!(config.api.show_image_direct_url);
    assert_eq!(config.auth.mode, AuthMode::TrustedHeaders);
    assert_eq!(config.auth.keystone.username, "123");
    assert_eq!(config.cache.size, 1 << 30);
    assert_eq!(config.image_format.disk_formats, ["raw", "qcow2"]);
    assert_eq!(config.image_format.container_formats, ["bare"]);
    assert_eq!(config.import.uri_filter.allowed_ports, [80, 8080]);
    assert_eq!(config.limits.image_tag_quota, None);
    assert_eq!(config.limits.upload_lease, Duration::from_secs(5400));
    let names: Vec<&str> = config.stores.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn what_the_environment_sets_is_named() {
    let variables = [
        ("GLIMPSE_API__LISTEN", "127.0.0.1:2"),
        ("GLIMPSE_STORES", r#"[{name="a"}]"#),
        ("PATH", "/bin"),
    ];
    let config = load_with("[node]\nname = \"a\"\n", &variables).unwrap();
    let found: Vec<(&str, &str)> = config
        .overrides
        .iter()
        .map(|found| (&*found.key, &*found.variable))
        .collect();
    assert_eq!(
        found,
        [
            ("api.listen", "GLIMPSE_API__LISTEN"),
            ("stores", "GLIMPSE_STORES")
        ]
    );
    // A wrong value is not looked for in the file.
    for (variable, value, key) in [
        ("GLIMPSE_API__LISTEN", "nowhere", "api.listen"),
        ("GLIMPSE_CACHE__SIZE", "much", "cache.size"),
        ("GLIMPSE_STORES", "[{name='a b'}]", "stores[0].name"),
    ] {
        let words = format!(" (set by {variable})");
        refused(load_with("", &[(variable, value)]), key, &words);
    }
    let of_the_file = load_with("[api]\nlisten = \"nowhere\"", &variables[1..]);
    assert!(!problems(of_the_file)[0].message.contains("set by"));
}

#[test]
fn variables_of_a_wrong_type_are_refused_by_name() {
    for (name, value, words) in [
        ("GLIMPSE_LIMITS__CONNECTIONS", "many", "no whole number"),
        ("GLIMPSE_CACHE__ENABLED", "yes", "neither true nor false"),
        ("GLIMPSE_API__TLS", "{cert", "not in TOML form"),
        ("GLIMPSE_API__TLS", "{crt = ''}", "crt: unknown key"),
        (
            "GLIMPSE_STORES",
            "[{nam='x'}]",
            "stores[0].nam: unknown key",
        ),
        (
            "GLIMPSE_IMPORT__URI_FILTER__ALLOWED_PORTS",
            "80,x",
            "no whole number",
        ),
    ] {
        refused(load_with("", &[(name, value)]), name, words);
    }
}

#[test]
fn values_of_a_wrong_type_are_refused_by_key() {
    for (text, key, words) in [
        ("[api]\nlisten = 1", "api.listen", "expected a string"),
        ("api = 1", "api", "expected struct"),
        ("[limits]\nconnections = -1", "limits.connections", "usize"),
        (
            "[limits]\nheader_timeout = 30",
            "limits.header_timeout",
            "string",
        ),
        (
            "[limits]\nheader_timeout = \"30\"",
            "limits.header_timeout",
            "\"30s\"",
        ),
        (
            "[limits]\nheader_timeout = \"0s\"",
            "limits.header_timeout",
            "longer than 0",
        ),
        ("[cache]\nsize = \"20 apples\"", "cache.size", "\"20GiB\""),
        ("[cache]\nsize = true", "cache.size", "\"20GiB\""),
        ("[[stores]]\nweight = \"x\"", "stores[0].weight", "i64"),
        (
            "[[stores]]\nfile_mode = \"0888\"",
            "stores[0].file_mode",
            "0640",
        ),
        (
            "[[stores]]\nfile_mode = \"0040\"",
            "stores[0].file_mode",
            "0640",
        ),
        (
            "[[stores]]\ntimeout = \"0\"",
            "stores[0].timeout",
            "\"30s\"",
        ),
        (
            "[api]\nhashing_algorithm = \"crc\"",
            "api.hashing_algorithm",
            "sha384, sha512",
        ),
        (
            "[limits]\nimage_tag_quota = -2",
            "limits.image_tag_quota",
            "nor -1 (unlimited)",
        ),
        (
            "[cache]\naudit_interval = \"\"",
            "cache.audit_interval",
            "\"30s\"",
        ),
        ("[log]\nformat = \"xml\"", "log.format", "unknown variant"),
        ("[auth]\nmode = \"basic\"", "auth.mode", "no mode"),
    ] {
        refused(load(text), key, words);
    }
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    for (text, key) in [
        ("[cluster]\nlisten = \"127.0.0.1:9393\"", "cluster.listen"),
        ("[cluster]\nadvertise = \"a:1\"", "cluster.advertise"),
        ("[cluster]\ntls = { ca = \"a\" }", "cluster.tls.ca"),
        ("[edge]\nupstream = \"http://a\"", "edge.upstream"),
        ("[registry]\ntype = \"sqlite\"", "registry.type"),
        ("[registry]\ntype = \"mysql\"", "registry.type"),
        ("[registry]\nurl = \"sqlite:///x\"", "registry.url"),
        (
            "[import]\nmethods = [\"glance-download\"]",
            "import.methods",
        ),
        ("[cache]\nenabled = false", "cache.enabled"),
        ("[[stores]]\ntype = \"s3\"", "stores[0].type"),
        ("[[stores]]\ntype = \"rbd\"", "stores[0].type"),
    ] {
        refused(load(text), key, "not built yet");
    }
}

#[test]
fn options_of_import_plugins_that_cannot_be_are_refused_by_name() {
    for (table, line, words) in [
        ("import", "plugins = [\"noop\"]", "is none of no_op,"),
        (
            "import.conversion",
            "output_format = \"vdi\"",
            "is none of raw,",
        ),
        ("import.inject", "properties = [\"name\"]", "name=value"),
    ] {
        let (name, _) = line.split_once(' ').unwrap();
        let text = format!("[{table}]\n{line}");
        refused(load(&text), &format!("{table}.{name}"), words);
    }
}

#[test]
fn a_certificate_and_its_key_go_together() {
    for (text, key, words) in [
        ("cert = \"a\"", "api.tls.key", "must name the key"),
        ("key = \"a\"", "api.tls.cert", "must name the certificate"),
        ("cert = \"/absent/a\", key = \"b\"", "api.tls", "/absent/a"),
    ] {
        refused(load(&format!("[api]\ntls = {{ {text} }}")), key, words);
    }
}

#[test]
fn an_insecure_mode_is_refused_beyond_loopback_unless_allowed() {
    for listen in ["0.0.0.0:9292", "192.0.2.1:9292", "[::]:9292"] {
        for mode in ["none", "trusted-headers"] {
            let text = format!("[api]\nlisten = {listen:?}\n[auth]\nmode = {mode:?}\n");
            refused(load(&text), "auth.mode", "allow_insecure");
            let config = load(&(text + "allow_insecure = true\n")).unwrap();
            let warned: Vec<String> = config.warnings().into_iter().map(|w| w.key).collect();
            assert_eq!(warned, ["auth.mode", "api.listen"]);
        }
    }
    for listen in ["127.0.0.1:9292", "127.8.8.8:0", "[::1]:9292"] {
        load(&format!("[api]\nlisten = {listen:?}\n")).unwrap();
    }
}

#[test]
fn nonsense_is_refused_by_name() {
    let twice = "[[stores]]\nname = \"a\"\npath = \"/a\"\ndefault = true\n[[stores]]\n";
    for (text, key, words) in [
        (
            "[api]\nlisten = \"localhost:9292\"".to_owned(),
            "api.listen",
            "IP address",
        ),
        (
            "[api]\nlisten = \"\"".to_owned(),
            "api.listen",
            "IP address",
        ),
        (
            "[admin]\nlisten = \"9295\"".to_owned(),
            "admin.listen",
            "IP address",
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:9292\"".to_owned(),
            "admin.listen",
            "same",
        ),
        (
            "[api]\npublic_endpoint = \"images\"".to_owned(),
            "api.public_endpoint",
            "URL",
        ),
        ("[node]\nname = \"\"".to_owned(), "node.name", "1 to 255"),
        ("[node]\nname = \"a@b\"".to_owned(), "node.name", "'@'"),
        (
            "[node]\ndata_dir = \"\"".to_owned(),
            "node.data_dir",
            "empty",
        ),
        (
            "[auth]\npolicy_file = \"/nowhere/p\"".to_owned(),
            "auth.policy_file",
            "No such file",
        ),
        (
            "[image_format]\nschema_file = \"/nowhere/s\"".to_owned(),
            "image_format.schema_file",
            "/nowhere/s: No such file",
        ),
        ("stores = []".to_owned(), "stores", "at least one"),
        (
            format!("{twice}name = \"a\"\npath = \"/b\""),
            "stores[1].name",
            "twice",
        ),
        (
            format!("{twice}name = \"b\"\npath = \"/a\""),
            "stores[1].path",
            "twice",
        ),
        (
            format!("{twice}name = \"b\"\npath = \"/b\"\ndefault = true"),
            "stores",
            "exactly one",
        ),
        (
            "[[stores]]\nname = \"os_glance_x\"".to_owned(),
            "stores[0].name",
            "os_glance_",
        ),
        (
            "[[stores]]\nname = \"a b\"".to_owned(),
            "stores[0].name",
            "letters",
        ),
        (
            "[[stores]]\ntype = \"cinder\"".to_owned(),
            "stores[0].type",
            "no type",
        ),
        (
            "[limits]\nconnections = 0".to_owned(),
            "limits.connections",
            "at least 1",
        ),
        (
            "[cache]\nsize = \"1MiB\"".to_owned(),
            "cache.size",
            "at least 4MiB",
        ),
        (
            "[image_format]\ndisk_formats = []".to_owned(),
            "image_format.disk_formats",
            "empty",
        ),
        (
            "[image_format]\ncontainer_formats = []".to_owned(),
            "image_format.container_formats",
            "empty",
        ),
        (
            "[image_format]\nvmdk_allowed_types = [\"streamOptimized\", \"foo\"]".to_owned(),
            "image_format.vmdk_allowed_types",
            "\"foo\" cannot be allowed, only streamOptimized and monolithicSparse",
        ),
        (
            "[image_format]\ngpt_safety_checks_nonfatal = [\"foo\"]".to_owned(),
            "image_format.gpt_safety_checks_nonfatal",
            "\"foo\" cannot be allowed, only mbr",
        ),
        (
            "[limits]\nlimit_param_default = 1001".to_owned(),
            "limits.limit_param_default",
            "exceed",
        ),
        (
            "[registry]\nheartbeat_ticks = 10".to_owned(),
            "registry.election_ticks",
            "exceed",
        ),
        (
            "[log]\nlevel = \"loud\"".to_owned(),
            "log.level",
            "no level",
        ),
    ] {
        refused(load(&text), key, words);
    }
}

#[test]
fn what_was_most_likely_meant_otherwise_is_warned_of() {
    for (text, key, words) in [
        (
            "[image_format]\ndisk_formats = [\"raw\", \"qcow3\"]",
            "image_format.disk_formats",
            "\"qcow3\" is none of those",
        ),
        (
            "[image_format]\ncontainer_formats = [\"bare\", \"tar\"]",
            "image_format.container_formats",
            "\"tar\" is none of those",
        ),
        (
            "[log]\nlevel = \"info,glimpse_nope=debug\"",
            "log.level",
            "\"glimpse_nope\"",
        ),
        (
            "[log]\nlevel = \"info,glimpse_nodes=debug\"",
            "log.level",
            "\"glimpse_nodes\"",
        ),
        (
            "[limits]\nuser_storage_quota = \"10\"",
            "limits.user_storage_quota",
            "10 bytes only",
        ),
        (
            "[limits]\nimage_size_cap = 100",
            "limits.image_size_cap",
            "100 bytes only",
        ),
    ] {
        let found = load(text).unwrap().warnings();
        let [_, warning] = found.as_slice() else {
            panic!("{text}: {found:?}");
        };
        assert_eq!(warning.key, key, "{text}");
        assert!(warning.message.contains(words), "{text}: {warning}");
    }
    for text in [
        "[image_format]\ndisk_formats = [\"raw\", \"gpt\", \"luks\"]",
        "[image_format]\nvmdk_allowed_types = [\"STREAMOPTIMIZED\"]",
        "[image_format]\nvmdk_allowed_types = []",
        "[image_format]\ngpt_safety_checks_nonfatal = [\"mbr\"]",
        "[log]\nlevel = \"warn,glimpse=info,glimpse_node::api=debug,glimpse::access=off\"",
        "[limits]\nuser_storage_quota = 0",
        "[limits]\nuser_storage_quota = \"10GB\"",
        "[limits]\nimage_tag_quota = -1",
        "[cache]\naudit_interval = \"0s\"\nresidency_interval = \"0s\"",
    ] {
        let found = load(text).unwrap().warnings();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
}

#[test]
fn the_cache_may_verify_at_every_read() {
    let text = "[cache]\naudit_interval = \"0s\"\nresidency_interval = \"0ms\"";
    let config = load(text).unwrap();
    assert_eq!(config.cache.audit_interval, Duration::ZERO);
    assert_eq!(config.cache.residency_interval, Duration::ZERO);
    assert_eq!(show_duration(Duration::ZERO), "0s");
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_told_with_its_place() {
    let missing = Config::load(Some("/nowhere/glimpse.toml".as_ref()), environment(&[]));
    assert!(matches!(missing, Err(ConfigError::Unreadable { .. })));
    let Err(error @ ConfigError::Syntax { .. }) = load("[api]\npassword = hunter2\n") else {
        panic!("taken as TOML");
    };
    let text = error.to_string();
    assert!(text.contains("line 2, column 12"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!("[auth.keystone]\npassword_file = {file:?}\n");
    let config = load(&text).unwrap();
    assert_eq!(config.auth.keystone.password.reveal(), "hunter2");
    let shown = format!(
        "{config:?} {config:#?} {} {:?}",
        serde_json::to_string(&config).unwrap(),
        config.warnings()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("***"));

    let inline = load("[auth.keystone]\npassword = \"hunter2\"\n").unwrap();
    assert_eq!(inline.auth.keystone.password, Secret::new("hunter2"));
    let url = format!(
        "{:?}",
        load("[registry]\nurl = \"mysql://u:hunter2@h/d\"\n")
    );
    let number = format!("{:?}", load("[auth.keystone]\npassword = 4711\n"));
    assert!(
        !url.contains("hunter2") && !number.contains("4711"),
        "{url} {number}"
    );

    let both = format!("{text}password = \"x\"\n");
    refused(
        load(&both),
        "auth.keystone.password_file",
        "together with password",
    );
    let gone = "[auth.keystone]\npassword_file = \"/nowhere/p\"\n";
    refused(load(gone), "auth.keystone.password_file", "No such file");
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader_of_the_file(text in "[\\[\\]{}=\",.a-z0-9_\n #-]{0,120}") {
        let _ = load(&text);
    }

    #[test]
    fn no_variable_breaks_the_reader_of_the_environment(
        name in "GLIMPSE_(API|STORES|LIMITS|IMPORT)?_{0,2}[A-Z_]{0,12}",
        value in "\\PC{0,40}",
    ) {
        let _ = Config::load(None, environment(&[(&name, &value)]));
    }
}

#[test]
fn one_answer_always_fits_the_memory_for_answers() {
    let text = "[limits]\njson_memory = \"11MiB\"\n";
    refused(load(text), "limits.json_memory", "must be at least 12MiB");
    assert!(load("[limits]\njson_memory = \"12MiB\"\n").is_ok());
}

#[test]
fn what_a_401_names_is_a_url_that_a_header_can_hold() {
    for url in [
        "",
        "identity.example.org",
        "http://",
        "http://a\\\", x=\\\"b",
    ] {
        let text = format!("[auth.keystone]\nauth_url = \"{url}\"\n");
        refused(load(&text), "auth.keystone.auth_url", "must be a URL");
    }
}

#[test]
fn keystone_needs_an_account_and_may_be_served_beyond_loopback() {
    let mode = "[api]\nlisten = \"0.0.0.0:0\"\n[auth]\nmode = \"keystone\"\n[auth.keystone]\n";
    refused(load(mode), "auth.keystone.password", "must be set");
    let config = load(&format!("{mode}password = \"x\"\n")).unwrap();
    let warned = |config: &Config| -> Vec<String> {
        let warnings = config.warnings().into_iter();
        warnings.map(|warning| warning.key).collect()
    };
    assert_eq!(warned(&config), ["api.listen"]);
    let credential = format!("{mode}application_credential_id = \"a\"\n");
    refused(
        load(&credential),
        "auth.keystone.application_credential_secret",
        "must be set",
    );
    load(&format!(
        "{credential}application_credential_secret = \"x\"\n"
    ))
    .unwrap();
    for (text, key, words) in [
        ("keyfile = \"/dev/null\"", "certfile", "go together"),
        ("cafile = \"/nowhere\"", "cafile", "No such file"),
        ("concurrent_calls = 0", "concurrent_calls", "at least 1"),
        ("cached_tokens = 0", "cached_tokens", "at least 1"),
        ("answer_size = \"1KiB\"", "answer_size", "at least 16KiB"),
        (
            "www_authenticate_uri = \"x\"",
            "www_authenticate_uri",
            "must be a URL",
        ),
    ] {
        let key = format!("auth.keystone.{key}");
        refused(
            load(&format!("{mode}password = \"x\"\n{text}\n")),
            &key,
            words,
        );
    }
    let weak = "insecure = true\nservice_token_roles_required = false\n";
    let config = load(&format!("{mode}password = \"x\"\n{weak}")).unwrap();
    assert_eq!(warned(&config).len(), 3);
    // What another mode does not read.
    let unread = load("[auth.keystone]\ninsecure = true\n").unwrap();
    assert!(warned(&unread).contains(&"auth.keystone".to_owned()));
}
