//! A node without its listener: a real registry, a real cache and a real file store, with the
//! handlers called as the router calls them.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use glimpse_cache::{Cache, Manifests};
use glimpse_registry::{
    Registry,
    image::{Attributes, ImageId, Visibility},
    status::Status,
};
use glimpse_store::{Store, file::FileStore};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    api::{error::ApiError, image_data, memory::Memory},
    app::{App, NamedStore, Stores},
    auth::Auth,
    auth::Context,
    config::{AuthMode, Config, Live, ReaperConfig},
    data::{DataState, slots::Slots, staging::Staging},
    metrics::Metrics,
    outbound::{self, Outbound},
    policy::Policy,
    quotas::Quotas,
    workers::reaper::Reaper,
};

pub(super) const MIB: usize = 1 << 20;

/// The host's, and seconds that it has jumped ahead.
struct Clock(Instant, Arc<AtomicU64>);

impl glimpse_replication::Clock for Clock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
    fn wall(&self) -> Duration {
        let jump = Duration::from_secs(self.1.load(Ordering::SeqCst));
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + jump
    }
}

/// A node without its listener.
pub(crate) struct Rig {
    pub(crate) app: Arc<App>,
    pub(super) dir: TempDir,
    /// Seconds that the wall clock is ahead.
    pub(super) jump: Arc<AtomicU64>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::over(|store| store, change)
    }

    /// With the file store behind something else.
    pub(super) fn over(
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::open(TempDir::new().unwrap(), wrap, change)
    }

    /// The next process on the same directory, with the plain file store.
    pub(super) async fn restart(self) -> Self {
        self.restart_over(|store| store).await
    }

    /// The same with the file store behind something else.
    pub(super) async fn restart_over(
        self,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Self {
        Self::open(self.stop().await, wrap, |_| {})
    }

    /// Ends the process; the directory stays.
    pub(super) async fn stop(self) -> TempDir {
        let Self { app, dir, jump: _ } = self;
        assert!(app.data.settle(Duration::from_secs(30)).await);
        app.registry.stop().await.unwrap();
        dir
    }

    fn open(
        dir: TempDir,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::named("local", dir, wrap, change)
    }

    /// With the store under another name.
    pub(super) fn named(
        store: &str,
        dir: TempDir,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config();
        change(&mut config);
        let file = glimpse_store::file::Config::new(dir.path().join("images"));
        let local = named_store(store, wrap(Arc::new(FileStore::open(file).unwrap())));
        let jump = Arc::new(AtomicU64::new(0));
        let clock = Arc::new(Clock(Instant::now(), Arc::clone(&jump)));
        let registry = registry_config(&dir, &config);
        let registry = Registry::open(registry, clock).unwrap();
        Self {
            jump,
            ..Self::assemble(dir, config, registry, local, 64 << 20)
        }
    }

    /// Of these parts, with cache and manifests in the directory.
    pub(super) fn assemble(
        dir: TempDir,
        config: Config,
        registry: Registry,
        store: NamedStore,
        cache_bytes: u64,
    ) -> Self {
        let cache = glimpse_cache::Config {
            dir: dir.path().join("cache"),
            size: cache_bytes,
            keep_free: 0,
            sendfile: config.cache.sendfile,
            max_fills: 4,
            audit_interval: config.cache.audit_interval,
            residency_interval: config.cache.residency_interval,
            unpooled_size: config.cache.unpooled_memory,
            unpooled_wait: config.cache.unpooled_wait,
        };
        let data = DataState::new(&config.cache, dir.path());
        let metrics = Arc::new(Metrics::default());
        let app = App {
            outbound: Arc::new(Outbound::new(&config, outbound::Tls::default())),
            quotas: Quotas::new(&config, None),
            auth: Auth::new(&config.auth, &metrics).unwrap(),
            upload_slots: Slots::for_uploads(&config),
            download_slots: Slots::for_downloads(&config),
            memory: Memory::new(config.limits.json_memory),
            config: Live::new(config),
            reloading: parking_lot::Mutex::default(),
            registry,
            cache: Cache::open(cache).unwrap(),
            manifests: Arc::new(Manifests::open(dir.path().join("manifests")).unwrap()),
            stores: Stores {
                default: store.name.clone(),
                by_name: [(store.name.clone(), store)].into(),
            },
            staging: Staging::open(&dir.path().join("staging"), "test", 1 << 30, 0, MIB as u64)
                .unwrap(),
            policy: Arc::new(Policy::defaults()),
            metrics,
            certificate: None,
            data,
        };
        Self {
            app: Arc::new(app),
            dir,
            jump: Arc::default(),
        }
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.app.stores.get("local").unwrap().store.as_ref()
    }

    pub(super) async fn image(&self) -> ImageId {
        self.image_of("p", Visibility::Private).await
    }

    pub(super) async fn image_of(&self, owner: &str, visibility: Visibility) -> ImageId {
        let id = ImageId::from_random(rand::random());
        let attributes = attributes(owner, visibility);
        self.app
            .registry
            .create_image(id, attributes)
            .await
            .unwrap();
        id
    }

    pub(super) async fn put(
        &self,
        id: ImageId,
        body: impl Into<Body>,
    ) -> Result<Response, ApiError> {
        self.put_as(&member("p"), id, &[], body).await
    }

    pub(super) async fn put_as(
        &self,
        context: &Context,
        id: ImageId,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Response, ApiError> {
        let mut request = Request::put("/").body(body.into()).unwrap();
        let map = request.headers_mut();
        map.insert(
            header::CONTENT_TYPE,
            "application/octet-stream".parse().unwrap(),
        );
        add(map, headers);
        image_data::upload(&self.app, context, &id.to_string(), request).await
    }

    pub(super) async fn get(
        &self,
        id: ImageId,
        headers: &[(&str, &str)],
    ) -> Result<Response, ApiError> {
        self.read_as(&member("p"), Method::GET, id, "/", headers)
            .await
    }

    pub(super) async fn read_as(
        &self,
        context: &Context,
        method: Method,
        id: ImageId,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Body::empty())
            .unwrap();
        add(request.headers_mut(), headers);
        image_data::download(&self.app, context, &id.to_string(), request).await
    }

    pub(super) async fn status(&self, id: ImageId) -> Option<Status> {
        let view = self.app.registry.read().await.unwrap();
        view.image(id).unwrap().map(|image| image.status)
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path().join("images"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// Nothing of an upload is left: no bytes, no row, no reservation; and the next one works.
    pub(super) async fn assert_untouched(&self, id: ImageId, what: &str) {
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "{what}");
        let view = self.app.registry.read().await.unwrap();
        assert_eq!(view.uploads(None, 10).unwrap(), [], "{what}");
        assert_eq!(view.usage("p").unwrap(), (0, 0), "{what}");
        let image = view.image(id).unwrap().unwrap();
        assert_eq!(image.status, Status::Queued, "{what}");
        assert_eq!(image.size, None, "{what}");
        assert_eq!(image.checksum, None, "{what}");
        drop(view);
        assert_eq!(
            self.get(id, &[]).await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
        // The task lets go of its slot after it has answered.
        self.until(what, async || self.app.upload_slots.running() == 0)
            .await;
    }

    /// Waits for `holds`.
    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds().await {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn reaper(&self) -> Reaper {
        let config = ReaperConfig {
            orphan_grace: Duration::ZERO,
            sweep_interval: Duration::ZERO,
            ..ReaperConfig::default()
        };
        Reaper::new(Arc::clone(&self.app), config)
    }
}

/// The settings of a node that is tested.
pub(super) fn config() -> Config {
    let mut config = Config::default();
    // Callers are of several projects.
    config.auth.mode = AuthMode::TrustedHeaders;
    config.limits.image_size_cap = 1 << 30;
    config.limits.upload_idle_timeout = Duration::from_secs(60);
    config.limits.upload_lease = Duration::from_secs(300);
    config.limits.reserve_step = MIB as u64;
    config.limits.concurrent_uploads = 8;
    config.limits.concurrent_downloads = 8;
    config
}

pub(super) fn registry_config(dir: &TempDir, config: &Config) -> glimpse_registry::Config {
    glimpse_registry::Config {
        dir: dir.path().join("registry"),
        replication: glimpse_replication::Config {
            raft_id: 1,
            bootstrap: true,
            tick: Duration::from_millis(10),
            election_ticks: 10,
            heartbeat_ticks: 2,
            queue: 1024,
            max_batch: 64,
            max_batch_bytes: MIB,
            max_command_bytes: MIB,
            timeout: Duration::from_secs(10),
            checkpoint_bytes: 64 << 20,
            checkpoint_interval: Duration::from_secs(60),
            keep_entries: 0,
            keep_bytes: 0,
            segment_bytes: 1 << 20,
        },
        upload_lease: config.limits.upload_lease,
        table_cache_bytes: 8 << 20,
        incarnation: rand::random(),
    }
}

pub(super) fn named_store(name: &str, store: Arc<dyn Store>) -> NamedStore {
    NamedStore {
        name: name.to_owned(),
        description: String::new(),
        weight: 0,
        store,
    }
}

/// Of a raw image.
pub(crate) fn attributes(owner: &str, visibility: Visibility) -> Attributes {
    Attributes {
        name: None,
        visibility,
        protected: false,
        os_hidden: false,
        owner: Some(owner.to_owned()),
        disk_format: Some("raw".to_owned()),
        container_format: Some("docker".to_owned()),
        min_disk: 0,
        min_ram: 0,
        tags: BTreeSet::new(),
        properties: std::collections::BTreeMap::new(),
    }
}

pub(super) fn add(map: &mut HeaderMap, headers: &[(&str, &str)]) {
    for (name, value) in headers {
        let name: header::HeaderName = name.parse().unwrap();
        map.insert(name, value.parse().unwrap());
    }
}

pub(super) fn member(project: &str) -> Context {
    person(project, &["member", "reader"], false)
}

pub(crate) fn person(project: &str, roles: &[&str], is_admin: bool) -> Context {
    Context {
        user_id: Some("u".to_owned()),
        project_id: Some(project.to_owned()),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        is_admin,
        ..Context::default()
    }
}

pub(super) fn random(seed: u64, length: usize) -> Bytes {
    let mut data = vec![0; length];
    StdRng::seed_from_u64(seed).fill(data.as_mut_slice());
    data.into()
}

/// A body that is fed by the test; dropping the sender cuts it.
pub(super) fn fed() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Some(data) => Some((Ok(data), receiver)),
            None => Some((Err("cut"), receiver)),
        }
    });
    (sender, Body::from_stream(frames))
}

/// A body that is fed by the test; dropping the sender ends it well.
pub(super) fn open() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let frames = stream::poll_fn(move |cx| {
        receiver
            .poll_recv(cx)
            .map(|data| data.map(Ok::<_, Infallible>))
    });
    (sender, Body::from_stream(frames))
}

/// A body without a length.
pub(super) fn chunked(data: &Bytes) -> Body {
    let pieces: Vec<_> = data
        .chunks(100_000)
        .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
        .collect();
    Body::from_stream(stream::iter(pieces))
}

pub(super) async fn bytes(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

pub(super) fn refused(result: Result<Response, ApiError>) -> (u16, String) {
    let error = result.expect_err("it was accepted");
    (error.status.as_u16(), error.message)
}
