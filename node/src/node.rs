//! The running node: its parts are built in order, run, and are stopped in reverse.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use glimpse_cache::Mappings;
use glimpse_replication::Clock as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin,
    api::{ImageApi, memory::Memory},
    app::App,
    auth::{Auth, keystone::Tokens},
    cli::surroundings,
    clock::{self, SystemClock},
    config::{Config, Live, Override, RegistryConfig},
    data::{slots::Slots, staging::Staging},
    data_dir::{DataDir, DataDirError},
    metrics::Metrics,
    outbound::{self, Outbound},
    policy::{Policy, PolicyError, Remote, Sources},
    quotas::Quotas,
    readiness::Disks,
    reload,
    serve::{self, Counters, Drained, Server, Settings},
    stores::StoreRefused,
    telemetry,
    tls::{Certificate, TlsError},
    workers::{self, WorkersHandle},
};

/// A part of the start that takes so long has a line of its own in the log.
const WORTH_SAYING: Duration = Duration::from_secs(1);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The registry.
    #[error("registry in {}: {cause}{}", dir.display(), next_step(cause))]
    Registry {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        cause: glimpse_registry::OpenError,
    },
    /// The pool or the manifests.
    #[error("cache: {0}")]
    Cache(#[from] glimpse_cache::Error),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreRefused),
    /// The policy's files, or those of property protections.
    #[error("{}: {_0}", .0.key())]
    Policy(PolicyError),
    /// What is to ask the servers that the policy names.
    #[error("{0}")]
    Remote(String),
    /// Staging.
    #[error("import.staging_dir: {0}")]
    Staging(String),
    /// The client of the identity service.
    #[error(transparent)]
    Keystone(#[from] crate::keystone::SetupError),
    /// The certificate of the API listener.
    #[error("api.tls: {0}")]
    Tls(#[from] TlsError),
    /// A listener.
    #[error("{key} ({address}): {cause}")]
    Listen {
        /// The key with the address.
        key: &'static str,
        /// The address.
        address: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A part's start was broken off.
    #[error("the start was broken off: {0}")]
    Aborted(#[from] tokio::task::JoinError),
}

/// What to do about a registry that does not open.
fn next_step(cause: &glimpse_registry::OpenError) -> &'static str {
    use glimpse_registry::OpenError;
    use glimpse_replication::StartError as Group;
    match cause {
        OpenError::Tables(_) | OpenError::Replication(Group::Damaged(_) | Group::Fault(_)) => {
            "; nothing was repaired or made anew: if the disk is in order, put a backup in its place \
             (README.md, \"Back up and restore\") and keep a copy of what is there"
        }
        OpenError::Format { .. } | OpenError::Replication(Group::Format { .. }) => {
            "; nothing was touched: start a version of this program that knows it"
        }
        OpenError::Io { .. } | OpenError::Replication(Group::Io(_) | Group::Config(_)) => "",
    }
}

/// Why a node that ran has ended other than as told.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The registry's disk or program failed.
    #[error("the registry has failed: {0}")]
    Faulted(String),
    /// A part could not be ended in order; what was acknowledged is durable all the same.
    #[error("{part} did not stop in order: {cause}")]
    Stop {
        /// Which one.
        part: &'static str,
        /// Why.
        cause: String,
    },
}

/// A node that serves.
pub struct Node {
    app: Arc<App>,
    api: Running,
    admin: Option<Running>,
    workers: WorkersHandle,
    stopping: CancellationToken,
    /// Held until everything else has ended.
    data_dir: DataDir,
}

/// A listener at work.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Running {
    fn start(
        server: Server,
        service: impl serve::Service,
        mappings: Mappings,
        stop: CancellationToken,
    ) -> Self {
        Self {
            address: server.address(),
            task: tokio::spawn(server.run(service, mappings, stop.clone())),
            stop,
        }
    }
}

impl Node {
    /// Builds the parts in order and starts serving. The configuration must be one without
    /// [`Config::problems`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        let clock = SystemClock::default();
        // The lock first: a second start is told who holds the directory, not which port is taken.
        let data_dir = DataDir::open(&config.node.data_dir, clock.wall())?;
        // Then the addresses, before a large registry is opened. Connections wait in the kernel
        // until the node serves.
        let metrics = Arc::new(Metrics::new());
        metrics
            .node_start
            .set(i64::try_from(clock.wall().as_secs()).unwrap_or(0));
        let certificate = match config.api.tls.files() {
            Some((cert, key)) => Some(Arc::new(Certificate::open(cert, key)?)),
            None => None,
        };
        let mut api = bind(
            "api.listen",
            &config.api.listen,
            Settings::api(&config.limits),
            Counters::api(&metrics),
        )?;
        if let Some(certificate) = &certificate {
            api = api.with_tls(Arc::clone(certificate), config.api.tls.handshake_timeout);
        }
        let admin = match config.admin.listen.as_str() {
            "" => None,
            listen => Some(bind(
                "admin.listen",
                listen,
                Settings::admin(&config.admin, &config.limits),
                Counters::default(),
            )?),
        };
        let (app, data_dir) = tokio::task::spawn_blocking(move || {
            build(config, metrics, clock, certificate, &data_dir).map(|app| (app, data_dir))
        })
        .await??;
        let stopping = CancellationToken::new();
        let admin = admin.map(|server| {
            let routes = Admin {
                app: Arc::clone(&app),
                identity: data_dir.identity().clone(),
                api: api.address(),
                data_dir: data_dir.root().to_owned(),
                started,
                stopping: stopping.clone(),
                disks: Disks::of(&app.config).and(&app.stores),
            };
            Running::start(
                server,
                routes.router(),
                Mappings::default(),
                CancellationToken::new(),
            )
        });
        tokio::spawn(clock::watch(app.registry.clone(), stopping.clone()));
        if let Some(certificate) = app.certificate.clone() {
            let interval = app.config.api.tls.reload_interval;
            tokio::spawn(certificate.watch(interval, stopping.clone()));
        }
        let workers = workers::spawn_all(&app, &stopping);
        let service = ImageApi::new(Arc::clone(&app));
        let mappings = app.cache.mappings().clone();
        let api = Running::start(api, service, mappings, stopping.clone());
        let node = Self {
            app,
            api,
            admin,
            workers,
            stopping,
            data_dir,
        };
        node.announce(started.elapsed());
        Ok(node)
    }

    /// Where the API listens.
    pub fn api_address(&self) -> SocketAddr {
        self.api.address
    }

    /// Where the admin listener listens, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Says where it listens, where data lives, and what is insecure about the settings.
    fn announce(&self, took: Duration) {
        let identity = self.data_dir.identity();
        tracing::info!(
            api = %self.api.address,
            admin = self.admin_address().map(tracing::field::display),
            data_dir = %absolute(self.data_dir.root()),
            cluster.id = identity.cluster_id,
            raft.id = identity.raft_id,
            version = env!("CARGO_PKG_VERSION"),
            took_ms = took.as_millis() as u64,
            "serving"
        );
        for Override { key, variable } in &self.app.config.overrides {
            tracing::info!(key, variable, "overridden by the environment");
        }
        for warning in self.app.warnings() {
            tracing::warn!(key = warning.key, "{}", warning.message);
        }
        let pool = self.app.config.cache.size;
        if let Some(message) = surroundings::size(self.data_dir.root(), pool) {
            tracing::warn!(key = "cache.size", "{message}");
        }
    }

    /// Serves until `shutdown` resolves or the registry faults; then stops everything in reverse.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let fault = tokio::select! {
            () = shutdown => None,
            cause = self.app.registry.faulted() => Some(cause),
        };
        match &fault {
            None => tracing::info!(
                seconds = self.app.config.limits.drain_timeout.as_secs(),
                "stopping: running transfers may take so long to end (limits.drain_timeout)"
            ),
            Some(cause) => tracing::error!(cause, "stopping: the registry has failed"),
        }
        let stopped = self.stop().await;
        match fault {
            Some(cause) => Err(RunError::Faulted(cause)),
            None => stopped,
        }
    }

    /// Stops in reverse: no new connections, running transfers, workers, registry, cache. Every
    /// part is stopped, whatever another one says; the first error is returned. Transfers get
    /// `limits.drain_timeout`, and all that comes after them together once more as long, the
    /// registry at least half of that.
    async fn stop(self) -> Result<(), RunError> {
        let patience = self.app.config.limits.drain_timeout;
        self.stopping.cancel();
        let mut result = Ok(());
        match self.api.task.await {
            Ok(Drained { cut: 0 }) => {}
            Ok(Drained { cut }) => {
                tracing::warn!(cut, "connections were cut: limits.drain_timeout is over");
            }
            Err(cause) => note(&mut result, "the API listener", cause),
        }
        let deadline = tokio::time::Instant::now() + patience;
        let half = patience / 2;
        let (settled, workers) = tokio::join!(
            self.app.data.settle(half),
            tokio::time::timeout(half, self.workers.stopped())
        );
        if !settled {
            tracing::warn!("uploads are still being given up; the reaper resolves them");
        }
        if let Err(late) = workers {
            note(&mut result, "the workers", late);
        }
        match tokio::time::timeout_at(deadline, self.app.registry.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => note(&mut result, "the registry", cause),
            Err(late) => note(&mut result, "the registry", late),
        }
        let cache = Arc::clone(&self.app.cache);
        let app = Arc::clone(&self.app);
        let checkpoint = tokio::task::spawn_blocking(move || {
            let saved = app.data.cached.save();
            saved.unwrap_or_else(|cause| tracing::warn!(cause, "hits of cached images are lost"));
            cache.checkpoint()
        });
        match tokio::time::timeout_at(deadline, checkpoint).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(cause))) => note(&mut result, "the cache", cause),
            Ok(Err(cause)) => note(&mut result, "the cache", cause),
            Err(late) => note(&mut result, "the cache", late),
        }
        if let Some(admin) = self.admin {
            admin.stop.cancel();
            if let Err(cause) = admin.task.await {
                note(&mut result, "the admin listener", cause);
            }
        }
        tracing::info!("stopped");
        result
    }
}

/// Logs an error at the stop and keeps the first one.
fn note(result: &mut Result<(), RunError>, part: &'static str, cause: impl std::fmt::Display) {
    tracing::error!(part, %cause, "did not stop in order");
    if result.is_ok() {
        *result = Err(RunError::Stop {
            part,
            cause: cause.to_string(),
        });
    }
}

fn bind(
    key: &'static str,
    listen: &str,
    settings: Settings,
    counters: Counters,
) -> Result<Server, StartError> {
    let failed = |cause| StartError::Listen {
        key,
        address: listen.to_owned(),
        cause,
    };
    let address = listen
        .parse()
        .map_err(|_| failed(std::io::ErrorKind::InvalidInput.into()))?;
    Server::bind(address, settings, counters).map_err(failed)
}

/// Opens what blocks: cache, stores, registry.
fn build(
    config: Config,
    metrics: Arc<Metrics>,
    clock: SystemClock,
    certificate: Option<Arc<Certificate>>,
    data_dir: &DataDir,
) -> Result<Arc<App>, StartError> {
    let policy = Arc::new(build_policy(&config, &metrics)?);
    let auth = Auth::new(&config.auth, &metrics)?;
    // Before the log is touched: a pool of another format stops the start.
    glimpse_cache::check_pool(&data_dir.cache())?;
    let manifests = Arc::new(glimpse_cache::Manifests::open(data_dir.manifests())?);
    let known_roots = data_dir.store_roots()?;
    let (stores, roots) = timed("the stores", || {
        crate::stores::open(&config, &known_roots, data_dir)
    })?;
    let staging = open_staging(&config, data_dir)?;
    let pool = cache_config(&config, data_dir);
    let registry = registry_config(&config, data_dir);
    // Side by side: neither needs the other, and a large pool takes as long as a large registry.
    let (cache, registry) = std::thread::scope(|scope| {
        let cache = scope.spawn(|| {
            timed("the cache and its index", || {
                glimpse_cache::Cache::open(pool)
            })
        });
        let registry = timed("the registry: tables and replay of the log", || {
            glimpse_registry::Registry::open(registry, Arc::new(clock))
        });
        (cache.join(), registry)
    });
    let cache = cache.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let registry = registry.map_err(|cause| StartError::Registry {
        dir: data_dir.registry(),
        cause,
    })?;
    // Before the first write is acknowledged: from now on a registry that is gone is lost.
    data_dir.keep_registry()?;
    if roots != known_roots {
        data_dir.keep_store_roots(&roots)?;
    }
    let data = crate::data::DataState::new(&config.cache, data_dir.root());
    let app = App {
        outbound: Arc::new(Outbound::new(&config, outbound::Tls::default())),
        quotas: Quotas::new(&config, auth.tokens().map(Tokens::keystone)),
        auth,
        upload_slots: Slots::for_uploads(&config),
        download_slots: Slots::for_downloads(&config),
        memory: Memory::new(config.limits.json_memory),
        config: Live::new(config),
        reloading: Mutex::default(),
        registry,
        cache,
        manifests,
        stores,
        staging,
        policy,
        metrics,
        certificate,
        data,
    };
    Ok(Arc::new(app))
}

fn open_staging(config: &Config, data_dir: &DataDir) -> Result<Staging, StartError> {
    let dir = &config.import.staging_dir;
    let keep_free = match crate::stores::same_file_system(dir, data_dir.root()) {
        true => config.node.keep_free,
        false => 0,
    };
    Staging::open(
        dir,
        &data_dir.identity().cluster_id,
        config.import.staging_size,
        keep_free,
        config.limits.reserve_step,
    )
    .map_err(StartError::Staging)
}

/// Does one part of the start, and says so if that took its time.
fn timed<T>(part: &'static str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    let took = begun.elapsed();
    if took >= WORTH_SAYING {
        tracing::info!(part, took_ms = took.as_millis() as u64, "opened");
    }
    done
}

/// Compiles the policy: the defaults with the rules of the files over them.
fn build_policy(config: &Config, metrics: &Metrics) -> Result<Policy, StartError> {
    let failures = metrics.policy_remote_failures.clone();
    let remote = Remote::new(&config.auth.remote, failures).map_err(StartError::Remote)?;
    let policy = Policy::load(Sources::of(&config.auth)).map_err(StartError::Policy)?;
    Ok(policy.asking(remote))
}

fn cache_config(config: &Config, data_dir: &DataDir) -> glimpse_cache::Config {
    glimpse_cache::Config {
        dir: data_dir.cache(),
        size: config.cache.size,
        keep_free: config.cache.keep_free,
        sendfile: config.cache.sendfile,
        max_fills: config.cache.max_fills,
        audit_interval: config.cache.audit_interval,
        residency_interval: config.cache.residency_interval,
        unpooled_size: config.cache.unpooled_memory,
        unpooled_wait: config.cache.unpooled_wait,
    }
}

fn registry_config(config: &Config, data_dir: &DataDir) -> glimpse_registry::Config {
    let RegistryConfig {
        kind: _,
        url: _,
        password_file: _,
        queue,
        max_batch,
        max_batch_size,
        max_command_size,
        timeout,
        tick,
        election_ticks,
        heartbeat_ticks,
        checkpoint_size,
        checkpoint_interval,
        keep_entries,
        keep_size,
        segment_size,
        table_cache,
    } = config.registry;
    glimpse_registry::Config {
        dir: data_dir.registry(),
        replication: glimpse_replication::Config {
            raft_id: data_dir.identity().raft_id,
            bootstrap: !data_dir.has_registry(),
            tick,
            election_ticks,
            heartbeat_ticks,
            queue,
            max_batch,
            max_batch_bytes: max_batch_size,
            max_command_bytes: max_command_size,
            timeout,
            checkpoint_bytes: checkpoint_size,
            checkpoint_interval,
            keep_entries,
            keep_bytes: keep_size,
            segment_bytes: segment_size,
        },
        upload_lease: config.limits.upload_lease,
        table_cache_bytes: table_cache,
        incarnation: rand::random(),
    }
}

/// For people: relative to nothing.
fn absolute(path: &std::path::Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

/// Serves until SIGTERM or SIGINT. A second signal ends the process at once; one during the start
/// takes effect when it is done. SIGHUP has the configuration read again.
pub async fn serve(
    mut config: Config,
    log: Arc<telemetry::Guard>,
) -> Result<(), Box<dyn std::error::Error>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    serve::open_files::fit(&mut config);
    let (first, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut first = Some(first);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            match first.take() {
                Some(first) => {
                    let _ = first.send(());
                }
                None => {
                    tracing::error!("told again: ending at once");
                    log.flush(Duration::from_secs(1));
                    std::process::exit(1);
                }
            }
        }
    });
    let node = Node::start(config)
        .await
        .inspect_err(|cause| tracing::error!(%cause, "the node does not start"))?;
    let app = Arc::clone(&node.app);
    let hangups = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let app = Arc::clone(&app);
            // Which says in the log what came of it.
            drop(tokio::task::spawn_blocking(move || reload::reload(&app)).await);
        }
    });
    let ended = node.run(async {
        let _ = told.await;
    });
    let ended = ended.await;
    hangups.abort();
    ended?;
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod unit_tests;
