//! The Image API v2: one file per resource, each parse → authorize → call → render.
//!
//! `layers` takes a request in, `router` says which resource it asks for, the resource's file
//! answers or fails with an [`error::ApiError`], and `layers` renders, names and logs the answer.

mod access;
mod actions;
mod attribute;
mod authorize;
mod body;
mod cache;
mod caller;
mod cors;
pub mod error;
mod framing;
pub(crate) mod healthcheck;
pub(crate) mod image_data;
mod image_view;
mod images;
mod import;
mod info;
mod layers;
mod list_query;
mod locations;
mod members;
pub mod memory;
mod metadefs;
mod new_image;
mod openapi;
mod patch;
mod placement;
mod precondition;
pub mod properties;
pub(crate) mod protection;
mod router;
mod schema_check;
mod schemas;
mod tags;
mod task_view;
mod tasks;
pub(crate) mod timestamp;
mod versions;

pub use layers::Api as ImageApi;

#[cfg(test)]
mod operations;
#[cfg(test)]
mod tests;
