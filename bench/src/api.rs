//! The few Image API calls that set the stage: one request per connection, std only.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// An Image API endpoint on loopback.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    pub(crate) port: u16,
}

impl Api {
    /// Makes a queued image and returns its id.
    pub(crate) fn create(self, name: &str) -> Result<String> {
        let body =
            json!({"name": name, "disk_format": "raw", "container_format": "bare"}).to_string();
        let answer = self.call("POST", "/v2/images", "application/json", body.as_bytes())?;
        let image: Value = serde_json::from_slice(&answer)?;
        Ok(image["id"]
            .as_str()
            .context("no id in the answer")?
            .to_owned())
    }

    pub(crate) fn get(self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.call(
            "GET",
            path,
            "application/json",
            b"",
        )?)?)
    }

    pub(crate) fn get_bytes(self, path: &str) -> Result<Vec<u8>> {
        self.call("GET", path, "", b"")
    }

    pub(crate) fn delete(self, id: &str) -> Result<()> {
        self.call("DELETE", &format!("/v2/images/{id}"), "", b"")
            .map(drop)
    }

    /// Uploads a file as the data of an image.
    pub(crate) fn upload(self, id: &str, file: &Path) -> Result<()> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "PUT /v2/images/{id}/file HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n",
            self.port
        )?;
        std::io::copy(&mut file, &mut stream)?;
        answer(stream).map(drop)
    }

    fn call(self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n",
            self.port
        );
        if !body.is_empty() {
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(body)?;
        answer(stream).with_context(|| format!("{method} {path}"))
    }
}

fn answer(mut stream: TcpStream) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let end = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("an answer without a head")?
        + 4;
    let body = all.split_off(end);
    let head = String::from_utf8_lossy(&all);
    if !head.split(' ').nth(1).is_some_and(|s| s.starts_with('2')) {
        bail!(
            "{}: {}",
            head.lines().next().unwrap_or(""),
            String::from_utf8_lossy(&body)
        );
    }
    Ok(body)
}
