//! The encodings of everything the registry writes: a version byte, then postcard.
//!
//! A value of an unknown version is a fault, never a guess: it was written by a newer node.

use std::fmt::Display;

use glimpse_replication::Fault;
use serde::{Serialize, de::DeserializeOwned};

use crate::command::{COMMAND_FORMAT, Envelope};

/// The version of the encoding of values in the tables.
const VALUE_FORMAT: u8 = 1;

/// Makes a fault of an error: `.map_err(fault("what was being done"))`.
pub(crate) fn fault<E: Display>(what: &'static str) -> impl Fn(E) -> Fault {
    move |error| Fault {
        what,
        cause: error.to_string(),
    }
}

/// Encodes a value for a table.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    versioned(VALUE_FORMAT, value)
}

/// Decodes a value of a table.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Fault> {
    unversioned(VALUE_FORMAT, what, bytes)
}

/// Encodes a command for the log.
pub(crate) fn encode_envelope(envelope: &Envelope) -> Result<Vec<u8>, Fault> {
    versioned(COMMAND_FORMAT, envelope)
}

/// Decodes a command of the log.
pub(crate) fn decode_envelope(bytes: &[u8]) -> Result<Envelope, Fault> {
    unversioned(COMMAND_FORMAT, "decoding a command of the log", bytes)
}

fn versioned<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, Fault> {
    postcard::to_extend(value, vec![version]).map_err(fault("encoding"))
}

fn unversioned<T: DeserializeOwned>(
    known: u8,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, Fault> {
    let Some((version, body)) = bytes.split_first() else {
        return Err(fault(what)("empty"));
    };
    if *version != known {
        return Err(fault(what)(format!(
            "format version {version} is unknown (this program knows {known})"
        )));
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(fault(what))?;
    if !rest.is_empty() {
        return Err(fault(what)(format!("{} bytes too many", rest.len())));
    }
    Ok(value)
}
