//! `[api.cors]` and `[api.tls]`: what the API listener does around its requests.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::values::{self, strings};

/// `[api.cors]`: what pages of other origins may do (image-api 8.3).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct CorsConfig {
    /// Their origins (`https://host:port`), or `*`; none: nothing.
    pub allowed_origin: Vec<String>,
    /// Browsers may send what they know of the user.
    pub allow_credentials: bool,
    /// Headers of answers that pages may read.
    pub expose_headers: Vec<String>,
    /// How long browsers may remember what they were allowed; 0: they are told nothing.
    #[serde(with = "values::duration_or_zero")]
    pub max_age: Duration,
    /// Methods that pages may use.
    pub allow_methods: Vec<String>,
    /// Headers that pages may send.
    pub allow_headers: Vec<String>,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            allowed_origin: Vec::new(),
            allow_credentials: false,
            expose_headers: strings(&[
                "X-Image-Meta-Checksum",
                "X-Auth-Token",
                "X-Subject-Token",
                "X-Service-Token",
                "X-OpenStack-Request-ID",
            ]),
            max_age: Duration::from_secs(3600),
            allow_methods: strings(&["GET", "PUT", "POST", "DELETE", "PATCH"]),
            allow_headers: strings(&[
                "Content-MD5",
                "X-Image-Meta-Checksum",
                "X-Storage-Token",
                "Accept-Encoding",
                "X-Auth-Token",
                "X-Identity-Status",
                "X-Roles",
                "X-Service-Catalog",
                "X-User-Id",
                "X-Tenant-Id",
                "X-OpenStack-Request-ID",
            ]),
        }
    }
}

/// `[api.tls]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Certificate chain, PEM; none: plain HTTP.
    #[serde(with = "values::optional_path")]
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(with = "values::optional_path")]
    pub key: Option<PathBuf>,
    /// A handshake that takes longer is given up.
    #[serde(with = "values::duration")]
    pub handshake_timeout: Duration,
    /// The files are looked at so often, and read again when they have changed.
    #[serde(with = "values::duration")]
    pub reload_interval: Duration,
}

impl Tls {
    /// The files of chain and key, if both are named.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.cert.as_deref().zip(self.key.as_deref())
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            handshake_timeout: Duration::from_secs(10),
            reload_interval: Duration::from_secs(10),
        }
    }
}
