//! HTTP origins in processes of their own: nginx where it is installed, and a server that fails on
//! purpose (`tests/origin/fault_origin.py` says how).

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::node::free_port;

/// Origins that serve one folder; ended when dropped.
pub struct Origin {
    folder: TempDir,
    faulty: Child,
    faulty_port: u16,
    nginx: Option<(Child, u16)>,
}

impl Origin {
    /// Starts them.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("glimpse-origin-").tempdir();
        let folder = folder.expect("a folder");
        let files = folder.path().join("www");
        std::fs::create_dir(&files).expect("a folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("origin/fault_origin.py");
        let mut faulty = Command::new("python3")
            .arg(script)
            .arg(&files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut line = String::new();
        let stdout = faulty.stdout.take().expect("its output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its port");
        let faulty_port = line.trim().parse().expect("its port");
        let nginx = start_nginx(folder.path()).await;
        Self {
            folder,
            faulty,
            faulty_port,
            nginx,
        }
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, data: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), data).expect("a file");
    }

    /// Takes it away.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("www").join(name)
    }

    /// Its URL at a server that behaves.
    pub fn url(&self, name: &str) -> String {
        match &self.nginx {
            Some((_, port)) => format!("http://127.0.0.1:{port}/{name}"),
            None => self.faulty("ok", name),
        }
    }

    /// Its URL at the one that fails so.
    pub fn faulty(&self, fault: &str, name: &str) -> String {
        format!("http://127.0.0.1:{}/{fault}/{name}", self.faulty_port)
    }

    /// What the one that fails was asked for.
    pub async fn seen(&self) -> Vec<String> {
        let client = crate::Client::new(&format!("http://127.0.0.1:{}", self.faulty_port));
        let seen = client.get("/seen").await.expect(200).text();
        seen.lines().map(str::to_owned).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let nginx = self.nginx.as_mut().map(|(child, _)| child);
        for child in [Some(&mut self.faulty), nginx].into_iter().flatten() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// None where there is no nginx.
async fn start_nginx(folder: &Path) -> Option<(Child, u16)> {
    let port = free_port();
    let root = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {root}/tmp;"))
        .concat();
    // One process, so that killing it ends all of it.
    let config = format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
         events {{ worker_connections 256; }}
         http {{ access_log off; default_type application/octet-stream; {temporary}
           server {{ listen 127.0.0.1:{port}; root {root}/www; }} }}"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).expect("a file");
    let mut child = Command::new("nginx")
        .arg("-c")
        .arg(&path)
        .args(["-e", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .is_err()
    {
        let ended = child.try_wait().expect("its status");
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "nginx does not start"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Some((child, port))
}
