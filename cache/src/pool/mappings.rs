//! Which file, and where in it, a slice of the pool's memory is mapped from: for those who hand the
//! kernel a place in a file instead of the bytes.

use std::{collections::BTreeMap, fs::File, sync::Arc};

use parking_lot::RwLock;

/// The mapped files of one pool, by their first address. Clones are the same.
#[derive(Clone, Default)]
pub struct Mappings(Arc<RwLock<BTreeMap<usize, Mapping>>>);

struct Mapping {
    len: usize,
    file: Arc<File>,
}

impl Mappings {
    /// The file that the slice is mapped from, and its offset there; `None`: other memory, or a file
    /// that must not be sent from.
    ///
    /// What is sent from the file is what the slice holds: its slot is not filled anew while the
    /// kernel still has bytes of it on their way.
    pub fn file_of(&self, slice: &[u8]) -> Option<(Arc<File>, u64)> {
        // Who has the slice keeps its mapping, which is taken out of here before its memory goes. So
        // an address found here is no other memory that came later.
        let address = slice.as_ptr().addr();
        let mappings = self.0.read();
        let (start, mapping) = mappings.range(..=address).next_back()?;
        let offset = address - start;
        let inside = slice.len() <= mapping.len.checked_sub(offset)?;
        inside.then(|| (Arc::clone(&mapping.file), offset as u64))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// Notes a mapping, which must be removed before its memory goes.
    pub(super) fn insert(&self, memory: *const [u8], file: Arc<File>) {
        let start = memory.cast::<u8>().addr();
        let len = memory.len();
        self.0.write().insert(start, Mapping { len, file });
    }

    /// Forgets a mapping, if it was noted.
    pub(super) fn remove(&self, memory: *const [u8]) {
        self.0.write().remove(&memory.cast::<u8>().addr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_found_in_its_mapping_and_nowhere_else() {
        let files = [1, 2].map(|_| Arc::new(tempfile::tempfile().unwrap()));
        let memory = vec![0_u8; 100];
        let mappings = Mappings::default();
        assert!(mappings.file_of(&memory).is_none());
        // In this order: the later address first.
        mappings.insert(&raw const memory[50..80], Arc::clone(&files[1]));
        mappings.insert(&raw const memory[10..50], Arc::clone(&files[0]));
        let found = |from: usize, to: usize| {
            let (file, offset) = mappings.file_of(&memory[from..to])?;
            let which = files.iter().position(|known| Arc::ptr_eq(known, &file));
            Some((which.unwrap(), offset))
        };
        assert_eq!(found(10, 50), Some((0, 0)));
        assert_eq!(found(12, 20), Some((0, 2)));
        assert_eq!(found(50, 80), Some((1, 0)));
        assert_eq!(found(79, 80), Some((1, 29)));
        for (from, to) in [(0, 10), (9, 12), (12, 51), (79, 81), (80, 81), (0, 100)] {
            assert_eq!(found(from, to), None, "{from}..{to}");
        }
        mappings.remove(&raw const memory[10..50]);
        assert_eq!(found(12, 20), None);
        assert_eq!(found(50, 80), Some((1, 0)));
    }
}
