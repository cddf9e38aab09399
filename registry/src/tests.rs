//! Tests of the machine, the tables and the listing, without the group.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test that gets another answer than it expects fails with it"
)]

mod crash;
mod fixture;
mod golden;
mod handle;
mod listing;
mod lost_answer;
mod metadefs;
mod model;
mod oracle;
mod rules;
mod simulation;
