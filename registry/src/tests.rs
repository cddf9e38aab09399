//! Tests of the machine, the tables and the listing, without the group.
