//! The Image API, black box: one module per area of image-api, tests named by what they hold the
//! node to. One binary, so that it is linked once and the tests share the cores.

mod actions;
mod advisories;
mod cache;
mod commands;
mod create;
mod delete;
mod download;
mod etag;
mod formats;
mod full_store;
mod integrity;
mod keystone;
mod limits;
mod list;
mod members;
mod metadefs;
mod moves;
mod operating;
mod patch;
mod policy;
mod protections;
mod protocol;
mod quotas;
mod schemas;
mod security_table;
mod show;
mod tags;
mod tls;
mod unconfigured;
mod upload;
mod versions;
mod visibility;
