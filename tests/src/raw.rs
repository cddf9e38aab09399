//! HTTP by hand, for what a proper client refuses to send: no headers at all, half a request, a
//! body slower than anyone should wait for.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a server may take for anything that these tests ask by hand.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends these bytes; false when the other side has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Says that no more will be sent.
    pub async fn end(&mut self) {
        // The other side may have closed before.
        self.stream.shutdown().await.ok();
    }

    /// Reads until the head of an answer is complete; `None` when the connection ends before.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
            {
                let rest = self.received.split_off(end + 4);
                let head = std::mem::replace(&mut self.received, rest);
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.read_some().await {
                return None;
            }
        }
    }

    /// Reads until the other side closes, and returns what came and was not returned before.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.read_some().await {}
        std::mem::take(&mut self.received)
    }

    /// Whether the other side has closed or closes within the harness's patience.
    pub async fn closes(&mut self) -> bool {
        while self.read_some().await {}
        true
    }

    /// Takes a little, after a while: a client that is slow and honest. False once the other side has
    /// closed.
    pub async fn some(&mut self) -> bool {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.read_some().await
    }

    async fn read_some(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match timeout(PATIENCE, self.stream.read(&mut buffer)).await {
            Err(_) => panic!("the server neither answered nor closed within {PATIENCE:?}"),
            Ok(Ok(0) | Err(_)) => false,
            Ok(Ok(count)) => {
                self.received.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

/// One exchange: sends `request` as it is and reads until the server closes. Returns the status,
/// the head in lower case and the body.
pub async fn exchange(address: &str, request: &str) -> (u16, String, Vec<u8>) {
    let mut connection = Raw::connect(address).await;
    connection.send(request).await;
    let head = connection.head().await.expect("an answer");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a status");
    (status, head.to_lowercase(), connection.rest().await)
}
