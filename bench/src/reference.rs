//! The peer for the API: the reference image service from the Python package index, under uwsgi
//! (two processes of four threads) over MariaDB, with the pipeline that asks nobody for a token.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    api::Api,
    process::{self, Process},
};

const PACKAGES: [&str; 6] = [
    "glance==33.0.0",
    "glance_store==5.7.0",
    "uwsgi",
    "pymysql",
    "python-memcached",
    "setuptools",
];

/// The running reference service and its database.
pub(crate) struct Reference {
    pub(crate) process: Process,
    pub(crate) api: Api,
    _database: Process,
}

impl Reference {
    /// Installs and starts both, asking nobody for a token; state is made anew.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, "", "\"context_is_admin\": \"@\"\n")
    }

    /// The same with more settings, as sections of its configuration, and this policy.
    pub(crate) fn start_with(dir: &Path, settings: &str, policy: &str) -> Result<Self> {
        let venv = process::venv(dir, "venv-reference", "glance-manage", &PACKAGES)?;
        let bin = venv.join("bin");
        let dir = dir.join("reference");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("etc"))?;
        let (database, database_port) = start_database(&dir)?;
        let port = process::free_port()?;
        let d = dir.display();
        std::fs::write(
            dir.join("etc/glance-api.conf"),
            format!(
                "[DEFAULT]\nlog_file = {d}/glance.log\nenabled_backends = local:file\n
[database]\nconnection = mysql+pymysql://glance:glance@127.0.0.1:{database_port}/glance?charset=utf8mb4
[glance_store]\ndefault_backend = local\n[local]\nfilesystem_store_datadir = {d}/images
[os_glance_staging_store]\nfilesystem_store_datadir = {d}/staging\n[os_glance_tasks_store]\nfilesystem_store_datadir = {d}/tasks\n
[wsgi]\npython_interpreter = {}\n[oslo_policy]\npolicy_file = {d}/etc/policy.yaml\n[oslo_concurrency]\nlock_path = {d}/lock\n{settings}",
                bin.join("python").display()
            ),
        )?;
        std::fs::write(dir.join("etc/policy.yaml"), policy)?;
        std::fs::copy(
            venv.join("etc/glance/glance-api-paste.ini"),
            dir.join("etc/glance-api-paste.ini"),
        )?;
        process::run(
            Command::new(bin.join("glance-manage"))
                .arg("--config-file")
                .arg(dir.join("etc/glance-api.conf"))
                .arg("db_sync"),
        )?;
        let mut command = Command::new(bin.join("uwsgi"));
        command
            .env("OS_GLANCE_CONFIG_DIR", dir.join("etc"))
            .arg("--http")
            .arg(format!("127.0.0.1:{port}"))
            .args([
                "--http-chunked-input",
                "--http-auto-chunked",
                "--http-raw-body",
                "--http-timeout",
                "600",
            ])
            .args([
                "--module",
                "glance.wsgi.api:application",
                "--master",
                "--die-on-term",
                "--processes",
                "2",
                "--threads",
                "4",
            ])
            .args([
                "--enable-threads",
                "--lazy-apps",
                "--need-app",
                "--thunder-lock",
                "--buffer-size",
                "65535",
            ])
            .args([
                "--add-header",
                "Connection: close",
                "--disable-logging",
                "--virtualenv",
            ])
            .arg(&venv);
        let mut process = Process::start(command, &dir.join("uwsgi.log"))?;
        process.wait_port(port, Duration::from_secs(60))?;
        let api = Api::at(port);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while api.get("/versions").is_err() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(200));
        }
        api.get("/versions")?;
        Ok(Self {
            process,
            api,
            _database: database,
        })
    }
}

fn start_database(dir: &Path) -> Result<(Process, u16)> {
    process::install("mariadbd", &["mariadb-server"])?;
    let data = dir.join("database");
    let socket = std::env::temp_dir().join(format!("glimpse-bench-{}.sock", std::process::id()));
    process::run(
        Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=root",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg(format!("--datadir={}", data.display())),
    )?;
    let port = process::free_port()?;
    let mut command = Command::new("mariadbd");
    command
        .args([
            "--no-defaults",
            "--user=root",
            "--bind-address=127.0.0.1",
            "--max-connections=300",
        ])
        .args([
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=128M",
        ])
        .arg(format!("--port={port}"))
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--pid-file={}", dir.join("database.pid").display()));
    let mut process = Process::start(command, &dir.join("database.log"))?;
    process.wait_port(port, Duration::from_secs(30))?;
    let sql = "create database glance character set utf8mb4; create user 'glance'@'%' identified by 'glance'; create user 'glance'@'localhost' identified by 'glance'; grant all on glance.* to 'glance'@'%'; grant all on glance.* to 'glance'@'localhost';";
    process::run(
        Command::new("mariadb")
            .args(["--no-defaults", "-u", "root", "-S"])
            .arg(&socket)
            .args(["-e", sql]),
    )?;
    Ok((process, port))
}
