//! Where things are: the workspace, its target directory, the node's release binary.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::command;

/// The checked-out workspace.
pub(crate) struct Workspace {
    /// Folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever the environment or a config puts it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self, String> {
        let mut cargo = cargo();
        cargo.args(["metadata", "--format-version", "1", "--no-deps"]);
        let text = command::output(&mut cargo)?;
        let metadata: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
        let path = |key: &str| {
            metadata
                .get(key)
                .and_then(serde_json::Value::as_str)
                .map(PathBuf::from)
                .ok_or_else(|| format!("cargo metadata names no {key}"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
        })
    }

    /// A cargo command that runs in the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(&self.root);
        cargo
    }

    /// The node as it is shipped.
    pub(crate) fn binary(&self) -> PathBuf {
        self.target.join("release").join("glimpse")
    }

    /// Builds [`Workspace::binary`]; cheap when nothing changed.
    pub(crate) fn build_release(&self) -> Result<(), String> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--release", "--package", "glimpse-node"]);
        command::run(&mut cargo)
    }

    /// A folder below the target directory, made when absent.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.target.join(name);
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    /// A path below the root.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }
}

/// The cargo that runs this program, so that a chosen toolchain stays chosen.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
