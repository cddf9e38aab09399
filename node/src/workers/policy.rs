//! Looks at the policy's files and has them read again when they have changed. It polls: what tells
//! of changes (inotify) is silent on network file systems, where policies of many nodes lie.

use std::{sync::Arc, time::Duration};

use super::{Progress, StepError, Worker};
use crate::{app::App, policy::Reread};

/// The worker.
pub struct PolicyReader {
    app: Arc<App>,
    interval: Duration,
}

impl PolicyReader {
    /// Of this node.
    pub fn new(app: Arc<App>) -> Self {
        let interval = app.config.auth.reread_interval;
        Self { app, interval }
    }
}

impl Worker for PolicyReader {
    const NAME: &'static str = "policy";

    async fn step(&mut self) -> Result<Progress, StepError> {
        let policy = Arc::clone(&self.app.policy);
        let reread = tokio::task::spawn_blocking(move || policy.reread()).await;
        let metrics = &self.app.metrics;
        match reread {
            Ok(Reread::Unchanged) => {}
            Ok(Reread::Replaced) => {
                metrics.policy_reloads.inc();
                tracing::info!("the policy was read again: its files have changed");
                for warning in self.app.policy.warnings() {
                    tracing::warn!(key = warning.key, "{}", warning.message);
                }
            }
            Ok(Reread::Kept(cause)) => {
                metrics.policy_reload_failures.inc();
                tracing::error!(
                    cause,
                    "the policy's files have changed and cannot be used: the rules of before hold"
                );
            }
            // The runtime is stopping.
            Err(_) => {}
        }
        metrics.policy_stale.set(self.app.policy.is_stale().into());
        Ok(Progress::Idle)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.interval).await;
    }

    async fn woken(&mut self) {
        std::future::pending().await
    }
}
