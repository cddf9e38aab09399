//! `[import]`: how image data comes in by other ways than one upload (image-api 3).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    unbuilt::UriFilter,
    values::{self, strings},
};

/// The import methods that are built.
pub(super) const METHODS: [&str; 3] = ["glance-direct", "web-download", "copy-image"];

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
    /// Where imports may fetch from.
    pub uri_filter: UriFilter,
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
