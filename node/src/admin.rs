//! The admin listener: `/metrics`, `/live`, `/ready` with reasons, `/status`, and
//! `POST /reload`, by which nothing comes in but what the operator's own files say.
//!
//! It is separate from the API, on loopback by default, and has connections of its own: it answers
//! while the API is at its bounds and while it drains.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{app::App, config::Problem, data_dir::Identity, readiness::Disks};

/// A node whose handler panicked is not ready for so long: long enough to be seen, and short enough
/// that one request which panics everywhere does not take every node away for good.
const PANIC_MEMORY: Duration = Duration::from_secs(60);

/// What the admin routes speak of.
pub struct Admin {
    /// The node's parts.
    pub app: Arc<App>,
    /// Who it is.
    pub identity: Identity,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where data lives.
    pub data_dir: PathBuf,
    /// When it began.
    pub started: Instant,
    /// Cancelled when it has begun to stop.
    pub stopping: CancellationToken,
    /// Where it writes.
    pub disks: Disks,
}

/// What `/status` says, and `glimpse status` shows.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// `node.name`
    pub name: String,
    /// Of this program.
    pub version: &'static str,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where data lives.
    pub data_dir: PathBuf,
    /// Of the data directory.
    pub cluster_id: String,
    /// Of the data directory.
    pub raft_id: u64,
    /// Why it is not ready; empty: it is.
    pub not_ready: Vec<String>,
    /// The replicated log.
    pub registry: RegistryStatus,
    /// The pool.
    pub cache: CacheStatus,
    /// Connections and transfers.
    pub load: Load,
    /// What is insecure or without effect about the settings.
    pub warnings: Vec<Problem>,
}

/// Of the replicated log.
#[derive(Debug, Clone, Serialize)]
pub struct RegistryStatus {
    /// Raft term.
    pub term: u64,
    /// Raft id of the leader; 0: none known.
    pub leader: u64,
    /// Last committed index.
    pub committed: u64,
    /// Last applied index.
    pub applied: u64,
    /// Last index durable in the tables.
    pub durable: u64,
    /// First index in the log.
    pub first: u64,
    /// Images.
    pub images: u64,
}

/// Of the pool.
#[derive(Debug, Clone, Serialize)]
pub struct CacheStatus {
    /// Slots in all.
    pub slots: u64,
    /// Slots in use.
    pub used_slots: u64,
    /// Chunks found.
    pub hits: u64,
    /// Chunks filled.
    pub misses: u64,
    /// Slots and source chunks found damaged.
    pub corrupt: u64,
}

/// What goes on, with its bounds.
#[derive(Debug, Clone, Serialize)]
pub struct Load {
    /// Open connections.
    pub connections: i64,
    /// `limits.connections`
    pub max_connections: usize,
    /// Uploads in progress.
    pub uploads: usize,
    /// `limits.concurrent_uploads`
    pub max_uploads: usize,
    /// Downloads in progress.
    pub downloads: usize,
    /// `limits.concurrent_downloads`
    pub max_downloads: usize,
}

impl Admin {
    /// Why the node must not be sent requests now.
    pub async fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.disks.reasons().await;
        if self.stopping.is_cancelled() {
            reasons.push("the node is stopping".to_owned());
        }
        let registry = self.app.registry.status();
        if let Some(cause) = registry.stopped {
            reasons.push(format!("the registry has stopped: {cause}"));
        } else if registry.leader == 0 {
            reasons.push("the registry has no leader".to_owned());
        }
        if self.app.metrics.panicked_lately(PANIC_MEMORY) {
            reasons.push("a handler panicked less than a minute ago; see the log".to_owned());
        }
        reasons
    }

    /// Everything.
    fn status(&self, not_ready: Vec<String>) -> Status {
        let config = &self.app.config;
        let registry = self.app.registry.status();
        let cache = self.app.cache.stats();
        let images = self.app.registry.read_local().image_count();
        let limits = &config.limits;
        Status {
            name: config.node.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            api: self.api,
            data_dir: self.data_dir.clone(),
            cluster_id: self.identity.cluster_id.clone(),
            raft_id: self.identity.raft_id,
            not_ready,
            registry: RegistryStatus {
                term: registry.term,
                leader: registry.leader,
                committed: registry.committed,
                applied: registry.applied,
                durable: registry.durable,
                first: registry.first,
                images,
            },
            cache: CacheStatus {
                slots: cache.slots,
                used_slots: cache.used_slots,
                hits: cache.hits,
                misses: cache.misses,
                corrupt: cache.corrupt_slots + cache.corrupt_sources,
            },
            load: Load {
                connections: self.app.metrics.http_connections.get(),
                max_connections: limits.connections,
                uploads: self.app.upload_slots.running(),
                max_uploads: limits.concurrent_uploads,
                downloads: self.app.download_slots.running(),
                max_downloads: limits.concurrent_downloads,
            },
            warnings: self.app.warnings(),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/live", get(async || "alive\n"))
            .route("/ready", get(ready))
            .route("/status", get(status))
            .route("/reload", post(reload))
            .with_state(Arc::new(self))
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    // Observing reads the tables and /proc: not for the threads that serve.
    let text = tokio::task::spawn_blocking(move || {
        admin.app.metrics.observe(&admin.app);
        admin.app.metrics.encode()
    });
    match text.await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    #[derive(Serialize)]
    struct Ready {
        ready: bool,
        reasons: Vec<String>,
    }
    let reasons = admin.not_ready().await;
    let ready = reasons.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &Ready { ready, reasons })
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let not_ready = admin.not_ready().await;
    match tokio::task::spawn_blocking(move || admin.status(not_ready)).await {
        Ok(status) => json(StatusCode::OK, &status),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    #[derive(Serialize)]
    struct Refused {
        error: String,
    }
    match tokio::task::spawn_blocking(move || crate::reload::reload(&admin.app)).await {
        Ok(Ok(done)) => json(StatusCode::OK, &done),
        Ok(Err(cause)) => {
            let error = cause.to_string();
            json(StatusCode::BAD_REQUEST, &Refused { error })
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (status, [(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
