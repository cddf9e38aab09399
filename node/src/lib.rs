//! The Glimpse node: the Image API, auth and policy, image data in and out, workers, command line.
//! It is the only crate that knows HTTP, the Image API and the configuration file; it joins
//! `registry`, `cache` and `store`, which know nothing of each other.

pub mod api;
pub mod app;
pub mod auth;
pub mod config;
pub mod data;
pub mod format;
pub mod http;
pub mod metrics;
pub mod policy;
pub mod workers;
