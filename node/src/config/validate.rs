//! What a configuration must fulfil beyond the types of its values, and what is worth a warning.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use super::{
    AuthMode, Config, Problem,
    unbuilt::{ClusterConfig, ImportConfig, KeystoneConfig},
    values::Secret,
};

/// Hashes that `api.hashing_algorithm` may name.
const HASHES: [&str; 6] = ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

/// What a feature of a later version says.
const NOT_BUILT: &str = "is not built yet in this version";

impl Config {
    /// Everything that keeps the node from starting with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_node(&mut found);
        self.check_listeners(&mut found);
        self.check_unbuilt(&mut found);
        self.check_stores(&mut found);
        self.check_bounds(&mut found);
        if let Err(cause) = crate::telemetry::parse_level(&self.log.level) {
            found.push(Problem::new("log.level", cause));
        }
        found
    }

    /// What is insecure about the settings, and what has no effect.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        match self.auth.mode {
            AuthMode::None => found.push(Problem::new(
                "auth.mode",
                format!(
                    "\"none\": whoever reaches {} is an admin, without a password",
                    self.api.listen
                ),
            )),
            AuthMode::TrustedHeaders => found.push(Problem::new(
                "auth.mode",
                format!(
                    "\"trusted-headers\": whoever reaches {} without passing the authenticating \
                     proxy is whom it claims to be",
                    self.api.listen
                ),
            )),
        }
        if !is_loopback(&self.api.listen) {
            found.push(Problem::new("api.listen", "plain HTTP beyond this host"));
        }
        if !self.admin.listen.is_empty() && !is_loopback(&self.admin.listen) {
            found.push(Problem::new(
                "admin.listen",
                "metrics and status are readable beyond this host, without a password",
            ));
        }
        if self.api.show_multiple_locations || self.api.show_image_direct_url {
            found.push(Problem::new(
                "api",
                "show_multiple_locations and show_image_direct_url show users where data is stored",
            ));
        }
        self.warn_of_no_effect(&mut found);
        found
    }

    fn check_node(&self, found: &mut Vec<Problem>) {
        let name = &self.node.name;
        if name.is_empty()
            || name.len() > 255
            || name.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control())
        {
            found.push(Problem::new(
                "node.name",
                "must be 1 to 255 bytes without spaces and '@'",
            ));
        }
        if self.node.data_dir.as_os_str().is_empty() {
            found.push(Problem::new("node.data_dir", "must not be empty"));
        }
        let endpoint = &self.api.public_endpoint;
        let is_url = ["http://", "https://"].iter().any(|scheme| {
            endpoint
                .strip_prefix(scheme)
                .is_some_and(|host| !host.is_empty())
        });
        if !endpoint.is_empty() && !is_url {
            found.push(Problem::new(
                "api.public_endpoint",
                "must be a URL such as \"https://images.example.org\", or empty",
            ));
        }
        if !HASHES.contains(&self.api.hashing_algorithm.as_str()) {
            found.push(Problem::new(
                "api.hashing_algorithm",
                format!("must be one of {}", HASHES.join(", ")),
            ));
        }
        if let Some(path) = &self.auth.policy_file
            && let Err(cause) = std::fs::File::open(path)
        {
            found.push(Problem::new(
                "auth.policy_file",
                format!("{}: {cause}", path.display()),
            ));
        }
    }

    fn check_listeners(&self, found: &mut Vec<Problem>) {
        let form = "must be an IP address and a port, such as \"127.0.0.1:9292\" or \"[::1]:9292\"";
        let api = self.api.listen.parse::<SocketAddr>();
        match api {
            Err(_) => found.push(Problem::new("api.listen", form)),
            Ok(address) if !address.ip().is_loopback() && !self.auth.allow_insecure => {
                let mode = match self.auth.mode {
                    AuthMode::None => "none",
                    AuthMode::TrustedHeaders => "trusted-headers",
                };
                found.push(Problem::new(
                    "auth.mode",
                    format!(
                        "{mode:?} is refused while api.listen ({address}) is not a loopback \
                         address, unless auth.allow_insecure = true"
                    ),
                ));
            }
            Ok(_) => {}
        }
        if !self.admin.listen.is_empty() {
            match self.admin.listen.parse::<SocketAddr>() {
                Err(_) => found.push(Problem::new("admin.listen", form)),
                Ok(admin) if admin.port() != 0 && api.is_ok_and(|api| api == admin) => {
                    found.push(Problem::new("admin.listen", "is the same as api.listen"));
                }
                Ok(_) => {}
            }
        }
    }

    fn check_unbuilt(&self, found: &mut Vec<Problem>) {
        let empty = PathBuf::new();
        let asked = [
            ("api.tls.cert", self.api.tls.cert != empty),
            ("api.tls.key", self.api.tls.key != empty),
            ("cluster.listen", !self.cluster.listen.is_empty()),
            ("cluster.advertise", !self.cluster.advertise.is_empty()),
            ("cluster.tls.cert", self.cluster.tls.cert != empty),
            ("cluster.tls.key", self.cluster.tls.key != empty),
            ("cluster.tls.ca", self.cluster.tls.ca != empty),
            ("edge.upstream", !self.edge.upstream.is_empty()),
            ("registry.url", !self.registry.url.is_empty()),
            ("import.methods", !self.import.methods.is_empty()),
            ("import.plugins", !self.import.plugins.is_empty()),
        ];
        for (key, asked) in asked {
            if asked {
                found.push(Problem::new(key, NOT_BUILT));
            }
        }
        match self.registry.kind.as_str() {
            "replicated" => {}
            "sqlite" | "mysql" => found.push(Problem::new(
                "registry.type",
                format!("{:?} {NOT_BUILT}", self.registry.kind),
            )),
            other => found.push(Problem::new(
                "registry.type",
                format!("{other:?} is no type of registry: replicated"),
            )),
        }
        if !self.cache.enabled {
            found.push(Problem::new(
                "cache.enabled",
                format!("a node without a cache {NOT_BUILT}"),
            ));
        }
    }

    fn warn_of_no_effect(&self, found: &mut Vec<Problem>) {
        let bootstrap = ClusterConfig::default().bootstrap;
        let filter = ImportConfig::default().uri_filter;
        let set = [
            ("cluster.bootstrap", self.cluster.bootstrap != bootstrap),
            (
                "auth.keystone",
                self.auth.keystone != KeystoneConfig::default(),
            ),
            (
                "registry.password_file",
                self.registry.password_file.is_some(),
            ),
            ("import.uri_filter", self.import.uri_filter != filter),
            (
                "cache.memory",
                self.cache.memory != super::CacheConfig::default().memory,
            ),
        ];
        for (key, set) in set {
            if set {
                found.push(Problem::new(
                    key,
                    "has no effect: what reads it is not built yet",
                ));
            }
        }
    }

    fn check_stores(&self, found: &mut Vec<Problem>) {
        let mut names = BTreeSet::new();
        let mut paths = BTreeSet::new();
        for (index, store) in self.stores.iter().enumerate() {
            let key = |name: &str| format!("stores[{index}].{name}");
            match store.kind.as_str() {
                "file" => {}
                "s3" | "swift" | "rbd" | "http" => found.push(Problem::new(
                    key("type"),
                    format!("{:?} {NOT_BUILT}", store.kind),
                )),
                other => found.push(Problem::new(
                    key("type"),
                    format!("{other:?} is no type of store: file"),
                )),
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if store.name.is_empty() || !store.name.chars().all(plain) {
                found.push(Problem::new(
                    key("name"),
                    "must be letters, digits, '-', '_' and '.'",
                ));
            }
            // image-api 7.1
            if store.name.starts_with("os_glance_") {
                found.push(Problem::new(key("name"), "must not begin with os_glance_"));
            }
            if !names.insert(&store.name) {
                found.push(Problem::new(
                    key("name"),
                    format!("{:?} is used twice", store.name),
                ));
            }
            if store.threads == 0 {
                found.push(Problem::new(key("threads"), "must be at least 1"));
            }
            if store.kind == "file" && !paths.insert(&store.path) {
                found.push(Problem::new(
                    key("path"),
                    format!("{} is used twice", store.path.display()),
                ));
            }
        }
        if self.stores.is_empty() {
            found.push(Problem::new("stores", "must name at least one store"));
        } else if self.stores.iter().filter(|store| store.default).count() != 1 {
            found.push(Problem::new(
                "stores",
                "exactly one store must have default = true",
            ));
        }
    }

    fn check_bounds(&self, found: &mut Vec<Problem>) {
        let (limits, registry) = (&self.limits, &self.registry);
        let at_least = [
            ("admin.connections", self.admin.connections, 1),
            ("cache.max_fills", self.cache.max_fills, 1),
            ("cache.manifest_rebuilds", self.cache.manifest_rebuilds, 1),
            (
                "cache.manifest_rebuild_queue",
                self.cache.manifest_rebuild_queue,
                1,
            ),
            ("limits.api_limit_max", limits.api_limit_max, 1),
            ("limits.limit_param_default", limits.limit_param_default, 1),
            (
                "limits.image_property_size",
                limits.image_property_bytes,
                1 << 10,
            ),
            (
                "limits.image_properties_size",
                limits.image_properties_bytes,
                1 << 10,
            ),
            ("limits.page_size", limits.page_bytes, 1 << 10),
            (
                "limits.max_request_id_length",
                limits.max_request_id_length,
                1,
            ),
            ("limits.json_body", limits.json_body_bytes, 1 << 10),
            ("limits.concurrent_uploads", limits.concurrent_uploads, 1),
            (
                "limits.concurrent_downloads",
                limits.concurrent_downloads,
                1,
            ),
            ("limits.upload_window", limits.upload_window, 256 << 10),
            ("limits.connections", limits.connections, 1),
            // hyper's least buffer.
            ("limits.header_size", limits.header_bytes, 8 << 10),
            ("log.buffer", self.log.buffer, 64 << 10),
            ("workers.reaper.batch", self.workers.reaper.batch, 1),
            (
                "workers.reaper.max_failures",
                self.workers.reaper.max_failures,
                1,
            ),
            (
                "workers.reaper.max_suspects",
                self.workers.reaper.max_suspects,
                1,
            ),
            ("registry.queue", registry.queue, 1),
            ("registry.max_batch", registry.max_batch, 1),
            ("registry.max_batch_size", registry.max_batch_size, 1),
            (
                "registry.max_command_size",
                registry.max_command_size,
                64 << 10,
            ),
            ("registry.heartbeat_ticks", registry.heartbeat_ticks, 1),
            ("registry.table_cache", registry.table_cache, 1 << 20),
        ];
        for (key, value, least) in at_least {
            if value < least {
                found.push(Problem::new(key, format!("must be at least {least}")));
            }
        }
        let at_least_u64 = [
            ("limits.image_size_cap", limits.image_size_cap, 1),
            ("limits.reserve_step", limits.reserve_step, 1 << 20),
            (
                "registry.checkpoint_size",
                registry.checkpoint_size,
                1 << 20,
            ),
            ("registry.segment_size", registry.segment_size, 1 << 20),
            ("cache.size", self.cache.size, 4 << 20),
        ];
        for (key, value, least) in at_least_u64 {
            if value < least {
                found.push(Problem::new(key, format!("must be at least {least}")));
            }
        }
        if limits.limit_param_default > limits.api_limit_max {
            found.push(Problem::new(
                "limits.limit_param_default",
                "must not exceed limits.api_limit_max",
            ));
        }
        if registry.election_ticks <= registry.heartbeat_ticks {
            found.push(Problem::new(
                "registry.election_ticks",
                "must exceed registry.heartbeat_ticks",
            ));
        }
        if registry.segment_size < registry.max_command_size as u64 {
            found.push(Problem::new(
                "registry.segment_size",
                "must not be less than registry.max_command_size",
            ));
        }
    }

    /// Reads the secrets that are in files.
    pub(super) fn read_secrets(&mut self) -> Vec<Problem> {
        let keystone = &mut self.auth.keystone;
        let Some(path) = &keystone.password_file else {
            return Vec::new();
        };
        let key = "auth.keystone.password_file";
        if !keystone.password.is_empty() {
            return vec![Problem::new(key, "is set together with password")];
        }
        match std::fs::read_to_string(path) {
            Ok(text) => {
                keystone.password = Secret::new(text.trim_end_matches(['\r', '\n']));
                Vec::new()
            }
            Err(cause) => vec![Problem::new(key, format!("{}: {cause}", path.display()))],
        }
    }
}

/// Whether an address of the configuration is reachable from this host only.
fn is_loopback(listen: &str) -> bool {
    listen
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_loopback())
}
