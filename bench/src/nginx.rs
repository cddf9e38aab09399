//! The peer for serving: nginx with sendfile, one worker for the one CPU of a pinned run.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    api::Api,
    process::{self, Process},
};

/// nginx over the files of one folder.
pub(crate) struct Nginx {
    pub(crate) process: Process,
    pub(crate) api: Api,
}

impl Nginx {
    /// Installs and starts it.
    pub(crate) fn start(dir: &Path, root: &Path) -> Result<Self> {
        process::install("nginx", &["nginx-light"])?;
        let dir = dir.join("nginx");
        std::fs::create_dir_all(&dir)?;
        let (port, d, root) = (process::free_port()?, dir.display(), root.display());
        let config = format!(
            "user root; worker_processes 1; daemon off; pid {d}/pid; error_log {d}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream; keepalive_requests 1000000000;
  client_body_temp_path {d}/t1; proxy_temp_path {d}/t2; fastcgi_temp_path {d}/t3; uwsgi_temp_path {d}/t4; scgi_temp_path {d}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command
            .arg("-e")
            .arg(dir.join("error.log"))
            .arg("-c")
            .arg(&file);
        let mut process = Process::start(command, &dir.join("log"))?;
        process.wait_port(port, Duration::from_secs(10))?;
        Ok(Self {
            process,
            api: Api::at(port),
        })
    }
}
