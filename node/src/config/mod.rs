//! The configuration: one TOML file, every key with a default and an environment override.
//!
//! The defaults of the structs below are the one source of truth: written out as a TOML table they
//! say which keys exist (anything else is refused by name), of what type an environment variable
//! is, and what `ops/glimpse.example.toml` must hold.

mod environment;
mod import;
mod keystone;
mod listener;
mod live;
mod remote;
mod schema;
mod sections;
#[cfg(test)]
mod tests;
mod unbuilt;
mod validate;
pub mod values;
mod warnings;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::api::properties::Properties;

pub use environment::Override;
pub use import::{ConversionConfig, ImportConfig};
pub use keystone::KeystoneConfig;
pub use listener::{CorsConfig, Tls};
pub use live::Live;
pub(crate) use live::is_live;
pub use remote::{RemoteConfig, RemoteContent};
pub(crate) use schema::{changed_keys, nearest};
pub use sections::{
    AdminConfig, ApiConfig, AuthConfig, AuthMode, CacheConfig, ImageFormatConfig, Limits,
    LocationsConfig, LogConfig, LogFormat, NodeConfig, OutboundConfig, ReaperConfig,
    RegistryConfig, StoreConfig, WorkersConfig,
};
pub use unbuilt::{ClusterConfig, ClusterTls, EdgeConfig, UriFilter};

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[api]`
    pub api: ApiConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[registry]`
    pub registry: RegistryConfig,
    /// `[[stores]]`
    pub stores: Vec<StoreConfig>,
    /// `[cache]`
    pub cache: CacheConfig,
    /// `[edge]`
    pub edge: EdgeConfig,
    /// `[limits]`
    pub limits: Limits,
    /// `[image_format]`
    pub image_format: ImageFormatConfig,
    /// `[import]`
    pub import: ImportConfig,
    /// `[locations]`
    pub locations: LocationsConfig,
    /// `[outbound]`
    pub outbound: OutboundConfig,
    /// `[workers]`
    pub workers: WorkersConfig,
    /// `[log]`
    pub log: LogConfig,
    /// What comes from the environment.
    #[serde(skip)]
    pub overrides: Vec<Override>,
    /// The file that it was read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: NodeConfig::default(),
            api: ApiConfig::default(),
            admin: AdminConfig::default(),
            auth: AuthConfig::default(),
            cluster: ClusterConfig::default(),
            registry: RegistryConfig::default(),
            stores: vec![StoreConfig {
                default: true,
                ..StoreConfig::default()
            }],
            cache: CacheConfig::default(),
            edge: EdgeConfig::default(),
            limits: Limits::default(),
            image_format: ImageFormatConfig::default(),
            import: ImportConfig::default(),
            locations: LocationsConfig::default(),
            outbound: OutboundConfig::default(),
            workers: WorkersConfig::default(),
            log: LogConfig::default(),
            overrides: Vec::new(),
            file: None,
        }
    }
}

/// Something wrong, or worth knowing, with one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key in dotted form, or the name of the environment variable.
    pub key: String,
    /// What about it.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }

    /// With the variable that set the key, where one did: the file is not to blame then.
    fn told(mut self, overrides: &[Override]) -> Self {
        let is_of = |set: &&Override| {
            let below = self.key.strip_prefix(&set.key);
            below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
        };
        if let Some(Override { variable, .. }) = overrides.iter().find(is_of) {
            self.message.push_str(&format!(" (set by {variable})"));
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not TOML; the text shows the place.
    #[error("{}: {cause}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: String,
    },
    /// Keys that cannot be taken; never empty.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Config {
    /// Reads the file (none: defaults only), lays the `GLIMPSE_…` variables of `environment` over
    /// it, reads the secrets that are in files, and checks everything. All problems that can be
    /// seen at once are reported at once.
    pub fn load<E>(file: Option<&Path>, environment: E) -> Result<Self, ConfigError>
    where
        E: IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    {
        let mut table = match file {
            Some(path) => read(path)?,
            None => toml::Table::new(),
        };
        let known = schema::known();
        let mut problems = schema::unknown_keys(&known, &table);
        let (overrides, wrong) = environment::overlay(&known, &mut table, environment);
        problems.extend(wrong);
        if !problems.is_empty() {
            return Err(ConfigError::Invalid(problems));
        }
        match Self::of(table) {
            Ok(config) => Ok(Self {
                overrides,
                file: file.map(Path::to_owned),
                ..config
            }),
            Err(problems) => {
                let told = problems.into_iter().map(|problem| problem.told(&overrides));
                Err(ConfigError::Invalid(told.collect()))
            }
        }
    }

    /// What a table says, checked as a file is.
    pub(crate) fn of(table: toml::Table) -> Result<Self, Vec<Problem>> {
        let unknown = schema::unknown_keys(&schema::known(), &table);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let mut config: Self = serde_path_to_error::deserialize(toml::Value::Table(table))
            .map_err(|error| {
                let key = error.path().to_string();
                vec![Problem::new(key, error.into_inner().message())]
            })?;
        let mut problems = config.read_secrets();
        problems.extend(config.read_properties().err());
        config.settle();
        problems.extend(config.problems());
        match problems.is_empty() {
            true => Ok(config),
            false => Err(problems),
        }
    }

    /// Reads the definitions of custom properties.
    fn read_properties(&mut self) -> Result<(), Problem> {
        if let Some(path) = &self.image_format.schema_file {
            self.image_format.properties = Properties::read(path)
                .map_err(|message| Problem::new("image_format.schema_file", message))?;
        }
        Ok(())
    }

    /// Fills in what one key's default takes from another.
    fn settle(&mut self) {
        for store in &mut self.stores {
            if store.kind == "file" && store.path.as_os_str().is_empty() {
                store.path = self.node.data_dir.join("images");
            }
        }
        if self.import.staging_dir.as_os_str().is_empty() {
            self.import.staging_dir = self.node.data_dir.join("staging");
        }
        if let [only] = self.stores.as_mut_slice() {
            only.default = true;
        }
    }

    /// Of a whole node below `root`, small, at ports that are free.
    #[cfg(test)]
    pub(crate) fn for_tests(root: &Path) -> Self {
        let mut config = Self::default();
        config.node.data_dir = root.join("data");
        config.stores[0].path = root.join("data/images");
        config.import.staging_dir = root.join("data/staging");
        config.api.listen = "127.0.0.1:0".to_owned();
        config.admin.listen = "127.0.0.1:0".to_owned();
        config.cache.size = 64 << 20;
        config.limits.drain_timeout = std::time::Duration::from_secs(2);
        config
    }
}

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    text.parse::<toml::Table>().map_err(|cause| {
        // The line itself is not shown: it may hold a password.
        let before = cause
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigError::Syntax {
            path: path.to_owned(),
            cause: format!("line {line}, column {column}: {}", cause.message()),
        }
    })
}
