//! The identity service behind both sides: a real Keystone from the Python package index, one
//! process over SQLite, with what its own bootstrap makes: user, project and role `admin`.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    api::Api,
    process::{self, Process},
};

const PACKAGES: [&str; 3] = ["keystone==30.0.0", "uwsgi", "setuptools"];
const PASSWORD: &str = "bench";

/// A running Keystone.
pub(crate) struct Keystone {
    _process: Process,
    pub(crate) api: Api,
}

impl Keystone {
    /// Installs and starts it; state is made anew.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let venv = process::venv(dir, "venv-keystone", "keystone-manage", &PACKAGES)?;
        let bin = venv.join("bin");
        let dir = dir.join("keystone");
        let _ = std::fs::remove_dir_all(&dir);
        for keys in ["fernet", "credential"] {
            std::fs::create_dir_all(dir.join(keys))?;
        }
        let (port, d) = (process::free_port()?, dir.display());
        let config = dir.join("keystone.conf");
        std::fs::write(
            &config,
            format!(
                "[DEFAULT]\nlog_file = {d}/keystone.log\npublic_endpoint = http://127.0.0.1:{port}
[database]\nconnection = sqlite:///{d}/keystone.db\n[token]\nprovider = fernet
[fernet_tokens]\nkey_repository = {d}/fernet\n[credential]\nkey_repository = {d}/credential
[identity]\npassword_hash_algorithm = bcrypt\npassword_hash_rounds = 4
[cache]\nenabled = true\nbackend = dogpile.cache.memory\n"
            ),
        )?;
        let base = format!("http://127.0.0.1:{port}/v3");
        let owner = ["--keystone-user", "root", "--keystone-group", "root"];
        for arguments in [
            [&["fernet_setup"], &owner[..]].concat(),
            [&["credential_setup"], &owner[..]].concat(),
            vec!["db_sync"],
            vec![
                "bootstrap",
                "--bootstrap-password",
                PASSWORD,
                "--bootstrap-public-url",
                &base,
                "--bootstrap-internal-url",
                &base,
            ],
        ] {
            process::run(
                Command::new(bin.join("keystone-manage"))
                    .arg("--config-file")
                    .arg(&config)
                    .args(arguments),
            )?;
        }
        let mut command = Command::new(bin.join("uwsgi"));
        command
            .env("OS_KEYSTONE_CONFIG_FILES", &config)
            .arg("--http-socket")
            .arg(format!("127.0.0.1:{port}"))
            .args(["--module", "keystone.wsgi.api:application", "--master"])
            .args(["--die-on-term", "--lazy-apps", "--need-app"])
            .args([
                "--processes",
                "1",
                "--enable-threads",
                "--buffer-size",
                "65535",
            ])
            .args(["--add-header", "Connection: close", "--disable-logging"])
            .arg("--virtualenv")
            .arg(&venv);
        let mut process = Process::start(command, &dir.join("uwsgi.log"))?;
        process.wait_port(port, Duration::from_secs(60))?;
        let keystone = Self {
            _process: process,
            api: Api::at(port),
        };
        keystone.token()?;
        Ok(keystone)
    }

    /// A new token of the admin.
    pub(crate) fn token(&self) -> Result<String> {
        let domain = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user":
                {"name": "admin", "domain": domain, "password": PASSWORD}}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }});
        let (head, _) = self.api.exchange(
            "POST",
            "/v3/auth/tokens",
            "application/json",
            body.to_string().as_bytes(),
        )?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(name, _)| name.eq_ignore_ascii_case("x-subject-token"))
            .map(|(_, token)| token.to_owned())
            .context("an answer without a token")
    }

    /// The endpoint, asked with a new token.
    pub(crate) fn asked(&self, api: Api) -> Result<Api> {
        Ok(api.with(format!("X-Auth-Token: {}\r\n", self.token()?)))
    }

    /// Our settings for it.
    pub(crate) fn of_glimpse(&self) -> String {
        format!(
            "[auth]\nmode = \"keystone\"\n[auth.keystone]\nauth_url = \"http://127.0.0.1:{}/v3\"
username = \"admin\"\npassword = \"{PASSWORD}\"\nproject_name = \"admin\"\n",
            self.api.port
        )
    }

    /// The reference's.
    pub(crate) fn of_reference(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.api.port);
        format!(
            "[paste_deploy]\nflavor = keystone\n[keystone_authtoken]\nwww_authenticate_uri = {url}
auth_url = {url}\nauth_type = password\nusername = admin\npassword = {PASSWORD}\nproject_name = admin
user_domain_id = default\nproject_domain_id = default\nservice_type = image\n"
        )
    }
}
