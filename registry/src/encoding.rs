//! The encodings of everything the registry writes: a version byte, then postcard; in the tables
//! with a CRC-32 behind it (little-endian), since a table's pages are not verified when they are
//! read, and a record of which one bit has changed may well decode.
//!
//! A value of an unknown version is a fault, never a guess: it was written by a newer node. So is
//! one that is not what was written.

use std::fmt::Display;

use glimpse_replication::Fault;
use serde::{Serialize, de::DeserializeOwned};

use crate::command::{COMMAND_FORMAT, Envelope};

/// The version of records, the values in the tables, that this program writes, and the only one it
/// reads.
pub const RECORD_FORMAT: u8 = 1;

/// Makes a fault of an error: `.map_err(fault("what was being done"))`.
pub(crate) fn fault<E: Display>(what: &'static str) -> impl Fn(E) -> Fault {
    move |error| Fault {
        what,
        cause: error.to_string(),
    }
}

/// Encodes a value for a table.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    versioned(RECORD_FORMAT, value).map(sealed)
}

/// Decodes a value of a table.
pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Fault> {
    unversioned(RECORD_FORMAT, what, unsealed(what, bytes)?)
}

/// Puts its checksum behind a value.
pub(crate) fn sealed(mut value: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&value);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// The value without its checksum, if that is right.
pub(crate) fn unsealed<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
    let damaged = || fault(what)("the value in the tables is damaged");
    let (value, sum) = bytes.split_last_chunk().ok_or_else(damaged)?;
    match crc32fast::hash(value) == u32::from_le_bytes(*sum) {
        true => Ok(value),
        false => Err(damaged()),
    }
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
