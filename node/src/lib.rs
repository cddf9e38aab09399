//! The Glimpse node: the Image API, auth and policy, image data in and out, workers, command line.
//! It is the only crate that knows HTTP, the Image API and the configuration file; it joins
//! `registry`, `cache` and `store`, which know nothing of each other.

pub mod admin;
pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data;
pub mod data_dir;
pub mod format;
pub mod http;
pub mod jobs;
pub mod keystone;
pub mod metrics;
pub mod node;
pub mod outbound;
pub mod policy;
pub mod quotas;
pub mod readiness;
pub mod reload;
pub mod serve;
pub mod stores;
pub mod telemetry;
pub mod tls;
pub mod workers;

pub use node::Node;
