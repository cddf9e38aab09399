//! A format that is told by one region of fixed place and length.

use super::{Format, Found, Step, capture::Region};

/// Most formats are this.
pub(super) struct Header {
    name: &'static str,
    magic: &'static [u8],
    region: Region,
    parse: Parse,
}

/// Reads the complete region: `None` if it is not of the format.
type Parse = fn(&[u8]) -> Option<Found>;

impl Header {
    /// A format whose region, at `start`, begins with `magic`. A stream that ends within the region
    /// is still of the format, and refused: QEMU opens such files, as if zeros followed.
    /// An empty `magic` leaves it all to `parse`, and a stream that ends within is not of it.
    pub(super) fn boxed(
        name: &'static str,
        start: u64,
        length: usize,
        magic: &'static [u8],
        parse: Parse,
    ) -> Box<dyn Format> {
        Box::new(Self {
            name,
            magic,
            region: Region::new(start, length),
            parse,
        })
    }
}

impl Format for Header {
    fn name(&self) -> &'static str {
        self.name
    }

    fn update(&mut self, at: u64, piece: &[u8]) -> Step {
        self.region.take(at, piece);
        let data = self.region.data();
        let seen = self.magic.len().min(data.len());
        if data.get(..seen) != self.magic.get(..seen) {
            return Step::NotThis;
        }
        if !self.region.is_complete() {
            return Step::More;
        }
        match (self.parse)(data) {
            Some(found) => Step::This(found),
            None => Step::NotThis,
        }
    }

    fn finish(&mut self) -> Option<Found> {
        let recognized = !self.magic.is_empty() && self.region.data().starts_with(self.magic);
        recognized.then(Found::cut_short)
    }

    fn held(&self) -> usize {
        self.region.data().len()
    }
}
