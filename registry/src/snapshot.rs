//! The whole state as bytes, for a node that is too far behind, and back.
//!
//! ```text
//! magic 8 bytes | table format u32
//! per table:  length u8, name | rows u64 | per row: key length u32, value length u32, key, value
//! ```
//!
//! Numbers are little-endian. All tables travel, in the order of [`crate::tables::ALL`]: also those that
//! could be worked out from others, because copying is faster.

use glimpse_replication::{Fault, LogIndex};
use redb::{
    ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableHandle as _,
    WriteTransaction,
};

use crate::{
    encoding::{decode, encode, fault},
    tables::{ALL, META, META_KEY, Meta, TABLE_FORMAT},
};

const MAGIC: &[u8; 8] = b"glimpseS";
const EXPORT: &str = "making a snapshot";
const IMPORT: &str = "restoring a snapshot";

/// All tables as `transaction` sees them.
pub(crate) fn export(transaction: &ReadTransaction) -> Result<Vec<u8>, Fault> {
    let mut out = MAGIC.to_vec();
    out.extend(TABLE_FORMAT.to_le_bytes());
    for definition in ALL {
        let table = transaction.open_table(definition).map_err(fault(EXPORT))?;
        let name = definition.name().as_bytes();
        out.push(u8::try_from(name.len()).map_err(fault(EXPORT))?);
        out.extend_from_slice(name);
        out.extend(table.len().map_err(fault(EXPORT))?.to_le_bytes());
        for entry in table.iter().map_err(fault(EXPORT))? {
            let (key, value) = entry.map_err(fault(EXPORT))?;
            for part in [key.value(), value.value()] {
                let length = u32::try_from(part.len()).map_err(fault(EXPORT))?;
                out.extend(length.to_le_bytes());
            }
            out.extend_from_slice(key.value());
            out.extend_from_slice(value.value());
        }
    }
    Ok(out)
}

/// Replaces all tables by those of a snapshot taken at `index`. Nothing is committed here, so a
/// snapshot that turns out to be damaged changes nothing.
pub(crate) fn import(
    transaction: &WriteTransaction,
    index: LogIndex,
    bytes: &[u8],
) -> Result<Meta, Fault> {
    let mut rest = Rest(bytes);
    if rest.take(MAGIC.len())? != MAGIC {
        return Err(fault(IMPORT)("this is no snapshot"));
    }
    let format = u32::from_le_bytes(rest.array()?);
    if format != TABLE_FORMAT {
        return Err(fault(IMPORT)(format!(
            "format {format} is unknown (this program knows {TABLE_FORMAT})"
        )));
    }
    for definition in ALL {
        let [length] = rest.array()?;
        if rest.take(usize::from(length))? != definition.name().as_bytes() {
            return Err(fault(IMPORT)(format!("no table {}", definition.name())));
        }
        transaction
            .delete_table(definition)
            .map_err(fault(IMPORT))?;
        let mut table = transaction.open_table(definition).map_err(fault(IMPORT))?;
        for _ in 0..u64::from_le_bytes(rest.array()?) {
            let key_length = rest.length()?;
            let value_length = rest.length()?;
            let key = rest.take(key_length)?;
            let value = rest.take(value_length)?;
            table.insert(key, value).map_err(fault(IMPORT))?;
        }
    }
    if !rest.0.is_empty() {
        return Err(fault(IMPORT)(format!("{} bytes too many", rest.0.len())));
    }
    let mut table = transaction.open_table(META).map_err(fault(IMPORT))?;
    let mut meta: Meta = {
        let value = table.get(META_KEY).map_err(fault(IMPORT))?;
        let value = value.ok_or_else(|| fault(IMPORT)("it has no state"))?;
        decode(IMPORT, value.value())?
    };
    if meta.applied > index {
        return Err(fault(IMPORT)(format!(
            "it holds entry {}, later than {index}",
            meta.applied
        )));
    }
    meta.applied = index;
    table
        .insert(META_KEY, encode(&meta)?.as_slice())
        .map_err(fault(IMPORT))?;
    Ok(meta)
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| fault(IMPORT)("it ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(fault(IMPORT))
    }

    fn length(&mut self) -> Result<usize, Fault> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(fault(IMPORT))
    }
}
