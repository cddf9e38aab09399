//! Every metric of the node: names, meaning and registration in one place.

/// The metrics of one node.
#[derive(Debug, Default)]
pub struct Metrics {}
