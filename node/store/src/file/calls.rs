//! Runs file system calls off the async threads: at most so many at once, and with a time limit.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{Result, StoreError};

/// The gate that every file system call of one store passes.
#[derive(Clone)]
pub(super) struct Calls {
    permits: Arc<Semaphore>,
    timeout: Option<Duration>,
}

impl Calls {
    pub(super) fn new(threads: usize, timeout: Option<Duration>) -> Self {
        let permits = threads.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            timeout,
        }
    }

    /// Runs `work` on a blocking thread. Past the time limit the caller gets an error, while the
    /// call keeps its place: a hung file system holds `threads` threads and no more.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        let call = async {
            let permit = Arc::clone(&self.permits)
                .acquire_owned()
                .await
                .map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                work()
            })
            .await
            .map_err(|_| StoreError::Unavailable("a file system call did not end".into()))?
            .map_err(|error| StoreError::from_io(&error))
        };
        match self.timeout {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let text = "the file system did not answer in time".into();
                Err(StoreError::Unavailable(text))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_fails_its_request_and_keeps_its_place() {
        let calls = Calls::new(1, Some(Duration::from_millis(20)));
        let (release, hung) = mpsc::channel::<()>();
        let first = calls.run(move || {
            let _ = hung.recv();
            Ok(())
        });
        assert!(matches!(first.await, Err(StoreError::Unavailable(_))));
        let second = calls.run(|| Ok(())).await;
        assert!(matches!(second, Err(StoreError::Unavailable(_))));
        drop(release);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while calls.run(|| Ok(())).await.is_err() {
            assert!(
                std::time::Instant::now() < deadline,
                "the place never came free"
            );
        }
    }
}
