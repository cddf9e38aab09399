//! What the pool holds, asked and changed by who manages it and not by a read: nothing here counts
//! for who leaves next.

use super::Pool;
use crate::chunk::ChunkName;

impl Pool {
    /// How many of these chunks are held, repeated ones as often as they stand there.
    pub(crate) fn count_held(&self, names: &[ChunkName]) -> usize {
        let state = self.state.read();
        names
            .iter()
            .filter(|name| state.by_name.contains_key(name))
            .count()
    }

    /// The names of all chunks that are held.
    pub(crate) fn names(&self) -> Vec<ChunkName> {
        self.state.read().by_name.keys().copied().collect()
    }

    /// Forgets a chunk: its bytes in the pool, if it was held. Who reads it reads on.
    pub(crate) fn forget(&self, name: ChunkName) -> Option<u32> {
        let removed = {
            let mut state = self.state.write();
            let number = *state.by_name.get(&name)?;
            state.remove(number, &self.free)?
        };
        let len = removed.1.held().len;
        self.note_removed(Some(removed));
        Some(len)
    }
}
