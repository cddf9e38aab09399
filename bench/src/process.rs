//! Processes: started in a group of their own, ended by that group only, and read through /proc.

use std::{
    collections::HashMap,
    fs::{self, File},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// A running peer; ended when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` in its own process group, its output going to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the port takes connections.
    pub(crate) fn wait_port(&mut self, port: u16, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        while Instant::now() < end {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it listened on port {port}: {status}");
            }
            // Short: it is an error of what is measured.
            std::thread::sleep(Duration::from_micros(200));
        }
        bail!("port {port} did not open within {deadline:?}")
    }

    /// kill -9 of the group.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// SIGTERM, then kill -9 past a deadline.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let end = Instant::now() + Duration::from_secs(15);
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

/// The process and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>()
            && let Some(parent) = stat_field(pid, 1)
        {
            parents.insert(pid, u32::try_from(parent).unwrap_or(0));
        }
    }
    let mut all = vec![root];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        all.extend(parents.iter().filter(|&(_, &p)| p == pid).map(|(&c, _)| c));
        next += 1;
    }
    all
}

/// Field of /proc/PID/stat, counted from the state (0) on.
fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?
        .1
        .split(' ')
        .nth(field)?
        .parse()
        .ok()
}

/// User and system CPU seconds of the process and its descendants, by the scheduler's exact count.
pub(crate) fn cpu_seconds(root: u32) -> f64 {
    let ticks: u64 = tree(root)
        .into_iter()
        .map(|pid| stat_field(pid, 11).unwrap_or(0) + stat_field(pid, 12).unwrap_or(0))
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Anonymous resident bytes of the process and its descendants.
pub(crate) fn rss_anon(root: u32) -> u64 {
    let of = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
        line.trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    };
    tree(root).into_iter().filter_map(of).sum()
}

/// Ties every thread of the process and its descendants to one CPU (`None`: to all).
pub(crate) fn pin(root: u32, cpu: Option<usize>) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    match cpu {
        Some(cpu) => set.set(cpu),
        None => (0..std::thread::available_parallelism()?.get().max(2)).for_each(|c| set.set(c)),
    }
    for pid in tree(root) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Some(tid) = task
                .file_name()
                .to_string_lossy()
                .parse()
                .ok()
                .and_then(Pid::from_raw)
            {
                // A thread may end between the listing and this call.
                let _ = rustix::thread::sched_setaffinity(Some(tid), &set);
            }
        }
    }
    Ok(())
}

/// Runs a command to its end; an error with its output when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// The environment of this name below `dir`, with these packages of the Python index; made unless
/// `program` is in it.
pub(crate) fn venv(dir: &Path, name: &str, program: &str, packages: &[&str]) -> Result<PathBuf> {
    let venv = dir.join(name);
    let bin = venv.join("bin");
    if !bin.join(program).exists() {
        println!("installing {}", packages.join(" "));
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(bin.join("pip"))
            .args(["install", "-q"])
            .args(packages))?;
    }
    Ok(venv)
}

/// Installs Debian packages unless `program` is there.
pub(crate) fn install(program: &str, packages: &[&str]) -> Result<()> {
    if ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .iter()
        .any(|d| Path::new(d).join(program).exists())
    {
        return Ok(());
    }
    println!("installing {}", packages.join(" "));
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .args(["install", "-y", "-qq"])
        .args(packages))
}

/// A free port on loopback.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
