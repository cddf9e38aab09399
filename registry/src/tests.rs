//! Tests of the machine, the tables and the listing, without the group.

mod crash;
mod fixture;
mod listing;
mod model;
mod oracle;
mod rules;
