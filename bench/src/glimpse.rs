//! Our own side: the release binary on a data directory, and the filling of a large registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use glimpse_node::{clock::SystemClock, data_dir::DataDir};
use glimpse_registry::{
    Registry,
    image::{Attributes, ImageId, Visibility},
};
use glimpse_replication::Clock as _;
use tokio::task::JoinSet;

use crate::{
    Options,
    api::Api,
    process::{self, Process},
};

/// A running node.
pub(crate) struct Glimpse {
    pub(crate) process: Process,
    pub(crate) api: Api,
    settings: String,
}

impl Glimpse {
    /// Starts the release binary on `data`, with every setting at its default but the addresses.
    pub(crate) fn start(options: &Options, data: &Path) -> Result<Self> {
        Self::start_with(options, data, "")
    }

    /// The same with more settings, as lines of the configuration.
    pub(crate) fn start_with(options: &Options, data: &Path, settings: &str) -> Result<Self> {
        let port = process::free_port()?;
        let mut glimpse = Self {
            process: spawn(options, data, port, settings)?,
            api: Api::at(port),
            settings: settings.to_owned(),
        };
        glimpse.process.wait_port(port, Duration::from_secs(60))?;
        glimpse.api.get("/versions")?;
        Ok(glimpse)
    }

    /// Kills it, starts it again, and returns the seconds to the first correct answer: that `path`
    /// holds what is `expected`.
    pub(crate) fn restart(
        &mut self,
        options: &Options,
        data: &Path,
        path: &str,
        expected: &[u8],
    ) -> Result<f64> {
        self.process.kill();
        let begin = std::time::Instant::now();
        self.process = spawn(options, data, self.api.port, &self.settings)?;
        self.process
            .wait_port(self.api.port, Duration::from_secs(120))?;
        let answer = self.api.get_bytes(path)?;
        let took = begin.elapsed().as_secs_f64();
        anyhow::ensure!(answer == expected, "other bytes came back");
        Ok(took)
    }
}

fn spawn(options: &Options, data: &Path, port: u16, settings: &str) -> Result<Process> {
    std::fs::create_dir_all(data)?;
    let config = data.with_extension("toml");
    std::fs::write(
        &config,
        format!(
            "[node]\ndata_dir = {data:?}\n[api]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n{settings}",
            process::free_port()?
        ),
    )?;
    let mut command = Command::new(&options.glimpse);
    // The node refuses variables of its prefix that it does not know.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GLIMPSE_") {
            command.env_remove(name);
        }
    }
    command.arg("serve").arg("--config").arg(&config);
    Process::start(command, &data.with_extension("log"))
}

/// A data directory with `count` images, made through the registry itself (the same log and
/// tables as a running node writes); kept for later runs.
pub(crate) fn filled(options: &Options, count: usize) -> Result<PathBuf> {
    filled_as(options, "glimpse", count, OWNERS)
}

/// Projects that images are spread over where a row does not say otherwise.
pub(crate) const OWNERS: usize = 100;

/// The same under a name of its own, for a row that changes it, or has so many `owners`.
pub(crate) fn filled_as(
    options: &Options,
    name: &str,
    count: usize,
    owners: usize,
) -> Result<PathBuf> {
    let data = options.dir.join(format!("{name}-{count}"));
    let done = data.with_extension("filled");
    if done.exists() {
        return Ok(data);
    }
    println!("filling a registry with {count} images");
    let _ = std::fs::remove_dir_all(&data);
    // A first start lays the directory out.
    let mut node = Glimpse::start(options, &data)?;
    node.process.stop();
    fill(&data, count, owners)?;
    std::fs::write(done, b"")?;
    Ok(data)
}

/// Clients that wait for one group commit together.
const FILLERS: usize = 256;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn fill(data: &Path, count: usize, owners: usize) -> Result<()> {
    let clock = SystemClock::default();
    let data = DataDir::open(data, clock.wall())?;
    let replication = glimpse_replication::Config {
        raft_id: data.identity().raft_id,
        bootstrap: false,
        tick: Duration::from_millis(100),
        election_ticks: 10,
        heartbeat_ticks: 1,
        queue: 4096,
        max_batch: 512,
        max_batch_bytes: 8 << 20,
        max_command_bytes: 1 << 20,
        timeout: Duration::from_secs(60),
        checkpoint_bytes: 256 << 20,
        checkpoint_interval: Duration::from_secs(60),
        keep_entries: 0,
        keep_bytes: 0,
        segment_bytes: 16 << 20,
    };
    let config = glimpse_registry::Config {
        dir: data.registry(),
        replication,
        upload_lease: Duration::from_secs(60),
        table_cache_bytes: 512 << 20,
        incarnation: uuid::Uuid::new_v4().as_u128(),
    };
    let registry = Registry::open(config, Arc::new(clock))?;
    let mut running = JoinSet::new();
    for i in 0..count {
        if running.len() >= FILLERS {
            running.join_next().await.context("no filler")???;
        }
        let registry = registry.clone();
        let id = ImageId(*uuid::Uuid::new_v4().as_bytes());
        running.spawn(async move {
            registry
                .create_image(id, attributes(i, count, owners))
                .await
                .map(drop)
                .map_err(anyhow::Error::from)
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    registry.stop().await?;
    Ok(())
}

/// Images that carry all three of the marks that `list-flat` filters by.
pub(crate) const ALL_THREE: usize = 30;

/// Image `i` of `count`: each of three marks is on one in ninety, all three on [`ALL_THREE`].
fn attributes(i: usize, count: usize, owners: usize) -> Attributes {
    let all = i.is_multiple_of(count / ALL_THREE) && i / (count / ALL_THREE) < ALL_THREE;
    let marked = |rest: usize| all || i % 90 == rest;
    let mut properties = BTreeMap::from([("architecture".to_owned(), Some("x86_64".to_owned()))]);
    if marked(1) {
        properties.insert("os_distro".to_owned(), Some("debian".to_owned()));
    }
    if marked(2) {
        properties.insert("hw_disk_bus".to_owned(), Some("scsi".to_owned()));
    }
    Attributes {
        name: Some(format!("image-{i}")),
        visibility: if i.is_multiple_of(4) {
            Visibility::Public
        } else {
            Visibility::Shared
        },
        protected: false,
        os_hidden: false,
        owner: Some(format!("project-{}", i % owners)),
        disk_format: Some("qcow2".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: 0,
        min_ram: 0,
        tags: if marked(3) {
            BTreeSet::from(["golden".to_owned()])
        } else {
            BTreeSet::new()
        },
        properties,
    }
}

/// The query that asks for all three marks.
pub(crate) const THREE_PREDICATES: &str =
    "/v2/images?tag=golden&os_distro=debian&hw_disk_bus=scsi&limit=25";
