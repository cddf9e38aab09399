//! What every handler and worker of one node shares.

use std::{collections::BTreeMap, sync::Arc};

use glimpse_cache::{Cache, Manifests};
use glimpse_registry::{Registry, task::STAGING};
use glimpse_store::Store;
use parking_lot::Mutex;

use crate::{
    api::memory::Memory,
    auth::Auth,
    config::{Live, Problem},
    data::{DataState, slots::Slots, staging::Staging},
    keystone,
    metrics::Metrics,
    outbound::Outbound,
    policy::Policy,
    quotas::{Allowed, Quotas},
    tls::Certificate,
};

/// The parts of a running node. Built once by the node, shared as `Arc<App>`.
pub struct App {
    /// As read at start, or at the last reload.
    pub config: Live,
    /// Metadata.
    pub registry: Registry,
    /// Chunks.
    pub cache: Arc<Cache>,
    /// Manifest bodies.
    pub manifests: Arc<Manifests>,
    /// The repositories by their configured names.
    pub stores: Stores,
    /// Fetches by URLs that users name.
    pub outbound: Arc<Outbound>,
    /// Who calls.
    pub auth: Auth,
    /// Data that is to be imported.
    pub staging: Staging,
    /// What owners may have.
    pub quotas: Quotas,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// Held while the configuration is read again.
    pub reloading: Mutex<()>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Bounds uploads in progress (`limits.concurrent_uploads`).
    pub upload_slots: Arc<Slots>,
    /// Bounds downloads in progress (`limits.concurrent_downloads`).
    pub download_slots: Arc<Slots>,
    /// Bounds what requests hold in memory for slow clients (`limits.json_memory`).
    pub memory: Arc<Memory>,
    /// Of the API listener, where it speaks TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// Image data in motion: decoded manifests, uploads in progress, counters.
    pub data: DataState,
}

impl App {
    /// What this owner may have.
    pub async fn allowed(&self, owner: Option<&str>) -> Result<Allowed, keystone::Error> {
        let bytes = self.config.limits.user_storage_quota;
        self.quotas.of(owner, bytes).await
    }

    /// The store of a location: a configured one, or staging.
    pub fn place(&self, name: &str) -> Option<&NamedStore> {
        match name {
            STAGING => Some(&self.staging.named),
            name => self.stores.get(name),
        }
    }

    /// What is worth knowing about configuration and policy.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = self.config.warnings();
        found.extend(self.policy.warnings());
        found
    }
}

/// One configured repository.
#[derive(Clone)]
pub struct NamedStore {
    /// `[[stores]] name`
    pub name: String,
    /// `[[stores]] description`
    pub description: String,
    /// Higher is tried first.
    pub weight: i64,
    /// The driver.
    pub store: Arc<dyn Store>,
}

/// The configured repositories.
#[derive(Clone, Default)]
pub struct Stores {
    /// By name.
    pub by_name: BTreeMap<String, NamedStore>,
    /// Name of the default one; always in `by_name`.
    pub default: String,
}

impl Stores {
    /// The store of that name.
    pub fn get(&self, name: &str) -> Option<&NamedStore> {
        self.by_name.get(name)
    }
}
