//! Tests of the data paths.

mod faults;
mod lost;
mod manifests;
mod pipeline;
mod power_cut;
mod reaper;
pub(crate) mod rig;
mod transfers;
mod wire;
