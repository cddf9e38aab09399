//! Background work: one trait, one runner, one file per worker.
