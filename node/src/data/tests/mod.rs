//! Tests of the data paths.

mod faults;
mod manifests;
mod pipeline;
mod power_cut;
mod reaper;
mod rig;
mod transfers;
mod wire;
