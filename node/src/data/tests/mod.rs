//! Tests of the data paths.

mod faults;
mod lost;
mod manifests;
mod pipeline;
mod power_cut;
mod read_only;
mod reaper;
pub(crate) mod rig;
mod transfers;
mod wire;
