//! What several options say together.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    draft::{Draft, Said, option},
    ini::{self, DEFAULT, Options},
};

const TOKENS: &str = "keystone_authtoken";

/// The files that were read, and where the main one lies.
pub(super) struct Files<'a> {
    /// Relative names in it are looked for here.
    pub(super) folder: PathBuf,
    /// All that were named.
    pub(super) named: &'a [PathBuf],
}

impl Files<'_> {
    /// A file that an option names: as it is, below the folder of the main file, or one of those that
    /// were named, by its name.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        let named = self
            .named
            .iter()
            .find(|one| one.file_name() == path.file_name());
        let candidates = [Some(self.folder.join(path)), named.cloned()];
        let found = candidates.into_iter().flatten().find(|path| path.exists());
        found.map(|path| std::path::absolute(&path).unwrap_or(path))
    }
}

fn set(options: &Options, group: &str, name: &str) -> Option<String> {
    let value = options.get(group, name)?;
    (!value.trim().is_empty()).then(|| value.trim().to_owned())
}

fn is_true(options: &Options, group: &str, name: &str) -> bool {
    let value = options.get(group, name);
    value.and_then(|value| ini::truth(&value)).unwrap_or(false)
}

/// Everything of this file.
pub(super) fn add(options: &Options, files: &Files<'_>, draft: &mut Draft) {
    let address = listen(options, draft);
    auth(options, address, draft);
    cache(options, draft);
    staging(options, draft);
    logs(options, draft);
    policy(options, files, draft);
    notifications(options, draft);
    healthcheck(options, address, draft);
}

fn flavor(options: &Options) -> String {
    set(options, "paste_deploy", "flavor").unwrap_or_default()
}

/// `bind_host` and `bind_port`; a file without them means 0.0.0.0:9292 (image-api 8.2).
fn listen(options: &Options, draft: &mut Draft) -> Option<SocketAddr> {
    let source = option(DEFAULT, "bind_host");
    let host = set(options, DEFAULT, "bind_host").unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = set(options, DEFAULT, "bind_port").unwrap_or_else(|| "9292".to_owned());
    let host = match host.as_str() {
        "localhost" => "127.0.0.1",
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    match (host.parse::<IpAddr>(), port.parse::<u16>()) {
        (Ok(host), Ok(port)) => {
            let address = SocketAddr::new(host, port);
            draft.set("api.listen", address.to_string(), &source);
            Some(address)
        }
        (Err(_), _) => {
            draft.say(Said::Lost, source, "must be an IP address");
            None
        }
        (_, Err(_)) => {
            draft.say(Said::Lost, option(DEFAULT, "bind_port"), "is no port");
            None
        }
    }
}

/// The flavor says whether tokens are asked for; `[keystone_authtoken]`, or the group that it names,
/// who the node is to the identity service.
fn auth(options: &Options, listen: Option<SocketAddr>, draft: &mut Draft) {
    let source = option("paste_deploy", "flavor");
    if !flavor(options).contains("keystone") {
        draft.set("auth.mode", "none", &source);
        if !listen.is_some_and(|address| address.ip().is_loopback()) {
            draft.set("auth.allow_insecure", true, &source);
            let why = "asks for no token: whoever reaches the node is an admin";
            draft.say(Said::Note, source, why);
        }
        return;
    }
    draft.set("auth.mode", "keystone", &source);
    let group = set(options, TOKENS, "auth_section").unwrap_or_else(|| TOKENS.to_owned());
    let get = |name: &str| set(options, &group, name);
    let kind = get("auth_type").unwrap_or_else(|| "password".to_owned());
    let names: &[&str] = match kind.as_str() {
        "password" | "v3password" => &["username", "password", "project_name"],
        "v3applicationcredential" => {
            &["application_credential_id", "application_credential_secret"]
        }
        _ => {
            let why = "only password and v3applicationcredential are known";
            draft.say(Said::Lost, option(&group, "auth_type"), why);
            &[]
        }
    };
    for name in names.iter().chain(&["auth_url"]) {
        if let Some(value) = get(name) {
            draft.set(
                &format!("auth.keystone.{name}"),
                value,
                &option(&group, name),
            );
        }
    }
    for (name, why) in [
        ("user_id", "the user must be named, as username"),
        ("project_id", "the project must be named, as project_name"),
        (
            "application_credential_name",
            "the credential must be named by its id",
        ),
    ] {
        if get(name).is_some() {
            draft.say(Said::Lost, option(&group, name), why);
        }
    }
    if names.len() != 3 {
        return;
    }
    for of in ["user", "project"] {
        let candidates = [
            format!("{of}_domain_name"),
            "default_domain_name".to_owned(),
        ];
        let named = candidates.iter().find_map(|name| Some((name, get(name)?)));
        let ids = [format!("{of}_domain_id"), "default_domain_id".to_owned()];
        let by_id = ids.iter().find_map(|name| Some((name, get(name)?)));
        match (named, by_id) {
            (Some((name, value)), _) => {
                let key = format!("auth.keystone.{of}_domain_name");
                draft.set(&key, value, &option(&group, name));
            }
            // The domain of that id, which every identity service has, is called "Default".
            (None, Some((_, id))) if id == "default" => {}
            (None, Some((name, _))) => {
                let why = format!("the domain must be named, as {of}_domain_name");
                draft.say(Said::Lost, option(&group, name), why);
            }
            (None, None) => {}
        }
    }
}

/// The cache is on where it has a directory and the flavor asks for it (image-api 5.1). The node always
/// has one: what is carried is its API and its size.
fn cache(options: &Options, draft: &mut Draft) {
    let source = option(DEFAULT, "image_cache_dir");
    let flavor = flavor(options);
    let on = set(options, DEFAULT, "image_cache_dir").is_some() && flavor.contains("cach");
    draft.set("cache.api", on, &source);
    draft.set(
        "cache.legacy_api",
        on && flavor.contains("cachemanagement"),
        &source,
    );
    if !on {
        return;
    }
    let source = option(DEFAULT, "image_cache_max_size");
    let size = set(options, DEFAULT, "image_cache_max_size");
    match super::write::bytes(size.as_deref().unwrap_or("10737418240")) {
        Ok(size) => draft.set("cache.size", size, &source),
        Err(why) => draft.say(Said::Lost, source, why),
    }
}

/// Where data is staged: a reserved store with several backends, else a URI (image-api 3.5).
fn staging(options: &Options, draft: &mut Draft) {
    let group = "os_glance_staging_store";
    let name = "filesystem_store_datadir";
    if let Some(path) = set(options, group, name) {
        draft.set("import.staging_dir", path, &option(group, name));
    } else if let Some(uri) = set(options, DEFAULT, "node_staging_uri") {
        let source = option(DEFAULT, "node_staging_uri");
        match super::write::file_uri(&uri) {
            Ok(path) => draft.set("import.staging_dir", path, &source),
            Err(why) => draft.say(Said::Lost, source, why),
        }
    }
}

fn logs(options: &Options, draft: &mut Draft) {
    if is_true(options, DEFAULT, "debug") {
        draft.set("log.level", "debug", &option(DEFAULT, "debug"));
    }
    if is_true(options, DEFAULT, "use_json") {
        draft.set("log.format", "json", &option(DEFAULT, "use_json"));
    }
}

/// Files of rules are looked for beside the main file; one that is not there has no rules, as in the
/// reference.
fn policy(options: &Options, files: &Files<'_>, draft: &mut Draft) {
    let group = "oslo_policy";
    let file = set(options, group, "policy_file");
    match files.find(file.as_deref().unwrap_or("policy.yaml")) {
        Some(path) => {
            let source = option(group, "policy_file");
            draft.set(
                "auth.policy_file",
                path.to_string_lossy().into_owned(),
                &source,
            );
        }
        None if file.is_some() => {
            let why = "there is no such file here: the default rules hold";
            draft.say(Said::Note, option(group, "policy_file"), why);
        }
        None => {}
    }
    let mut folders = options.values(group, "policy_dirs");
    if folders.is_empty() {
        folders.push("policy.d".to_owned());
    }
    let folders: Vec<String> = folders
        .iter()
        .filter_map(|folder| files.find(folder))
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect();
    if !folders.is_empty() {
        draft.set("auth.policy_dirs", folders, &option(group, "policy_dirs"));
    }
    let name = "property_protection_file";
    if let Some(file) = set(options, DEFAULT, name) {
        let path = files.find(&file);
        let path = path.map_or(file, |path| path.to_string_lossy().into_owned());
        draft.set(
            "auth.property_protection_file",
            path,
            &option(DEFAULT, name),
        );
    }
}

fn notifications(options: &Options, draft: &mut Draft) {
    let group = "oslo_messaging_notifications";
    let drivers = options.values(group, "driver");
    let sends = |driver: &String| !matches!(driver.trim(), "" | "noop");
    if drivers.iter().any(sends) {
        let why = "notifications are not sent";
        draft.say(Said::Lost, option(group, "driver"), why);
    }
}

/// The options of the backends that are named count; without a word the one of the shipped pipeline.
fn healthcheck(options: &Options, listen: Option<SocketAddr>, draft: &mut Draft) {
    let group = "healthcheck";
    let source = |name: &str| option(group, name);
    let backends = options.get(group, "backends");
    for backend in ini::list(backends.as_deref().unwrap_or("disable_by_file")) {
        match backend.as_str() {
            "disable_by_file" => {
                let name = "disable_by_file_path";
                if let Some(path) = set(options, group, name) {
                    draft.set("api.healthcheck_disable_file", path, &source(name));
                }
            }
            "disable_by_files_ports" => {
                let name = "disable_by_file_paths";
                let port = listen.map(|address| address.port().to_string());
                let paths = options.get(group, name).unwrap_or_default();
                let mut paths = ini::pairs(&paths).into_iter();
                if let Some((_, path)) = paths.find(|(of, _)| Some(of) == port.as_ref()) {
                    draft.set("api.healthcheck_disable_file", path, &source(name));
                }
            }
            "enable_by_files" => {
                let name = "enable_by_file_paths";
                let paths = ini::list(&options.get(group, name).unwrap_or_default());
                draft.set("api.healthcheck_enable_files", paths, &source(name));
            }
            _ => {
                let why = "a backend is none of disable_by_file, disable_by_files_ports and \
                           enable_by_files";
                draft.say(Said::Lost, source("backends"), why);
            }
        }
    }
}
