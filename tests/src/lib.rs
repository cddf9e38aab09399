//! Vocabulary of the black-box tests: a real node in a process of its own, clients with an
//! identity, and what they say in one line. The tests beside it (`tests/tests`) know the Image API
//! and nothing of the node's insides.
//!
//! `GLIMPSE_BIN` names the binary under test; `cargo xtask test` builds it and sets it.

mod answer;
mod client;
mod command;
mod data;
mod keystone;
mod node;
mod origin;
mod persona;
mod raw;
pub mod samples;
mod tls;
mod web;

pub use answer::Answer;
pub use client::{Call, Client, PATCH_V20, PATCH_V21};
pub use command::{Output, glimpse, glimpse_into};
pub use data::{Random, md5_hex, random_bytes, sha512_hex};
pub use keystone::Keystone;
pub use node::{MARKER, Node, Refusal, Setup, eventually};
pub use origin::Origin;
pub use persona::Persona;
pub use raw::{Raw, exchange};
pub use rustix::process::Signal;
pub use tls::{TestCertificate, TlsVersion};
pub use web::{Page, Web};
