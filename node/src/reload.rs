//! `SIGHUP`, `glimpse reload` and `POST /reload` of the admin listener: the configuration is read
//! again; what can change does, and what cannot is named. All or nothing: with anything wrong, all
//! stays as it was.

use serde::Serialize;

use crate::{
    app::App,
    config::{Config, ConfigError, Problem, changed_keys, is_live},
    policy::{PolicyError, Sources},
    serve::open_files,
    telemetry,
};

/// What a reload has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Keys whose new values hold now.
    pub applied: Vec<String>,
    /// Keys that have changed since the start and need a restart.
    pub restart: Vec<String>,
    /// What is insecure or without effect about what holds now.
    pub warnings: Vec<Problem>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration cannot be read or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The policy's files or the property protections.
    #[error("{}: {_0}", .0.key())]
    Policy(#[from] PolicyError),
    /// The log's level.
    #[error("log.level: {0}")]
    Log(String),
    /// What could change now fits only together with what cannot.
    #[error("only after a restart: {_0}")]
    Together(Problem),
    /// Each change keeps a little memory.
    #[error("the configuration was changed too often since the start: restart the node")]
    TooOften,
}

/// Reads everything again. Blocks on the disk. Says in the log what it did.
///
/// # Errors
/// See [`ReloadError`]; then nothing has changed.
pub fn reload(app: &App) -> Result<Reloaded, ReloadError> {
    // One at a time.
    let _reloading = app.reloading.lock();
    let done = attempt(app);
    match &done {
        Ok(Reloaded {
            applied, restart, ..
        }) => {
            tracing::info!(
                applied = applied.join(", "),
                "the configuration was reloaded"
            );
            for key in restart {
                tracing::warn!(key, "has changed and needs a restart");
            }
        }
        Err(cause) => {
            tracing::error!(%cause, "the configuration is not reloaded: all is as it was")
        }
    }
    done
}

fn attempt(app: &App) -> Result<Reloaded, ReloadError> {
    let mut new = Config::load(app.config.file.as_deref(), std::env::vars_os())?;
    open_files::fit(&mut new);
    let changed = changed_keys(&app.config, &new);
    let next = app.config.with_live_keys_of(&new);
    if let Some(problem) = next.problems().into_iter().next() {
        return Err(ReloadError::Together(problem));
    }
    telemetry::parse_level(&next.log.level).map_err(ReloadError::Log)?;
    let (applied, restart): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| is_live(key));
    // The last thing that may fail; read again even where no key has changed.
    app.policy.replace(Sources::of(&next.auth))?;
    app.metrics.policy_reloads.inc();
    telemetry::change(&next.log);
    if !applied.is_empty() && !app.config.replace(next) {
        return Err(ReloadError::TooOften);
    }
    // A pair that cannot be used was refused with the rest, above.
    if let Some(certificate) = &app.certificate {
        certificate.reload_and_say();
    }
    Ok(Reloaded {
        applied,
        restart,
        warnings: app.warnings(),
    })
}
