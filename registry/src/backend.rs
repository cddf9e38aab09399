//! redb's storage on the seam that the log uses, so that one simulated disk holds both and a power
//! cut hits both. Reads take turns; a real node lets redb open its file itself.

use std::io;

use glimpse_replication::disk::File;
use parking_lot::Mutex;
use redb::StorageBackend;

/// A file of [`glimpse_replication::disk`] for redb.
pub(crate) struct OnFile(Mutex<Box<dyn File>>);

impl OnFile {
    pub(crate) fn new(file: Box<dyn File>) -> Self {
        Self(Mutex::new(file))
    }
}

impl std::fmt::Debug for OnFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnFile").finish_non_exhaustive()
    }
}

impl StorageBackend for OnFile {
    fn len(&self) -> io::Result<u64> {
        self.0.lock().len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.lock().read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().write_at(offset, data)
    }
}
