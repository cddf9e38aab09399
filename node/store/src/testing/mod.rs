//! For tests: the conformance suite that every driver passes, and a disk that loses power and runs
//! out of room (feature `testing`).

mod conformance;
mod sim_disk;

pub use conformance::{collect, conformance, put};
pub use sim_disk::SimDisk;
