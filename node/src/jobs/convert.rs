//! Conversion by `qemu-img` (image-api 3.4), which works on hostile data: it is told the format and never
//! guesses, has bounds on processor time, memory and size of files, a directory of its own and no
//! environment, and is killed where it takes too long or nobody waits for it. What it says of the image is
//! looked at before anything is converted: nothing may name other files.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{io::AsyncReadExt, process::Command};

use crate::{
    config::ConversionConfig,
    data::staging::{FOLDER, Space, Staging},
};

/// Seconds of processor time and bytes of memory for a look at an image (image-api 3.4).
const LOOK_SECONDS: u64 = 2;
const LOOK_BYTES: u64 = 1 << 30;
/// Bytes of what it says at most.
const SAID: u64 = 256 << 10;
/// Bytes that headers and tables of the result may take beyond the disk within.
const OVERHEAD: u64 = 64 << 20;
/// Sets the bounds and becomes the program.
const CONFINE: &str = "ulimit -v \"$1\" && ulimit -t \"$2\" && ulimit -f \"$3\" && ulimit -c 0 && \
                       shift 3 && exec \"$@\"";
/// Bytes of the unit of the bound on files: what a POSIX shell counts in.
const BLOCK: u64 = 512;

/// The result; gone with this.
pub(super) struct Converted {
    /// The file.
    pub(super) file: PathBuf,
    /// Its bytes.
    pub(super) size: u64,
    _folder: tempfile::TempDir,
    _held: Held,
}

/// Bytes of staging that a conversion holds.
struct Held(std::sync::Arc<Space>, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.give(&self.1);
    }
}

/// Bounds of one run.
struct Confined {
    memory: u64,
    seconds: u64,
    file: u64,
    wall: Duration,
}

/// Converts a staged file that is `source`.
pub(super) async fn run(
    config: &ConversionConfig,
    vmdk_allowed: &[String],
    staging: &Staging,
    cap: u64,
    file: &Path,
    source: &str,
) -> Result<Converted, String> {
    let folder = tempfile::Builder::new()
        .prefix(FOLDER)
        .tempdir_in(&staging.root)
        .map_err(|error| format!("no directory for the conversion: {}", error.kind()))?;
    // Whoever sweeps sees that it is in use.
    let key = folder.path().display().to_string();
    staging.space.take(&key, 0);
    let held = Held(std::sync::Arc::clone(&staging.space), key.clone());
    let look = Confined {
        memory: LOOK_BYTES,
        seconds: LOOK_SECONDS,
        file: 0,
        wall: config.timeout,
    };
    let name = |file: &Path| format!("file:{}", file.display());
    let source = qemu_name(source);
    let args = ["info", "--output=json", "-f", source, &name(file)];
    let said = qemu_img(config, folder.path(), &look, &args).await?;
    let info: Value =
        serde_json::from_slice(&said).map_err(|_| "The image cannot be looked at.".to_owned())?;
    let size = judge(&info, source, vmdk_allowed)?;
    if size > cap {
        return Err(format!(
            "the image exceeds the largest allowed size of {cap} bytes"
        ));
    }
    let most = size.saturating_add(size / 8).saturating_add(OVERHEAD);
    if !staging.space.take(&key, most) {
        return Err("The staging area is full.".to_owned());
    }
    let out = folder.path().join("out");
    let bounds = Confined {
        memory: config.memory,
        seconds: config.cpu_time.as_secs().max(1),
        file: most,
        wall: config.timeout,
    };
    let target = config.output_format.as_str();
    let args = [
        "convert",
        "-f",
        source,
        "-O",
        target,
        &name(file),
        &name(&out),
    ];
    qemu_img(config, folder.path(), &bounds, &args).await?;
    let size = tokio::fs::metadata(&out).await;
    let size = size
        .map_err(|_| "The conversion made nothing.".to_owned())?
        .len();
    Ok(Converted {
        file: out,
        size,
        _folder: folder,
        _held: held,
    })
}

/// What QEMU calls the format; `-f` of any other name would leave the choice to the data.
fn qemu_name(format: &str) -> &str {
    match format {
        "vhd" => "vpc",
        other => other,
    }
}

/// Bytes of the disk within, if the image names no other file and is what it should be.
fn judge(info: &Value, source: &str, vmdk_allowed: &[String]) -> Result<u64, String> {
    if info.get("format").and_then(Value::as_str) != Some(source) {
        return Err("The image is of another format than declared.".to_owned());
    }
    for key in ["backing-filename", "full-backing-filename"] {
        if info.get(key).is_some() {
            return Err("Images with a backing file are not converted.".to_owned());
        }
    }
    let specific = info.pointer("/format-specific/data");
    let detail = |key| specific.and_then(|data| data.get(key));
    if detail("data-file").is_some_and(|file| !file.is_null()) {
        return Err("Images with an external data file are not converted.".to_owned());
    }
    if source == "vmdk" {
        let kind = detail("create-type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !vmdk_allowed.iter().any(|allowed| allowed == kind) {
            return Err("VMDK images of this type are not converted.".to_owned());
        }
    }
    let size = info.get("virtual-size").and_then(Value::as_u64);
    size.ok_or_else(|| "The image cannot be looked at.".to_owned())
}

/// Runs it within its bounds, and gives what it said.
async fn qemu_img(
    config: &ConversionConfig,
    folder: &Path,
    bounds: &Confined,
    args: &[&str],
) -> Result<Vec<u8>, String> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", CONFINE, "sh"])
        .arg((bounds.memory / 1024).to_string())
        .arg(bounds.seconds.to_string())
        .arg(bounds.file.div_ceil(BLOCK).to_string())
        .arg(&config.program)
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| format!("qemu-img cannot be started: {}", error.kind()))?;
    let stdout = child.stdout.take();
    let work = async {
        let mut said = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(SAID).read_to_end(&mut said).await.ok();
        }
        (child.wait().await, said)
    };
    let Ok((ended, said)) = tokio::time::timeout(bounds.wall, work).await else {
        return Err("The conversion took too long.".to_owned());
    };
    match ended {
        Ok(status) if status.success() => Ok(said),
        Ok(status) => {
            tracing::warn!(%status, command = args.first(), "qemu-img failed");
            Err("The image cannot be converted.".to_owned())
        }
        Err(error) => Err(format!("qemu-img cannot be waited for: {}", error.kind())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_names_another_file_is_not_converted() {
        let allowed = ["streamOptimized".to_owned()];
        let judge = |info: &Value, source| judge(info, source, &allowed);
        let good = json!({"format": "qcow2", "virtual-size": 7});
        assert_eq!(judge(&good, "qcow2"), Ok(7));
        assert!(judge(&good, "raw").is_err());
        for bad in [
            json!({"format": "qcow2", "virtual-size": 7, "backing-filename": "/etc/passwd"}),
            json!({"format": "qcow2", "virtual-size": 7, "full-backing-filename": "x"}),
            json!({"format": "qcow2", "virtual-size": 7,
                   "format-specific": {"data": {"data-file": "/etc/passwd"}}}),
            json!({"format": "qcow2"}),
        ] {
            assert!(judge(&bad, "qcow2").is_err(), "{bad}");
        }
        let vmdk = |kind: &str| {
            json!({"format": "vmdk", "virtual-size": 7,
                   "format-specific": {"data": {"create-type": kind}}})
        };
        assert_eq!(judge(&vmdk("streamOptimized"), "vmdk"), Ok(7));
        assert!(judge(&vmdk("monolithicFlat"), "vmdk").is_err());
    }
}
