//! A real Keystone in a process of its own. Stage `keystone` installs it, makes a folder that each
//! one begins as a copy of, and sets `GLIMPSE_KEYSTONE` (a Python that has it) and
//! `GLIMPSE_KEYSTONE_FOLDER`; the script is `tests/keystone/serve_keystone.py`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use reqwest::{Method, header::HeaderMap};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Client, Setup, eventually, node::free_port};

/// The password of everybody but the administrator.
const PASSWORD: &str = "a password";

/// A Keystone. Killed when dropped; it ends by itself when this process does.
pub struct Keystone {
    dir: TempDir,
    port: u16,
    token_seconds: u32,
    process: Option<Child>,
    /// The administrator's token, and when it was made.
    admin: Mutex<Option<(Instant, String)>>,
    http: reqwest::Client,
}

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(path) => PathBuf::from(path),
        None => panic!("{name} is not set: run `cargo xtask test --stage keystone`"),
    }
}

impl Keystone {
    /// Starts one whose tokens last an hour, with the service user `glance` of project `service`.
    pub async fn start() -> Self {
        Self::with_tokens_of(3600).await
    }

    /// Starts one whose tokens last so many seconds.
    pub async fn with_tokens_of(token_seconds: u32) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        copy(&variable("GLIMPSE_KEYSTONE_FOLDER"), dir.path());
        // The tests' client brings TLS along.
        drop(Client::new(""));
        // No connection outlives the test, and runtime, that made it: tests may share a Keystone.
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        let mut keystone = Self {
            dir,
            port: free_port(),
            token_seconds,
            process: None,
            admin: Mutex::new(None),
            http: http.expect("an HTTP client"),
        };
        keystone.restart().await;
        keystone
    }

    /// Starts it again on the same data and waits until it answers.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "Keystone is still running");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("output"))
            .expect("a log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("keystone/serve_keystone.py");
        let child = Command::new(variable("GLIMPSE_KEYSTONE"))
            .arg(script)
            .arg("serve")
            .arg(self.dir.path())
            .arg(self.port.to_string())
            .env("TOKEN_SECONDS", self.token_seconds.to_string())
            .env("PYTHONWARNINGS", "ignore")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.process = Some(child.expect("Keystone starts"));
        eventually("Keystone answers", async || {
            self.http.get(self.url()).send().await.ok().map(drop)
        })
        .await;
    }

    /// kill -9, and waits for the process to be gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().expect("a running Keystone").id();
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), signal).expect("kill");
    }

    /// Makes every token that was given out invalid, while it is stopped: its keys are others then.
    pub fn forget_tokens(&self) {
        *self.admin.lock().expect("a lock") = None;
        for key in std::fs::read_dir(self.dir.path().join("fernet")).expect("keys") {
            let path = key.expect("a key").path();
            let text = std::fs::read_to_string(&path).expect("a key");
            // Base64, so that letters in reverse are a key, too.
            let (body, padding) = text.split_at(text.trim_end_matches('=').len());
            let turned: String = body[..42].chars().rev().collect();
            std::fs::write(path, turned + &body[42..] + padding).expect("a key");
        }
    }

    /// Base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v3", self.port)
    }

    /// A node that asks this Keystone.
    pub fn setup(&self) -> Setup {
        Setup::new()
            .set("auth.mode", "keystone")
            .set("auth.keystone.auth_url", self.url())
            .set("auth.keystone.password", PASSWORD)
    }

    /// A call with this token; fails the test unless it succeeds. Returns the headers and the JSON.
    pub async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (HeaderMap, Value) {
        let asked = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !token.is_empty() {
            request = request.header("x-auth-token", token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer of Keystone");
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("an answer of Keystone");
        assert!(status.is_success(), "{asked}: {status} {text}");
        (headers, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn made(&self, body: Value) -> String {
        let (headers, _) = self
            .call("", Method::POST, "/auth/tokens", &[], json!({"auth": body}))
            .await;
        let token = headers["x-subject-token"].to_str();
        token.expect("a token").to_owned()
    }

    /// A token of the administrator, scoped to its project.
    pub async fn admin(&self) -> String {
        let age = Duration::from_secs(self.token_seconds.into()) / 3;
        if let Some((made, token)) = &*self.admin.lock().expect("a lock")
            && made.elapsed() < age
        {
            return token.clone();
        }
        let made = Instant::now();
        let user = json!({"name": "admin", "domain": {"id": "default"}, "password": "adminpw"});
        let project = json!({"name": "admin", "domain": {"id": "default"}});
        let request = json!({
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        });
        let token = self.made(request).await;
        *self.admin.lock().expect("a lock") = Some((made, token.clone()));
        token
    }

    /// A token of a user for this scope; `null`: for none.
    pub async fn token_for(&self, user: &str, scope: Value) -> String {
        let user = json!({"name": user, "domain": {"id": "default"}, "password": PASSWORD});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let scope = if scope.is_null() {
            json!("unscoped")
        } else {
            scope
        };
        self.made(json!({"identity": identity, "scope": scope}))
            .await
    }

    /// A token of a user for a project.
    pub async fn token(&self, user: &str, project: &str) -> String {
        let project = json!({"name": project, "domain": {"id": "default"}});
        self.token_for(user, json!({"project": project})).await
    }

    /// A token made with an application credential.
    pub async fn token_of_credential(&self, id: &str, secret: &str) -> String {
        self.made(json!({"identity": {
            "methods": ["application_credential"],
            "application_credential": {"id": id, "secret": secret},
        }}))
        .await
    }

    /// Revokes a token.
    pub async fn revoke(&self, token: &str) {
        let subject = [("x-subject-token", token)];
        self.call(token, Method::DELETE, "/auth/tokens", &subject, Value::Null)
            .await;
    }

    /// The id of the one thing of this kind (`projects`) and name; made where there is none.
    pub async fn thing(&self, admin: &str, kind: &str, name: &str, more: Value) -> String {
        let path = format!("/{kind}?name={name}");
        let (_, found) = self.call(admin, Method::GET, &path, &[], Value::Null).await;
        if let Some(id) = found[kind][0]["id"].as_str() {
            return id.to_owned();
        }
        let mut body = more;
        body["name"] = json!(name);
        let one = kind.trim_end_matches('s');
        let made = json!({one: body});
        let path = format!("/{kind}");
        let (_, answer) = self.call(admin, Method::POST, &path, &[], made).await;
        answer[one]["id"].as_str().expect("an id").to_owned()
    }

    /// Makes a user with roles in a project, and the project; returns their ids.
    pub async fn user(&self, name: &str, project: &str, roles: &[&str]) -> (String, String) {
        let admin = self.admin().await;
        let domain = json!({"domain_id": "default"});
        let project = self
            .thing(&admin, "projects", project, domain.clone())
            .await;
        let mut account = domain;
        account["password"] = json!(PASSWORD);
        let user = self.thing(&admin, "users", name, account).await;
        self.grant(&format!("/projects/{project}"), &user, roles)
            .await;
        (user, project)
    }

    /// Registers the service `image` with these limits for every project, and those of one project
    /// beside them.
    pub async fn limit(&self, registered: &[(&str, i64)], project: &str, own: &[(&str, i64)]) {
        let admin = self.system().await;
        let (_, found) = self
            .call(
                &admin,
                Method::GET,
                "/services?type=image",
                &[],
                Value::Null,
            )
            .await;
        let service = match found["services"][0]["id"].as_str() {
            Some(id) => id.to_owned(),
            None => {
                let body = json!({"service": {"type": "image", "name": "glance"}});
                let (_, made) = self
                    .call(&admin, Method::POST, "/services", &[], body)
                    .await;
                let id = made["service"]["id"].as_str().expect("an id").to_owned();
                // The catalog has services with endpoints only.
                let endpoint = json!({"endpoint": {
                    "service_id": id, "interface": "public", "url": "http://127.0.0.1:1", "region_id": "RegionOne",
                }});
                self.call(&admin, Method::POST, "/endpoints", &[], endpoint)
                    .await;
                id
            }
        };
        let list: Vec<Value> = registered
            .iter()
            .map(|(name, limit)| {
                json!({"service_id": service, "resource_name": name, "default_limit": limit})
            })
            .collect();
        let body = json!({"registered_limits": list});
        self.call(&admin, Method::POST, "/registered_limits", &[], body)
            .await;
        let list: Vec<Value> = own
            .iter()
            .map(|(name, limit)| {
                json!({"service_id": service, "project_id": project, "resource_name": name, "resource_limit": limit})
            })
            .collect();
        let body = json!({"limits": list});
        self.call(&admin, Method::POST, "/limits", &[], body).await;
    }

    /// A token of the administrator for the whole system.
    async fn system(&self) -> String {
        let user = json!({"name": "admin", "domain": {"id": "default"}, "password": "adminpw"});
        self.made(json!({
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"system": {"all": true}},
        }))
        .await
    }

    /// Gives a user roles on a target: `/projects/{id}`, `/domains/default`, `/system`.
    pub async fn grant(&self, target: &str, user: &str, roles: &[&str]) {
        let admin = self.admin().await;
        for role in roles {
            let role = self.thing(&admin, "roles", role, json!({})).await;
            let path = format!("{target}/users/{user}/roles/{role}");
            self.call(&admin, Method::PUT, &path, &[], Value::Null)
                .await;
        }
    }

    /// What it printed.
    fn output(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("output")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- Keystone said\n{}\n---", self.output());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the folder of a Keystone") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
