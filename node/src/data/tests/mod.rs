//! Tests of the data paths.

mod faults;
mod manifests;
mod pipeline;
mod reaper;
mod rig;
mod transfers;
mod wire;
