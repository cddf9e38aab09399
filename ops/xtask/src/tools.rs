//! Tools that stages need and machines may lack: each is installed by the stage that needs it,
//! below the target directory where that is possible.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{command, workspace::Workspace};

/// Version of cargo-deny that deny.toml is written for.
const CARGO_DENY: &str = "0.20.2";

/// The real clients, as the Python package index names them.
const CLIENTS: &[&str] = &[
    "python-openstackclient",
    "python-glanceclient",
    "openstacksdk",
];

/// cargo-deny, built once. It has a target directory of its own, since its dependencies are none
/// of ours, and its debug profile, since it is run far less often than it would be built.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.folder("tools")?;
    let tool = folder.join("bin").join("cargo-deny");
    if command::succeeds(Command::new(&tool).arg("--version")) {
        return Ok(tool);
    }
    let mut install = workspace.cargo();
    install
        .args([
            "install",
            "--quiet",
            "--locked",
            "--debug",
            "cargo-deny",
            "--version",
            CARGO_DENY,
        ])
        .arg("--root")
        .arg(&folder)
        .arg("--target-dir")
        .arg(folder.join("build"));
    command::run(&mut install)?;
    Ok(tool)
}

/// The reference service that answers are compared with, and the program that serves it.
const REFERENCE: &[&str] = &[
    "glance==33.0.0",
    "glance_store==5.7.0",
    "uwsgi",
    "setuptools",
];

/// What reads and what tries the description of the API.
const OPENAPI: &[&str] = &["openapi-spec-validator==0.9.0", "schemathesis==4.32.5"];

/// The folder of their programs.
pub(crate) fn openapi(workspace: &Workspace) -> Result<PathBuf, String> {
    Ok(venv(workspace, "venv-openapi", OPENAPI)?.join("bin"))
}

/// The folder of the programs of a Python environment that has the real clients.
pub(crate) fn clients(workspace: &Workspace) -> Result<PathBuf, String> {
    Ok(venv(workspace, "venv", CLIENTS)?.join("bin"))
}

/// A Python environment that has the reference service.
pub(crate) fn reference(workspace: &Workspace) -> Result<PathBuf, String> {
    venv(workspace, "venv-reference", REFERENCE)
}

/// The identity service, and what serves it.
const KEYSTONE: &[&str] = &["keystone==30.0.0", "waitress"];

/// The Python of an environment that has a Keystone.
pub(crate) fn keystone(workspace: &Workspace) -> Result<PathBuf, String> {
    Ok(venv(workspace, "venv-keystone", KEYSTONE)?
        .join("bin")
        .join("python"))
}

/// The tests by which a cloud shows that it is one.
const TEMPEST: &[&str] = &["tempest==47.0.0", "python-subunit", "setuptools"];

/// The Python of an environment that has Tempest.
pub(crate) fn tempest(workspace: &Workspace) -> Result<PathBuf, String> {
    Ok(venv(workspace, "venv-tempest", TEMPEST)?
        .join("bin")
        .join("python"))
}

/// A Python environment with these packages below the target directory, made once.
fn venv(workspace: &Workspace, name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = workspace.target.join(name);
    let installed = folder.join("installed");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Ok(folder);
    }
    if !command::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        apt(&["python3-venv"])?;
    }
    command::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    command::run(
        Command::new(folder.join("bin").join("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )?;
    std::fs::write(&installed, wanted)
        .map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(folder)
}

/// The `PATH` on which qemu-img and qemu-io read over HTTP.
///
/// Debian keeps that driver in a package of its own, which must be of the version of the tools. Tools
/// that are there without it are left as they are; a matching pair goes below the target directory,
/// where QEMU finds its drivers beside its programs.
pub(crate) fn qemu(workspace: &Workspace) -> Result<OsString, String> {
    let installed = std::env::var_os("PATH").unwrap_or_default();
    if !command::succeeds(Command::new("qemu-img").arg("--version")) {
        // Who is not root gets them unpacked, below.
        apt(&["qemu-utils", "qemu-block-extra"]).unwrap_or_else(|error| println!("{error}"));
    }
    if reads_http(&installed) {
        return Ok(installed);
    }
    let folder = workspace.folder("tools/qemu")?;
    let mut path = folder.join("usr").join("bin").into_os_string();
    path.push(":");
    path.push(&installed);
    if reads_http(&path) {
        return Ok(path);
    }
    println!(
        "the installed qemu-img has no driver for HTTP; unpacking one that has below {}",
        folder.display()
    );
    unpack_qemu(&folder)?;
    if reads_http(&path) {
        Ok(path)
    } else {
        Err("neither the installed nor the unpacked qemu-img reads over HTTP".to_owned())
    }
}

/// Whether QEMU's tools start and have the driver: it is what complains when nobody listens.
fn reads_http(path: &OsStr) -> bool {
    let asked = Command::new("qemu-img")
        .args(["info", "http://127.0.0.1:1/"])
        .env("PATH", path)
        .output();
    asked.is_ok_and(|answer| String::from_utf8_lossy(&answer.stderr).contains("CURL"))
        && command::succeeds(Command::new("qemu-io").arg("--version").env("PATH", path))
}

/// Downloads Debian's qemu-utils and qemu-block-extra of one version and unpacks them.
fn unpack_qemu(folder: &Path) -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        command::run(&mut apt_get(&["update"]))?;
    }
    let policy = command::output(Command::new("apt-cache").args(["policy", "qemu-block-extra"]))?;
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)")
        .ok_or("apt knows of no qemu-block-extra")?;
    let pair = ["qemu-utils", "qemu-block-extra"].map(|name| format!("{name}={version}"));
    command::run(apt_get(&["download"]).args(&pair).current_dir(folder))?;
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for package in entries.flatten().map(|entry| entry.path()) {
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            command::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder))?;
        }
    }
    Ok(())
}

/// Installs Debian packages, which needs root.
fn apt(packages: &[&str]) -> Result<(), String> {
    let wanted = packages.join(" ");
    if !rustix::process::geteuid().is_root() {
        return Err(format!(
            "install {wanted} first: this user may not (root may)"
        ));
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!(
            "install what Debian calls {wanted} first: there is no apt-get here"
        ));
    }
    command::run(&mut apt_get(&["update"]))?;
    let install = ["install", "--no-install-recommends", "--no-remove"];
    command::run(apt_get(&install).args(packages))
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-qq", "-y"])
        .args(arguments);
    command
}
