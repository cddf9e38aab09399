//! Sections whose features come in later versions. Their keys are known, so that one file serves
//! several versions; a value that asks for what is not there is refused by name
//! (`validate.rs`), never ignored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::strings;

/// `[cluster]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterConfig {
    /// Address of the internal port; empty: a cluster of one.
    pub listen: String,
    /// What the others call it.
    pub advertise: String,
    /// `name@address` of the first nodes; first start only.
    pub bootstrap: Vec<String>,
    /// Between the nodes, mutual.
    pub tls: ClusterTls,
}

/// `[cluster] tls`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterTls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Key, PEM.
    pub key: PathBuf,
    /// Who signs the peers' certificates, PEM.
    pub ca: PathBuf,
}

/// `[edge]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EdgeConfig {
    /// The Image API endpoint that this node is an edge of; empty: none.
    pub upstream: String,
}

/// `[import.uri_filter]`: on each level a non-empty allow list wins (image-api 3.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UriFilter {
    /// Schemes that pass.
    pub allowed_schemes: Vec<String>,
    /// Schemes that do not.
    pub disallowed_schemes: Vec<String>,
    /// Hosts that pass.
    pub allowed_hosts: Vec<String>,
    /// Hosts that do not.
    pub disallowed_hosts: Vec<String>,
    /// Ports that pass.
    pub allowed_ports: Vec<u16>,
    /// Ports that do not.
    pub disallowed_ports: Vec<u16>,
}

impl Default for UriFilter {
    fn default() -> Self {
        Self {
            allowed_schemes: strings(&["http", "https"]),
            disallowed_schemes: Vec::new(),
            allowed_hosts: Vec::new(),
            disallowed_hosts: Vec::new(),
            allowed_ports: vec![80, 443],
            disallowed_ports: Vec::new(),
        }
    }
}
