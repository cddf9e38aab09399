//! The few Image API calls that set the stage: one request per connection, std only.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// An HTTP endpoint on loopback, the Image API but for nginx, and who asks it.
#[derive(Clone, Copy)]
pub(crate) struct Api {
    pub(crate) port: u16,
    /// Lines of each request's head that say who asks, each with its CRLF.
    pub(crate) headers: &'static str,
}

impl Api {
    /// Asked by nobody in particular.
    pub(crate) const fn at(port: u16) -> Self {
        Self { port, headers: "" }
    }

    /// The same endpoint, asked with these lines in each head. They are few, and kept for good.
    pub(crate) fn with(self, headers: String) -> Self {
        Self {
            headers: headers.leak(),
            ..self
        }
    }

    /// Makes a queued raw image and returns its id.
    pub(crate) fn create(self, name: &str) -> Result<String> {
        self.create_as(name, "raw")
    }

    /// Makes a queued image of a disk format and returns its id.
    pub(crate) fn create_as(self, name: &str, format: &str) -> Result<String> {
        let body =
            json!({"name": name, "disk_format": format, "container_format": "bare"}).to_string();
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
            "PUT /v2/images/{id}/file HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{}Connection: close\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n",
            self.port, self.headers
        )?;
        std::io::copy(&mut file, &mut stream)?;
        answer(stream).map(drop)
    }

    /// Has the image fetch its data from `url`, and waits until it is active.
    pub(crate) fn web_download(self, id: &str, url: &str) -> Result<()> {
        let body = json!({"method": {"name": "web-download", "uri": url}}).to_string();
        let path = format!("/v2/images/{id}/import");
        self.call("POST", &path, "application/json", body.as_bytes())?;
        let end = Instant::now() + Duration::from_secs(300);
        let mut last = Value::Null;
        while Instant::now() < end {
            last = self.get(&format!("/v2/images/{id}"))?;
            match last["status"].as_str() {
                Some("active") => return Ok(()),
                Some("importing") => std::thread::sleep(Duration::from_millis(5)),
                // Not begun yet, or failed.
                Some("queued") if self.last_task(id)? != "failure" => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => break,
            }
        }
        let tasks = self.get(&format!("/v2/images/{id}/tasks"))?;
        bail!("the import did not end well: {last} {tasks}")
    }

    /// How the image's task is.
    fn last_task(self, id: &str) -> Result<String> {
        let tasks = self.get(&format!("/v2/images/{id}/tasks"))?;
        let status = tasks["tasks"][0]["status"].as_str();
        Ok(status.unwrap_or_default().to_owned())
    }

    fn call(self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Vec<u8>> {
        Ok(self.exchange(method, path, kind, body)?.1)
    }

    /// Head and body of an answer that is a success.
    pub(crate) fn exchange(
        self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<(String, Vec<u8>)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{}Connection: close\r\n",
            self.port, self.headers
        );
        if !body.is_empty() {
            head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(body)?;
        answer(stream).with_context(|| format!("{method} {path}"))
    }
}

fn answer(mut stream: TcpStream) -> Result<(String, Vec<u8>)> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let end = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("an answer without a head")?
        + 4;
    let body = all.split_off(end);
    let head = String::from_utf8_lossy(&all).into_owned();
    if !head.split(' ').nth(1).is_some_and(|s| s.starts_with('2')) {
        bail!(
            "{}: {}",
            head.lines().next().unwrap_or(""),
            String::from_utf8_lossy(&body)
        );
    }
    Ok((head, body))
}
