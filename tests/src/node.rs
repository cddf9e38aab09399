//! A node in a process of its own: configured, started, killed, restarted.

use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;
use toml::{Table, Value};

use crate::{Client, Persona, Raw};

/// How long anything may take that a test waits for. Long, since it is met only by failures.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node puts into a store's folder beside objects.
pub const MARKER: &str = ".glimpse-store";

/// What a node is to be started with.
pub struct Setup {
    dir: TempDir,
    config: Table,
    environment: Vec<(String, String)>,
    program: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// A node as by default, but with its data in a folder of its own and a small pool.
    pub fn new() -> Self {
        Self::below_folder(&std::env::temp_dir())
    }

    /// The same beside the tests' program: the temporary directory may be memory, from where the pool
    /// sends nothing.
    pub fn on_disk() -> Self {
        let program = std::env::current_exe().expect("a program");
        Self::below_folder(program.parent().expect("its folder"))
    }

    fn below_folder(folder: &Path) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("glimpse-test-")
            .tempdir_in(folder)
            .expect("a folder");
        let mut store = Table::new();
        store.insert("name".into(), "local".into());
        store.insert("type".into(), "file".into());
        store.insert("path".into(), path_value(&dir.path().join("images")));
        store.insert("default".into(), true.into());
        let mut config = Table::new();
        config.insert("stores".into(), Value::Array(vec![Value::Table(store)]));
        let setup = Self {
            dir,
            config,
            environment: Vec::new(),
            program: Vec::new(),
        };
        let data = path_value(&setup.dir.path().join("data"));
        setup.set("node.data_dir", data).set("cache.size", "64MiB")
    }

    /// A node with the configuration of that text, but for where it listens and keeps its data.
    pub fn of_file(dir: TempDir, text: &str) -> Self {
        let mut config: Table = text.parse().expect("TOML");
        if let Some(Value::Table(api)) = config.get_mut("api") {
            api.remove("listen");
        }
        let setup = Self {
            dir,
            config,
            environment: Vec::new(),
            program: Vec::new(),
        };
        let data = path_value(&setup.dir.path().join("data"));
        setup.set("node.data_dir", data)
    }

    /// A node that believes identity headers.
    pub fn trusted() -> Self {
        Self::new().set("auth.mode", "trusted-headers")
    }

    /// Sets a key by its dotted name.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.put(key, value.into());
        self
    }

    fn put(&mut self, key: &str, value: Value) {
        let mut parts: Vec<&str> = key.split('.').collect();
        let last = parts.pop().expect("a key");
        let mut table = &mut self.config;
        for part in parts {
            table = table
                .entry(part)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .expect("a table");
        }
        table.insert(last.to_owned(), value);
    }

    /// Sets a key of the first store.
    pub fn store(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.put_store(key, value.into());
        self
    }

    fn put_store(&mut self, key: &str, value: Value) {
        let stores = self.config.get_mut("stores").and_then(Value::as_array_mut);
        let first = stores
            .and_then(|all| all.first_mut())
            .and_then(Value::as_table_mut);
        first.expect("a store").insert(key.to_owned(), value);
    }

    /// Adds a file store of that name.
    pub fn more_stores(mut self, name: &str) -> Self {
        let mut store = Table::new();
        store.insert("name".into(), name.into());
        store.insert("type".into(), "file".into());
        store.insert("path".into(), path_value(&self.dir.path().join(name)));
        let stores = self.config.get_mut("stores").and_then(Value::as_array_mut);
        stores.expect("stores").push(Value::Table(store));
        self
    }

    /// Adds an http store of that name, and lets URLs of loopback pass the filter.
    pub fn http_store(self, name: &str) -> Self {
        let mut setup = self
            .set("import.uri_filter.allowed_hosts", vec!["127.0.0.1"])
            .set("import.uri_filter.allowed_ports", Vec::<Value>::new());
        let mut store = Table::new();
        store.insert("name".into(), name.into());
        store.insert("type".into(), "http".into());
        let stores = setup.config.get_mut("stores").and_then(Value::as_array_mut);
        stores.expect("stores").push(Value::Table(store));
        setup
    }

    /// Sets a key of the store that was added last.
    pub fn last_store(mut self, key: &str, value: impl Into<Value>) -> Self {
        let stores = self.config.get_mut("stores").and_then(Value::as_array_mut);
        let last = stores
            .and_then(|all| all.last_mut())
            .and_then(Value::as_table_mut);
        last.expect("a store").insert(key.to_owned(), value.into());
        self
    }

    /// Sets a variable of the node's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the node below another program (`prlimit --nofile=64`).
    pub fn below(mut self, program: &[&str]) -> Self {
        self.program = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// The folder that holds everything of this node.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Node {
        let mut node = Node {
            api: free_port(),
            admin: free_port(),
            setup: self,
            process: None,
        };
        node.restart().await;
        node
    }

    /// Starts it and expects it to end by itself.
    pub async fn refused(self) -> Refusal {
        let mut node = Node {
            api: free_port(),
            admin: free_port(),
            setup: self,
            process: None,
        };
        node.spawn();
        let status = node.wait_for_exit().await;
        Refusal {
            code: status.code(),
            output: node.log(),
            node,
        }
    }
}

/// A start that was refused.
pub struct Refusal {
    /// The exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub output: String,
    /// The node, which can be configured and started again.
    pub node: Node,
}

/// A running node, or one that was stopped and can be started again. Killed when dropped; its log
/// is printed when the test fails.
pub struct Node {
    api: u16,
    admin: u16,
    setup: Setup,
    process: Option<Child>,
}

impl Node {
    /// A node as by default: no auth, every caller an admin of project "default".
    pub async fn start() -> Self {
        Setup::new().start().await
    }

    /// `host:port` of the Image API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.api)
    }

    /// A client of the Image API without an identity.
    pub fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address()))
    }

    /// A client of the Image API as this persona.
    pub fn client_of(&self, persona: &Persona) -> Client {
        self.client().as_persona(persona)
    }

    /// An upload of `length` bytes to the image that has begun and stands still after three.
    pub async fn standing_upload(&self, id: &str, length: usize) -> Raw {
        let mut connection = Raw::connect(&self.address()).await;
        connection
            .send(format!(
                "PUT /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\n\
                 content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\nabc"
            ))
            .await;
        self.client().reaches(id, "saving").await;
        connection
    }

    /// A download of which only the head is taken. It stands if the data is larger than what sockets
    /// hold.
    pub async fn standing_download(&self, id: &str) -> Raw {
        let mut connection = Raw::connect(&self.address()).await;
        connection
            .send(format!(
                "GET /v2/images/{id}/file HTTP/1.1\r\nhost: a\r\n\r\n"
            ))
            .await;
        let head = connection.head().await.unwrap_or_default();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        connection
    }

    /// A client of the admin listener.
    pub fn admin(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.admin))
    }

    /// The sum of a metric over its labels; 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.admin().get("/metrics").await.expect(200).text();
        let mut sum = 0.0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if series.split('{').next() == Some(name) {
                sum += value.parse::<f64>().unwrap_or(0.0);
            }
        }
        sum
    }

    /// The folder of everything of this node: `data`, `images`, `node.log`, `glimpse.toml`.
    pub fn folder(&self) -> &Path {
        self.setup.dir.path()
    }

    /// The default store's folder.
    pub fn images(&self) -> PathBuf {
        self.folder().join("images")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Files in the default store, whatever their names and depth.
    pub fn stored_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.images(), &mut files);
        files
    }

    /// Files in the folder of a store that [`Setup::more_stores`] has added.
    pub fn files_of(&self, store: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.folder().join(store), &mut files);
        files
    }

    /// Files in staging.
    pub fn staged_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect_files(&self.data().join("staging"), &mut files);
        files
    }

    /// Waits until the default store holds so many files, leftovers included.
    pub async fn keeps(&self, files: usize) {
        eventually(&format!("{files} files in the store"), async || {
            (self.stored_files().len() == files).then_some(())
        })
        .await;
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running node").id()
    }

    /// Resident anonymous memory in bytes.
    pub fn anonymous_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("/proc");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("RssAnon") * 1024
    }

    /// Changes a key for the next start.
    pub fn configure(&mut self, key: &str, value: impl Into<Value>) {
        self.setup.put(key, value.into());
    }

    /// Writes the configuration as it was configured meanwhile, for a reload.
    pub fn rewrite(&self) {
        let path = self.folder().join("glimpse.toml");
        write_config(&path, &self.setup.config, self.api, self.admin);
    }

    /// Changes a key of the first store for the next start.
    pub fn configure_store(&mut self, key: &str, value: impl Into<Value>) {
        self.setup.put_store(key, value.into());
    }

    /// Starts it again on the same data and waits until it is ready.
    pub async fn restart(&mut self) {
        self.restart_until(200).await;
    }

    /// Starts it again on the same data and waits until `/ready` has that status.
    pub async fn restart_until(&mut self, status: u16) {
        assert!(self.process.is_none(), "the node is still running");
        let deadline = Instant::now() + PATIENCE;
        self.spawn();
        let admin = self.admin();
        loop {
            if let Some(child) = &mut self.process
                && let Ok(Some(status)) = child.try_wait()
            {
                panic!("the node ended at start with {status}:\n{}", self.log());
            }
            let ready = admin.call("GET", "/ready").attempt().await;
            if ready.is_ok_and(|answer| answer.status == status) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "/ready did not become {status}:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it and kills it after that time, wherever its start has got to.
    pub async fn restart_cut_short(&mut self, after: Duration) {
        assert!(self.process.is_none(), "the node is still running");
        self.spawn();
        sleep(after).await;
        self.kill();
    }

    /// kill -9, and waits for the process to be gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("kill");
    }

    /// SIGTERM, and waits for the end; returns how it ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait_for_exit().await
    }

    /// Waits for the process to end by itself.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut child = self.process.take().expect("a started node");
        loop {
            if let Some(status) = child.try_wait().expect("wait") {
                return status;
            }
            if Instant::now() > deadline {
                child.kill().ok();
                child.wait().ok();
                panic!("the node did not end:\n{}", self.log());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What all starts of this node printed.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a second node on the same data directory, with ports of its own, until it ends.
    pub async fn start_second(&self) -> (Option<i32>, String) {
        let path = self.folder().join("second.toml");
        let log = self.folder().join("second.log");
        write_config(&path, &self.setup.config, free_port(), free_port());
        let child = command(&self.setup, &path, &log)
            .spawn()
            .expect("the node starts");
        let mut second = ChildGuard(child);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = second.0.try_wait().expect("wait") {
                return (
                    status.code(),
                    std::fs::read_to_string(&log).unwrap_or_default(),
                );
            }
            assert!(
                Instant::now() < deadline,
                "a second node runs on the same data"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it again and does not wait.
    pub fn spawn(&mut self) {
        let path = self.folder().join("glimpse.toml");
        write_config(&path, &self.setup.config, self.api, self.admin);
        let child = command(&self.setup, &path, &self.log_path()).spawn();
        self.process = Some(child.expect("the node starts"));
    }

    fn log_path(&self) -> PathBuf {
        self.folder().join("node.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(16 * 1024);
            let from = (from..log.len())
                .find(|at| log.is_char_boundary(*at))
                .unwrap_or(0);
            eprintln!("--- last lines of the node's log\n{}\n---", &log[from..]);
        }
    }
}

struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Polls until `check` gives something; fails the test with `what` when it never does.
pub async fn eventually<T, F, C>(what: &str, mut check: C) -> T
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "did not come to pass within {PATIENCE:?}: {what}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn binary() -> PathBuf {
    let Some(path) = std::env::var_os("GLIMPSE_BIN") else {
        panic!(
            "GLIMPSE_BIN is not set: it names the glimpse binary under test. \
             Run `cargo xtask test --stage api`, or build the node and set it."
        );
    };
    let path = PathBuf::from(path);
    assert!(
        path.is_file(),
        "GLIMPSE_BIN names {}, which is no file",
        path.display()
    );
    path
}

fn command(setup: &Setup, config: &Path, log: &Path) -> Command {
    let output: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .expect("a log");
    let mut words = setup.program.clone();
    words.push(binary().to_string_lossy().into_owned());
    let mut command = clean(Command::new(&words[0]));
    command
        .args(&words[1..])
        .args(["serve", "--config"])
        .arg(config)
        .current_dir(setup.dir.path())
        .envs(
            setup
                .environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a handle"))
        .stderr(output)
        // A test that is interrupted from the terminal must not leave half its nodes alive, nor
        // must the terminal's signals reach nodes whose death the test wants to time itself.
        .process_group(0);
    command
}

/// The harness's own variables would be refused as unknown overrides of keys.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GLIMPSE_") {
            command.env_remove(name);
        }
    }
    command
}

fn write_config(path: &Path, config: &Table, api: u16, admin: u16) {
    let mut config = config.clone();
    for (section, port) in [("api", api), ("admin", admin)] {
        let table = config
            .entry(section)
            .or_insert_with(|| Value::Table(Table::new()));
        let table = table.as_table_mut().expect("a table");
        table
            .entry("listen")
            .or_insert_with(|| format!("127.0.0.1:{port}").into());
    }
    std::fs::write(path, toml::to_string(&config).expect("TOML")).expect("the config is written");
}

/// A port that nobody listens on, outside the range from which outgoing connections take theirs.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 11_000;
    const COUNT: u16 = 20_000;
    let start = u16::try_from(std::process::id() * 61 % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

fn path_value(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect_files(&path, files)
        } else if entry.file_name() != MARKER {
            files.push(path)
        }
    }
}
