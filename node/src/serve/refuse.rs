//! What a connection past the bound gets: a short 503, without a parser and without a task that
//! could pile up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

use super::{SAY_EVERY, Sparse};
use crate::api::error::RETRY_AFTER_SECONDS;

/// Refused connections that are lingered for at most; past that they are closed at once.
const AT_ONCE: usize = 64;

/// For one refusal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of the refused request that are read away at most.
const REQUEST_BYTES: u64 = 64 << 10;

const TEXT: &str = "Too many connections. Try again shortly.";

/// The refusals of one listener.
pub(super) struct Refusals {
    answer: String,
    lingering: Arc<Semaphore>,
    said: Sparse,
}

impl Default for Refusals {
    fn default() -> Self {
        let length = TEXT.len();
        Self {
            answer: format!(
                "HTTP/1.1 503 Service Unavailable\r\n\
                 content-type: text/plain\r\n\
                 content-length: {length}\r\n\
                 retry-after: {RETRY_AFTER_SECONDS}\r\n\
                 connection: close\r\n\r\n{TEXT}"
            ),
            lingering: Arc::new(Semaphore::new(AT_ONCE)),
            said: Sparse::new(SAY_EVERY),
        }
    }
}

impl Refusals {
    /// Counts one refusal; gives how many there were since the log last spoke of them, if it should
    /// speak now.
    pub(super) fn say(&mut self, now: Instant) -> Option<u64> {
        self.said.say(now)
    }

    /// Answers 503 and closes. The answer fits the empty buffer of a new socket, so writing it
    /// never waits. Then the request is read away where there is room for that: closing a socket
    /// with unread bytes resets it, and the client may lose the answer.
    pub(super) fn answer(&mut self, mut stream: TcpStream) {
        // A peer that is gone needs no answer.
        let _ = socket2::SockRef::from(&stream).send(self.answer.as_bytes());
        let Ok(permit) = Arc::clone(&self.lingering).try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let rest = async {
                stream.shutdown().await?;
                tokio::io::copy(
                    &mut (&mut stream).take(REQUEST_BYTES),
                    &mut tokio::io::sink(),
                )
                .await
            };
            // Whatever happens to it, the connection is over.
            let _ = tokio::time::timeout(PATIENCE, rest).await;
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_one_line_a_minute_that_counts_them() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        assert_eq!(refusals.say(begin), Some(1));
        for second in 0..60 {
            assert_eq!(refusals.say(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(refusals.say(begin + SAY_EVERY), Some(61));
        assert_eq!(refusals.say(begin + SAY_EVERY), None);
    }
}
