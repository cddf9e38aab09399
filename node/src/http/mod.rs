//! Pure functions from HTTP headers to decisions.

pub mod conditional;
pub mod range;
