//! A web server that tests fetch from, and that fails as it is told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What the server does.
#[derive(Clone)]
pub struct Page {
    /// The data at every path.
    pub data: Bytes,
    /// Whether it says its length; else it sends chunks.
    pub length: bool,
    /// The first so many answers break off half way.
    pub cuts: usize,
    /// Another status than success.
    pub status: Option<u16>,
    /// Where it sends everybody.
    pub redirect: Option<String>,
}

impl Page {
    /// Data with its length, without a fault.
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self {
            data: data.into(),
            length: true,
            cuts: 0,
            status: None,
            redirect: None,
        }
    }
}

/// The server, on loopback; it ends when dropped.
pub struct Web {
    /// Its port.
    pub port: u16,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Web {
    /// Starts it.
    pub async fn serve(page: Page) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let page = page.clone();
                // A client that leaves is its own business.
                tokio::spawn(async move { drop(answer(connection, page, number).await) });
            }
        });
        Self { port, asked, task }
    }

    /// A URL of it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/image", self.port)
    }

    /// Connections that came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut connection: TcpStream, page: Page, number: usize) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut out = String::new();
    if let Some(to) = page.redirect {
        out.push_str(&format!(
            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
        ));
        return connection.write_all(out.as_bytes()).await;
    }
    if let Some(status) = page.status {
        out.push_str(&format!(
            "HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"
        ));
        return connection.write_all(out.as_bytes()).await;
    }
    let from = head.lines().find_map(|line| {
        line.strip_prefix("range: bytes=")?
            .split('-')
            .next()?
            .parse()
            .ok()
    });
    let total = page.data.len();
    let data = page.data.slice(from.unwrap_or(0)..);
    out.push_str(match from {
        Some(_) => "HTTP/1.1 206 Partial Content\r\n",
        None => "HTTP/1.1 200 OK\r\n",
    });
    if let Some(from) = from {
        let last = total.saturating_sub(1);
        out.push_str(&format!("content-range: bytes {from}-{last}/{total}\r\n"));
    }
    out.push_str("etag: \"one\"\r\nconnection: close\r\n");
    match page.length {
        true => out.push_str(&format!("content-length: {}\r\n\r\n", data.len())),
        false => out.push_str("transfer-encoding: chunked\r\n\r\n"),
    }
    connection.write_all(out.as_bytes()).await?;
    let cut = number < page.cuts;
    let sent = match cut {
        true => data.slice(..data.len() / 2),
        false => data,
    };
    for piece in sent.chunks(64 << 10) {
        if !page.length {
            let size = format!("{:x}\r\n", piece.len());
            connection.write_all(size.as_bytes()).await?;
        }
        connection.write_all(piece).await?;
        if !page.length {
            connection.write_all(b"\r\n").await?;
        }
    }
    if !page.length && !cut {
        connection.write_all(b"0\r\n\r\n").await?;
    }
    connection.shutdown().await
}
