//! The registry: what Glimpse knows of images, as a pure state machine over a replicated log, with
//! redb tables as its state and every index that listing needs.
//!
//! Writing: a [`Registry`] method makes a [`command::Command`], `replication` makes it durable and
//! ordered, [`machine`] decides, [`store`] writes changes and applied index in one transaction, and
//! the [`outcome::Outcome`] comes back. Reading: [`Registry::read`] gives a [`View`] that is at
//! least as new as every write acknowledged before the call.
//!
//! A simulation passes its own clock, log disk and transport as [`glimpse_replication::Seams`], and tables on a file of
//! the same disk ([`store::Store::open_on`]), to [`Registry::start`]; or it drives a [`store::Store`] itself.

mod backend;
pub mod command;
mod encoding;
mod expr;
pub mod image;
mod list;
pub mod machine;
pub mod metadef;
mod metadef_tables;
pub mod outcome;
mod plan;
mod postings;
pub mod query;
mod record_cache;
mod registry;
mod snapshot;
pub mod status;
pub mod store;
mod tables;
pub mod task;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use glimpse_replication::{Fault, Unavailable};

use crate::outcome::Rejection;
pub use crate::{encoding::RECORD_FORMAT, registry::Registry, tables::TABLE_FORMAT, view::View};

/// Why a registry call has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The machine refused the command: the same everywhere, final.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// No answer now; a write may still be applied later (it will be applied once at most).
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The local tables failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Settings of the registry.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the log and the tables.
    pub dir: std::path::PathBuf,
    /// The group below.
    pub replication: glimpse_replication::Config,
    /// How long an upload stays alive without a sign of life, in the log's time.
    pub upload_lease: std::time::Duration,
    /// Bytes of redb's page cache. Decoded records take up to a fifth of that again, mostly far less.
    pub table_cache_bytes: usize,
    /// This process: random, never used before.
    pub incarnation: u128,
}

/// Why the registry does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The group or its log.
    #[error(transparent)]
    Replication(#[from] glimpse_replication::StartError),
    /// A file or directory.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The tables.
    #[error("tables: {0}")]
    Tables(String),
    /// The tables are of a format that this program does not know; untouched.
    #[error("table format version {found} is unknown (this program knows {known})")]
    Format {
        /// On disk.
        found: u32,
        /// Known.
        known: u32,
    },
}

/// A command as it stands in the log; for those who drive a [`store::Store`] without a [`Registry`].
pub fn encode_command(envelope: &command::Envelope) -> Result<Vec<u8>, Fault> {
    encoding::encode_envelope(envelope)
}
