//! What a configuration must fulfil beyond the types of its values.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use super::{AuthMode, Config, Problem, StoreConfig, values::show_size};
use crate::{api::healthcheck::Network, format};

/// What a feature of a later version says.
const NOT_BUILT: &str = "is not built yet in this version";

impl Config {
    /// Everything that keeps the node from starting with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_node(&mut found);
        self.check_remote(&mut found);
        self.check_listeners(&mut found);
        self.check_keystone(&mut found);
        self.check_unbuilt(&mut found);
        self.check_stores(&mut found);
        self.check_formats(&mut found);
        self.check_import(&mut found);
        self.check_browsers_and_probes(&mut found);
        self.check_plugins(&mut found);
        self.check_bounds(&mut found);
        if let Err(cause) = crate::telemetry::parse_level(&self.log.level) {
            found.push(Problem::new("log.level", cause));
        }
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
        if !endpoint.is_empty() && !is_url(endpoint) {
            found.push(Problem::new(
                "api.public_endpoint",
                "must be a URL such as \"https://images.example.org\", or empty",
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

    fn check_remote(&self, found: &mut Vec<Problem>) {
        let remote = &self.auth.remote;
        if remote.ssl_client_crt_file.is_some() != remote.ssl_client_key_file.is_some() {
            found.push(Problem::new(
                "auth.remote.ssl_client_crt_file",
                "must be set together with auth.remote.ssl_client_key_file",
            ));
        }
    }

    fn check_listeners(&self, found: &mut Vec<Problem>) {
        let form = "must be an IP address and a port, such as \"127.0.0.1:9292\" or \"[::1]:9292\"";
        let api = self.api.listen.parse::<SocketAddr>();
        match api {
            Err(_) => found.push(Problem::new("api.listen", form)),
            Ok(address)
                if !address.ip().is_loopback()
                    && !self.auth.allow_insecure
                    && self.auth.mode != AuthMode::Keystone =>
            {
                let mode = self.auth.mode.as_str();
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
        let tls = &self.api.tls;
        match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                if let Err(cause) = crate::tls::check(cert, key) {
                    found.push(Problem::new("api.tls", cause.to_string()));
                }
            }
            (Some(_), None) => found.push(Problem::new("api.tls.key", "must name the key of cert")),
            (None, Some(_)) => {
                found.push(Problem::new(
                    "api.tls.cert",
                    "must name the certificate of key",
                ));
            }
            (None, None) => {}
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
            ("cluster.listen", !self.cluster.listen.is_empty()),
            ("cluster.advertise", !self.cluster.advertise.is_empty()),
            ("cluster.tls.cert", self.cluster.tls.cert != empty),
            ("cluster.tls.key", self.cluster.tls.key != empty),
            ("cluster.tls.ca", self.cluster.tls.ca != empty),
            ("edge.upstream", !self.edge.upstream.is_empty()),
            ("registry.url", !self.registry.url.is_empty()),
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

    fn check_browsers_and_probes(&self, found: &mut Vec<Problem>) {
        let cors = &self.api.cors;
        for (key, words) in [
            ("api.cors.allowed_origin", &cors.allowed_origin),
            ("api.cors.expose_headers", &cors.expose_headers),
            ("api.cors.allow_methods", &cors.allow_methods),
            ("api.cors.allow_headers", &cors.allow_headers),
        ] {
            let plain =
                |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
            if !words.iter().all(plain) {
                found.push(Problem::new(key, "must be words of printable ASCII"));
            }
        }
        for network in &self.api.healthcheck_allowed_sources {
            if Network::parse(network).is_none() {
                found.push(Problem::new(
                    "api.healthcheck_allowed_sources",
                    format!("{network:?} is no network such as \"10.0.0.0/8\" or \"::1\""),
                ));
            }
        }
    }

    fn check_formats(&self, found: &mut Vec<Problem>) {
        let formats = &self.image_format;
        for (key, names) in [
            ("image_format.disk_formats", &formats.disk_formats),
            ("image_format.container_formats", &formats.container_formats),
        ] {
            if names.is_empty() {
                found.push(Problem::new(
                    key,
                    "must not be empty: no image could be active",
                ));
            }
        }
        for (key, names, known) in [
            (
                "image_format.vmdk_allowed_types",
                &formats.vmdk_allowed_types,
                &format::VMDK_TYPES[..],
            ),
            (
                "image_format.gpt_safety_checks_nonfatal",
                &formats.gpt_safety_checks_nonfatal,
                &format::GPT_CHECKS,
            ),
        ] {
            let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
            for name in names.iter().filter(|name| !is_known(name)) {
                found.push(Problem::new(
                    key,
                    format!("{name:?} cannot be allowed, only {}", known.join(" and ")),
                ));
            }
        }
    }

    fn check_import(&self, found: &mut Vec<Problem>) {
        let import = &self.import;
        let known = |method: &String| super::import::METHODS.contains(&method.as_str());
        for method in import.methods.iter().filter(|method| !known(method)) {
            found.push(Problem::new(
                "import.methods",
                match method.as_str() {
                    "glance-download" => format!("{method:?} {NOT_BUILT}"),
                    other => format!("{other:?} is no import method"),
                },
            ));
        }
    }

    fn check_plugins(&self, found: &mut Vec<Problem>) {
        let import = &self.import;
        let known = |plugin: &String| super::import::PLUGINS.contains(&plugin.as_str());
        for plugin in import.plugins.iter().filter(|plugin| !known(plugin)) {
            found.push(Problem::new(
                "import.plugins",
                format!(
                    "{plugin:?} is none of {}",
                    super::import::PLUGINS.join(", ")
                ),
            ));
        }
        let format = &import.conversion.output_format;
        if !matches!(format.as_str(), "raw" | "qcow2" | "vmdk") {
            found.push(Problem::new(
                "import.conversion.output_format",
                format!("{format:?} is none of raw, qcow2, vmdk"),
            ));
        }
        for pair in &import.inject.properties {
            if pair.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                found.push(Problem::new(
                    "import.inject.properties",
                    format!("{pair:?} is not of the form \"name=value\""),
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
                "http" => self.check_http_store(store, &key, found),
                "s3" | "swift" | "rbd" => found.push(Problem::new(
                    key("type"),
                    format!("{:?} {NOT_BUILT}", store.kind),
                )),
                other => found.push(Problem::new(
                    key("type"),
                    format!("{other:?} is no type of store: file, http"),
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

    fn check_http_store(
        &self,
        store: &StoreConfig,
        key: &dyn Fn(&str) -> String,
        found: &mut Vec<Problem>,
    ) {
        if store.default {
            found.push(Problem::new(
                key("default"),
                "a store of type http takes no uploads",
            ));
        }
        let file = store.https_ca_certificates_file.as_ref();
        if let Some(path) = file
            && let Err(cause) = std::fs::File::open(path)
        {
            found.push(Problem::new(
                key("https_ca_certificates_file"),
                format!("{}: {cause}", path.display()),
            ));
        }
    }

    fn check_bounds(&self, found: &mut Vec<Problem>) {
        let (limits, registry) = (&self.limits, &self.registry);
        let (cache, reaper) = (&self.cache, &self.workers.reaper);
        for (key, count) in [
            ("admin.connections", self.admin.connections),
            ("cache.max_fills", cache.max_fills),
            ("cache.accounts", cache.accounts),
            ("cache.queue", cache.queue),
            ("cache.prefetch_attempts", cache.prefetch_attempts as usize),
            ("cache.manifest_rebuilds", cache.manifest_rebuilds),
            ("cache.manifest_learns", cache.manifest_learns),
            ("locations.concurrency", self.locations.concurrency),
            ("cache.manifest_rebuild_queue", cache.manifest_rebuild_queue),
            ("limits.api_limit_max", limits.api_limit_max),
            ("limits.limit_param_default", limits.limit_param_default),
            ("limits.max_request_id_length", limits.max_request_id_length),
            ("limits.concurrent_uploads", limits.concurrent_uploads),
            ("limits.concurrent_downloads", limits.concurrent_downloads),
            ("limits.connections", limits.connections),
            ("limits.concurrent_pages", limits.concurrent_pages),
            ("auth.remote.concurrency", self.auth.remote.concurrency),
            ("workers.reaper.batch", reaper.batch),
            ("workers.reaper.max_failures", reaper.max_failures),
            ("workers.reaper.max_suspects", reaper.max_suspects),
            ("import.concurrent_jobs", self.import.concurrent_jobs),
            ("import.max_jobs", self.import.max_jobs),
            (
                "import.max_parallel_stores",
                self.import.max_parallel_stores,
            ),
            ("registry.queue", registry.queue),
            ("registry.max_batch", registry.max_batch),
            ("registry.heartbeat_ticks", registry.heartbeat_ticks),
        ] {
            if count == 0 {
                found.push(Problem::new(key, "must be at least 1"));
            }
        }
        let bytes = |bytes: usize| bytes as u64;
        for (key, size, least) in [
            ("cache.size", cache.size, 4 << 20),
            ("cache.unpooled_memory", cache.unpooled_memory, 1 << 20),
            ("limits.image_size_cap", limits.image_size_cap, 1),
            ("import.staging_size", self.import.staging_size, 1 << 20),
            (
                "limits.image_property_size",
                bytes(limits.image_property_bytes),
                1 << 10,
            ),
            (
                "limits.image_properties_size",
                bytes(limits.image_properties_bytes),
                1 << 10,
            ),
            ("limits.page_size", bytes(limits.page_bytes), 1 << 10),
            ("limits.json_body", bytes(limits.json_body_bytes), 1 << 10),
            (
                "limits.upload_window",
                bytes(limits.upload_window),
                256 << 10,
            ),
            // hyper's least buffer.
            ("limits.header_size", bytes(limits.header_bytes), 8 << 10),
            ("limits.reserve_step", limits.reserve_step, 1 << 20),
            ("log.buffer", bytes(self.log.buffer), 64 << 10),
            ("registry.max_batch_size", bytes(registry.max_batch_size), 1),
            (
                "registry.max_command_size",
                bytes(registry.max_command_size),
                64 << 10,
            ),
            (
                "registry.checkpoint_size",
                registry.checkpoint_size,
                1 << 20,
            ),
            ("registry.segment_size", registry.segment_size, 1 << 20),
            ("registry.table_cache", bytes(registry.table_cache), 1 << 20),
        ] {
            if size < least {
                let least = show_size(least);
                found.push(Problem::new(key, format!("must be at least {least}")));
            }
        }
        if limits.limit_param_default > limits.api_limit_max {
            found.push(Problem::new(
                "limits.limit_param_default",
                "must not exceed limits.api_limit_max",
            ));
        }
        // One answer must fit whatever is in it: JSON may take six bytes for one.
        let largest = limits
            .page_bytes
            .saturating_add(limits.image_properties_bytes.saturating_mul(8))
            .max(limits.json_body_bytes);
        if limits.json_memory < largest {
            found.push(Problem::new(
                "limits.json_memory",
                format!(
                    "must be at least {}: limits.json_body, or limits.page_size and 8 times \
                     limits.image_properties_size",
                    show_size(largest as u64)
                ),
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
        self.auth.keystone.read_secrets()
    }
}

/// Whether it is a URL of a server, which headers and links may carry as it is.
pub(super) fn is_url(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'<' | b'>');
    ["http://", "https://"]
        .iter()
        .filter_map(|scheme| text.strip_prefix(scheme))
        .any(|host| !host.is_empty() && host.bytes().all(plain))
}
