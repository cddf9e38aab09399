//! Opens the configured stores: one arm for each driver.
//!
//! A store that was there before and whose place is gone is opened closed: the node starts, serves
//! what it has cached, and is not ready. What would mix up data (a place that is another store's) or
//! is a first start on the wrong place keeps the node from starting.

mod http;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use glimpse_store::{
    Store,
    file::{self, FileStore, NotOurs, Owner},
    http::HttpStore,
};

use crate::{
    app::{NamedStore, Stores},
    config::{Config, StoreConfig},
    data_dir::{DataDir, StoreRoots},
    outbound::{Outbound, Tls},
};

/// Why a store keeps the node from starting.
#[derive(Debug, thiserror::Error)]
#[error("store {name:?}: {cause}")]
pub struct StoreRefused {
    /// Its configured name.
    pub name: String,
    /// Why.
    pub cause: String,
}

/// Opens the configured stores; with the directories that each one has had, this one included:
/// locations outlive a move. Blocks.
pub fn open(
    config: &Config,
    known: &StoreRoots,
    data_dir: &DataDir,
) -> Result<(Stores, StoreRoots), StoreRefused> {
    let mut roots = known.clone();
    let mut by_name = BTreeMap::new();
    for store in &config.stores {
        let refused = |cause: String| StoreRefused {
            name: store.name.clone(),
            cause,
        };
        let opened: Arc<dyn Store> = match store.kind.as_str() {
            "file" => {
                let known = roots.entry(store.name.clone()).or_default();
                Arc::new(open_file(config, store, known, data_dir).map_err(refused)?)
            }
            "http" => Arc::new(open_http(config, store)),
            // Not reached: the configuration was checked.
            other => return Err(refused(format!("there is no driver {other:?}"))),
        };
        let named = NamedStore {
            name: store.name.clone(),
            description: store.description.clone(),
            weight: store.weight,
            store: opened,
        };
        by_name.insert(store.name.clone(), named);
    }
    warn_of_missing(config, known);
    let default = config.stores.iter().find(|store| store.default);
    let stores = Stores {
        by_name,
        default: default.map(|store| store.name.clone()).unwrap_or_default(),
    };
    Ok((stores, roots))
}

/// Opens a store of other servers' objects. Nothing is fetched yet.
fn open_http(config: &Config, store: &StoreConfig) -> HttpStore {
    if store.https_insecure {
        tracing::warn!(
            store = store.name,
            "a store takes whatever certificate its servers show (https_insecure)"
        );
    }
    let tls = Tls {
        insecure: store.https_insecure,
        ca_file: store.https_ca_certificates_file.clone(),
    };
    HttpStore::new(Arc::new(http::Fetched(Arc::new(Outbound::new(
        config, tls,
    )))))
}

/// Opens a store of files. `roots` are the directories that it has had; none: it is new.
fn open_file(
    config: &Config,
    store: &StoreConfig,
    roots: &mut Vec<std::path::PathBuf>,
    data_dir: &DataDir,
) -> Result<FileStore, String> {
    let path = &store.path;
    let mut owner = Owner {
        cluster: data_dir.identity().cluster_id.clone(),
        store: store.name.clone(),
    };
    match owner.claim(path, !roots.is_empty()) {
        Ok(()) => {}
        Err(NotOurs::Other { owner: other, .. }) if is_renamed(config, &owner, &other) => {
            tracing::warn!(
                store = store.name,
                before = other.store,
                "a store has another name than when its directory was taken: images of the old name \
                 are answered 503 until a store has it again"
            );
            owner = other;
        }
        Err(problem @ NotOurs::Other { .. }) => return Err(problem.to_string()),
        Err(problem) if roots.is_empty() => return Err(problem.to_string()),
        Err(problem) => {
            tracing::error!(store = store.name, %problem, "a store is closed: its uploads are answered 503");
        }
    }
    let keep_free = match same_file_system(path, data_dir.root()) {
        true => config.node.keep_free,
        false => 0,
    };
    let opened = FileStore::open(file::Config {
        path: path.clone(),
        owner: Some(owner),
        earlier_roots: roots.clone(),
        thin_provisioning: store.thin_provisioning,
        file_mode: store.file_mode,
        keep_free,
        threads: store.threads,
        timeout: store.timeout,
    })
    .map_err(|cause| cause.to_string())?;
    for root in opened.roots() {
        if !roots.contains(root) {
            roots.push(root.clone());
        }
    }
    Ok(opened)
}

/// Why [`open`] would refuse a store of files or open it closed, but only looked at. `cluster`: where
/// there is one yet.
pub(crate) fn problem(
    config: &Config,
    store: &StoreConfig,
    known: bool,
    cluster: Option<&str>,
) -> Option<String> {
    let owner = Owner {
        cluster: cluster.unwrap_or_default().to_owned(),
        store: store.name.clone(),
    };
    match owner.claimable(&store.path, known) {
        Err(NotOurs::Other { owner: other, .. }) if is_renamed(config, &owner, &other) => None,
        result => Some(result.err()?.to_string()),
    }
}

/// Whether a directory that another store took is this one's all the same: that store is of this
/// cluster and is no longer configured.
fn is_renamed(config: &Config, owner: &Owner, other: &Owner) -> bool {
    let configured = |name: &String| config.stores.iter().any(|store| store.name == *name);
    other.cluster == owner.cluster && !configured(&other.store)
}

/// Tells of stores that are no longer configured: nothing of theirs can be read or removed.
fn warn_of_missing(config: &Config, known: &StoreRoots) {
    for (name, roots) in known {
        if !config.stores.iter().any(|store| store.name == *name) {
            tracing::warn!(
                store = name,
                directories = ?roots,
                "a store of an earlier start is not configured: images in it are answered 503"
            );
        }
    }
}

/// Whether two directories, made or not yet, lie on one file system.
pub(crate) fn same_file_system(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        // One that is not there yet will be on that of the directory above.
        let mut levels = path.ancestors();
        levels.find_map(|level| level.metadata().ok().map(|found| found.dev()))
    };
    // Of what cannot be told the worse is assumed.
    device(a) == device(b)
}

#[cfg(test)]
mod tests;
