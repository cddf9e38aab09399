//! `import` and `convert`: web-download of a large object, plain and with conversion to raw. Behind a
//! Keystone: without a project the reference cannot make a task.

use std::{path::Path, process::Command, time::Instant};

use anyhow::Result;

use crate::{
    Options,
    api::Api,
    glimpse::Glimpse,
    keystone::Keystone,
    nginx::Nginx,
    process,
    reference::Reference,
    row::{Bar, Row},
};

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("import") && !options.wants("convert") {
        return Ok(());
    }
    let object = super::super::object(options)?;
    let nginx = Nginx::start(&options.dir, &options.dir.join("www"))?;
    let keystone = Keystone::start(&options.dir)?;
    let peers = (&nginx, &keystone);
    if options.wants("import") {
        let what = "web-download to active, reference";
        row(options, peers, "import", what, "object", 3.0, rows)?;
    }
    if options.wants("convert") {
        process::install("qemu-img", &["qemu-utils"])?;
        let qcow2 = object.with_extension("qcow2");
        convert(&object, &qcow2)?;
        let what = "import of qcow2 converted to raw, reference";
        row(options, peers, "convert", what, "object.qcow2", 1.2, rows)?;
    }
    Ok(())
}

fn convert(from: &Path, to: &Path) -> Result<()> {
    process::run(
        Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "qcow2"])
            .arg(from)
            .arg(to),
    )
}

fn row(
    options: &Options,
    (nginx, keystone): (&Nginx, &Keystone),
    id: &'static str,
    what: &str,
    object: &str,
    bar: f64,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let converts = id == "convert";
    let plugin = if converts {
        "image_conversion"
    } else {
        "no_op"
    };
    let data = super::super::fresh(options, "glimpse-import")?;
    let settings = format!(
        "[import]\nmethods = [\"web-download\"]\nplugins = [\"{plugin}\"]
[import.uri_filter]\nallowed_hosts = [\"127.0.0.1\"]\nallowed_ports = []\n{}",
        keystone.of_glimpse()
    );
    let ours = Glimpse::start_with(options, &data, &settings)?;
    let settings = format!(
        "[import_filtering_opts]\nallowed_hosts = [127.0.0.1]\nallowed_ports = []
[image_import_opts]\nimage_import_plugins = ['{plugin}']\n[image_conversion]\noutput_format = raw\n{}",
        keystone.of_reference()
    );
    let peer = Reference::start_with(&options.dir, &settings, "{}\n")
        .inspect_err(|e| eprintln!("the reference service did not start: {e:#}"))
        .ok();
    let url = format!("http://127.0.0.1:{}/{object}", nginx.api.port);
    let once = |api: Api| -> Result<f64> {
        let format = if converts { "qcow2" } else { "raw" };
        let image = api.create_as("import", format)?;
        let begin = Instant::now();
        api.web_download(&image, &url)?;
        let seconds = begin.elapsed().as_secs_f64();
        api.delete(&image)?;
        Ok(options.object_bytes() as f64 / 1e6 / seconds)
    };
    let (mut we, mut they) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        we.push(once(keystone.asked(ours.api)?)?);
        if let Some(peer) = &peer {
            they.push(once(keystone.asked(peer.api)?)?);
        }
    }
    rows.push(Row::new(
        id,
        what.to_owned(),
        "MB/s",
        &we,
        &they,
        Bar::AtLeast(bar),
    ));
    Ok(())
}
