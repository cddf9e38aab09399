//! For tests: the conformance suite that every driver passes, and a disk that loses power and runs
//! out of room (feature `testing`).

#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite fails by panicking, wherever it is built"
)]
mod conformance;
mod sim_disk;

pub use conformance::{collect, conformance, put, read_only};
pub use sim_disk::SimDisk;
