//! The Image API v2: one file per resource, each parse → authorize → call → render.

pub mod error;
pub mod image_data;
