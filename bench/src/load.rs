//! The load generator: one thread, one epoll set, keep-alive connections (opened again when the
//! server closes them), bounded in time.
//!
//! Bodies are taken with `recv(MSG_TRUNC)`: the kernel drops the data without copying it, so the
//! client costs little and the figure is the server's.

use std::{
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{event::epoll, net::RecvFlags};

use crate::{api::Api, process};

/// What to ask, again and again.
pub(crate) enum Ask {
    /// The same request.
    Same(String),
    /// `GET` of random aligned ranges of `len` bytes within `size`.
    Ranges { path: String, len: u64, size: u64 },
    /// One of these paths by turns.
    Paths(Vec<String>),
    /// `POST` of this body to a path, as JSON.
    Post { path: String, body: String },
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) requests_per_second: f64,
    /// CPU seconds of the server.
    pub(crate) server_cpu: f64,
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
}

impl Figures {
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.server_cpu / self.requests as f64
    }

    pub(crate) fn cpu_per_gib(&self) -> f64 {
        self.server_cpu / (self.bytes as f64 / f64::from(1u32 << 30))
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the body still to come; `None`: the head has not come.
    left: Option<u64>,
    closes: bool,
}

/// Loads `api` over `connections` for `seconds`, counting the CPU of `server` (a pid).
pub(crate) fn load(
    server: u32,
    api: Api,
    connections: usize,
    seconds: f64,
    ask: &Ask,
) -> Result<Figures> {
    let address = SocketAddr::from(([127, 0, 0, 1], api.port));
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut asker = Asker {
        ask,
        api,
        state: 0x9E37_79B9_7F4A_7C15,
    };
    let mut scratch = vec![0u8; 1 << 20];
    let mut all = Vec::new();
    let cpu = process::cpu_seconds(server);
    let begin = Instant::now();
    for index in 0..connections {
        all.push(open(&poll, index, address, &mut asker)?);
    }
    let (mut requests, mut bytes) = (0u64, 0u64);
    let mut events = vec![
        epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0)
        };
        256
    ];
    let end = begin + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let count = epoll::wait(&poll, events.as_mut_slice(), Some(&timeout))?;
        for event in events.iter().take(count) {
            let index = usize::try_from(event.data.u64())?;
            let connection = all.get_mut(index).context("an event of nobody")?;
            if let Some(took) = advance(connection, &mut scratch)? {
                bytes += took.bytes;
                if took.finished {
                    requests += 1;
                    if connection.closes {
                        *connection = open(&poll, index, address, &mut asker)?;
                    } else {
                        connection.left = None;
                        connection.stream.write_all(asker.next().as_bytes())?;
                    }
                }
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Figures {
        requests_per_second: requests as f64 / seconds,
        server_cpu: process::cpu_seconds(server) - cpu,
        requests,
        bytes,
    })
}

fn open(
    poll: &impl std::os::fd::AsFd,
    index: usize,
    address: SocketAddr,
    asker: &mut Asker<'_>,
) -> Result<Connection> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(asker.next().as_bytes())?;
    stream.set_nonblocking(true)?;
    epoll::add(
        poll,
        &stream,
        epoll::EventData::new_u64(index as u64),
        epoll::EventFlags::IN,
    )?;
    Ok(Connection {
        stream,
        left: None,
        closes: false,
    })
}

struct Took {
    bytes: u64,
    finished: bool,
}

/// Takes what has come; `None` when nothing has.
fn advance(connection: &mut Connection, scratch: &mut [u8]) -> Result<Option<Took>> {
    let mut left = match connection.left {
        Some(left) => left,
        None => {
            // Peek, so that exactly the head is taken and the body stays for MSG_TRUNC.
            let room = scratch.len().min(16 << 10);
            let got = match connection.stream.peek(&mut scratch[..room]) {
                Ok(0) => bail!("the server closed a connection before it answered"),
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            let Some(end) = scratch[..got]
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .map(|p| p + 4)
            else {
                return Ok(None);
            };
            let head = String::from_utf8_lossy(&scratch[..end]).to_ascii_lowercase();
            if !head.split(' ').nth(1).is_some_and(|s| s.starts_with('2')) {
                bail!("the server answered {}", head.lines().next().unwrap_or(""));
            }
            connection.closes = head.contains("\r\nconnection: close");
            rustix::net::recv(&connection.stream, &mut scratch[..end], RecvFlags::empty())?;
            match head.lines().find_map(|l| l.strip_prefix("content-length:")) {
                Some(length) => length.trim().parse()?,
                None => bail!("an answer without Content-Length"),
            }
        }
    };
    let mut bytes = 0;
    if left > 0 {
        let want = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(scratch.len());
        match rustix::net::recv(&connection.stream, &mut scratch[..want], RecvFlags::TRUNC) {
            Ok((_, 0)) => bail!("the server broke off a body"),
            Ok((_, got)) => bytes = got as u64,
            Err(e) if e == rustix::io::Errno::AGAIN => {}
            Err(e) => return Err(e.into()),
        }
        left -= bytes;
    }
    connection.left = Some(left);
    Ok(Some(Took {
        bytes,
        finished: left == 0,
    }))
}

struct Asker<'a> {
    ask: &'a Ask,
    api: Api,
    state: u64,
}

impl Asker<'_> {
    fn next(&mut self) -> String {
        // xorshift
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let Api { port, headers } = self.api;
        match self.ask {
            Ask::Same(path) => {
                format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n")
            }
            Ask::Ranges { path, len, size } => {
                let start = self.state % (size / len) * len;
                format!(
                    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Range: bytes={start}-{}\r\n\r\n",
                    start + len - 1
                )
            }
            Ask::Paths(paths) => {
                let path = &paths[usize::try_from(self.state % paths.len() as u64).unwrap_or(0)];
                format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n")
            }
            Ask::Post { path, body } => format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        }
    }
}
