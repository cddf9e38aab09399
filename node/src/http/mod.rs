//! Pure functions from HTTP headers to decisions.
