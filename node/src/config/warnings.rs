//! What is worth a warning about a configuration that may be used: what is insecure, has no effect,
//! or was most likely meant otherwise.

use std::net::SocketAddr;

use super::{
    AuthMode, CacheConfig, Config, ImageFormatConfig, KeystoneConfig, Problem,
    unbuilt::ClusterConfig, values::strings,
};
use crate::telemetry;

/// Whose events there are in the log; each stands for everything below it, too.
const LOG_TARGETS: [&str; 7] = [
    "glimpse_node",
    "glimpse_registry",
    "glimpse_replication",
    "glimpse_cache",
    "glimpse_store",
    telemetry::ACCESS,
    "hyper_util",
];

/// Bounds on the bytes of images below this one were meant in another unit.
const FEW_BYTES: u64 = 1 << 20;

impl Config {
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
            AuthMode::Keystone => self.warn_of_keystone(&mut found),
            AuthMode::TrustedHeaders => found.push(Problem::new(
                "auth.mode",
                format!(
                    "\"trusted-headers\": whoever reaches {} without passing the authenticating \
                     proxy is whom it claims to be",
                    self.api.listen
                ),
            )),
        }
        if !is_loopback(&self.api.listen) && self.api.tls.files().is_none() {
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
        let origins = &self.api.cors.allowed_origin;
        for origin in origins.iter().filter(|origin| *origin != "*") {
            // What browsers send (RFC 6454 6.2).
            let host = origin.split_once("://").map(|(_, host)| host);
            if !host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
                found.push(Problem::new(
                    "api.cors.allowed_origin",
                    format!(
                        "{origin:?} is no origin such as \"https://host:port\": no page matches"
                    ),
                ));
            }
        }
        if self.api.cors.allow_credentials && origins.iter().any(|origin| origin == "*") {
            found.push(Problem::new(
                "api.cors.allow_credentials",
                "has no effect on pages that only \"*\" allows: browsers refuse the two together",
            ));
        }
        self.warn_of_no_effect(&mut found);
        self.warn_of_slips(&mut found);
        found
    }

    fn warn_of_no_effect(&self, found: &mut Vec<Problem>) {
        let bootstrap = ClusterConfig::default().bootstrap;
        let set = [
            ("cluster.bootstrap", self.cluster.bootstrap != bootstrap),
            (
                "registry.password_file",
                self.registry.password_file.is_some(),
            ),
            (
                "cache.memory",
                self.cache.memory != CacheConfig::default().memory,
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
        // What a 401 names counts in every mode.
        let keystone = KeystoneConfig {
            auth_url: self.auth.keystone.auth_url.clone(),
            www_authenticate_uri: self.auth.keystone.www_authenticate_uri.clone(),
            ..KeystoneConfig::default()
        };
        if self.auth.mode != AuthMode::Keystone && self.auth.keystone != keystone {
            found.push(Problem::new(
                "auth.keystone",
                "has no effect but for auth_url and www_authenticate_uri: auth.mode is not \"keystone\"",
            ));
        }
        if self.auth.mode == AuthMode::None && self.auth.allow_anonymous {
            let message = "has no effect: with auth.mode = \"none\" every caller is an admin";
            found.push(Problem::new("auth.allow_anonymous", message));
        }
    }

    /// What is possible, and most likely not meant.
    fn warn_of_slips(&self, found: &mut Vec<Problem>) {
        // Operators may have formats of their own, which are taken as they are.
        let (formats, mut known) = (&self.image_format, ImageFormatConfig::default());
        known.disk_formats.extend(strings(&["gpt", "luks"]));
        for (key, names, known) in [
            (
                "image_format.disk_formats",
                &formats.disk_formats,
                known.disk_formats,
            ),
            (
                "image_format.container_formats",
                &formats.container_formats,
                known.container_formats,
            ),
        ] {
            for name in names.iter().filter(|name| !known.contains(name)) {
                let known = known.join(", ");
                let message = format!("{name:?} is none of those that are known: {known}");
                found.push(Problem::new(key, message));
            }
        }
        // A wrong level is a problem.
        let targets = telemetry::parse_level(&self.log.level).unwrap_or_default();
        for (target, _) in &targets {
            let below = |above: &str, name: &str| {
                name.strip_prefix(above)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if !LOG_TARGETS
                .iter()
                .any(|known| known.starts_with(target) || below(known, target))
            {
                found.push(Problem::new(
                    "log.level",
                    format!(
                        "nothing logs as {target:?}: those that do are {} and what is below them",
                        LOG_TARGETS.join(", ")
                    ),
                ));
            }
        }
        for (key, bytes) in [
            ("limits.image_size_cap", Some(self.limits.image_size_cap)),
            ("limits.user_storage_quota", self.limits.user_storage_quota),
        ] {
            if let Some(bytes) = bytes.filter(|bytes| *bytes < FEW_BYTES) {
                found.push(Problem::new(
                    key,
                    format!("is {bytes} bytes only: a number without a unit is bytes"),
                ));
            }
        }
    }
}

/// Whether an address of the configuration is reachable from this host only.
fn is_loopback(listen: &str) -> bool {
    listen
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_loopback())
}
