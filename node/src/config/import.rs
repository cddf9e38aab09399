//! `[import]`: how image data comes in by other ways than one upload (image-api 3).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    unbuilt::UriFilter,
    values::{self, strings},
};

/// The import methods that are built.
pub(super) const METHODS: [&str; 3] = ["glance-direct", "web-download", "copy-image"];

/// The plugins that are built.
pub(super) const PLUGINS: [&str; 4] = [
    "no_op",
    "inject_image_metadata",
    "image_conversion",
    "image_decompression",
];

/// `[import]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportConfig {
    /// Import methods that are offered.
    pub methods: Vec<String>,
    /// Plugins that run, in order.
    pub plugins: Vec<String>,
    /// Where staged data lies. Empty in the file means `staging` below the data directory.
    pub staging_dir: PathBuf,
    /// Bytes of staged data at most.
    #[serde(with = "values::size")]
    pub staging_size: u64,
    /// Tasks that run at once.
    pub concurrent_jobs: usize,
    /// Tasks that run or wait at most.
    pub max_jobs: usize,
    /// Stores that one import fills at once; a copy fills one after the other.
    pub max_parallel_stores: usize,
    /// How often a running task says how far it is.
    #[serde(with = "values::duration")]
    pub progress_interval: Duration,
    /// A task that gave no sign of life for so long loses its image to the next one.
    #[serde(with = "values::duration")]
    pub lock_timeout: Duration,
    /// How long the record of a task stays after its end.
    #[serde(with = "values::duration")]
    pub task_time_to_live: Duration,
    /// `[import.inject]`
    pub inject: InjectConfig,
    /// `[import.decompression]`
    pub decompression: DecompressionConfig,
    /// `[import.conversion]`
    pub conversion: ConversionConfig,
    /// Where imports may fetch from.
    pub uri_filter: UriFilter,
}

/// `[import.inject]`: plugin `inject_image_metadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InjectConfig {
    /// `name=value`
    pub properties: Vec<String>,
    /// Images of callers with one of these roles are left as they are.
    pub ignore_user_roles: Vec<String>,
}

impl Default for InjectConfig {
    fn default() -> Self {
        Self {
            properties: Vec::new(),
            ignore_user_roles: strings(&["admin"]),
        }
    }
}

impl InjectConfig {
    /// The properties; those that are the service's are left out (image-api 3.4).
    pub fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.properties
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| !name.starts_with("os_glance"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }
}

/// `[import.decompression]`: plugin `image_decompression`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecompressionConfig {
    /// Bytes that come of each compressed one at most, past 64 MiB; 0: any.
    pub max_ratio: u64,
    /// How long it may take.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
}

impl Default for DecompressionConfig {
    fn default() -> Self {
        Self {
            max_ratio: 1100,
            timeout: Duration::from_secs(3600),
        }
    }
}

/// `[import.conversion]`: plugin `image_conversion`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConversionConfig {
    /// raw | qcow2 | vmdk
    pub output_format: String,
    /// `qemu-img`: a name or a path.
    pub program: String,
    /// Processor time of one conversion.
    #[serde(with = "values::duration")]
    pub cpu_time: Duration,
    /// Bytes of its address space.
    #[serde(with = "values::size")]
    pub memory: u64,
    /// How long it may take.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
}

impl Default for ConversionConfig {
    fn default() -> Self {
        Self {
            output_format: "raw".to_owned(),
            program: "qemu-img".to_owned(),
            cpu_time: Duration::from_secs(3600),
            memory: 2 << 30,
            timeout: Duration::from_secs(3 * 3600),
        }
    }
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self {
            methods: strings(&METHODS),
            plugins: Vec::new(),
            staging_dir: PathBuf::new(),
            staging_size: 100 << 30,
            concurrent_jobs: 4,
            max_jobs: 1024,
            max_parallel_stores: 1,
            progress_interval: Duration::from_secs(15),
            lock_timeout: Duration::from_secs(3600),
            task_time_to_live: Duration::from_secs(48 * 3600),
            inject: InjectConfig::default(),
            decompression: DecompressionConfig::default(),
            conversion: ConversionConfig::default(),
            uri_filter: UriFilter::default(),
        }
    }
}

impl ImportConfig {
    /// Whether the method is offered.
    pub fn offers(&self, method: &str) -> bool {
        self.methods.iter().any(|offered| offered == method)
    }
}
