//! Tools that stages need and machines may lack: each is installed by the stage that needs it,
//! below the target directory where that is possible.

use std::{
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

/// The folder of the programs of a Python environment that has the real clients.
pub(crate) fn clients(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.target.join("venv");
    let programs = folder.join("bin");
    let installed = folder.join("installed");
    if installed.exists() {
        return Ok(programs);
    }
    if !command::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        apt(&["python3-venv"])?;
    }
    command::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    command::run(
        Command::new(programs.join("pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(CLIENTS),
    )?;
    std::fs::write(&installed, CLIENTS.join("\n"))
        .map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(programs)
}

/// qemu-img and qemu-io with the driver that reads over HTTP.
pub(crate) fn qemu() -> Result<(), String> {
    let present = || {
        command::output(Command::new("qemu-img").arg("--help"))
            .is_ok_and(|help| help.split_whitespace().any(|word| word == "http"))
            && command::succeeds(Command::new("qemu-io").arg("--version"))
    };
    if present() {
        return Ok(());
    }
    apt(&["qemu-utils", "qemu-block-extra"])?;
    if present() {
        Ok(())
    } else {
        Err("the installed qemu-img does not read over HTTP".to_owned())
    }
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
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y"])
            .args(arguments);
        command
    };
    command::run(&mut apt(&["update"]))?;
    command::run(apt(&["install", "--no-install-recommends"]).args(packages))
}
