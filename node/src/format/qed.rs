//! QEMU's QED: known only to be refused; it can have a backing file and nobody supports it.

use super::{Format, Found, Violation, header::Header};

pub(super) fn format() -> Box<dyn Format> {
    Header::boxed("qed", 0, 512, b"QED\0", |_| {
        Some(
            Found::of_unknown_size()
                .checked(Err(Violation::new("banned", "this format is not allowed"))),
        )
    })
}
