//! The configuration of a running node, which a reload may change in part.
//!
//! Whoever looks at a key sees it as it is then. Versions are kept until the node ends, so that
//! readers hold plain references: no lock, no count, and no call that has to be told of reloads.

use std::{
    ops::Deref,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Config;

/// Versions of one run of a node at most; reloads that change nothing make none.
const MAX: usize = 1024;

/// Gives a configuration one key of another one.
type Take = fn(&mut Config, &Config);

/// The keys that may change while the node runs, each with what takes it over: those that are looked
/// at for each request, or that [`crate::reload`] hands on.
const KEYS: &[(&str, Take)] = {
    macro_rules! keys {
        ($($key:literal $($field:ident).+;)*) => {
            &[$(($key, |to, from| to.$($field).+.clone_from(&from.$($field).+))),*]
        };
    }
    keys! {
        "api.public_endpoint" api.public_endpoint;
        "api.enable_proxy_headers_parsing" api.enable_proxy_headers_parsing;
        "api.healthcheck_disable_file" api.healthcheck_disable_file;
        "api.show_image_direct_url" api.show_image_direct_url;
        "api.show_multiple_locations" api.show_multiple_locations;
        "auth.policy_file" auth.policy_file;
        "auth.policy_dirs" auth.policy_dirs;
        "auth.enforce_new_defaults" auth.enforce_new_defaults;
        "auth.property_protection_file" auth.property_protection_file;
        "auth.property_protection_rule_format" auth.property_protection_rule_format;
        "limits.image_size_cap" limits.image_size_cap;
        "limits.image_member_quota" limits.image_member_quota;
        "limits.image_property_quota" limits.image_property_quota;
        "limits.image_property_size" limits.image_property_bytes;
        "limits.image_properties_size" limits.image_properties_bytes;
        "limits.image_tag_quota" limits.image_tag_quota;
        "limits.user_storage_quota" limits.user_storage_quota;
        "limits.api_limit_max" limits.api_limit_max;
        "limits.limit_param_default" limits.limit_param_default;
        "limits.page_size" limits.page_bytes;
        "limits.max_request_id_length" limits.max_request_id_length;
        "limits.json_body" limits.json_body_bytes;
        "limits.json_timeout" limits.json_timeout;
        "limits.turn_timeout" limits.turn_timeout;
        "limits.upload_idle_timeout" limits.upload_idle_timeout;
        "limits.upload_min_rate" limits.upload_min_rate;
        "limits.upload_drain_size" limits.upload_drain_size;
        "limits.upload_drain_timeout" limits.upload_drain_timeout;
        "limits.reserve_step" limits.reserve_step;
        "log.level" log.level;
        "log.access" log.access;
    }
};

/// Whether a change of the key takes effect without a restart.
pub(crate) fn is_live(key: &str) -> bool {
    KEYS.iter().any(|(live, _)| *live == key)
}

/// A configuration that changes while it is read.
pub struct Live {
    first: Config,
    later: Box<[OnceLock<Config>]>,
    /// How many of `later` there are.
    count: AtomicUsize,
}

impl Live {
    /// As read at start.
    pub fn new(config: Config) -> Self {
        Self {
            first: config,
            later: (1..MAX).map(|_| OnceLock::new()).collect(),
            count: AtomicUsize::new(0),
        }
    }

    /// This configuration with the live keys of another one.
    pub(crate) fn with_live_keys_of(&self, new: &Config) -> Config {
        let mut next = Config::clone(self);
        for (_, take) in KEYS {
            take(&mut next, new);
        }
        next.overrides.clone_from(&new.overrides);
        next
    }

    /// Makes `next` what holds from now on. Whether there was room for one more; one caller at a
    /// time.
    pub(crate) fn replace(&self, next: Config) -> bool {
        let count = self.count.load(Ordering::Acquire);
        let placed = self
            .later
            .get(count)
            .is_some_and(|place| place.set(next).is_ok());
        if placed {
            self.count.store(count + 1, Ordering::Release);
        }
        placed
    }
}

impl Deref for Live {
    type Target = Config;

    fn deref(&self) -> &Config {
        let last = self.count.load(Ordering::Acquire).checked_sub(1);
        last.and_then(|last| self.later.get(last)?.get())
            .unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_key_is_one_of_the_configuration() {
        let known = super::super::schema::known();
        for (key, _) in KEYS {
            let (section, name) = key.split_once('.').unwrap();
            assert!(known[section].get(name).is_some(), "{key}");
        }
    }

    #[test]
    fn references_from_before_stay_as_they_were_and_new_ones_see_the_change() {
        let live = Live::new(Config::default());
        let before: &Config = &live;
        let mut new = Config::default();
        new.limits.image_size_cap = 7 << 20;
        new.node.name = "other".to_owned();
        assert!(live.replace(live.with_live_keys_of(&new)));
        assert_eq!(live.limits.image_size_cap, 7 << 20);
        assert_eq!(live.node.name, "node-1");
        assert_eq!(before.limits.image_size_cap, 1 << 40);
        for _ in 2..MAX {
            assert!(live.replace(Config::clone(&live)));
        }
        assert!(!live.replace(Config::default()));
        assert_eq!(live.limits.image_size_cap, 7 << 20);
    }
}
